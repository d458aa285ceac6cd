package raft_test

import (
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// A refusingStorage refuses the writes of a group, without effect. A call takes a millisecond.
type refusingStorage struct {
	*memory.Storage
	mu     sync.Mutex
	group  raft.GroupID
	beside int // the writes of other groups in calls that refused some
}

func (s *refusingStorage) refuse(group raft.GroupID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.group = group
}

var errRefused = errors.New("refused")

// WriteGroups implements raft.SharedStorage.
func (s *refusingStorage) WriteGroups(writes []raft.GroupWrite) (map[raft.GroupID]error, error) {
	time.Sleep(time.Millisecond)
	s.mu.Lock()
	group := s.group
	s.mu.Unlock()
	var taken []raft.GroupWrite
	for _, w := range writes {
		if w.Group != group {
			taken = append(taken, w)
		}
	}
	refused, err := s.Storage.WriteGroups(taken)
	if len(taken) == len(writes) || err != nil {
		return refused, err
	}
	s.mu.Lock()
	s.beside += len(taken)
	s.mu.Unlock()
	if refused == nil {
		refused = map[raft.GroupID]error{}
	}
	refused[group] = errRefused
	return refused, nil
}

// A write that the storage refuses ends its group, and no other one: not even those whose writes were in
// the same call. The group may start again when its writes are taken.
func TestRefusedWriteEndsItsGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		storage := &refusingStorage{Storage: memory.NewStorage()}
		machines := map[raft.GroupID]*journal{}
		host, err := raft.StartHost(raft.HostConfig{
			ID: "a", Storage: storage, Transport: memory.NewNetwork(memory.Options{}).Join("a"), Logger: slog.New(slog.DiscardHandler),
			Group: func(group raft.GroupID) raft.Config {
				machines[group] = &journal{}
				return raft.Config{Machine: machines[group], Bootstrap: []raft.Server{{ID: "a"}}}
			},
		})
		require.NoError(t, err)
		groups := []raft.GroupID{"one", "ill", "two", "three"}
		nodes := map[raft.GroupID]*raft.Node{}
		for _, group := range groups {
			nodes[group], err = host.Group(group)
			require.NoError(t, err)
			_, err = nodes[group].Propose(t.Context(), []byte("1"))
			require.NoError(t, err)
		}
		storage.refuse("ill")
		answers := map[raft.GroupID]error{}
		var mu sync.Mutex
		var all sync.WaitGroup
		for _, group := range groups {
			all.Go(func() {
				_, err := nodes[group].Propose(t.Context(), []byte("2"))
				mu.Lock()
				defer mu.Unlock()
				answers[group] = err
			})
			synctest.Wait() // the writes of the others gather while the first one's call goes on
		}
		all.Wait()
		require.ErrorIs(t, answers["ill"], raft.ErrOutcomeUnknown)
		require.ErrorIs(t, answers["ill"], raft.ErrStopped)
		<-nodes["ill"].Done()
		require.ErrorIs(t, nodes["ill"].Err(), errRefused)
		for _, group := range []raft.GroupID{"one", "two", "three"} {
			require.NoError(t, answers[group])
			require.NoError(t, nodes[group].Err())
			require.Equal(t, []string{"1", "2"}, machines[group].applied())
		}
		time.Sleep(time.Minute)
		require.NoError(t, host.Err())

		storage.refuse("")
		node, err := host.Group("ill")
		require.NoError(t, err)
		require.NotSame(t, nodes["ill"], node)
		_, err = node.Propose(t.Context(), []byte("3"))
		require.NoError(t, err)
		require.Equal(t, []string{"1", "3"}, machines["ill"].applied())
		require.Equal(t, 2, storage.beside, "the writes in the call that refused one")
		require.NoError(t, host.Close(t.Context()))
	})
}
