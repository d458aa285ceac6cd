package tcp_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/tcp/internal/memnet"
)

// A cluster is a few servers on one network in memory. The address of a server is its ID with ":1".
type cluster struct {
	t       *testing.T
	network memnet.Network
	options tcp.Options
	log     logBuffer
}

// inBubble runs a test in a bubble, with a network of its own.
func inBubble(t *testing.T, f func(t *testing.T, c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{t: t}
		c.options = tcp.Options{
			Dial: c.network.Dial, Listen: c.network.Listen,
			Logger: slog.New(slog.NewTextHandler(&c.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		}
		f(t, c)
	})
}

// A server is a transport with a handler that records what it gets.
type server struct {
	*tcp.Transport
	id raft.ServerID

	messages chan raft.Message
	lost     chan raft.ServerID
	streams  chan stream
	closing  chan struct{}
}

type stream struct {
	from   raft.ServerID
	reader io.ReadCloser
	done   chan struct{} // to be closed when the reader was used
}

func address(id raft.ServerID) string { return string(id) + ":1" }

func peers(ids ...raft.ServerID) []raft.Server {
	var servers []raft.Server
	for _, id := range ids {
		servers = append(servers, raft.Server{ID: id, Address: address(id)})
	}
	return servers
}

// start starts a server that knows the others. It is closed at the end of the test, at the latest.
func (c *cluster) start(id raft.ServerID, others ...raft.ServerID) *server {
	c.t.Helper()
	return c.startWith(c.options, id, others...)
}

func (c *cluster) startWith(options tcp.Options, id raft.ServerID, others ...raft.ServerID) *server {
	c.t.Helper()
	transport, err := tcp.Listen(address(id), options)
	require.NoError(c.t, err)
	s := newServer(transport, id)
	c.t.Cleanup(func() { s.close(c.t) })
	require.NoError(c.t, s.Start(raft.Server{ID: id, Address: address(id)}, s))
	s.SetServers(peers(others...))
	return s
}

func newServer(transport *tcp.Transport, id raft.ServerID) *server {
	return &server{
		Transport: transport, id: id,
		messages: make(chan raft.Message, 100_000), lost: make(chan raft.ServerID, 100),
		streams: make(chan stream), closing: make(chan struct{}),
	}
}

func (s *server) close(t *testing.T) {
	select {
	case <-s.closing:
	default:
		close(s.closing)
	}
	require.NoError(t, s.Close())
}

func (s *server) Receive(m raft.Message) { s.messages <- m }

func (s *server) Lost(id raft.ServerID) { s.lost <- id }

func (s *server) Stream(from raft.ServerID, reader io.ReadCloser) {
	st := stream{from: from, reader: reader, done: make(chan struct{})}
	select {
	case s.streams <- st:
		<-st.done
	case <-s.closing:
	}
}

// tell sends a message with a number.
func (s *server) tell(to raft.ServerID, number uint64) {
	s.Send(raft.Message{Kind: raft.Heartbeat, From: s.id, To: to, Term: 1, Number: number})
}

// tellMuch sends a message with so many bytes of entries.
func (s *server) tellMuch(to raft.ServerID, size int) {
	s.Send(raft.Message{Kind: raft.AppendRequest, From: s.id, To: to, Term: 1, Entries: []raft.Entry{
		{Index: 1, Term: 1, Kind: raft.EntryCommand, Data: make([]byte, size)},
	}})
}

// received returns the numbers of the messages that have arrived.
func (s *server) received() (numbers []uint64) {
	synctest.Wait()
	for {
		select {
		case m := <-s.messages:
			numbers = append(numbers, m.Number)
		default:
			return numbers
		}
	}
}

func (s *server) lostServers() (ids []raft.ServerID) {
	synctest.Wait()
	for {
		select {
		case id := <-s.lost:
			ids = append(ids, id)
		default:
			return ids
		}
	}
}

// A logBuffer is a log to read.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// pass lets virtual time pass.
func pass(span time.Duration) {
	<-time.After(span)
	synctest.Wait()
}

func TestMessagesArriveUnchangedAndInOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a, b := c.start("a", "b"), c.start("b", "a")
		pass(time.Second)
		var sent []raft.Message
		for i := range 1000 {
			m := raft.Message{
				Kind: raft.AppendRequest, From: "a", To: "b", Term: 3, Cluster: raft.ClusterID{1}, FromIncarnation: 9,
				Index: raft.Index(i), LogTerm: 2, Commit: 1,
				Entries: []raft.Entry{{
					Index: raft.Index(i + 1), Term: 3, Kind: raft.EntryCommand,
					Origin: raft.Origin{Server: "a", Start: 1}, Number: uint64(i + 1),
					Data: bytes.Repeat([]byte{byte(i)}, 1+i%1000),
				}},
			}
			sent = append(sent, m)
			a.Send(m)
			if i%100 == 0 {
				synctest.Wait() // so that batches are of many sizes
			}
		}
		a.tell("b", 7)
		synctest.Wait()
		// All memory of the messages is the receiver's for good, so all are compared at the end.
		for i := range sent {
			require.Equal(t, sent[i], <-b.messages)
		}
		require.Equal(t, []uint64{7}, b.received())
	})
}

func TestLargeMessages(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a, b := c.start("a", "b"), c.start("b", "a")
		pass(time.Second)
		for _, size := range []int{0, 1, 4 << 10, 64<<10 - 100, 64 << 10, 1 << 20, 10 << 20, 100} {
			data := make([]byte, size)
			for i := range data {
				data[i] = byte(i * 7)
			}
			a.Send(raft.Message{Kind: raft.ForwardRequest, From: "a", To: "b", Entries: []raft.Entry{{Kind: raft.EntryCommand, Data: data}}})
			synctest.Wait()
			require.True(t, bytes.Equal(data, (<-b.messages).Entries[0].Data), "%d bytes", size)
		}
	})
}

func TestReconnectsAfterAReset(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a, b := c.start("a", "b"), c.start("b", "a")
		pass(2 * time.Second)
		a.tell("b", 1)
		require.Equal(t, []uint64{1}, b.received())
		c.network.Reset(address("b"))
		synctest.Wait()
		a.tell("b", 2)
		require.Equal(t, []uint64{2}, b.received(), "at once: the connection had lasted, so it is dialled again without delay")
		require.Empty(t, a.lostServers(), "the process answers")
	})
}

func TestReconnectsWithBackoff(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		attempts := 0
		dial := c.options.Dial
		options := c.options
		options.Dial = countingDial(&attempts, dial)
		a := c.startWith(options, "a", "b") // and nobody is at b
		for range 10_000 {
			a.tell("b", 1)
			pass(time.Millisecond)
		}
		// 10 s at 10 ms doubling to 1 s, each less up to a half.
		require.GreaterOrEqual(t, attempts, 12)
		require.LessOrEqual(t, attempts, 30)

		b := c.start("b", "a") // connects by itself, which ends the backoff
		synctest.Wait()
		a.tell("b", 2)
		require.Equal(t, []uint64{2}, b.received())
	})
}

type dialFunc = func(ctx context.Context, address string) (net.Conn, error)

func countingDial(attempts *int, dial dialFunc) dialFunc {
	var mu sync.Mutex
	return func(ctx context.Context, address string) (conn net.Conn, err error) {
		mu.Lock()
		*attempts++
		mu.Unlock()
		return dial(ctx, address)
	}
}

func TestIdleTransportDoesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		attempts := 0
		options := c.options
		options.Dial = countingDial(&attempts, c.options.Dial)
		c.startWith(options, "a", "b", "c")
		c.start("b", "a")
		pass(time.Minute)
		attempts = 0
		pass(time.Hour)
		require.Zero(t, attempts)
	})
}

func TestUnknownServerIsAnswered(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		leader := c.start("leader", "fresh")
		fresh := c.start("fresh") // was told of nobody
		pass(time.Second)
		leader.tell("fresh", 1)
		require.Equal(t, []uint64{1}, fresh.received())
		fresh.tell("leader", 2)
		require.Equal(t, []uint64{2}, leader.received())
		fresh.tell("nobody", 3) // dropped

		leader.close(t)
		pass(time.Minute)
		require.Empty(t, fresh.lostServers(), "it was no member")
	})
}

func TestDismissedServer(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a, b := c.start("a", "b"), c.start("b", "a")
		pass(2 * time.Second)
		a.SetServers(nil)
		a.tell("b", 1)
		require.Equal(t, []uint64{1}, b.received(), "while it is connected, it can be told that it was removed")
		b.close(t)
		pass(time.Minute)
		require.Empty(t, a.lostServers())
		b = c.start("b")
		a.tell("b", 2)
		pass(time.Minute)
		require.Empty(t, b.received(), "it is forgotten")
	})
}

func TestServerMoves(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a", "b")
		old := c.start("b")
		pass(2 * time.Second)
		a.tell("b", 1)
		require.Equal(t, []uint64{1}, old.received())

		transport, err := tcp.Listen("elsewhere:1", c.options)
		require.NoError(t, err)
		b := newServer(transport, "b")
		t.Cleanup(func() { b.close(t) })
		require.NoError(t, b.Start(raft.Server{ID: "b", Address: "elsewhere:1"}, b))
		a.SetServers([]raft.Server{{ID: "b", Address: "elsewhere:1"}})
		synctest.Wait()
		a.tell("b", 2)
		require.Equal(t, []uint64{2}, b.received())
		require.Empty(t, old.received())
	})
}

// What says where to go doesn't touch what connects two servers, wherever it goes.
func TestAskedElsewhere(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a", "b")
		b, other := c.start("b", "a"), c.start("other")
		pass(2 * time.Second)
		connections := strings.Count(c.log.String(), "tcp: connected")

		for i, place := range []string{"nowhere:1", address("other"), address("b")} {
			n := uint64(10 * i)
			a.Send(raft.Message{Kind: raft.Heartbeat, From: "a", To: "b", At: place, Number: n + 1})
			a.tell("b", n+2)
			pass(10 * time.Second)
			if place == address("b") {
				require.ElementsMatch(t, []uint64{n + 1, n + 2}, b.received())
			} else {
				require.Equal(t, []uint64{n + 2}, b.received())
			}
		}
		require.Empty(t, other.received())
		require.Equal(t, connections, strings.Count(c.log.String(), "tcp: connected"))
		require.Empty(t, a.lostServers())
		require.Empty(t, b.lostServers())

		a.Send(raft.Message{Kind: raft.Heartbeat, From: "a", To: "other", At: address("other"), Number: 50})
		pass(time.Second)
		require.Equal(t, []uint64{50}, other.received())
		other.tell("a", 51)
		require.Equal(t, []uint64{51}, a.received(), "who is asked can answer")
	})
}

// Who asks and can't be answered is forgotten.
func TestGuestThatCantBeAnswered(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a")
		for i := range 2 * tcp.MaxGuests {
			conn := c.dial("a")
			from := raft.Server{ID: raft.ServerID(fmt.Sprint("guest", i)), Address: "nowhere:1"}
			require.NoError(t, tcp.GreetForAsking(conn, from, "a"))
			write(t, conn, tcp.Frame(raft.AppendMessage(nil, &raft.Message{Kind: raft.Heartbeat, From: from.ID, To: "a", Number: 1})))
			requireEnded(t, conn)
			require.Equal(t, []uint64{1}, a.received())
		}
	})
}

func TestWrongReceiverIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		b := c.start("b")
		a := c.start("a")
		a.SetServers([]raft.Server{{ID: "c", Address: address("b")}})
		a.tell("c", 1)
		pass(time.Second)
		require.Empty(t, b.received())
		require.Contains(t, c.log.String(), `refused by the other side, which is \"b\": the server \"c\" was meant`)
		require.Contains(t, c.log.String(), `shake hands: the server \"c\" was meant`)
	})
}

func TestConnectionFromItselfIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		c.start("b")
		twin, err := tcp.Listen("twin:1", c.options)
		require.NoError(t, err)
		b := newServer(twin, "b")
		t.Cleanup(func() { b.close(t) })
		require.NoError(t, b.Start(raft.Server{ID: "b", Address: "twin:1"}, b))
		b.SetServers(peers("b")) // itself: ignored
		_, err = b.OpenStream(t.Context(), "b")
		require.ErrorContains(t, err, "no such server is known")
	})
}

func TestLost(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a, b := c.start("a", "b"), c.start("b", "a")
		pass(2 * time.Second)
		b.close(t)
		require.Equal(t, []raft.ServerID{"b"}, a.lostServers(), "at once, and once")
		for range 1000 {
			a.tell("b", 1)
			pass(10 * time.Millisecond)
		}
		require.Empty(t, a.lostServers())
		require.Empty(t, b.lostServers(), "never for one's own Close")

		b = c.start("b", "a")
		pass(2 * time.Second)
		b.close(t)
		require.Equal(t, []raft.ServerID{"b"}, a.lostServers(), "it had come back")
	})
}

// A host that falls silent may have a process that lives.
func TestSilenceIsNoLoss(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a", "b")
		c.start("b", "a")
		pass(2 * time.Second)
		c.network.Silence(address("b"), true)
		c.network.Silence(address("a"), true)
		c.network.Reset(address("a"))
		c.network.Reset(address("b"))
		pass(time.Minute)
		require.Empty(t, a.lostServers())
	})
}

// Only one side had connected: the other learns of it all the same.
func TestLostWithoutAConnectionOfOnesOwn(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		dials := 0
		options := c.options
		options.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			if dials++; dials < 3 {
				return nil, fmt.Errorf("no route")
			}
			return c.network.Dial(ctx, address)
		}
		a := c.startWith(options, "a", "b")
		synctest.Wait()
		b := c.start("b", "a")
		pass(2 * time.Second)
		require.Equal(t, 2, dials)
		b.close(t)
		pass(20 * time.Millisecond)
		require.Equal(t, []raft.ServerID{"b"}, a.lostServers())
	})
}

func TestListenErrors(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a")
		_, err := tcp.Listen(address("a"), c.options)
		require.ErrorContains(t, err, "listen at a:1")
		require.ErrorContains(t, a.Start(raft.Server{ID: "a"}, a), "started twice")

		for _, test := range []struct {
			want   string
			change func(*tcp.Options)
		}{
			{"MaxFrame is 100, not from 65536 to", func(o *tcp.Options) { o.MaxFrame = 100 }},
			{"QueueBytes is -1", func(o *tcp.Options) { o.QueueBytes = -1 }},
			{"QueueMessages is -1", func(o *tcp.Options) { o.QueueMessages = -1 }},
			{"WriteTimeout is negative: -1s", func(o *tcp.Options) { o.WriteTimeout = -time.Second }},
			{"MinBackoff 2s exceeds MaxBackoff 1s", func(o *tcp.Options) { o.MinBackoff, o.MaxBackoff = 2*time.Second, time.Second }},
		} {
			options := c.options
			test.change(&options)
			_, err := tcp.Listen("x:1", options)
			require.ErrorIs(t, err, raft.ErrConfig)
			require.ErrorContains(t, err, test.want)
		}

		b, err := tcp.Listen("b:1", c.options)
		require.NoError(t, err)
		require.ErrorIs(t, b.Start(raft.Server{}, a), raft.ErrConfig)
		require.ErrorIs(t, b.Start(raft.Server{ID: "b", Address: strings.Repeat("x", raft.MaxAddress+1)}, a), raft.ErrConfig)
		require.ErrorIs(t, b.Start(raft.Server{ID: "b"}, nil), raft.ErrConfig)
		b.SetServers(peers("a")) // not started: nothing happens
		b.Send(raft.Message{To: "a"})
		require.NoError(t, b.Close())
		require.NoError(t, b.Close())
		require.Error(t, b.Start(raft.Server{ID: "b"}, a))
	})
}
