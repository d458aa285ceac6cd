package tcp_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wire"
)

// heartbeat returns the frame of a message.
func heartbeat(from, to raft.ServerID) []byte {
	return tcp.Frame(encoded(wire.Heartbeat{Round: 7}.Message().In(wire.Envelope{From: from, To: to})))
}

// guest greets a server in the name of one that isn't its member.
func (c *cluster) guest(number int, to raft.ServerID) net.Conn {
	return c.greeted(raft.ServerID(fmt.Sprint("guest", number)), to)
}

// Clients that connect and say nothing displace each other, and never a member.
func TestSilentConnectionsMakeRoom(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a", "b")
		slow, err := c.network.DialFrom(address("b"))(t.Context(), address("a"))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, slow.Close()) })
		synctest.Wait()
		var silent []net.Conn
		for i := range 3 * tcp.MaxHandshakes { // each from somewhere else
			conn, err := c.network.DialFrom(fmt.Sprintf("stranger%d:1", i))(t.Context(), address("a"))
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, conn.Close()) })
			silent = append(silent, conn)
			synctest.Wait()
		}
		handshakes, _, _ := a.Places()
		require.Equal(t, tcp.MaxHandshakes, handshakes)
		for _, conn := range silent[:2*tcp.MaxHandshakes] {
			requireEnded(t, conn)
		}
		require.NoError(t, tcp.GreetForMessages(slow, raft.Server{ID: "b"}, "a"), "a member's place is its own")
		c.greeted("c", "a")
		pass(4 * time.Second) // past DialTimeout
		handshakes, _, _ = a.Places()
		require.Zero(t, handshakes)
		for _, conn := range silent {
			requireEnded(t, conn)
		}
	})
}

// A guest always gets in: one that has sent nothing makes room, the oldest one first. A member, and
// a server that was asked, don't count among the guests.
func TestGuestsMakeRoom(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a", "member")
		member := c.greeted("member", "a")
		talks := c.guest(0, "a")
		write(t, talks, heartbeat("guest0", "a"))
		a.Send(wire.Heartbeat{}.Message().In(wire.Envelope{From: "a", To: "asked", ToAddress: address("asked")}))
		synctest.Wait()
		asked := c.greeted("asked", "a")
		pass(time.Second)
		first := c.guest(1, "a")
		for i := range 3 * tcp.MaxGuests {
			pass(time.Millisecond)
			c.guest(i+2, "a")
		}
		requireEnded(t, first)
		_, known, _ := a.Places()
		require.LessOrEqual(t, known, tcp.MaxGuests+2)
		for _, who := range []struct {
			conn net.Conn
			id   raft.ServerID
		}{{member, "member"}, {talks, "guest0"}, {asked, "asked"}} {
			write(t, who.conn, heartbeat(who.id, "a"))
		}
		require.Len(t, a.received(), 4)
	})
}

// Nothing of a guest outlives it, and a guest that says nothing doesn't stay.
func TestGuestsAreForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a")
		var reached []<-chan net.Conn
		for i := range 20 {
			conn := c.dial("a")
			from := raft.Server{ID: raft.ServerID(fmt.Sprint("guest", i))} // without an address
			if i%2 > 0 {
				from.Address = address(from.ID)
				reached = append(reached, c.hang(from.ID))
			}
			require.NoError(t, tcp.GreetForMessages(conn, from, "a"))
			write(t, conn, heartbeat(from.ID, "a"))
			a.tell(from.ID, 1) // the answer: where there is an address, it is dialled
			synctest.Wait()
			switch i % 3 {
			case 0:
				require.NoError(t, conn.Close())
			case 1: // it stays, and says nothing
			case 2:
				asking := c.dial("a")
				require.NoError(t, tcp.GreetForAsking(asking, from, "a"))
			}
		}
		for _, conns := range reached {
			require.NotEmpty(t, conns)
		}
		pass(tcp.GuestIdle + 10*time.Second)
		handshakes, known, _ := a.Places()
		require.Zero(t, handshakes)
		require.Zero(t, known)
	})
}

// A guest that SetServers names meanwhile may be silent for as long as it likes.
func TestGuestThatBecomesAMember(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a")
		conn := c.greeted("b", "a")
		pass(time.Second)
		a.SetServers(peers("b"))
		pass(time.Hour)
		write(t, conn, heartbeat("b", "a"))
		require.Len(t, a.received(), 1)
		a.SetServers(nil)
		pass(tcp.GuestIdle - time.Second)
		write(t, conn, heartbeat("b", "a"))
		require.Len(t, a.received(), 1)
		pass(tcp.GuestIdle + time.Second)
		requireEnded(t, conn)
	})
}

// One guest at a time may send more than a small message, and memory is bounded, whatever the
// guests send. A member's message may have any size up to MaxFrame.
func TestGuestsGetLittleMemory(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		const size = 63 << 20
		a := c.start("a", "member")
		piece := make([]byte, 1<<20)
		before := heap()
		fill := func(conn net.Conn) { // all but the end of a frame
			_, err := conn.Write(binary.LittleEndian.AppendUint32(make([]byte, 4), size))
			for range size>>20 - 1 {
				if err == nil {
					_, err = conn.Write(piece)
				}
			}
			synctest.Wait()
		}
		var guests []net.Conn
		for i := range 10 {
			guests = append(guests, c.guest(i, "a"))
			fill(guests[i])
		}
		require.Less(t, int64(heap()-before), int64(100<<20), "of 630 MiB")
		for _, conn := range guests[1:] {
			requireEnded(t, conn)
		}
		require.Contains(t, c.log.String(), "no place is free for a message of more than 524288 bytes")
		fill(c.greeted("member", "a"))
		require.Greater(t, int64(heap()-before), int64(100<<20))
		pass(20 * tcp.GuestIdle)
		requireEnded(t, guests[0])

		// A large message of a guest arrives, and leaves nothing behind.
		large := wire.AppendRequest{Entries: []raft.Entry{{Index: 1, Term: 1, Kind: wire.EntryCommand, Data: make([]byte, 4<<20)}}}
		for i := range 3 {
			conn := c.guest(20+i, "a")
			write(t, conn, tcp.Frame(encoded(large.Message().In(wire.Envelope{From: raft.ServerID(fmt.Sprint("guest", 20+i)), To: "a"}))))
			synctest.Wait()
			<-a.messages
		}

		// The names of groups leave nothing behind.
		before = heap()
		for i := range 10 {
			conn, m := c.guest(30+i, "a"), wire.Heartbeat{}.Message()
			for number := range 2000 {
				name := fmt.Sprintf("%0*d", wire.MaxGroupID, number)
				m = m.In(wire.Envelope{From: raft.ServerID(fmt.Sprint("guest", 30+i)), To: "a", Group: raft.GroupID(name)})
				write(t, conn, tcp.Frame(encoded(m)))
			}
			synctest.Wait()
			for len(a.messages) > 0 {
				<-a.messages
			}
		}
		require.Less(t, int64(heap()-before), int64(3<<20), "of 5 MiB of names")
	})
}

// stream opens a stream to a server in the name of another one, on which nothing is sent.
func (c *cluster) stream(from raft.ServerID, to *server) (net.Conn, error) {
	conn := c.dial(to.id)
	return conn, tcp.GreetForStream(conn, raft.Server{ID: from}, to.id)
}

// drain reads all streams of a server.
func (s *server) drain() {
	for {
		select {
		case st := <-s.streams:
			go func() {
				_, _ = io.Copy(io.Discard, st.reader) // it breaks
				close(st.done)
			}()
		case <-s.closing:
			return
		}
	}
}

// The streams of a member have places of their own. Where all are taken, one that brings nothing
// makes room.
func TestPlacesOfStreams(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a", "b", "c")
		go a.drain()
		for i := range 5 * tcp.MaxGuestStreams {
			_, _ = c.stream(raft.ServerID(fmt.Sprint("guest", i)), a) // refused, or not
		}
		_, _, streams := a.Places()
		require.Equal(t, tcp.MaxGuestStreams, streams)
		var ofB []net.Conn
		for range tcp.MaxMemberStreams {
			conn, err := c.stream("b", a)
			require.NoError(t, err)
			ofB = append(ofB, conn)
		}
		_, err := c.stream("b", a)
		require.ErrorContains(t, err, "no place is free: 8 streams are being received already")
		_, err = c.stream("c", a)
		require.NoError(t, err)
		pass(tcp.StreamRest / 2)
		write(t, ofB[0], tcp.Frame([]byte("x")))
		pass(tcp.StreamRest / 2)
		_, err = c.stream("b", a)
		require.NoError(t, err)
		requireEnded(t, ofB[1])
		write(t, ofB[0], tcp.Frame([]byte("y")))
		_, err = c.stream("guest", a)
		require.NoError(t, err)

		pass(tcp.StreamIdle + time.Second)
		_, _, streams = a.Places()
		require.Zero(t, streams, "a stream that brings nothing ends")
	})
}
