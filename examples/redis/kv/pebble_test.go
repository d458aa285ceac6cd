package kv

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
)

// onEach runs a test on a machine in memory and on one on a disk. fresh returns an empty machine.
func onEach(t *testing.T, test func(t *testing.T, fresh func() *Machine)) {
	t.Run("memory", func(t *testing.T) { test(t, func() *Machine { return New(&Memory{}) }) })
	t.Run("pebble", func(t *testing.T) {
		test(t, func() *Machine {
			m, err := (&disk{dir: folderInMemory(t), files: vfs.NewMem()}).machine()
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, m.Close()) })
			return m
		})
	})
}

// folderInMemory returns a folder whose files need no disk, where the system has such folders: the
// simulated power cuts are not those of the machine, so a sync makes no difference.
func folderInMemory(t require.TestingT) string {
	parent := "/dev/shm"
	if _, err := os.Stat(parent); err != nil {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "redis")
	require.NoError(t, err)
	t.(interface{ Cleanup(func()) }).Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// A disk is what one simulated server keeps its keys on. A crash takes what isn't synced: of pebble,
// whose files are in memory, all of it.
type disk struct {
	dir   string
	files *vfs.MemFS
	open  *Machine
}

func (d *disk) machine() (*Machine, error) {
	if err := d.removeOthers(); err != nil {
		return nil, err
	}
	keys, err := OpenPebble(d.dir, PebbleOptions{Pebble: &pebble.Options{FS: d.files}})
	if err != nil {
		return nil, err
	}
	d.open = New(keys)
	return d.open, nil
}

// Open implements rafttest.Store.
func (d *disk) Open() (raft.StateMachine, raft.DurableMachine, error) {
	m, err := d.machine()
	if err != nil {
		return nil, raft.DurableMachine{}, err
	}
	return m, *m.Durable(), nil
}

// removeOthers removes from the files in memory what package state removes from the real folder.
func (d *disk) removeOthers() error {
	current, err := os.ReadFile(filepath.Join(d.dir, "CURRENT"))
	if err != nil {
		current = nil
	}
	names, err := d.files.List(d.dir)
	if err != nil {
		names = nil
	}
	for _, name := range names {
		if name != strings.TrimSpace(string(current)) {
			if err := d.files.RemoveAll(filepath.Join(d.dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Crash implements rafttest.Store.
func (d *disk) Crash() {
	if d.open == nil {
		return
	}
	left := d.files.CrashClone(vfs.CrashCloneCfg{})
	if err := d.open.Close(); err != nil {
		panic(err)
	}
	d.files, d.open = left, nil
}

// fewer runs test with so many runs of rapid, fewer than by default: each of them opens many databases.
func fewer(t *testing.T, runs int, test func()) {
	checks, given := flag.Lookup("rapid.checks"), false
	flag.Visit(func(f *flag.Flag) { given = given || f == checks })
	if !given {
		before := checks.Value.String()
		require.NoError(t, checks.Value.Set(strconv.Itoa(runs)))
		defer func() { require.NoError(t, checks.Value.Set(before)) }()
	}
	test()
}

// TestPebbleReplicated: the keys on a disk are a durable state machine, whatever crashes, parts or is
// forgotten.
func TestPebbleReplicated(t *testing.T) {
	stores, dir := 0, folderInMemory(t)
	fewer(t, 5, func() {
		rafttest.Check(t, rafttest.Property{
			Store: func() rafttest.Store {
				stores++
				return &disk{dir: filepath.Join(dir, fmt.Sprint(stores)), files: vfs.NewCrashableMem()}
			},
			Command: rapid.Custom(func(t *rapid.T) []byte {
				return draw(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "pick") })
			}),
		})
	})
}

// TestPebbleLikeMemory: the keys on a disk have the same replies, the same snapshots and the same
// reads as those in memory, wherever batches end and whatever is saved, lost, opened again or restored.
func TestPebbleLikeMemory(t *testing.T) {
	dir, runs := folderInMemory(t), 0
	fewer(t, 25, func() {
		rapid.Check(t, func(t *rapid.T) {
			pick := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "pick") }
			runs++
			d := &disk{dir: filepath.Join(dir, fmt.Sprint(runs)), files: vfs.NewCrashableMem()}
			ours, err := d.machine()
			require.NoError(t, err)
			defer func() { d.Crash() }()
			model, applied := New(&Memory{}), raft.Index(0)
			for range 5 + pick(40) {
				var entries [][]byte
				for range pick(6) {
					entries = append(entries, draw(pick))
				}
				require.Equal(t, apply(model, entries...), apply(ours, entries...))
				requireSame(t, model, ours, pick)
				applied += raft.Index(len(entries))
				if pick(8) == 0 { // a node doesn't, but may crash here
					continue
				}
				require.NoError(t, ours.Durable().Save(applied, nil))
				requireSame(t, model, ours, pick)
				saved := snapshotOf(t, ours)
				require.Equal(t, saved, snapshotOf(t, model))
				switch pick(12) {
				case 0: // after a snapshot, which syncs, a crash takes nothing that was saved
					require.Len(t, apply(ours, draw(pick)), 1)
					d.Crash()
					ours, err = d.machine()
					require.NoError(t, err)
					index, _, err := ours.Durable().Load()
					require.NoError(t, err)
					require.Equal(t, applied, index)
				case 1: // a snapshot of either comes into the other
					require.NoError(t, ours.Restore(bytes.NewReader(snapshotOf(t, model))))
					requireSame(t, model, ours, pick)
					require.NoError(t, ours.Durable().Save(applied, nil))
					model = New(&Memory{})
					require.NoError(t, model.Restore(bytes.NewReader(snapshotOf(t, ours))))
				case 2: // a Restore that isn't saved counts for nothing after a crash
					require.NoError(t, ours.Restore(bytes.NewReader(snapshotOf(t, New(&Memory{})))))
					d.Crash()
					ours, err = d.machine()
					require.NoError(t, err)
				}
				require.Equal(t, saved, snapshotOf(t, ours))
			}
		})
	})
}

// requireSame demands that two machines show the same.
func requireSame(t require.TestingT, want, got *Machine, pick func(int) int) {
	a, b := want.Summary(), got.Summary()
	a.Applied, b.Applied = 0, 0
	require.Equal(t, a, b)
	for _, line := range []string{"dbsize", "keys *", "scan 0", fmt.Sprintf("scan %d count 2", pick(1<<30)), "mget a b c d", "hgetall a", "lrange b 0 -1", "smembers c", "pttl d"} {
		require.Equal(t, view(t, want, line), view(t, got, line), line)
	}
}

// TestPebbleRefuses: what can't be right is an error of Restore, of a read or of Open, and a failure
// stops the machine.
func TestPebbleRefuses(t *testing.T) {
	d := &disk{dir: folderInMemory(t), files: vfs.NewMem()}
	m, err := d.machine()
	require.NoError(t, err)
	apply(m, entry(1, "set a 1", "set b 2 px 100"))
	require.NoError(t, m.Durable().Save(1, nil))
	before := snapshotOf(t, m)

	keys := m.keys.(*Pebble)
	o := &Object{Kind: String, Version: 1}
	for _, names := range [][]string{{"a", "a"}, {"a", "b"}} { // b comes before a in a snapshot
		require.ErrorContains(t, keys.Restore(Meta{}, func(put func(string, *Object)) error {
			put(names[0], o)
			put(names[1], o)
			return nil
		}), fmt.Sprintf("kv: restore: key %q is there twice, or not in its place", names[1]))
	}
	require.Equal(t, before, snapshotOf(t, m))

	// A count that is wrong.
	keys.count.keys++
	captured, err := m.Snapshot()
	require.NoError(t, err)
	_, err = captured.WriteTo(io.Discard)
	require.ErrorContains(t, err, "the database has 2 keys, and counts 3")
	require.NoError(t, captured.(io.Closer).Close())
	keys.count.keys--

	// An object that is damaged.
	keys.Begin()
	keys.change(func(batch *pebble.Batch) error {
		return batch.Set(appendObjectKey(nil, Position("a"), "a"), []byte{9, 0, 1}, nil)
	})
	keys.End(keys.Meta())
	require.NoError(t, m.Durable().Save(2, nil))
	captured, err = m.Snapshot()
	require.NoError(t, err)
	_, err = captured.WriteTo(io.Discard)
	require.ErrorContains(t, err, `key "a": an object of kind 9`)
	require.NoError(t, captured.(io.Closer).Close())
	_, err = m.View(0, func(r *Reader) { r.Watch([]byte("a")) })
	require.ErrorContains(t, err, `key "a": an object of kind 9`)
	require.PanicsWithValue(t, `kv: the keyspace has failed: key "a": an object of kind 9`, func() { apply(m, entry(1, "get a")) })
	require.NoError(t, m.Close())
}

// TestPebbleQueue: the first key of the queue is found wherever the last one went.
func TestPebbleQueue(t *testing.T) {
	onEach(t, func(t *testing.T, fresh func() *Machine) {
		m := fresh()
		next := func(lines ...string) int64 {
			apply(m, entry(1, lines...))
			return m.Summary().Expires
		}
		require.EqualValues(t, 51, next("set a 1 px 50"))
		require.EqualValues(t, 31, next("set b 1 px 30"))
		require.EqualValues(t, 51, next("del b"))
		require.EqualValues(t, 21, next("set c 1 px 20", "set d 1 px 20"))
		require.EqualValues(t, 21, next("persist c"))
		require.EqualValues(t, 51, next("persist d"))
		require.EqualValues(t, 11, next("persist a", "set e 1 px 10"))
		require.EqualValues(t, 0, next("persist e"))
		require.EqualValues(t, 6, next("pexpire e 5"))
		require.EqualValues(t, 6, next("pexpire e 5"))
		require.EqualValues(t, 0, next("flushall"))
		require.EqualValues(t, 8, next("set a 1 px 7", "set b 1 px 9", "flushall", "set a 1 px 7", "set b 1 px 9", "dbsize"))
		require.Equal(t, []string{":0\r\n"}, apply(m, entry(10, "dbsize")))
	})
}

// TestPebbleForgets: what doesn't fit into memory while entries are applied is written, and read again.
func TestPebbleForgets(t *testing.T) {
	onEach(t, func(t *testing.T, fresh func() *Machine) {
		m := fresh()
		value := strings.Repeat("x", MaxValue)
		apply(m, entry(1, "set a "+value))
		apply(m, entry(1, "set b "+value))
		apply(m, entry(1, "set c "+value))
		require.Equal(t, []string{":33554432\r\n:33554432\r\n:33554432\r\n:1\r\n:0\r\n:1\r\n:1\r\n"},
			apply(m, entry(1, "strlen a", "strlen b", "strlen c", "hset h f 1", "strlen d", "hlen h", "hdel h f")))
		if p, ok := m.keys.(*Pebble); ok {
			require.Zero(t, p.weight)
		}
		require.Equal(t, ":3\r\n", view(t, m, "dbsize"))
	})
}

// TestCaptureBeforeSave: a snapshot doesn't see what is applied later, also if nothing was saved yet.
func TestCaptureBeforeSave(t *testing.T) {
	onEach(t, func(t *testing.T, fresh func() *Machine) {
		m := fresh()
		apply(m, entry(1, "set a 1", "hset h f 1", "set b 2 px 9"))
		want := snapshotOf(t, m)
		captured, err := m.Snapshot()
		require.NoError(t, err)
		apply(m, entry(2, "set a 2", "hset h f 2", "del b", "set c 3"))
		var b bytes.Buffer
		_, err = captured.WriteTo(&b)
		require.NoError(t, err)
		require.NoError(t, captured.(io.Closer).Close())
		require.Equal(t, want, b.Bytes())
	})
}
