package sim

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// founded returns a world in which three servers have just founded a cluster, one that leads, and one
// that follows.
func founded(t *testing.T) (w *World, lead, other int) {
	t.Helper()
	w = NewWorld(Options{})
	require.Nil(t, w.Replay(&Schedule{Params: Calm(1, 3), Events: []Event{{Op: OpFound}, {Op: OpPass, N: 2e9}}}).Violation)
	return w, w.leading(), (w.leading() + 1) % 3
}

// TestLeaderLacksTheKeyOfItsSuccessor demands that a leader may be a stranger to a member whose key
// was committed in a later term. The key of its own term makes it none.
func TestLeaderLacksTheKeyOfItsSuccessor(t *testing.T) {
	t.Parallel()
	for _, later := range []bool{false, true} {
		w, lead, other := founded(t)
		index, term := w.keyed(wire.ClusterKey{1}), w.servers[lead].status.term
		if later {
			w.ghost.leader(term + 1)
			clear(w.ghost.commits)
			w.ghost.commits[term+1] = index
		}
		s := &w.servers[other]
		s.keys, s.known = []wire.ClusterKey{{1}}, [MaxServers]string{}
		m := w.says(lead, other, wire.Heartbeat{})
		m.Cluster = s.core.Status().Cluster
		assert.True(t, w.marked(s, &m).Stranger)
		assert.Equal(t, later, w.violation == nil, "%v", w.violation)
	}
}

// TestMemberAnswersBeforeItsDiskDoes demands that a server may tell a stranger of the cluster that it
// has joined, before this is on its disk. Of another cluster it may tell nothing.
func TestMemberAnswersBeforeItsDiskDoes(t *testing.T) {
	t.Parallel()
	for _, own := range []bool{true, false} {
		w, _, other := founded(t)
		s := &w.servers[other]
		asked := wire.PreVoteRequest{}.Message().In(wire.Envelope{From: outsider, Cluster: s.disk.state.Cluster})
		s.disk.state.Cluster = raft.ClusterID{}
		if !own {
			asked.Cluster = raft.ClusterID{0xff}
		}
		told := wire.Removed{}.Message().In(wire.Envelope{To: outsider, Cluster: asked.Cluster})
		w.checkTold(other, &asked, []wire.Message{told})
		assert.Equal(t, own, w.violation == nil, "%v", w.violation)
	}
}
