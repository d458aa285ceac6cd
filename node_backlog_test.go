package raft_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A crowding transport, once it has a crowd, stops the turn that sends a round, and brings the crowd
// before the first answer.
type crowding struct {
	raft.Transport
	mu      sync.Mutex
	crowd   []wire.Message
	sent    bool
	round   bool          // whether a round has left since there is a crowd
	stopped chan struct{} // gets a token when the turn stands still
	goOn    chan struct{} // closed when it may go on
}

type crowdingHandler struct {
	raft.Handler
	of *crowding
}

func (c *crowding) Start(server raft.Server, h raft.Handler) error {
	return c.Transport.Start(server, &crowdingHandler{h, c})
}

func (c *crowding) Send(m wire.Message) {
	c.mu.Lock()
	if m.Kind() == wire.KindHeartbeat && len(c.crowd) > 0 {
		c.sent, c.round = true, true
	}
	c.mu.Unlock()
	c.Transport.Send(m)
}

// turn is told of the end of a turn.
func (c *crowding) turn(raft.TurnTrace) {
	c.mu.Lock()
	sent := c.sent
	c.sent = false
	c.mu.Unlock()
	if sent {
		c.stopped <- struct{}{}
		<-c.goOn
	}
}

func (h *crowdingHandler) Receive(m wire.Message) {
	if c := h.of; m.Kind() == wire.KindHeartbeatResponse {
		c.mu.Lock()
		var crowd []wire.Message
		if c.round { // an answer to an earlier round may come late
			crowd, c.crowd = c.crowd, nil
		}
		c.mu.Unlock()
		for _, other := range crowd {
			h.Handler.Receive(other)
		}
	}
	h.Handler.Receive(m)
}

// A leader whose process stood still for nearly an election timeout, and that finds more than a turn hands in
// before the answers to its round, goes on to lead: the time passes when all has been handed in that had
// come.
func TestLeaderFindsItsAnswersBehindOthers(t *testing.T) {
	for name, other := range map[string]wire.Message{
		"forwards": wire.ForwardRequest{Start: 1}.Message(),
		"votes":    wire.PreVoteResponse{}.Message(),
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { testCrowd(t, other) }) })
	}
}

func testCrowd(t *testing.T, other wire.Message) {
	link := &crowding{stopped: make(chan struct{}), goOn: make(chan struct{})}
	h := newHostsOf(t, 3, func(c *raft.HostConfig) {
		c.ElectionTimeout = time.Hour // nobody else campaigns
		if c.ID == "a" {
			c.ElectionTimeout = time.Second
			link.Transport = c.Transport
			c.Transport = link
		}
	}, func(id raft.ServerID, _ raft.GroupID, c *raft.Config) {
		if id == "a" {
			c.Trace = &raft.Trace{Turn: link.turn}
		}
	})
	defer h.close()
	var node *raft.Node
	for i := 0; node == nil || node.Leadership().Leader != "a"; i++ {
		other.Group = raft.GroupID(fmt.Sprint("g", i))
		h.propose("a", other.Group, "1")
		node, _ = h.running["a"].Group(other.Group)
	}
	time.Sleep(10 * time.Second)
	term := node.Leadership().Term

	h.network.Cut("a", "c") // so that the group has heartbeats of its own
	h.propose("a", other.Group, "2")
	other = other.In(wire.Envelope{From: "b", To: "a", Group: other.Group})
	link.mu.Lock()
	for range 300 {
		link.crowd = append(link.crowd, other)
	}
	link.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	proposed := make(chan struct{})
	defer func() { cancel(); <-proposed }()
	go func() { // so that the group doesn't rest, and has rounds of its own
		defer close(proposed)
		for ctx.Err() == nil {
			_, _ = node.Propose(ctx, []byte("3"))
			time.Sleep(30 * time.Millisecond)
		}
	}()
	<-link.stopped
	time.Sleep(950 * time.Millisecond) // the round before, which was confirmed, is older than an election timeout
	link.mu.Lock()
	crowded := link.crowd == nil
	link.mu.Unlock()
	close(link.goOn)
	require.True(t, crowded, "the answers came behind the others")
	time.Sleep(time.Second)
	require.Equal(t, term, node.Leadership().Term)
	require.Equal(t, raft.ServerID("a"), node.Leadership().Leader)
}
