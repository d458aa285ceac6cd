package memory_test

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wire"
)

// A mailbox is a handler that keeps what it gets.
type mailbox struct {
	mu       sync.Mutex
	messages []wire.Message
	times    []time.Time
	lost     []raft.ServerID
	stream   func(from raft.ServerID, stream io.ReadCloser)
}

func (b *mailbox) Receive(m wire.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages = append(b.messages, m)
	b.times = append(b.times, time.Now())
}

func (b *mailbox) Lost(id raft.ServerID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lost = append(b.lost, id)
}

func (b *mailbox) Stream(from raft.ServerID, stream io.ReadCloser) { b.stream(from, stream) }

// numbers returns the numbers of the messages so far, in the order of their arrival.
func (b *mailbox) numbers() []uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	var numbers []uint64
	for _, m := range b.messages {
		numbers = append(numbers, m.Heartbeat().Round)
	}
	return numbers
}

// gone returns the servers that were reported lost so far.
func (b *mailbox) gone() []raft.ServerID {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]raft.ServerID(nil), b.lost...)
}

// joinAll starts a transport and a mailbox for each of the servers.
func joinAll(t *testing.T, network *memory.Network, ids ...raft.ServerID) (map[raft.ServerID]raft.Transport, map[raft.ServerID]*mailbox) {
	transports, boxes := map[raft.ServerID]raft.Transport{}, map[raft.ServerID]*mailbox{}
	for _, id := range ids {
		transports[id], boxes[id] = network.Join(id), &mailbox{}
		require.NoError(t, transports[id].Start(raft.Server{ID: id}, boxes[id]))
		t.Cleanup(func() { require.NoError(t, transports[id].Close()) })
	}
	return transports, boxes
}

// sendAll sends messages with the numbers from 1 to n.
func sendAll(from raft.Transport, to raft.ServerID, n int) {
	for i := range n {
		from.Send(wire.Heartbeat{Round: uint64(i) + 1}.Message().In(wire.Envelope{To: to}))
	}
}

func upTo(n int) []uint64 {
	numbers := make([]uint64, n)
	for i := range numbers {
		numbers[i] = uint64(i) + 1
	}
	return numbers
}

func TestNetworkWithoutFaultsHandsOverAtOnce(t *testing.T) {
	transports, boxes := joinAll(t, memory.NewNetwork(memory.Options{}), "a", "b")
	sendAll(transports["a"], "b", 3)
	require.Equal(t, upTo(3), boxes["b"].numbers())
	transports["a"].Send(wire.Heartbeat{}.Message().In(wire.Envelope{To: "nobody"}))
	require.Empty(t, boxes["a"].numbers())
}

func TestNetworkDelaysInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := memory.Faults{MinDelay: 5 * time.Millisecond, MaxDelay: 20 * time.Millisecond}
		transports, boxes := joinAll(t, memory.NewNetwork(memory.Options{Seed: 1, Faults: faults}), "a", "b")
		start := time.Now()
		sendAll(transports["a"], "b", 100)
		synctest.Wait()
		require.Empty(t, boxes["b"].numbers(), "nothing arrives before its time")
		time.Sleep(faults.MaxDelay)
		synctest.Wait()
		require.Equal(t, upTo(100), boxes["b"].numbers())
		for _, at := range boxes["b"].times {
			require.GreaterOrEqual(t, at.Sub(start), faults.MinDelay)
		}
	})
}

func TestNetworkFaultsHaveTheirShareAndTheirSeed(t *testing.T) {
	run := func(seed uint64, faults memory.Faults) (got []uint64) {
		synctest.Test(t, func(t *testing.T) {
			transports, boxes := joinAll(t, memory.NewNetwork(memory.Options{Seed: seed, Faults: faults}), "a", "b")
			sendAll(transports["a"], "b", 1000)
			time.Sleep(time.Second)
			synctest.Wait()
			got = boxes["b"].numbers()
		})
		return got
	}
	require.InDelta(t, 750, len(run(1, memory.Faults{Loss: 0.25})), 60)
	require.InDelta(t, 1250, len(run(1, memory.Faults{Duplicate: 0.25})), 60)
	require.Empty(t, run(1, memory.Faults{Loss: 1}))
	require.Len(t, run(1, memory.Faults{Duplicate: 1}), 2000)

	all := memory.Faults{MaxDelay: 30 * time.Millisecond, Loss: 0.1, Duplicate: 0.1, Reorder: 0.5}
	require.Equal(t, run(7, all), run(7, all), "the same seed gives the same luck")
	require.NotEqual(t, run(7, all), run(8, all), "another seed gives another one")
	reordered := run(3, memory.Faults{MaxDelay: 30 * time.Millisecond, Reorder: 0.5})
	require.NotEqual(t, upTo(1000), reordered)
	require.ElementsMatch(t, upTo(1000), reordered)
}

func TestNetworkPartitions(t *testing.T) {
	network := memory.NewNetwork(memory.Options{})
	transports, boxes := joinAll(t, network, "a", "b", "c", "d")
	reached := func() string {
		for _, box := range boxes {
			box.messages = nil
		}
		for _, from := range []raft.ServerID{"a", "b", "c", "d"} {
			for _, to := range []raft.ServerID{"a", "b", "c", "d"} {
				if from != to {
					transports[from].Send(wire.Heartbeat{}.Message().In(wire.Envelope{From: from, To: to}))
				}
			}
		}
		s := ""
		for _, to := range []raft.ServerID{"a", "b", "c", "d"} {
			s += string(to) + "<"
			for _, m := range boxes[to].messages {
				s += string(m.From)
			}
			s += " "
		}
		return s
	}
	require.Equal(t, "a<bcd b<acd c<abd d<abc ", reached())
	network.Cut("a", "b")
	require.Equal(t, "a<bcd b<cd c<abd d<abc ", reached(), "one way")
	network.Heal()
	network.Partition([]raft.ServerID{"a", "b"}, []raft.ServerID{"c"})
	require.Equal(t, "a<bd b<ad c<d d<abc ", reached(), "d is in no group: the partition is partial")
	network.Heal()
	network.Isolate("c")
	require.Equal(t, "a<bd b<ad c< d<ab ", reached())
	network.SetLinkFaults("a", "c", memory.Faults{})
	require.Equal(t, "a<bd b<ad c<a d<ab ", reached())
	network.SetFaults(memory.Faults{Cut: true})
	require.Equal(t, "a< b< c< d< ", reached())
	network.Heal()
	require.Equal(t, "a<bcd b<acd c<abd d<abc ", reached())
}

func TestNetworkLosesWhatIsOnItsWayWhenCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memory.NewNetwork(memory.Options{Faults: memory.Faults{MinDelay: time.Millisecond}})
		transports, boxes := joinAll(t, network, "a", "b")
		sendAll(transports["a"], "b", 3)
		network.Cut("a", "b")
		time.Sleep(time.Second)
		synctest.Wait()
		require.Empty(t, boxes["b"].numbers())
	})
}

// What happens to one group happens to no other one.
func TestNetworkFaultsOfOneGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const delay = 10 * time.Millisecond
		network := memory.NewNetwork(memory.Options{})
		transports, boxes := joinAll(t, network, "a", "b", "c")
		arrived := func(to raft.ServerID) (all []string) {
			synctest.Wait()
			box := boxes[to]
			box.mu.Lock()
			defer box.mu.Unlock()
			for _, m := range box.messages {
				all = append(all, fmt.Sprint(m.Group, m.Heartbeat().Round))
			}
			box.messages = nil
			return all
		}
		round := uint64(0)
		tell := func(from, to raft.ServerID) {
			round++
			for _, group := range []raft.GroupID{"", "x", "y"} {
				transports[from].Send(wire.Heartbeat{Round: round}.Message().In(wire.Envelope{From: from, To: to, Group: group}))
			}
		}
		network.SetGroupFaults("x", memory.Faults{Cut: true})
		tell("a", "b")
		tell("b", "a")
		require.Equal(t, []string{"1", "y1"}, arrived("b"))
		require.Equal(t, []string{"2", "y2"}, arrived("a"))

		network.SetGroupFaults("x", memory.Faults{MinDelay: delay, MaxDelay: delay})
		network.SetGroupFaults("y", memory.Faults{Loss: 1})
		tell("a", "b")
		require.Equal(t, []string{"3"}, arrived("b"))
		<-time.After(delay)
		require.Equal(t, []string{"x3"}, arrived("b"))

		tell("a", "b")
		network.Cut("a", "b") // for all groups
		tell("a", "b")
		<-time.After(delay)
		synctest.Wait()
		network.SetGroupFaults("x", memory.Faults{})
		tell("a", "b")
		require.Equal(t, []string{"4"}, arrived("b"))
		network.SetGroupFaults("x", memory.Faults{Cut: true})
		network.Heal()
		tell("a", "b")
		require.Equal(t, []string{"7", "x7"}, arrived("b"), "y has lost its message")
		network.SetFaults(memory.Faults{})
		tell("a", "b")
		require.Equal(t, []string{"8", "x8", "y8"}, arrived("b"))
	})
}

// The luck of a group's messages is the seed's, and leaves that of others alone.
func TestNetworkLuckOfGroups(t *testing.T) {
	run := func(group raft.GroupID) (common, own []uint64) {
		synctest.Test(t, func(t *testing.T) {
			network := memory.NewNetwork(memory.Options{Seed: 7, Faults: memory.Faults{Loss: 0.5}})
			network.SetGroupFaults("x", memory.Faults{Loss: 0.5})
			network.SetGroupFaults("y", memory.Faults{Loss: 0.5})
			transports, boxes := joinAll(t, network, "a", "b")
			for round := range uint64(100) {
				for _, g := range []raft.GroupID{"", group} {
					transports["a"].Send(wire.Heartbeat{Round: round}.Message().In(wire.Envelope{From: "a", To: "b", Group: g}))
				}
			}
			for _, m := range boxes["b"].messages {
				if m.Group == "" {
					common = append(common, m.Heartbeat().Round)
				} else {
					own = append(own, m.Heartbeat().Round)
				}
			}
		})
		return common, own
	}
	common, x := run("x")
	again, y := run("y")
	require.Equal(t, common, again)
	require.NotEqual(t, x, y)
	require.NotEqual(t, common, x)
	_, same := run("x")
	require.Equal(t, x, same)
	require.InDelta(t, 50, len(x), 25)
}

// Several goroutines may send, each for a group.
func TestNetworkSendersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memory.NewNetwork(memory.Options{Faults: memory.Faults{MaxDelay: time.Millisecond}})
		transports, boxes := joinAll(t, network, "a", "b")
		var sending sync.WaitGroup
		for sender := range 8 {
			group := raft.GroupID(fmt.Sprint(sender))
			network.SetGroupFaults(group, memory.Faults{MaxDelay: time.Duration(sender) * time.Millisecond})
			sending.Go(func() {
				for round := range uint64(200) {
					transports["a"].Send(wire.Heartbeat{Round: round}.Message().In(wire.Envelope{From: "a", To: "b", Group: group}))
				}
			})
		}
		sending.Wait()
		<-time.After(time.Second)
		synctest.Wait()
		rounds := make(map[raft.GroupID]uint64)
		for _, m := range boxes["b"].messages {
			require.Equal(t, rounds[m.Group], m.Heartbeat().Round, "group %q", m.Group)
			rounds[m.Group]++
		}
		for sender := range 8 {
			require.EqualValues(t, 200, rounds[raft.GroupID(fmt.Sprint(sender))])
		}
	})
}

func TestNetworkBoundsWhatIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memory.NewNetwork(memory.Options{Faults: memory.Faults{MinDelay: time.Second}})
		transports, boxes := joinAll(t, network, "a", "b")
		sendAll(transports["a"], "b", 17<<10)
		for range 2 {
			transports["b"].Send(wire.AppendRequest{Entries: []raft.Entry{{Data: make([]byte, 60<<20)}}}.Message().In(wire.Envelope{To: "a"}))
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Len(t, boxes["b"].numbers(), 16<<10, "16,384 messages one way")
		require.Len(t, boxes["a"].numbers(), 1, "64 MiB one way")
	})
}

func TestNetworkTellsWhoIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memory.NewNetwork(memory.Options{})
		transports, boxes := joinAll(t, network, "a", "b", "c", "d")
		network.Cut("a", "c")
		network.SetLinkFaults("a", "d", memory.Faults{MinDelay: time.Millisecond})
		require.NoError(t, transports["a"].Close())
		require.Equal(t, []raft.ServerID{"a"}, boxes["b"].gone())
		require.Empty(t, boxes["c"].gone(), "the news can't get there")
		require.Empty(t, boxes["d"].gone(), "the news takes time")
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, []raft.ServerID{"a"}, boxes["d"].gone())
		require.NoError(t, transports["a"].Close(), "a second time does nothing")
		require.Len(t, boxes["b"].gone(), 1)

		sendAll(transports["a"], "b", 1)
		require.Empty(t, boxes["b"].numbers(), "the closed send nothing")
		require.Error(t, transports["a"].Start(raft.Server{ID: "a"}, boxes["a"]))
		sendAll(transports["b"], "a", 1)
		require.Empty(t, boxes["a"].numbers(), "the closed receive nothing")

		again := network.Join("a")
		require.Error(t, again.Start(raft.Server{ID: "x"}, boxes["a"]), "another server's transport")
		require.NoError(t, again.Start(raft.Server{ID: "a"}, boxes["a"]))
		require.Error(t, network.Join("a").Start(raft.Server{ID: "a"}, boxes["a"]), "it has joined already")
		sendAll(transports["b"], "a", 1)
		require.Equal(t, upTo(1), boxes["a"].numbers())
		require.NoError(t, again.Close())
	})
}

func TestNetworkCloseWaitsForTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transports, boxes := joinAll(t, memory.NewNetwork(memory.Options{}), "a", "b")
		leave := make(chan struct{})
		boxes["b"].stream = func(_ raft.ServerID, stream io.ReadCloser) {
			_, err := io.ReadAll(stream)
			require.Error(t, err, "closing breaks the stream")
			<-leave
		}
		w, err := transports["a"].OpenStream(t.Context(), "b")
		require.NoError(t, err)
		_, err = io.WriteString(w, "x")
		require.NoError(t, err)
		closed := make(chan error)
		go func() { closed <- transports["b"].Close() }()
		synctest.Wait()
		select {
		case <-closed:
			require.Fail(t, "Close returned while the handler was at work")
		default:
		}
		close(leave)
		require.NoError(t, <-closed)
		_, err = io.WriteString(w, "x")
		require.Error(t, err)
	})
}

// A streamed is what a server has received by a stream.
type streamed struct {
	from raft.ServerID
	data string
	err  error
}

// joinStreaming returns a network of a and b, and the transport of a. What b receives by a stream
// comes on the channel.
func joinStreaming(t *testing.T, faults memory.Faults) (*memory.Network, raft.Transport, chan streamed) {
	network := memory.NewNetwork(memory.Options{Faults: faults})
	transports, boxes := joinAll(t, network, "a", "b")
	outcomes := make(chan streamed, 1)
	boxes["b"].stream = func(from raft.ServerID, stream io.ReadCloser) {
		data, err := io.ReadAll(stream)
		outcomes <- streamed{from, string(data), err}
	}
	return network, transports["a"], outcomes
}

func TestNetworkStreams(t *testing.T) {
	t.Run("whole", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, a, outcomes := joinStreaming(t, memory.Faults{MinDelay: time.Second})
			start := time.Now()
			w, err := a.OpenStream(t.Context(), "b")
			require.NoError(t, err)
			for i := range 3 {
				_, err = fmt.Fprint(w, i)
				require.NoError(t, err)
			}
			require.NoError(t, w.Close())
			require.Equal(t, streamed{from: "a", data: "012"}, <-outcomes)
			require.Equal(t, time.Second, time.Since(start))
		})
	})
	breaks := map[string]func(*memory.Network, context.CancelFunc){
		"cut":              func(n *memory.Network, _ context.CancelFunc) { n.Cut("a", "b") },
		"cut the way back": func(n *memory.Network, _ context.CancelFunc) { n.Cut("b", "a") },
		"context ends":     func(_ *memory.Network, cancel context.CancelFunc) { cancel() },
	}
	for name, breakIt := range breaks {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network, a, outcomes := joinStreaming(t, memory.Faults{})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				w, err := a.OpenStream(ctx, "b")
				require.NoError(t, err)
				_, err = fmt.Fprint(w, "part")
				require.NoError(t, err)
				breakIt(network, cancel)
				got := <-outcomes
				require.Equal(t, "part", got.data)
				require.Error(t, got.err, "a broken stream doesn't look like a whole one")
				_, err = fmt.Fprint(w, "more")
				require.Error(t, err)
			})
		})
	}
	t.Run("refused", func(t *testing.T) {
		network, a, _ := joinStreaming(t, memory.Faults{})
		_, err := a.OpenStream(t.Context(), "nobody")
		require.Error(t, err)
		network.Cut("b", "a")
		_, err = a.OpenStream(t.Context(), "b")
		require.Error(t, err)
		network.SetFaults(memory.Faults{Loss: 1})
		_, err = a.OpenStream(t.Context(), "b")
		require.Error(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = a.OpenStream(ctx, "b")
		require.ErrorIs(t, err, context.Canceled)
	})
}
