package raft_test

import (
	"fmt"
	"maps"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A leader greets a peer that starts. The peer takes the greeting when it takes part, and no earlier: so
// it follows at once.
func TestStartIsGreeted(t *testing.T) {
	c := founded(t, 3)
	known := []wire.Message(nil)
	c.lost = func(m *wire.Message) bool {
		late := m.From == "c" && m.Kind() == wire.KindKnown
		if late {
			known = append(known, *m)
		}
		return late
	}
	c.restart("b")
	c.pass(heartbeat / 8)
	require.Len(t, known, 1)
	require.Empty(t, c.status("b").Leader, "c hasn't answered yet")
	require.Zero(t, c.count("b"))
	c.deliver(known[0])
	require.Equal(t, raft.ServerID("a"), c.status("b").Leader)
	c.settle()
	require.Equal(t, c.status("a").Commit, c.status("b").Commit)
}

// A peer that has answered a greeting is level, though the driver's rounds have gone on meanwhile.
func TestGreetingIsEnough(t *testing.T) {
	c := quietCores(t, election/2)
	c.servers["c"].cut = true
	c.pass(heartbeat)
	c.servers["c"].cut = false
	c.restart("c")
	answers := c.take(func(m wire.Message) bool { return m.From == "c" && m.Kind() == wire.KindHeartbeatResponse })
	for range 3 {
		c.pass(heartbeat / 16)
		answers = append(answers, c.take(func(m wire.Message) bool { return m.From == "c" && m.Kind() == wire.KindHeartbeatResponse })...)
	}
	c.now += raft.Instant(heartbeat)
	c.vouched(c.now-1, true)
	for _, m := range answers {
		c.deliver(m)
	}
	c.drain("a")
	for _, other := range c.quiet("a").Others {
		require.True(t, other.Level, "%s", other.ID)
	}
}

// The answer to a heartbeat says what is durable. It isn't said once more.
func TestHeartbeatsAnswerAcknowledges(t *testing.T) {
	c := quietCores(t, 0)
	appends := 0
	c.lost = func(m *wire.Message) bool {
		if m.Kind() == wire.KindAppendResponse {
			appends++
		}
		return false
	}
	c.restart("b")
	c.pass(3 * heartbeat)
	require.NotNil(t, c.quiet("b"))
	require.Zero(t, appends)
}

// A host that starts costs each group a few messages, however long the start of all of them takes: the
// question for what the others know of its disk, their answers, a greeting, and the answer to that.
func TestStartCostsFewMessages(t *testing.T) {
	const groups = 50
	synctest.Test(t, func(t *testing.T) {
		h := newHosts(t, 3)
		defer h.close()
		led := 0
		for i := range groups {
			h.propose(h.servers[i%3].ID, raft.GroupID(fmt.Sprint(i)), "x")
		}
		time.Sleep(5 * time.Second)
		for _, n := range h.running["a"].Groups() {
			if n.Leadership().Role == "leader" {
				led++
			}
		}
		require.Positive(t, led)
		require.NoError(t, h.running["a"].Close(t.Context()))
		h.running["a"] = nil
		time.Sleep(5 * time.Second)
		h.sending(0)
		slow := make(chan struct{})
		asked := 0
		h.adaptGroup = func(id raft.ServerID, _ raft.GroupID, _ *raft.Config) {
			if asked++; id == "a" && asked == groups/2 {
				close(slow)
				h.mu.Unlock()
				time.Sleep(600 * time.Millisecond) // the start of all groups takes a while
				h.mu.Lock()
			}
		}
		h.start("a")
		<-slow
		time.Sleep(5 * time.Second)
		h.mu.Lock()
		sent := maps.Clone(h.sent)
		h.mu.Unlock()
		t.Log(sent)
		require.LessOrEqual(t, sent[wire.KindStarted], 2*groups)
		require.LessOrEqual(t, sent[wire.KindHeartbeat], 2*groups)
		require.LessOrEqual(t, sent[wire.KindHeartbeatResponse], 2*groups)
		for id, n := range h.running["a"].Groups() {
			require.NotEmpty(t, n.Leadership().Leader, "%s", id)
			require.Equal(t, []string{"x"}, h.machine("a", id).commands, "%s", id)
		}
	})
}

// A lossy transport loses what is to let another server campaign, while mute is true.
type lossy struct {
	raft.Transport
	mute *atomic.Bool
}

func (l *lossy) Send(m wire.Message) {
	if m.Kind() != wire.KindTimeoutNow || !l.mute.Load() {
		l.Transport.Send(m)
	}
}

// A host that closes hands over what it leads before it ends anything else: the other groups' members
// there cost the others nothing meanwhile.
func TestHostHandsOverFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mute atomic.Bool
		h := newHostsOf(t, 3, func(c *raft.HostConfig) { c.Transport = &lossy{c.Transport, &mute} }, nil)
		defer h.close()
		for i := range 20 {
			h.propose("a", raft.GroupID(fmt.Sprint(i)), "x")
		}
		time.Sleep(5 * time.Second)
		var leads, follows []*raft.Node
		for _, n := range h.running["a"].Groups() {
			if n.Leadership().Role == "leader" {
				leads = append(leads, n)
			} else {
				follows = append(follows, n)
			}
		}
		require.NotEmpty(t, leads)
		require.NotEmpty(t, follows)
		mute.Store(true) // nobody is let campaign, so it waits for an election timeout
		closed := make(chan error, 1)
		host := h.running["a"]
		h.running["a"] = nil
		go func() { closed <- host.Close(t.Context()) }()
		time.Sleep(100 * time.Millisecond)
		for _, n := range leads {
			require.Equal(t, "leader", n.Leadership().Role)
		}
		for _, n := range follows {
			select {
			case <-n.Done():
				t.Fatal("it has ended too soon")
			default:
			}
		}
		require.NoError(t, <-closed)
		for _, n := range append(leads, follows...) {
			<-n.Done()
		}
	})
}
