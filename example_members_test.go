package raft_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"strings"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// startTally starts a server on a network. Without a list it waits to be added to a cluster.
func startTally(network *memory.Network, id raft.ServerID, list ...raft.Server) *raft.Node {
	node, err := raft.Start(raft.Config{
		ID: id, Machine: new(tally), Storage: memory.NewStorage(), Transport: network.Join(id), Bootstrap: list,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		log.Fatal(err)
	}
	return node
}

// startTwo starts a cluster of one server, a, and a server b that waits to be added.
func startTwo() (a, b *raft.Node) {
	network := memory.NewNetwork(memory.Options{})
	return startTally(network, "a", raft.Server{ID: "a", Address: "a"}), startTally(network, "b")
}

// membersOf tells the members as a server knows them.
func membersOf(node *raft.Node) string {
	var members []string
	for _, member := range node.Status().Members {
		members = append(members, fmt.Sprint(member.ID, " ", member.Role))
	}
	return strings.Join(members, ", ")
}

// A cluster grows by a voter, which runs already and waits to be added.
func ExampleNode_AddServer() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	a, b := startTwo()
	defer closeNodes(ctx, a, b)

	if _, err := a.AddServer(ctx, raft.Server{ID: "b", Address: "b"}); err != nil {
		log.Fatal(err) // if the outcome is unknown, it is safe to call again
	}
	fmt.Println(membersOf(a))
	// Output: a voter, b voter
}

// A learner serves reads without a say in elections and for commitment: a server far away, or one
// that will be made a voter later.
func ExampleNode_AddLearner() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	a, b := startTwo()
	defer closeNodes(ctx, a, b)

	if _, err := a.AddLearner(ctx, raft.Server{ID: "b", Address: "b"}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(membersOf(a))
	if err := b.Read(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("the learner has caught up:", b.Status().Applied > 0)
	// Output:
	// a voter, b learner
	// the learner has caught up: true
}

// A server is taken out of service for good. Here it is the leader, so the other one takes over.
func ExampleNode_RemoveServer() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	a, b := startTwo()
	defer closeNodes(ctx, a, b)
	if _, err := a.AddServer(ctx, raft.Server{ID: "b", Address: "b"}); err != nil {
		log.Fatal(err)
	}

	if _, err := b.RemoveServer(ctx, "a"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(membersOf(b))
	// Output: b voter
}

// A server that has lost its disk starts on an empty one, without a Bootstrap list, and waits. The
// cluster then takes the empty disk in place of the lost one.
func ExampleNode_Replace() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	network := memory.NewNetwork(memory.Options{})
	a := startTally(network, "a", raft.Server{ID: "a", Address: "a"})
	b, lost := startTally(network, "b"), startTally(network, "c")
	defer closeNodes(ctx, a, b)
	_, err := a.SetMembers(ctx, []raft.Member{
		{Server: raft.Server{ID: "a"}},
		{Server: raft.Server{ID: "b", Address: "b"}},
		{Server: raft.Server{ID: "c", Address: "c"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	closeNodes(ctx, lost)

	c := startTally(network, "c")
	defer closeNodes(ctx, c)
	if _, err := a.Replace(ctx, raft.Server{ID: "c"}); err != nil {
		log.Fatal(err)
	}
	if err := c.Read(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(membersOf(c))
	// Output: a voter, b voter, c voter
}

// The members are set in one step, whatever they were. This is for a tool that knows what a cluster
// should look like.
func ExampleNode_SetMembers() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	a, b := startTwo()
	defer closeNodes(ctx, a, b)

	_, err := a.SetMembers(ctx, []raft.Member{
		{Server: raft.Server{ID: "a", Address: "a"}, Role: raft.Voter},
		{Server: raft.Server{ID: "b", Address: "b"}, Role: raft.Learner},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(membersOf(a))
	// Output: a voter, b learner
}

// When two operators change the same configuration, only one of them succeeds. The other one has to
// look again.
func ExampleExpect() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	a, b := startTwo()
	defer closeNodes(ctx, a, b)
	if err := a.Read(ctx); err != nil { // it waits for a leader
		log.Fatal(err)
	}

	seen := a.Status().ConfigurationIndex
	if _, err := a.AddServer(ctx, raft.Server{ID: "b", Address: "b"}, raft.Expect(seen)); err != nil {
		log.Fatal(err)
	}
	_, err := a.RemoveServer(ctx, "b", raft.Expect(seen)) // the other operator's call
	fmt.Println("a conflict:", errors.Is(err, raft.ErrConflict))
	// Output: a conflict: true
}
