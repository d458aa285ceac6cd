package raft

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/wire"
)

// The newest configuration in the storage may be taken back. So a server that has moved is found
// whichever of the last two is in force, and no longer at an address of an earlier one.
func TestMovesSurviveATruncation(t *testing.T) {
	at := func(a, b string) *Configuration {
		return &Configuration{Members: []Member{{Server: Server{ID: "a", Address: a}, Role: Voter, Incarnation: 1}, {Server: Server{ID: "b", Address: b}, Role: Voter, Incarnation: 2}}}
	}
	saved := &Saved{}
	saved.Snapshot.Configuration = *at("a0", "b0")
	for i, configuration := range []*Configuration{at("a1", "b0"), at("a1", "b1"), at("a2", "b1")} {
		saved.Configurations = append(saved.Configurations, Entry{Index: Index(i + 2), Data: wire.AppendConfiguration(nil, configuration)})
	}
	config := &Config{Moved: []Server{{ID: "a", Address: "a3"}, {ID: "b", Address: "b1"}, {ID: "c", Address: "c3"}}}
	m, err := config.movesOf(saved)
	require.NoError(t, err)
	for was, is := range map[Server]string{
		{ID: "a", Address: "a2"}: "a3", // the newest one
		{ID: "a", Address: "a1"}: "a3", // the one before
		{ID: "a", Address: "a0"}: "a0", // a leader has moved it there since
		{ID: "b", Address: "b1"}: "b1", // it hasn't moved
		{ID: "c", Address: "c0"}: "c0", // it wasn't a member
	} {
		require.Equal(t, is, m.of(was.ID, was.Address), was)
	}
	saved.Configurations = saved.Configurations[:2]
	config.Moved = []Server{{ID: "b", Address: "b1"}}
	m, err = config.movesOf(saved)
	require.NoError(t, err)
	require.Equal(t, "b1", m.of("b", "b0"), "it is where the newest one has it, and the one before doesn't")
}
