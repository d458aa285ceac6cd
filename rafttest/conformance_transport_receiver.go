package rafttest

import (
	"bytes"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// Sizes of the checks of receivers
const (
	orderedMessages = 2000
	floodPiece      = 16 << 10 // bytes in a message of a flood
)

func checkOrder(n *testNetwork) {
	servers := n.start("a", "b")
	a, b := servers[0], servers[1]
	a.deliver(messageOf(wire.KindHeartbeat, 1), b) // now they are connected
	n.within(fmt.Sprintf("sending %d messages", orderedMessages), func() {
		for number := range uint64(orderedMessages) {
			a.Transport.Send(withEnds(wire.HeartbeatResponse{Round: number + 1}.Message(), a, b))
		}
	})
	var numbers []uint64
	for _, m := range b.collect(orderedMessages) {
		numbers = append(numbers, m.HeartbeatResponse().Round)
	}
	mostlyOrdered(numbers)
}

// collect returns the heartbeat responses that arrive: as many as are wanted, or at least half of them
// when no more come.
func (s *testServer) collect(want int) (messages []wire.Message) {
	deadline := time.NewTimer(s.network.options.Patience)
	defer deadline.Stop()
	for waiting := true; waiting && len(messages) < want; {
		for _, m := range s.take() {
			if m.Kind() == wire.KindHeartbeatResponse {
				messages = append(messages, m)
			}
		}
		select {
		case <-s.arrived:
		case <-deadline.C:
			waiting = false
		}
	}
	if len(messages) < want/2 {
		convict("%d of %d messages have arrived, want most of them: nobody was slow", len(messages), want)
	}
	return messages
}

// mostlyOrdered checks that hardly any message has overtaken another one.
func mostlyOrdered(numbers []uint64) {
	disorder := 0
	for i := 1; i < len(numbers); i++ {
		if numbers[i] < numbers[i-1] {
			disorder++
		}
	}
	if disorder > len(numbers)/10 {
		convict("%d of %d messages arrived after a later one, want hardly any", disorder, len(numbers))
	}
}

// checkSenders has several goroutines send to two servers at the same time, each for a group of its
// own, as the groups of one process do.
func checkSenders(n *testNetwork) {
	const senders, each = 8, orderedMessages / 8
	servers := n.start("a", "b", "c")
	a, others := servers[0], servers[1:]
	for _, to := range others {
		a.deliver(messageOf(wire.KindHeartbeat, 1), to)
	}
	sends := make([]func(), senders)
	for sender := range sends {
		group := raft.GroupID(fmt.Sprint("group ", sender))
		sends[sender] = func() {
			for number := range uint64(each) {
				for _, to := range others {
					m := wire.HeartbeatResponse{Round: number + 1}.Message().In(wire.Envelope{Group: group})
					a.Transport.Send(withEnds(m, a, to))
				}
			}
		}
	}
	n.within(fmt.Sprintf("sending %d messages in %d goroutines", senders*each*len(others), senders), func() { together(sends...) })
	for _, to := range others {
		numbers := make(map[raft.GroupID][]uint64)
		for _, m := range to.collect(senders * each) {
			numbers[m.Group] = append(numbers[m.Group], m.HeartbeatResponse().Round)
		}
		for sender := range sends {
			group := raft.GroupID(fmt.Sprint("group ", sender))
			during(fmt.Sprintf("from one goroutine of %d", senders), func() { mostlyOrdered(numbers[group]) })
			delete(numbers, group)
		}
		for group := range numbers {
			convict("a message has arrived for the group %q, for which none was sent", group)
		}
	}
}

func checkAbsent(n *testNetwork) {
	servers := n.start("a", "b")
	a, b := servers[0], servers[1]
	gone := n.server("gone")
	gone.close() // its address leads nowhere now
	a.SetServers([]raft.Server{b.Server, gone.Server})
	for _, to := range []raft.ServerID{gone.ID, "nobody", ""} {
		n.within(fmt.Sprintf("sending 10,000 messages to %q, which is not there,", to), func() {
			for number := range uint64(10_000) {
				m := wire.Heartbeat{Round: number + 1}.Message()
				m.From, m.To = a.ID, to
				a.Transport.Send(m)
			}
		})
	}
	a.deliver(messageOf(wire.KindHeartbeat, 1), b)
}

func checkHung(n *testNetwork) {
	if n.options.Inline {
		return
	}
	servers := n.start("a", "b", "c")
	a, b, c := servers[0], servers[1], servers[2]
	for _, to := range []*testServer{b, c} {
		a.deliver(messageOf(wire.KindHeartbeat, 1), to)
	}
	b.makeHang()
	before := heap()
	flood := 2 * n.options.MaxMemory / floodPiece
	for i := range flood {
		data := bytes.Repeat([]byte{byte(i)}, floodPiece)
		m := withEnds(wire.AppendRequest{Commit: raft.Index(i) + 2, Entries: []raft.Entry{
			{Index: 1, Term: 1, Kind: wire.EntryCommand, Origin: raft.Origin{Server: "a", Start: 1}, Number: 1, Data: data},
		}}.Message(), a, b)
		a.Send(m)
		if i%500 == 0 {
			during(fmt.Sprintf("while %s hangs", b.ID), func() { a.deliver(messageOf(wire.KindHeartbeat, uint64(i)+2), c) })
		}
	}
	if cost := heap() - before; cost > int64(n.options.MaxMemory) {
		convict("a receiver that hangs costs %d MiB after %d MiB were sent to it, want %d at most", cost>>20, flood*floodPiece>>20, n.options.MaxMemory>>20)
	}
	b.letGo()
	during("to a receiver that doesn't hang any more", func() { a.deliver(messageOf(wire.KindHeartbeat, 1<<40), b) })
}

// heap returns the number of bytes in use on the heap.
func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

func checkAnswers(n *testNetwork) {
	servers := n.start("a", "b")
	a, b := servers[0], servers[1]
	stranger := n.server("stranger")
	stranger.start()
	stranger.SetServers([]raft.Server{a.Server, b.Server}) // a and b don't know the stranger
	for _, to := range []*testServer{a, b} {
		stranger.deliver(messageOf(wire.KindVoteRequest, 5), to)
		to.deliver(messageOf(wire.KindAppendResponse, 5), stranger)
	}
}

func checkServers(n *testNetwork) {
	servers := n.start("a", "b")
	a, b := servers[0], servers[1]
	a.deliver(messageOf(wire.KindHeartbeat, 1), b)
	late := n.server("late") // joins later
	late.start()
	a.SetServers([]raft.Server{b.Server, late.Server})
	for i, to := range []*testServer{late, b} {
		a.deliver(messageOf(wire.KindHeartbeat, uint64(i)+2), to)
	}
	a.SetServers([]raft.Server{late.Server}) // without b, and then with it again
	a.deliver(messageOf(wire.KindHeartbeat, 4), late)
	b.close() // b comes back elsewhere
	again := n.server("b")
	again.start()
	a.SetServers([]raft.Server{again.Server, late.Server})
	again.SetServers([]raft.Server{a.Server})
	during(fmt.Sprintf("to a server that was closed and came back at the address %q", again.Address), func() {
		a.deliver(messageOf(wire.KindHeartbeat, 5), again)
	})
	again.deliver(messageOf(wire.KindHeartbeatResponse, 6), a)
}

func checkAddress(n *testNetwork) {
	servers := n.start("a", "b", "gone")
	a, b, gone := servers[0], servers[1], servers[2]
	stranger := n.server("stranger")
	stranger.start()
	gone.close()
	m := messageOf(wire.KindHeartbeat, 1)
	m.ToAddress = stranger.Address
	during("to a server that isn't named", func() { a.deliver(m, stranger) })
	during("the answer of a server that isn't named", func() { stranger.deliver(messageOf(wire.KindHeartbeatResponse, 2), a) })
	m = messageOf(wire.KindHeartbeat, 3)
	m.From, m.To, m.ToAddress = a.ID, gone.ID, gone.Address
	a.Send(m)
	a.deliver(messageOf(wire.KindHeartbeat, 4), b)
	for i := range uint64(8) { // an address in a message must not become the address of b
		m := messageOf(wire.KindHeartbeat, 5+i)
		m.From, m.To, m.ToAddress = a.ID, b.ID, stranger.Address
		a.Send(m)
		during("to a server that is asked elsewhere too", func() { a.deliver(messageOf(wire.KindHeartbeat, 20+i), b) })
		m = messageOf(wire.KindHeartbeat, 40+i)
		m.ToAddress = b.Address
		a.deliver(m, b)
	}
}

func checkTransportClose(n *testNetwork) {
	unstarted := n.server("unstarted")
	during("before Start", unstarted.close)
	if unstarted.tryStart() == nil {
		convict("Start after Close returned nil, want an error")
	}
	servers := n.start("a", "b")
	a, b := servers[0], servers[1]
	a.deliver(messageOf(wire.KindHeartbeat, 1), b)
	for range 2 {
		a.close()
	}
	a.SetServers([]raft.Server{b.Server})
	a.Send(withEnds(messageOf(wire.KindHeartbeat, 2), a, b))
}

// checkQuietAfterClose closes two servers, one after the other, while all of them send as much as
// they can. What comes after that to the handlers is noted there (testNetwork.close).
func checkQuietAfterClose(n *testNetwork) {
	for round := range 5 {
		servers := n.start(fmt.Sprint("a", round), fmt.Sprint("b", round), fmt.Sprint("c", round))
		servers[0].deliver(messageOf(wire.KindHeartbeat, 1), servers[1])
		var stop atomic.Bool
		var sending sync.WaitGroup
		sending.Add(len(servers))
		send := func(from *testServer) func() {
			begun := sync.OnceFunc(sending.Done)
			return func() {
				defer begun()
				for i := uint64(2); !stop.Load(); i++ {
					for _, to := range servers {
						if to != from {
							from.Send(withEnds(messageOf(wire.KindHeartbeatResponse, i), from, to))
						}
					}
					if i%100 == 0 {
						begun()
						select {
						case <-time.After(time.Millisecond): // otherwise no time passes in a bubble
						case <-n.over:
							return
						}
					}
				}
			}
		}
		together(send(servers[0]), send(servers[1]), send(servers[2]), func() {
			defer stop.Store(true)
			sending.Wait()
			servers[1].close()
			servers[0].close()
			n.pause()
		})
	}
}
