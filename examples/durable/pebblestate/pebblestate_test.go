package pebblestate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/durable/state"
)

// appends appends a command to the value that the batch, or the database, has at one key.
func appends(batch *pebble.Batch, command raft.Entry) ([]byte, error) {
	before, closer, err := batch.Get([]byte("all"))
	if err == nil {
		before = bytes.Clone(before)
		err = closer.Close()
	} else if err == pebble.ErrNotFound {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	after := append(before, command.Data...)
	return after, batch.Set([]byte("all"), after, nil)
}

func apply(m *Machine, index raft.Index) (last []byte) {
	results := make([][]byte, 2)
	m.Apply([]raft.Entry{{Index: index, Data: []byte("x")}, {Index: index, Data: []byte("y")}}, results)
	return results[1]
}

// TestViewShowsOneMoment: a command sees what the one before it has done, a View what was saved when it
// began.
func TestViewShowsOneMoment(t *testing.T) {
	m, err := Open(t.TempDir(), appends, Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	require.Equal(t, "xy", string(apply(m, 1)))
	require.NoError(t, m.Durable().Save(1, nil))
	require.NoError(t, m.View(func(shown pebble.Reader) error {
		require.Equal(t, "xyxy", string(apply(m, 2)))
		require.NoError(t, m.Durable().Save(2, nil))
		value, closer, err := shown.Get([]byte("all"))
		require.NoError(t, err)
		require.Equal(t, "xy", string(value))
		return closer.Close()
	}))
}

// TestPowerCutTakesWholeSaves: what wasn't synced may be gone, and then all of one Save; what a
// snapshot has is never gone.
func TestPowerCutTakesWholeSaves(t *testing.T) {
	files := vfs.NewCrashableMem()
	dir := t.TempDir()
	m, err := Open(dir, appends, Options{Pebble: &pebble.Options{FS: files}})
	require.NoError(t, err)
	for index := range raft.Index(9) {
		apply(m, index+1)
		require.NoError(t, m.Durable().Save(index+1, fmt.Appendf(nil, "%d", index+1)))
		if index == 4 {
			captured, err := m.Snapshot()
			require.NoError(t, err)
			require.NoError(t, captured.(io.Closer).Close())
		}
	}
	left := files.CrashClone(vfs.CrashCloneCfg{})
	require.NoError(t, m.Close())
	m, err = Open(dir, appends, Options{Pebble: &pebble.Options{FS: left}})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	index, beside, err := m.Durable().Load()
	require.NoError(t, err)
	require.GreaterOrEqual(t, index, raft.Index(5))
	require.Equal(t, fmt.Sprint(index), string(beside))
	require.Len(t, apply(m, 10), int(2*index)+2)
}

// TestForeignRecordsAreRefused: no copy brings an index with it.
func TestForeignRecordsAreRefused(t *testing.T) {
	m, err := Open(t.TempDir(), appends, Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	for _, record := range []struct {
		kind byte
		key  []byte
	}{{keyHas, appliedKey}, {9, []byte("k")}} {
		var b bytes.Buffer
		w, err := state.NewCopyWriter(&b)
		require.NoError(t, err)
		require.NoError(t, w.Record(record.kind, record.key, nil))
		require.NoError(t, w.End())
		require.ErrorIs(t, m.Restore(&b), state.ErrCopy)
	}
}

// TestChangeWithoutApply: a machine around this one changes the state by Change alone, and stops if that
// fails.
func TestChangeWithoutApply(t *testing.T) {
	m, err := Open(t.TempDir(), nil, Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	m.Change(func(batch *pebble.Batch) error { return batch.Set([]byte("k"), []byte("v"), nil) })
	require.True(t, m.Unsaved())
	value, closer, err := m.Latest().Get([]byte("k"))
	require.NoError(t, err)
	require.Equal(t, "v", string(value))
	require.NoError(t, closer.Close())
	require.NoError(t, m.Durable().Save(1, nil))
	require.False(t, m.Unsaved())
	require.PanicsWithError(t, "state: apply: broken", func() { m.Change(func(*pebble.Batch) error { return errors.New("broken") }) })
	require.PanicsWithError(t, "state: apply: pebblestate: opened without an Apply", func() { apply(m, 2) })

	broken := errors.New("another state")
	require.ErrorIs(t, m.RestoreBy(func(db *pebble.DB) error {
		_, _, err := db.Get([]byte("k"))
		require.ErrorIs(t, err, pebble.ErrNotFound)
		return broken
	}), broken)
	captured, err := m.Capture()
	require.NoError(t, err)
	require.NoError(t, m.RestoreBy(func(*pebble.DB) error { return nil }))
	require.NoError(t, m.Durable().Save(2, nil)) // the old database stays open for the capture
	value, closer, err = captured.Get([]byte("k"))
	require.NoError(t, err)
	require.Equal(t, "v", string(value))
	require.NoError(t, closer.Close())
	require.NoError(t, captured.Close())
	_, _, err = m.Latest().Get([]byte("k"))
	require.ErrorIs(t, err, pebble.ErrNotFound)
}
