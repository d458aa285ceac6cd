package rafttest

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
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

func checkOrder(n *testNetwork) error {
	servers, err := n.start("a", "b")
	if err != nil {
		return err
	}
	a, b := servers[0], servers[1]
	if _, err := a.deliver(messageOf(wire.KindHeartbeat, 1), b); err != nil { // now they are connected
		return err
	}
	err = n.within(fmt.Sprintf("sending %d messages", orderedMessages), func() {
		for number := range uint64(orderedMessages) {
			a.Send(withEnds(wire.HeartbeatResponse{Round: number + 1}.Message(), a, b))
		}
	})
	if err != nil {
		return err
	}
	var numbers []uint64
	deadline := time.NewTimer(n.options.Patience)
	defer deadline.Stop()
	for waiting := true; waiting && len(numbers) < orderedMessages; {
		for _, m := range b.take() {
			if m.Kind() == wire.KindHeartbeatResponse {
				numbers = append(numbers, m.HeartbeatResponse().Round)
			}
		}
		select {
		case <-b.arrived:
		case <-deadline.C:
			waiting = false
		}
	}
	if len(numbers) < orderedMessages/2 {
		return fmt.Errorf("%d of %d messages have arrived, want most of them: nobody was slow", len(numbers), orderedMessages)
	}
	disorder := 0
	for i := 1; i < len(numbers); i++ {
		if numbers[i] < numbers[i-1] {
			disorder++
		}
	}
	if disorder > len(numbers)/10 {
		return fmt.Errorf("%d of %d messages arrived after a later one, want hardly any", disorder, len(numbers))
	}
	return nil
}

func checkAbsent(n *testNetwork) error {
	servers, err := n.start("a", "b")
	if err != nil {
		return err
	}
	a, b := servers[0], servers[1]
	gone, err := n.server("gone")
	if err != nil {
		return err
	}
	if err := gone.close(); err != nil { // its address leads nowhere now
		return err
	}
	a.SetServers([]raft.Server{b.Server, gone.Server})
	for _, to := range []raft.ServerID{gone.ID, "nobody", ""} {
		err := n.within(fmt.Sprintf("sending 10,000 messages to %q, which is not there,", to), func() {
			for number := range uint64(10_000) {
				m := wire.Heartbeat{Round: number + 1}.Message()
				m.From, m.To = a.ID, to
				a.Send(m)
			}
		})
		if err != nil {
			return err
		}
	}
	_, err = a.deliver(messageOf(wire.KindHeartbeat, 1), b)
	return err
}

func checkHung(n *testNetwork) error {
	if n.options.Inline {
		return nil
	}
	servers, err := n.start("a", "b", "c")
	if err != nil {
		return err
	}
	a, b, c := servers[0], servers[1], servers[2]
	for _, to := range []*testServer{b, c} {
		if _, err := a.deliver(messageOf(wire.KindHeartbeat, 1), to); err != nil {
			return err
		}
	}
	b.makeHang()
	before := heap()
	flood := 2 * n.options.MaxMemory / floodPiece
	for i := range flood {
		data := bytes.Repeat([]byte{byte(i)}, floodPiece)
		m := withEnds(wire.AppendRequest{Commit: raft.Index(i) + 2, Entries: []raft.Entry{
			{Index: 1, Term: 1, Kind: wire.EntryCommand, Origin: raft.Origin{Server: "a", Start: 1}, Number: 1, Data: data},
		}}.Message(), a, b)
		if i%500 > 0 {
			a.Send(m)
			continue
		}
		if err := n.within("Send to a receiver that hangs", func() { a.Send(m) }); err != nil {
			return err
		}
		if _, err := a.deliver(messageOf(wire.KindHeartbeat, uint64(i)+2), c); err != nil {
			return fmt.Errorf("while %s hangs: %w", b.ID, err)
		}
	}
	if cost := heap() - before; cost > int64(n.options.MaxMemory) {
		return fmt.Errorf("a receiver that hangs costs %d MiB after %d MiB were sent to it, want %d at most", cost>>20, flood*floodPiece>>20, n.options.MaxMemory>>20)
	}
	b.letGo()
	if _, err = a.deliver(messageOf(wire.KindHeartbeat, 1<<40), b); err != nil {
		return fmt.Errorf("to a receiver that doesn't hang any more: %w", err)
	}
	return nil
}

// heap returns the number of bytes in use on the heap.
func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

func checkAnswers(n *testNetwork) error {
	servers, err := n.start("a", "b")
	if err != nil {
		return err
	}
	a, b := servers[0], servers[1]
	stranger, err := n.server("stranger")
	if err != nil {
		return err
	}
	if err := stranger.start(); err != nil {
		return err
	}
	stranger.SetServers([]raft.Server{a.Server, b.Server}) // a and b don't know the stranger
	for _, to := range []*testServer{a, b} {
		if _, err := stranger.deliver(messageOf(wire.KindVoteRequest, 5), to); err != nil {
			return err
		}
		if _, err := to.deliver(messageOf(wire.KindAppendResponse, 5), stranger); err != nil {
			return err
		}
	}
	return nil
}

func checkServers(n *testNetwork) error {
	servers, err := n.start("a", "b")
	if err != nil {
		return err
	}
	a, b := servers[0], servers[1]
	if _, err := a.deliver(messageOf(wire.KindHeartbeat, 1), b); err != nil {
		return err
	}
	late, err := n.server("late") // joins later
	if err != nil {
		return err
	}
	if err := late.start(); err != nil {
		return err
	}
	a.SetServers([]raft.Server{b.Server, late.Server})
	for i, to := range []*testServer{late, b} {
		if _, err := a.deliver(messageOf(wire.KindHeartbeat, uint64(i)+2), to); err != nil {
			return err
		}
	}
	a.SetServers([]raft.Server{late.Server}) // without b, and then with it again
	if _, err := a.deliver(messageOf(wire.KindHeartbeat, 4), late); err != nil {
		return err
	}
	if err := b.close(); err != nil { // b comes back elsewhere
		return err
	}
	again, err := n.server("b")
	if err != nil {
		return err
	}
	if err := again.start(); err != nil {
		return err
	}
	a.SetServers([]raft.Server{again.Server, late.Server})
	again.SetServers([]raft.Server{a.Server})
	if _, err := a.deliver(messageOf(wire.KindHeartbeat, 5), again); err != nil {
		return fmt.Errorf("to a server that was closed and came back at the address %q: %w", again.Address, err)
	}
	_, err = again.deliver(messageOf(wire.KindHeartbeatResponse, 6), a)
	return err
}

func checkAddress(n *testNetwork) error {
	servers, err := n.start("a", "b", "gone")
	if err != nil {
		return err
	}
	a, b, gone := servers[0], servers[1], servers[2]
	stranger, err := n.server("stranger")
	if err != nil {
		return err
	}
	if err := stranger.start(); err != nil {
		return err
	}
	if err := gone.close(); err != nil {
		return err
	}
	m := messageOf(wire.KindHeartbeat, 1)
	m.ToAddress = stranger.Address
	if _, err := a.deliver(m, stranger); err != nil {
		return fmt.Errorf("to a server that isn't named: %w", err)
	}
	if _, err := stranger.deliver(messageOf(wire.KindHeartbeatResponse, 2), a); err != nil {
		return fmt.Errorf("the answer of a server that isn't named: %w", err)
	}
	m = messageOf(wire.KindHeartbeat, 3)
	m.From, m.To, m.ToAddress = a.ID, gone.ID, gone.Address
	a.Send(m)
	if _, err := a.deliver(messageOf(wire.KindHeartbeat, 4), b); err != nil {
		return err
	}
	for i := range uint64(8) { // an address in a message must not become the address of b
		m := messageOf(wire.KindHeartbeat, 5+i)
		m.From, m.To, m.ToAddress = a.ID, b.ID, stranger.Address
		a.Send(m)
		if _, err := a.deliver(messageOf(wire.KindHeartbeat, 20+i), b); err != nil {
			return fmt.Errorf("to a server that is asked elsewhere too: %w", err)
		}
		m = messageOf(wire.KindHeartbeat, 40+i)
		m.ToAddress = b.Address
		if _, err := a.deliver(m, b); err != nil {
			return err
		}
	}
	return nil
}

func checkTransportClose(n *testNetwork) error {
	unstarted, err := n.server("unstarted")
	if err != nil {
		return err
	}
	if err := unstarted.close(); err != nil {
		return fmt.Errorf("before Start: %w", err)
	}
	if unstarted.start() == nil {
		return errors.New("Start after Close returned nil, want an error")
	}
	servers, err := n.start("a", "b")
	if err != nil {
		return err
	}
	a, b := servers[0], servers[1]
	if _, err := a.deliver(messageOf(wire.KindHeartbeat, 1), b); err != nil {
		return err
	}
	for range 2 {
		if err := a.close(); err != nil {
			return err
		}
	}
	return n.within("SetServers or Send after Close", func() {
		a.SetServers([]raft.Server{b.Server})
		a.Send(withEnds(messageOf(wire.KindHeartbeat, 2), a, b))
	})
}

// checkQuietAfterClose closes two servers, one after the other, while all of them send as much as
// they can.
func checkQuietAfterClose(n *testNetwork) error {
	for round := range 5 {
		servers, err := n.start(fmt.Sprint("a", round), fmt.Sprint("b", round), fmt.Sprint("c", round))
		if err != nil {
			return err
		}
		if _, err := servers[0].deliver(messageOf(wire.KindHeartbeat, 1), servers[1]); err != nil {
			return err
		}
		var stop atomic.Bool
		done := make(chan struct{}, len(servers))
		sent := make(chan struct{}, len(servers))
		for _, from := range servers {
			go func() {
				for i := uint64(2); !stop.Load(); i++ {
					for _, to := range servers {
						if to != from {
							from.Send(withEnds(messageOf(wire.KindHeartbeatResponse, i), from, to))
						}
					}
					if i == 100 {
						sent <- struct{}{}
					}
					if i%100 == 0 {
						<-time.After(time.Millisecond) // otherwise no time passes in a bubble
					}
				}
				done <- struct{}{}
			}()
		}
		err = n.within("Send", func() {
			for range servers {
				<-sent
			}
		})
		err = errors.Join(err, servers[1].close(), servers[0].close())
		if n.pause(); err == nil {
			servers[0].mu.Lock()
			servers[1].mu.Lock()
			err = errors.Join(servers[0].late, servers[1].late)
			servers[0].mu.Unlock()
			servers[1].mu.Unlock()
		}
		stop.Store(true)
		err = errors.Join(err, n.within("Send during Close", func() {
			for range servers {
				<-done
			}
		}))
		if err != nil {
			return err
		}
	}
	return nil
}
