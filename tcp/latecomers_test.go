package tcp_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A member that was away while all others were replaced doesn't know its new leader. It is reached
// all the same, since the leader proves the key that the member knows.
func TestLeaderReachesAServerThatWasAway(t *testing.T) {
	withAndWithoutTLS(t, func(t *testing.T, authority *authority) {
		s := newStronghold(t, authority)
		away := s.bastions["c"]
		away.stop(t)
		for _, id := range []raft.ServerID{"d", "e"} {
			s.add(id)
		}
		for _, id := range []raft.ServerID{"a", "b"} {
			s.remove(id)
			s.propose(1)
			s.bastions[id].stop(t)
		}
		require.NotEqual(t, away.known()[0], s.bastions["d"].known()[0], "the key has changed")
		away = s.restart("c")
		s.propose(1)
		want := s.bastions["d"].node.Status().Commit
		s.eventually("it has what it has missed", func() bool { return away.node.Status().Applied >= want })
		require.Equal(t, s.bastions["d"].node.Status().Members, away.node.Status().Members)
	})
}

// A server that was removed, and is started again on its disk, learns that it was removed. It
// doesn't disturb the others.
func TestRemovedMemberIsToldSo(t *testing.T) {
	withAndWithoutTLS(t, func(t *testing.T, authority *authority) {
		s := newStronghold(t, authority)
		s.add("d").stop(t)
		s.remove("d")
		s.propose(1)
		before := s.some().Status()
		removed := s.restart("d")
		s.eventually("it knows", func() bool { return errors.Is(removed.node.Status().Trouble, raft.ErrRemoved) })
		s.propose(1)
		require.Equal(t, before.Leader, s.some().Status().Leader)

		// On an empty disk it can be added again.
		removed.stop(t)
		again := s.listen("d")
		s.start("d", nil)
		s.change(func(ctx context.Context, at *raft.Node) (raft.Index, error) { return at.AddServer(ctx, again.self) })
		s.propose(1)
	})
}

// A server that waits to be added listens to those that may add it, and is told the key.
func TestServerThatWaitsToBeAdded(t *testing.T) {
	withAndWithoutTLS(t, func(t *testing.T, authority *authority) {
		s := newStronghold(t, authority)
		s.addedBy = []raft.ServerID{"a", "b", "c"}
		added := s.add("d")
		s.propose(1)
		want := s.some().Status().Commit
		s.eventually("it has everything", func() bool { return added.node.Status().Applied >= want && len(added.known()) > 0 })
		require.Contains(t, s.bastions["a"].known(), added.known()[0])
		s.outsider("stranger").storm()
	})
}

// A server that waits to be added belongs to whoever comes first, unless it was told who may add it.
func TestWaitingServerIsTaken(t *testing.T) {
	withAndWithoutTLS(t, func(t *testing.T, authority *authority) {
		s := newStronghold(t, authority)
		for id, addedBy := range map[raft.ServerID][]raft.ServerID{"e": nil, "d": {"a", "b", "c"}} {
			s.addedBy = addedBy
			waiting := s.listen(id)
			s.start(id, nil)
			var saved raft.Saved
			s.eventually("its disk has a name", func() (named bool) {
				var err error
				saved, err = waiting.storage.Load()
				require.NoError(t, err)
				return saved.State.Incarnation != 0
			})
			o := s.outsider("stranger")
			o.SetServers([]raft.Server{waiting.self})
			claims := raft.Configuration{Cluster: raft.ClusterID{1}, Members: []raft.Member{
				{Server: waiting.self, Role: raft.Voter, Incarnation: saved.State.Incarnation}, {Server: o.self, Role: raft.Voter, Incarnation: 4711},
			}}
			first := raft.Entry{Index: 1, Term: 1, Kind: wire.EntryConfiguration, Data: wire.AppendConfiguration(nil, &claims)}
			heard := func() bool {
				o.Send(wire.AppendRequest{Entries: []raft.Entry{first}, Commit: 1}.Message().In(wire.Envelope{
					From: "stranger", To: id, Cluster: claims.Cluster, Term: 1, FromIncarnation: 4711, ToIncarnation: saved.State.Incarnation,
				}))
				waiting.mu.Lock()
				defer waiting.mu.Unlock()
				return len(waiting.received) > 0
			}
			s.eventually("it is heard", heard)
			if addedBy == nil {
				s.eventually("it has joined", func() bool { heard(); return waiting.node.Status().Cluster == claims.Cluster })
				continue
			}
			require.Zero(t, waiting.node.Status().Cluster)
			s.change(func(ctx context.Context, at *raft.Node) (raft.Index, error) { return at.AddServer(ctx, waiting.self) })
			require.Equal(t, s.some().Status().Cluster, waiting.node.Status().Cluster)
		}
	})
}
