package tcp_test

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wire"
)

func TestMessagesArriveUnchangedAndInOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a, b := c.start("a", "b"), c.start("b", "a")
		pass(time.Second)
		var sent []wire.Message
		for i := range 1000 {
			m := wire.AppendRequest{Previous: wire.Place{Index: raft.Index(i), Term: 2}, Commit: 1, Entries: []raft.Entry{{
				Index: raft.Index(i + 1), Term: 3, Kind: wire.EntryCommand,
				Origin: raft.Origin{Server: "a", Start: 1}, Number: uint64(i + 1),
				Data: bytes.Repeat([]byte{byte(i)}, 1+i%1000),
			}}}.Message().In(wire.Envelope{From: "a", To: "b", Term: 3, Cluster: raft.ClusterID{1}, FromIncarnation: 9})
			sent = append(sent, m)
			a.Send(m)
			if i%100 == 0 {
				synctest.Wait() // so that batches are of many sizes
			}
		}
		a.tell("b", 7)
		synctest.Wait()
		// All memory of the messages belongs to the receiver for good. So they are compared at the
		// end.
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
			a.Send(wire.ForwardRequest{Commands: []raft.Entry{{Kind: wire.EntryCommand, Data: data}}}.Message().In(wire.Envelope{From: "a", To: "b"}))
			synctest.Wait()
			received := <-b.messages
			require.True(t, bytes.Equal(data, received.Entries()[0].Data), "%d bytes", size)
		}
	})
}

// What MaxMessage allows is carried, to members and to a server that knows nobody; a byte more is
// not.
func TestMaxMessage(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		for _, limit := range []int{0, 64 << 10, 1 << 20} {
			options := c.options
			options.MaxFrame = limit
			a := c.startWith(options, raft.ServerID(fmt.Sprint("a", limit)), "b")
			b := c.startWith(options, "b")
			pass(time.Second)
			largest := func(size int) wire.Message {
				return wire.AppendRequest{Entries: []raft.Entry{{Kind: wire.EntryCommand, Data: make([]byte, size)}}}.Message().In(wire.Envelope{From: a.id, To: "b"})
			}
			overhead := len(encoded(largest(a.MaxMessage()))) - a.MaxMessage()
			a.Send(largest(a.MaxMessage() - overhead + 1))
			require.Empty(t, b.received())
			require.Contains(t, c.log.String(), "exceeds MaxFrame, which is "+strconv.Itoa(a.MaxMessage()))
			a.Send(largest(a.MaxMessage() - overhead))
			synctest.Wait()
			require.Len(t, b.messages, 1)
			a.close(t)
			b.close(t)
		}
	})
}

func TestIdleTransportDoesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		var attempts atomic.Int64
		options := c.options
		options.Dial = countingDial(&attempts, c.options.Dial)
		c.startWith(options, "a", "b", "c")
		c.start("b", "a")
		pass(time.Minute)
		attempts.Store(0)
		pass(time.Hour)
		require.Zero(t, attempts.Load())
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
		require.ErrorIs(t, b.Start(raft.Server{ID: "b", Address: strings.Repeat("x", wire.MaxAddress+1)}, a), raft.ErrConfig)
		require.ErrorIs(t, b.Start(raft.Server{ID: "b"}, nil), raft.ErrConfig)
		b.SetServers(peers("a")) // not started: nothing happens
		b.Send(wire.Heartbeat{}.Message().In(wire.Envelope{To: "a"}))
		require.NoError(t, b.Close())
		require.NoError(t, b.Close())
		require.Error(t, b.Start(raft.Server{ID: "b"}, a))
	})
}
