package wal_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
)

// groupNames are the groups that a groupWriter writes for.
var groupNames = []raft.GroupID{"", "a", "b", "c", "d", "e", "a group whose name is longer"}

// A groupWriter writes for several groups at random to one log, and knows what each must hold.
type groupWriter struct {
	rng    *rand.Rand
	fs     *simfs.FS
	log    *wal.Log
	groups map[raft.GroupID]*writer // of which something is stored, or was asked for
	size   int64                    // of segments; 0 for small ones
	made   uint64                   // how many groups were made
}

func newGroupWriter(seed uint64) *groupWriter {
	return &groupWriter{rng: rand.New(rand.NewPCG(seed, 5)), fs: simfs.New(seed), groups: map[raft.GroupID]*writer{}}
}

func (f *groupWriter) options(fs *simfs.FS) wal.Options {
	options := small(fs)
	if f.size > 0 {
		options.SegmentSize = f.size
	}
	return options
}

// open opens the log. Each group is opened when it is needed.
func (f *groupWriter) open(t require.TestingT) {
	log, err := wal.Open(dir, f.options(f.fs))
	require.NoError(t, err)
	f.log = log
	for _, w := range f.groups {
		w.of = nil
	}
}

// group returns the writer of a group.
func (f *groupWriter) group(t require.TestingT, id raft.GroupID) *writer {
	w := f.groups[id]
	if w == nil {
		f.made++
		w = newWriter(f.rng.Uint64())
		w.term = raft.Term(f.made * 1000) // so that no other group has such an entry
		f.groups[id] = w
	}
	if w.of == nil {
		storage, err := f.log.Group(id)
		require.NoError(t, err)
		saved, err := storage.Load()
		require.NoError(t, err)
		require.NoError(t, w.now.differs(storage, saved), "group %q", id)
		w.of, w.log = storage, f.log
	}
	return w
}

// stored are the groups of which something is stored, in order.
func (f *groupWriter) stored() (ids []raft.GroupID) {
	for id, w := range f.groups {
		if w.now.state != (raft.DurableState{}) || w.now.last() > 0 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// differs returns an error if a log doesn't hold what the models say.
func (f *groupWriter) differs(log *wal.Log) error {
	ids, err := log.Groups()
	if err != nil {
		return err
	}
	if want := f.stored(); !slices.Equal(ids, want) {
		return fmt.Errorf("groups %q, not %q", ids, want)
	}
	for _, id := range ids {
		storage, err := log.Group(id)
		if err != nil {
			return err
		}
		saved, err := storage.Load()
		if err == nil {
			err = f.groups[id].now.differs(storage, saved)
		}
		if err != nil {
			return fmt.Errorf("group %q: %w", id, err)
		}
	}
	return nil
}

// image requires that a crash at this moment leaves all that was acknowledged.
func (f *groupWriter) image(t require.TestingT) {
	fs := f.fs.Clone()
	fs.Reseed(f.rng.Uint64())
	if f.rng.IntN(2) == 0 {
		fs.Kill()
	} else {
		fs.Cut()
	}
	log, err := wal.Open(dir, f.options(fs))
	require.NoError(t, err)
	require.NoError(t, f.differs(log))
	require.NoError(t, log.Close())
}

// step does one random thing.
func (f *groupWriter) step(t require.TestingT) {
	switch n := f.rng.IntN(20); {
	case n < 10:
		f.write(t)
	case n < 14:
		require.NoError(t, f.group(t, groupNames[f.rng.IntN(len(groupNames))]).step())
	case n < 16:
		f.remove(t, groupNames[1+f.rng.IntN(len(groupNames)-1)])
	case n == 16:
		_, err := f.log.Clean()
		require.NoError(t, err)
	case n == 17:
		require.NoError(t, f.log.Anchor())
	case n == 18:
		f.restart(t)
	}
}

// restart ends the process in one of three ways, and starts it again.
func (f *groupWriter) restart(t require.TestingT) {
	switch f.rng.IntN(3) {
	case 0:
		require.NoError(t, f.log.Close())
	case 1:
		f.fs.Kill()
	case 2:
		f.fs.Cut()
	}
	f.open(t)
}

// remove removes a group.
func (f *groupWriter) remove(t require.TestingT, id raft.GroupID) {
	if w := f.groups[id]; w != nil && w.of != nil {
		require.NoError(t, w.of.Close())
	}
	require.NoError(t, f.log.RemoveGroup(id))
	delete(f.groups, id)
}

// write writes for some groups at once.
func (f *groupWriter) write(t require.TestingT) {
	var writes []raft.GroupWrite
	for range 1 + f.rng.IntN(4) {
		id := groupNames[f.rng.IntN(len(groupNames))]
		w := f.group(t, id)
		write := w.randomWrite()
		w.writes++
		w.now = w.now.after(write, "")
		w.next = w.now
		writes = append(writes, raft.GroupWrite{Group: id, Write: write})
	}
	refused, err := f.log.WriteGroups(writes)
	require.NoError(t, err)
	require.Empty(t, refused)
}

// takes returns how many bytes the segments of the log take.
func (f *groupWriter) takes() (bytes int64) {
	for _, name := range f.fs.Names() {
		if strings.HasSuffix(name, ".wal") {
			bytes += int64(f.fs.Size(name))
		}
	}
	return bytes
}

// After each step, what a crash leaves is what was acknowledged: entries, states, snapshots, which
// groups there are. Groups end and begin anew under the same names, segments go, and what is needed of
// them is moved.
func TestGroupsHoldWhatWasAcknowledged(t *testing.T) {
	oneGoroutine(t)
	rapid.Check(t, func(t *rapid.T) {
		f := newGroupWriter(rapid.Uint64().Draw(t, "seed"))
		f.size = rapid.SampledFrom([]int64{wal.MinSegmentSize, 16 << 10}).Draw(t, "segment")
		f.open(t)
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			f.step(t)
			f.image(t)
		}
		require.NoError(t, f.log.Close())
	})
}

// The log takes no more than twice what its groups need, and some segments, once the cleaner has done
// what it owes. One group writes all the time; others have written once, long ago.
func TestCleanerKeepsTheLogSmall(t *testing.T) {
	f := newGroupWriter(1)
	f.size = 64 << 10
	f.open(t)
	needed := 0
	write := func(id raft.GroupID, data int) {
		w := f.group(t, id)
		write := w.randomWrite()
		write.Entries = []raft.Entry{{Index: w.now.last() + 1, Term: w.term, Data: make([]byte, data), Kind: 1}}
		w.now = w.now.after(write, "")
		refused, err := f.log.WriteGroups([]raft.GroupWrite{{Group: id, Write: write}})
		require.NoError(t, err)
		require.Empty(t, refused)
	}
	for i := range 100 {
		write(raft.GroupID(fmt.Sprint("idle ", i)), 1000)
		needed += 1000
	}
	for range 3000 {
		write("busy", 500)
		w := f.groups["busy"]
		if w.now.last()-w.now.before < 50 {
			continue
		}
		meta := raft.SnapshotMeta{Index: w.now.last() - 2, Term: w.now.entry(w.now.last() - 2).Term}
		s, err := w.of.CreateSnapshot(meta)
		require.NoError(t, err)
		require.NoError(t, s.Commit())
		require.NoError(t, w.write(raft.Write{State: w.now.state, Snapshot: &meta, Compact: meta.Index}, ""))
	}
	before := f.takes()
	for range 1000 {
		if moved, err := f.log.Clean(); !moved {
			require.NoError(t, err)
			break
		}
	}
	require.Nil(t, f.log.Holders(), "it owes nothing")
	f.image(t)
	write("busy", 10) // removes files
	require.LessOrEqual(t, f.takes(), int64(2*(needed+150*101+50*600)+8*int(f.size)), "it took %d before the last cleaning", before)
	require.NoError(t, f.log.Close())
	t.Logf("%d bytes are needed; the log takes %d, and took %d before the last cleaning", needed, f.takes(), before)
}
