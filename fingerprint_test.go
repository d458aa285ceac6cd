package raft_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A stray is a mute that gives one wrong result.
type stray struct {
	mute
	at raft.Index
}

func (m *stray) Apply(entries []raft.Entry, results [][]byte) {
	m.mute.Apply(entries, results)
	for i := range entries {
		if entries[i].Index == m.at {
			results[i] = []byte("astray")
		}
	}
}

func (*stray) Snapshot() (io.WriterTo, error) { return new(bytes.Buffer), nil }
func (*stray) Restore(io.Reader) error        { return nil }

// comparing returns an Applier that keeps fingerprints.
func comparing(at raft.Index) *raft.Applier {
	applier := raft.NewApplier(&stray{at: at}, raft.Origin{})
	applier.CompareResults()
	return applier
}

// commandsFrom returns commands from an index on.
func commandsFrom(first raft.Index, n int) []raft.Entry {
	entries := make([]raft.Entry, n)
	for i := range entries {
		entries[i] = raft.Entry{Index: first + raft.Index(i), Term: 1, Kind: wire.EntryCommand, Data: []byte{byte(i)}}
	}
	return entries
}

// Fingerprints depend neither on the batches nor on which part of the state came in a snapshot, and
// they show every result.
func TestFingerprintsStandForTheResults(t *testing.T) {
	log := commandsFrom(1, 200)
	log[63].Kind, log[63].Data = wire.EntryNoOp, nil
	whole, err := comparing(0).Apply(log)
	require.NoError(t, err)
	require.Len(t, whole.Fingerprints, 3)
	require.EqualValues(t, 128, whole.Fingerprints[1].Index)

	parts := comparing(0)
	first, err := parts.Apply(log[:100])
	require.NoError(t, err)
	state, err := parts.Snapshot(100)
	require.NoError(t, err)
	var snapshot bytes.Buffer
	_, err = state.WriteTo(&snapshot)
	require.NoError(t, err)
	other := comparing(0)
	require.NoError(t, other.Restore(100, 1, bytes.NewReader(snapshot.Bytes())))
	second, err := other.Apply(log[100:])
	require.NoError(t, err)
	require.Equal(t, whole.Fingerprints, append(first.Fingerprints, second.Fingerprints...))

	wrong, err := comparing(70).Apply(log)
	require.NoError(t, err)
	require.Equal(t, whole.Fingerprints[0], wrong.Fingerprints[0])
	require.NotEqual(t, whole.Fingerprints[1].Sum, wrong.Fingerprints[1].Sum)
	require.NotEqual(t, whole.Fingerprints[2].Sum, wrong.Fingerprints[2].Sum, "a later equal result changes nothing about it")

	off, err := raft.NewApplier(&stray{}, raft.Origin{}).Apply(log)
	require.NoError(t, err)
	require.Empty(t, off.Fingerprints)
}

// A server that was restored from a state without a fingerprint joins in at the next epoch.
func TestFingerprintsBeginAnew(t *testing.T) {
	plain := raft.NewApplier(&stray{}, raft.Origin{})
	const first = 1<<16 - 100
	_, err := plain.Apply(commandsFrom(first, 50))
	require.NoError(t, err)
	state, err := plain.Snapshot(first + 49)
	require.NoError(t, err)
	var snapshot bytes.Buffer
	_, err = state.WriteTo(&snapshot)
	require.NoError(t, err)
	late, old := comparing(0), comparing(0)
	require.NoError(t, late.Restore(first+49, 1, &snapshot))
	_, err = old.Apply(commandsFrom(first, 50))
	require.NoError(t, err)
	rest := commandsFrom(first+50, 250)
	fromLate, err := late.Apply(rest)
	require.NoError(t, err)
	fromOld, err := old.Apply(rest)
	require.NoError(t, err)
	require.Greater(t, len(fromOld.Fingerprints), len(fromLate.Fingerprints))
	require.NotEmpty(t, fromLate.Fingerprints)
	require.Equal(t, fromOld.Fingerprints[len(fromOld.Fingerprints)-len(fromLate.Fingerprints):], fromLate.Fingerprints)
}

// told returns what a server would tell of its fingerprints.
func told(from raft.ServerID, c *cores, to raft.ServerID, batch raft.Batch) wire.Message {
	var told wire.Fingerprints
	for _, f := range batch.Fingerprints {
		told.Index, told.Sums = f.Index, append(told.Sums, uint64(f.Sum))
	}
	return told.Message().In(wire.Envelope{
		From: from, To: to, Term: c.status(to).Term, Cluster: c.status(to).Cluster, FromIncarnation: c.status(from).Incarnation,
	})
}

// What another server tells is compared here: at once, or when this server's state machine gets
// there. A difference is reported with the server and the indexes.
func TestFingerprintsAreCompared(t *testing.T) {
	for _, ahead := range []bool{false, true} {
		c := newCoresWith(t, 3, func(config *raft.CoreConfig) { config.CompareResults = true })
		c.elect("a")
		for range 150 {
			c.propose("a", "x")
		}
		c.pass(2 * heartbeat)
		log := c.servers["b"].log
		if !ahead {
			log = log[:140]
		}
		right, err := comparing(0).Apply(log)
		require.NoError(t, err)
		wrong, err := comparing(100).Apply(log)
		require.NoError(t, err)
		c.deliver(told("b", c, "a", right))
		require.Nil(t, c.status("a").Diverged)
		if ahead {
			c.servers["c"].lame = true
			c.restart("c")
			c.servers["c"].lame = true
		}
		c.deliver(told("b", c, "c", wrong))
		if ahead {
			require.Nil(t, c.status("c").Diverged)
			c.servers["c"].lame = false
			c.restart("c")
			c.deliver(told("b", c, "c", wrong))
			require.Nil(t, c.status("c").Diverged, "nothing is applied yet")
			c.pass(3 * heartbeat)
		}
		require.Equal(t, &raft.Divergence{With: "b", After: 64, Upto: 128}, c.status("c").Diverged)
		require.ErrorContains(t, c.status("c").Diverged, `those of server "b" differ from those here, first after index 64 and up to index 128`)
	}
}
