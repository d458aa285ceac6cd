package shard

import (
	"flag"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
)

// A happening is something that happens to a server, and then a while in which nothing else does.
type happening struct {
	What   string
	Server raft.ServerID
	While  time.Duration
}

// happenings draws what happens. At most one server at a time is down or cut off. Server a is never taken out.
func happenings(t *rapid.T) []happening {
	one := rapid.Custom(func(t *rapid.T) happening {
		return happening{
			What:   rapid.SampledFrom([]string{"crash", "end", "cut", "heal", "join", "leave"}).Draw(t, "what"),
			Server: raft.ServerID(rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "server")),
			While:  time.Duration(rapid.SampledFrom([]int{0, 1, 5, 20, 100, 1000, 4000}).Draw(t, "ms")) * time.Millisecond,
		}
	})
	return rapid.SliceOfN(one, 4, 24).Draw(t, "happenings")
}

var stories = flag.Int("stories", 20, "how many stories are told; -rapid.checks bounds them, too")

// TestStories: whatever happens to servers, every shard ends up where the table says, nowhere else, with all
// that was acknowledged, once.
func TestStories(t *testing.T) {
	told := 0
	rapid.Check(t, func(rt *rapid.T) {
		if told++; told > *stories {
			return
		}
		story := happenings(rt)
		if !t.Run("story", func(t *testing.T) { synctest.Test(t, func(t *testing.T) { tell(t, story) }) }) {
			rt.Fatal("see above")
		}
	})
}

func tell(t *testing.T, story []happening) {
	s := newStore(t, 3, 6, slow)
	defer s.close()
	s.await((*Table).Settled)
	w := s.write(t, 6)
	defer w.end()
	var down, away raft.ServerID // the server that is down, and the one that is cut off
	left := map[raft.ServerID]bool{}
	mend := func() {
		s.network.Heal()
		if away = ""; down != "" {
			s.start(down)
			down = ""
		}
	}
	for _, h := range story {
		host := s.hosts[h.Server]
		switch joined := host != nil && s.hosts["a"] != nil && s.hosts["a"].Table().Server(h.Server) != nil; {
		case h.What == "heal":
			mend()
		case h.What == "join" && host == nil && !left[h.Server] && h.Server != down:
			s.start(h.Server)
			fallthrough
		case h.What == "join" && host != nil && !left[h.Server]:
			s.register(h.Server)
		case h.What == "leave" && joined && h.Server != "a":
			s.leave(h.Server)
		case down != "" || away != "" || host == nil:
		case h.What == "crash":
			down = h.Server
			s.crash(down)
		case h.What == "end":
			down = h.Server
			s.end(down)
		case h.What == "cut":
			away = h.Server
			s.network.Isolate(away)
		}
		time.Sleep(h.While)
		for _, host := range s.running() {
			select {
			case <-host.Left():
				id := host.options.Self.ID
				left[id] = true
				s.end(id)
			default:
			}
		}
	}
	mend()
	time.Sleep(10 * time.Second) // whoever is being registered or taken out is by then
	s.endStory()
	w.check()
}

// register registers a server, if there is a leader.
func (s *store) register(id raft.ServerID) {
	s.atA(func(a *Host) { _ = a.Register(a.ctx, s.server(id)) })
}

// leave takes a server out, if there is a leader, and if enough others stay.
func (s *store) leave(id raft.ServerID) { s.atA(func(a *Host) { _ = a.Leave(a.ctx, id) }) }

// atA asks server a for something, which goes on while other things happen.
func (s *store) atA(ask func(*Host)) {
	if a := s.hosts["a"]; a != nil {
		a.running.Go(func() { ask(a) })
	}
}

// endStory waits until all is settled, without the servers that were taken out, or never joined.
func (s *store) endStory() {
	s.t.Helper()
	for late := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		table, err := s.hosts["a"].Fresh(s.t.Context())
		require.NoError(s.t, err)
		settled := table.Settled()
		for _, host := range s.running() {
			id := host.options.Self.ID
			if table.Server(id) == nil {
				s.end(id)
				continue
			}
			settled = settled && slices.Equal(encode(host.Table()), encode(table))
		}
		if _, moves := table.plan(1); settled && len(moves) == 0 {
			return
		}
		require.True(s.t, time.Now().Before(late), "%s", encode(table))
	}
}
