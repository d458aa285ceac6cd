package boltstate

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/durable/state"
)

// count keeps under each command how often it was applied, in a bucket within a bucket.
func count(tx *bbolt.Tx, command raft.Entry) ([]byte, error) {
	outer, err := tx.CreateBucketIfNotExists([]byte("outer"))
	if err != nil {
		return nil, err
	}
	b, err := outer.CreateBucketIfNotExists(fmt.Appendf(nil, "inner %d", command.Index%3))
	if err != nil {
		return nil, err
	}
	if _, err := b.NextSequence(); err != nil {
		return nil, err
	}
	before := b.Get(command.Data)
	return nil, b.Put(command.Data, append(bytes.Clone(before), 'x'))
}

func entries(from, to int) (all []raft.Entry) {
	for i := from; i <= to; i++ {
		all = append(all, raft.Entry{Index: raft.Index(i), Data: fmt.Appendf(nil, "%04d", i)})
	}
	return all
}

func content(t *testing.T, m *Machine) []byte {
	captured, err := m.Snapshot()
	require.NoError(t, err)
	var b bytes.Buffer
	_, err = captured.WriteTo(&b)
	require.NoError(t, err)
	if closer, ok := captured.(interface{ Close() error }); ok {
		require.NoError(t, closer.Close())
	}
	return b.Bytes()
}

// TestSaveThatFailsIsMadeGood: what was applied before a commit failed is applied once more, in another
// transaction, when Save is called again.
func TestSaveThatFailsIsMadeGood(t *testing.T) {
	want, err := Open(t.TempDir(), count)
	require.NoError(t, err)
	defer func() { require.NoError(t, want.Close()) }()
	m, err := Open(t.TempDir(), count)
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	for _, machine := range []*Machine{want, m} {
		machine.Apply(entries(1, 5), make([][]byte, 5))
		require.NoError(t, machine.Durable().Save(5, []byte("five")))
		machine.Apply(entries(6, 9), make([][]byte, 4))
	}
	require.NoError(t, want.Durable().Save(9, nil))
	require.NoError(t, m.Machine.View(func(d *database) error { return d.tx.Rollback() })) // as a commit that fails does
	require.ErrorIs(t, m.Durable().Save(9, nil), berrors.ErrTxClosed)
	require.NoError(t, m.Durable().Save(9, nil))
	index, beside, err := m.Durable().Load()
	require.NoError(t, err)
	require.Equal(t, raft.Index(9), index)
	require.Equal(t, "five", string(beside))
	require.Equal(t, content(t, want), content(t, m))
	require.NoError(t, m.Durable().Save(10, nil))
	require.Equal(t, content(t, want), content(t, m), "nothing is applied a third time")
}

// TestBucketsWithinBuckets: a copy has all of them, with their sequences, and in transactions of any
// size. A bucket of this package's own isn't in it, and can't come in by it.
func TestBucketsWithinBuckets(t *testing.T) {
	dir := t.TempDir()
	m, err := Open(dir, count)
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	all := entries(1, 500)
	for i := range all {
		all[i].Data = append(all[i].Data, bytes.Repeat([]byte("long "), 3000)...)
	}
	m.Apply(all, make([][]byte, len(all)))
	require.NoError(t, m.Durable().Save(500, []byte("own")))
	want := content(t, m)
	require.Greater(t, len(want), 7<<20)
	require.NotContains(t, string(want), "own")

	other, err := Open(t.TempDir(), count)
	require.NoError(t, err)
	defer func() { require.NoError(t, other.Close()) }()
	require.NoError(t, other.Restore(bytes.NewReader(want)))
	require.NoError(t, other.Durable().Save(500, nil))
	require.Equal(t, want, content(t, other))
	require.NoError(t, other.View(func(tx *bbolt.Tx) error {
		require.EqualValues(t, 167, tx.Bucket([]byte("outer")).Bucket([]byte("inner 1")).Sequence())
		return nil
	}))

	for name, records := range map[string]func(*state.CopyWriter){
		"its own bucket":      func(w *state.CopyWriter) { _ = w.Record(bucketBegins, ownBucket, make([]byte, 8)) },
		"a key in no bucket":  func(w *state.CopyWriter) { _ = w.Record(keyHas, []byte("k"), nil) },
		"an end of no bucket": func(w *state.CopyWriter) { _ = w.Record(bucketEnds, nil, nil) },
		"a bucket for ever":   func(w *state.CopyWriter) { _ = w.Record(bucketBegins, []byte("b"), make([]byte, 8)) },
		"an unknown kind":     func(w *state.CopyWriter) { _ = w.Record(9, nil, nil) },
	} {
		var b bytes.Buffer
		w, err := state.NewCopyWriter(&b)
		require.NoError(t, err)
		records(w)
		require.NoError(t, w.End())
		require.ErrorIs(t, other.Restore(&b), state.ErrCopy, name)
	}
	require.Equal(t, want, content(t, other))
}
