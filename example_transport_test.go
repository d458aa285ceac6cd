package raft_test

import (
	"fmt"
	"sync/atomic"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/rafttest"
	"github.com/e17579a5/raft/wire"
)

// A countingTransport counts the messages that are sent. It stands for a transport of your own,
// which implements all methods of raft.Transport.
type countingTransport struct {
	raft.Transport
	sent *atomic.Int64
}

func (t countingTransport) Send(m wire.Message) {
	t.sent.Add(1)
	t.Transport.Send(m)
}

// rafttest checks a transport against the contract of raft.Transport, and says which rules it
// breaks. It works on real sockets, or on a network in memory as here.
func ExampleTransport() {
	var sent atomic.Int64
	network := memory.NewNetwork(memory.Options{})
	err := rafttest.TestTransport(func(id raft.ServerID) (raft.Transport, string, error) {
		return countingTransport{network.Join(id), &sent}, string(id), nil
	}, rafttest.TransportOptions{Inline: true}) // this network calls the receiver from Send
	fmt.Println("broken rules:", err)
	fmt.Println("messages were sent:", sent.Load() > 0)
	// Output:
	// broken rules: <nil>
	// messages were sent: true
}
