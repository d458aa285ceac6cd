package wal_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
)

var (
	damages    = flag.Int("damages", 1500, "how many logs are damaged in TestDamageIsNeverSilent")
	damageSeed = flag.Uint64("damage-seed", 1, "the first history in TestDamageIsNeverSilent")
)

// A damagedHistory is a log that was written at random, and what it may hold after a fault.
type damagedHistory struct {
	seed uint64
	rng  *rand.Rand
	fs   *simfs.FS
	w    *writer
	// models are what the log has held after each write. Those from anchored on may be what a fault
	// leaves; when nothing may vanish in silence, that is the last one alone.
	models   []model
	anchored int
	closed   bool
	marks    map[string][]int64 // places in each file at which a record begins or ends
	earlier  []file             // what files have held earlier
	repairs  int
}

// A file is one with its bytes.
type file struct {
	name  string
	bytes []byte
}

// newDamagedHistory writes a log: entries of many sizes, truncations, snapshots, starts of the
// server, damage in the middle of it that is repaired. In the end the process closes the log, or is
// killed.
func newDamagedHistory(t *testing.T, seed uint64) *damagedHistory {
	h := &damagedHistory{seed: seed, rng: rand.New(rand.NewPCG(seed, 7)), fs: simfs.New(seed), w: newWriter(seed)}
	h.w.size = []int64{4 << 10, 16 << 10, 64 << 10, 300 << 10}[h.rng.IntN(4)]
	h.w.large = h.rng.IntN(3) == 0
	h.w.salt = seed
	require.NoError(t, h.w.open(h.w.options(h.fs)))
	h.models = []model{h.w.now}
	for range 10 + h.rng.IntN(60) {
		writes := h.w.writes
		require.NoError(t, h.w.step(), "seed %d", seed)
		if h.w.writes > writes {
			h.models = append(h.models, h.w.now)
		}
		switch h.rng.IntN(40) {
		case 0, 1:
			h.restart(t)
		case 2:
			h.suffer(t)
		case 3:
			names := h.fs.Names()
			name := names[h.rng.IntN(len(names))]
			h.earlier = append(h.earlier, file{name, h.fs.Bytes(name)})
		}
	}
	h.anchored = len(h.models) - 1
	switch h.rng.IntN(3) {
	case 0:
		h.closed = true
		require.NoError(t, h.w.log.Close())
	case 1:
		require.NoError(t, h.w.log.Anchor())
	case 2:
		require.NoError(t, h.w.log.Anchor())
		for range h.rng.IntN(4) {
			writes := h.w.writes
			require.NoError(t, h.w.step())
			if h.w.writes > writes {
				h.models = append(h.models, h.w.now)
			}
		}
	}
	h.fs.Kill()
	h.fs.Flush()
	h.look(t)
	return h
}

// restart ends the process and starts it again.
func (h *damagedHistory) restart(t *testing.T) {
	if h.rng.IntN(2) == 0 {
		require.NoError(t, h.w.log.Close())
	}
	h.fs.Kill()
	l, err := wal.Open(dir, h.w.options(h.fs))
	require.NoError(t, err, "seed %d", h.seed)
	saved, err := l.Load()
	require.NoError(t, err)
	require.NoError(t, lossesOf(l, saved, h.w.now), "seed %d", h.seed) // not all is repaired
	h.w.log = l
}

// suffer damages the log, starts the server again, and repairs what is lost, or a part of it.
func (h *damagedHistory) suffer(t *testing.T) {
	require.NoError(t, h.w.log.Close())
	for range 10 {
		fs := h.fs.Clone()
		fs.Kill()
		names := fs.Names()
		name := names[h.rng.IntN(len(names))]
		if !strings.HasSuffix(name, ".wal") {
			continue
		}
		from, n := h.rng.IntN(fs.Size(name)), 1+h.rng.IntN(2000)
		for i := from; i < from+n; i++ {
			fs.Rot(name, int64(i), byte(1+h.rng.IntN(255)))
		}
		l, err := wal.Open(dir, h.w.options(fs))
		if err != nil {
			continue
		}
		saved, err := l.Load()
		require.NoError(t, err)
		require.NoError(t, lossesOf(l, saved, h.w.now), "seed %d", h.seed)
		h.fs, h.w.log = fs, l
		write := raft.Write{State: h.w.now.state}
		for _, lost := range saved.Lost {
			for i := lost.First; i <= lost.Last && h.rng.IntN(10) > 0; i++ {
				write.Repairs = append(write.Repairs, h.w.now.entry(i))
				h.repairs++
			}
		}
		require.NoError(t, h.w.write(write, h.w.now.bytes))
		h.models = append(h.models, h.w.now)
		return
	}
	h.restart(t)
}

// look finds the places at which damage is most likely to be misjudged.
func (h *damagedHistory) look(t *testing.T) {
	h.marks = map[string][]int64{}
	_, err := wal.Inspect(dir, h.w.options(h.fs), func(r *wal.Record) error {
		name := dir + "/" + r.Segment
		h.marks[name] = append(h.marks[name], r.Offset)
		return nil
	})
	require.NoError(t, err)
	h.fs.Kill()
	for _, name := range h.fs.Names() {
		h.marks[name] = append(h.marks[name], 0, int64(len(bytes.TrimRight(h.fs.Bytes(name), "\x00"))))
	}
	h.marks[anchorFile] = append(h.marks[anchorFile], 65536)
}

// place draws a place in a file.
func (h *damagedHistory) place(name string, size int) int {
	if size == 0 {
		return 0
	}
	at := h.rng.IntN(size)
	if marks := h.marks[name]; len(marks) > 0 && h.rng.IntN(2) == 0 {
		at = int(marks[h.rng.IntN(len(marks))]) + []int{-8, -1, 0, 0, 0, 1, 20, 40, 50, 90}[h.rng.IntN(10)]
	}
	return max(min(at, size-1), 0)
}

// damage lets one fault happen to one file, and says which. It returns "" if nothing has changed.
func (h *damagedHistory) damage(fs *simfs.FS, other *damagedHistory) (string, func(t *testing.T)) {
	names := fs.Names()
	names = slices.DeleteFunc(names, func(name string) bool { return strings.HasSuffix(name, "LOCK") })
	name := names[h.rng.IntN(len(names))]
	old := fs.Bytes(name)
	at := h.place(name, len(old))
	changed := slices.Clone(old)
	what, gone := "", false
	switch h.rng.IntN(10) {
	case 0, 1:
		changed[at] ^= 1 << h.rng.IntN(8)
		what = fmt.Sprintf("%s: a bit at %d", name, at)
	case 2, 3, 4:
		n := []int{1, 8, 40, 512, 4096, 64 << 10, 1 + h.rng.IntN(200), 1 + h.rng.IntN(len(old)), len(old)}[h.rng.IntN(9)]
		n = min(n, len(old)-at)
		if h.rng.IntN(2) == 0 {
			at &^= 511
			n = min((n+511)&^511, len(old)-at)
		}
		clear(changed[at : at+n])
		what = fmt.Sprintf("%s: %d zeros at %d", name, n, at)
	case 5:
		n := min([]int{1, 8, 100, 512, 5000, 70 << 10, 1 + h.rng.IntN(len(old))}[h.rng.IntN(7)], len(old)-at)
		for i := at; i < at+n; i++ {
			changed[i] = byte(h.rng.Uint32())
		}
		what = fmt.Sprintf("%s: %d other bytes at %d", name, n, at)
	case 6:
		changed = changed[:at]
		what = fmt.Sprintf("%s: cut at %d", name, at)
	case 7:
		gone = true
		what = name + ": gone"
	case 8:
		from := names[h.rng.IntN(len(names))]
		source := fs
		what = fmt.Sprintf("%s: replaced by %s", name, from)
		if h.rng.IntN(2) == 0 {
			source = other.fs
			what += " of another log"
		}
		if changed = source.Bytes(from); alike(fs, name, source, from) {
			return "", nil
		}
	case 9:
		if len(h.earlier) == 0 {
			return "", nil
		}
		e := h.earlier[h.rng.IntN(len(h.earlier))]
		name, changed = e.name, e.bytes
		old = fs.Bytes(name)
		if !slices.Contains(names, name) {
			return "", nil
		}
		what = name + ": as it once was"
	}
	if !gone && bytes.Equal(old, changed) {
		return "", nil
	}
	return what, func(t *testing.T) {
		if gone {
			require.NoError(t, fs.Remove(name))
			fs.Flush()
			return
		}
		put(t, fs, name, changed)
	}
}

// alike says whether two files are snapshots of the same index and term. Each of them can stand for
// the other.
func alike(fs *simfs.FS, name string, other *simfs.FS, from string) bool {
	one, err := wal.ReadSnapshot(io.Discard, dir, filepath.Base(name), small(fs))
	two, failed := wal.ReadSnapshot(io.Discard, dir, filepath.Base(from), small(other))
	return err == nil && failed == nil && one.Index == two.Index && one.Term == two.Term
}

// judge judges what a fault has left. Behind the anchor of a log that was killed, the last batches
// may have vanished.
func (h *damagedHistory) judge(fs *simfs.FS, what string) (v verdict, vanished bool, err error) {
	last := len(h.models) - 1
	for i := last; i >= h.anchored; i-- {
		v, err = judge(fs.Clone(), h.models[i])
		if v == spoiled && i == last && !strings.Contains(what, ".snapshot") {
			// If the batch vanished that names a snapshot, the one before may be removed already.
			err = fmt.Errorf("%w: the snapshot", errSilent)
		}
		if !errors.Is(err, errSilent) {
			return v, i < last, err
		}
	}
	return v, false, err
}

// One fault in one file, whatever it is, never makes anything vanish in silence that was
// acknowledged.
//
//	go test ./wal -run TestDamageIsNeverSilent -damages 100000 -v
func TestDamageIsNeverSilent(t *testing.T) {
	oneGoroutine(t)
	t.Parallel()
	verdicts, kinds, vanished, repairs := map[verdict]int{}, map[string]int{}, 0, 0
	other := newDamagedHistory(t, *damageSeed+1<<40)
	for done, seed := 0, *damageSeed; done < *damages; seed++ {
		h := newDamagedHistory(t, seed)
		repairs += h.repairs
		for range 40 {
			fs := h.fs.Clone()
			what, do := h.damage(fs, other)
			if what == "" {
				continue
			}
			do(t)
			v, gone, err := h.judge(fs, what)
			require.NoError(t, err, "seed %d (closed: %v): %s", seed, h.closed, what)
			if gone {
				require.False(t, h.closed)
				vanished++
			}
			done++
			verdicts[v]++
			kinds[fmt.Sprintf("%s %v", v, h.closed)]++
		}
		other = h
	}
	t.Logf("%v; by whether the log was closed %v; %d times batches behind the anchor vanished; %d repairs", verdicts, kinds, vanished, repairs)
	for _, v := range []verdict{sound, lossy, refused, spoiled} {
		require.Positive(t, verdicts[v], "%v", slices.Sorted(maps.Keys(verdicts)))
	}
}

// A log that holds no entry, as that of a server which has just joined, goes on behind damage as often
// as it is opened.
func TestEmptyLogGoesOnBehindDamage(t *testing.T) {
	opened := 0
	for at, end := int64(0), int64(1); at < end; at += 5 {
		disk := simfs.New(1)
		l, err := wal.Open(dir, small(disk))
		require.NoError(t, err)
		state := raft.DurableState{Incarnation: 5}
		for state.Term = 1; state.Term < 6; state.Term++ {
			require.NoError(t, l.Write(raft.Write{State: state}))
		}
		require.NoError(t, l.Close())
		disk.Kill()
		name := filepath.Join(dir, "0000000000000001.wal")
		end = int64(len(bytes.TrimRight(disk.Bytes(name), "\x00")))
		require.True(t, disk.Rot(name, at, 4))
		if l, err = wal.Open(dir, small(disk)); err != nil {
			require.ErrorIs(t, err, raft.ErrCorrupt)
			continue
		}
		opened++
		for range 3 {
			state.Term++
			require.NoError(t, l.Write(raft.Write{State: state}))
			require.NoError(t, l.Close())
			disk.Kill()
			l, err = wal.Open(dir, small(disk))
			require.NoError(t, err, "a flipped bit at offset %d", at)
			saved, err := l.Load()
			require.NoError(t, err)
			require.Equal(t, state, saved.State)
		}
		require.NoError(t, l.Close())
	}
	require.Greater(t, opened, 100)
}
