package raft_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// A command that was not applied can be proposed again. The reason says whether that can help: here
// the only other server is down at first.
func ExampleNode_Propose_notApplied() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	network := memory.NewNetwork(memory.Options{})
	servers := []raft.Server{{ID: "a", Address: "a"}, {ID: "b", Address: "b"}}
	a := startTally(network, "a", servers...)
	defer closeNodes(ctx, a)

	impatient, giveUp := context.WithTimeout(ctx, 10*time.Millisecond)
	defer giveUp()
	_, err := a.Propose(impatient, []byte("5"))
	switch {
	case !errors.Is(err, raft.ErrNotApplied):
		log.Fatal(err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, raft.ErrOverloaded):
		fmt.Println("not applied: try again later")
	default: // raft.ErrTooLarge and an error of Config.Validate stay, ErrClosed and ErrStopped too
		log.Fatal(err)
	}

	b := startTally(network, "b", servers...)
	defer closeNodes(ctx, b)
	sum, err := a.Propose(ctx, []byte("5"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("sum:", string(sum))
	// Output:
	// not applied: try again later
	// sum: 5
}

// A slow tally waits before it applies its only command.
type slowTally struct {
	tally
	applying, goOn chan struct{}
}

func (s *slowTally) Apply(entries []raft.Entry, results [][]byte) {
	close(s.applying)
	<-s.goOn
	s.tally.Apply(entries, results)
}

// A caller that goes away too early doesn't learn the outcome. If the state shows the command
// later, it was applied. If the state doesn't show it, it may still come: so it must not be
// proposed again unless a second time does no harm. Where it would, a session is the cure (see
// Session).
func ExampleNode_Propose_outcomeUnknown() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	machine := &slowTally{applying: make(chan struct{}), goOn: make(chan struct{})}
	node, err := raft.Start(aloneInMemory(machine))
	if err != nil {
		log.Fatal(err)
	}
	defer closeNodes(ctx, node)

	impatient, goAway := context.WithCancel(ctx)
	go func() {
		<-machine.applying
		goAway()
	}()
	_, err = node.Propose(impatient, []byte("5"))
	fmt.Println("outcome unknown:", errors.Is(err, raft.ErrOutcomeUnknown))
	close(machine.goOn)
	if err := node.Read(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("it was applied:", machine.value.Load() == 5)
	// Output:
	// outcome unknown: true
	// it was applied: true
}

// Every error of a call is a *CallError. It names the leader, so a service can send its client
// there.
func ExampleCallError() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	node, _ := newTally()
	defer closeNodes(ctx, node)
	if err := node.Read(ctx); err != nil { // it waits for a leader
		log.Fatal(err)
	}

	_, err := node.Propose(raft.Fence(ctx, 7), []byte("1")) // in a term that isn't the present one
	failed, ok := errors.AsType[*raft.CallError](err)
	if !ok {
		log.Fatal(err)
	}
	fmt.Println("not applied:", errors.Is(failed, raft.ErrNotApplied))
	fmt.Println("not the leader of that term:", errors.Is(failed, raft.ErrNotLeader))
	fmt.Println(failed.Leadership.Leader, "leads in term", failed.Leadership.Term)
	// Output:
	// not applied: true
	// not the leader of that term: true
	// a leads in term 1
}
