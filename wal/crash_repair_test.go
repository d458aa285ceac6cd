package wal_test

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wire"
)

// A mended is a writer of a log that is damaged now and then, and is given back what it has lost, a part
// at a time.
type mended struct {
	*writer
	t     *testing.T
	seed  uint64
	rots  []rot // the damage, in order; it is drawn in the first run and the same in each other one
	hurt  int   // how many of them have happened
	lost  map[raft.Index]raft.Term
	wrote int // how many repairs were written
	// opens says that the log was damaged and isn't open again. That is two faults at a time, if the
	// power fails too: the log may be refused then, and nothing may vanish in silence.
	opens   bool
	refused int // how often that was so
}

// A rot is what has become other bytes in a file, and where. Lost are the entries that a log has lost
// then, in ranges.
type rot struct {
	name  string
	from  int
	masks []byte
	lost  []wire.Range
}

func (r *rot) happen(fs *simfs.FS) {
	for i, mask := range r.masks {
		fs.Rot(r.name, int64(r.from+i), mask)
	}
}

// losses returns which entries are lost, as far as a model still holds them.
func (m *mended) losses(in model) map[raft.Index]raft.Term {
	still := map[raft.Index]raft.Term{}
	for index, term := range m.lost {
		if index > in.before && index <= in.last() && in.entry(index).Term == term {
			still[index] = term
		}
	}
	return still
}

// judge opens a log and returns an error if anything is missing that was acknowledged: an entry that
// wasn't lost, or whose repair was acknowledged.
func (m *mended) judge(fs *simfs.FS) error {
	l, err := wal.Open(dir, small(fs))
	if m.opens && errors.Is(err, raft.ErrCorrupt) {
		m.refused++
		return nil
	}
	if err != nil {
		return err
	}
	defer l.Close()
	saved, err := l.Load()
	if err != nil {
		return err
	}
	for _, held := range []model{m.now, m.next} {
		if err = lossesOf(l, saved, held); err == nil {
			return m.onlyThese(saved.Lost, held)
		}
	}
	return fmt.Errorf("%w: %w", errLost, err)
}

// onlyThese returns an error if a log has lost an entry that a model holds, and that was there.
func (m *mended) onlyThese(lost []wire.Range, held model) error {
	may := m.losses(held)
	for _, r := range lost {
		for i := r.First; i <= r.Last; i++ {
			if _, named := may[i]; !named {
				return fmt.Errorf("%w: entry %d is lost, which it wasn't", errLost, i)
			}
		}
	}
	return nil
}

// suffer closes the log, damages it, and opens it again.
func (m *mended) suffer(fs *simfs.FS) error {
	if err := m.log.Trouble(); err != nil {
		return err // it can't say in the anchor where it ends
	}
	if err := m.log.Close(); err != nil {
		return err
	}
	if m.hurt == len(m.rots) {
		m.rots = append(m.rots, m.draw(fs))
	}
	r := &m.rots[m.hurt]
	r.happen(fs)
	m.hurt++
	m.opens = true
	m.lost = map[raft.Index]raft.Term{}
	for _, lost := range r.lost {
		for i := lost.First; i <= lost.Last; i++ {
			m.lost[i] = m.now.entry(i).Term
		}
	}
	l, err := wal.Open(dir, m.options(fs))
	if err != nil {
		return err
	}
	saved, err := l.Load()
	if err != nil {
		return err
	}
	m.log, m.opens = l, false
	require.Equal(m.t, r.lost, saved.Lost)
	return lossesOf(l, saved, m.now)
}

// draw draws damage that costs bytes of entries, and nothing else.
func (m *mended) draw(fs *simfs.FS) rot {
	rng := rand.New(rand.NewPCG(m.seed, uint64(len(m.rots))))
	for range 20 {
		names := slices.DeleteFunc(fs.Names(), func(name string) bool { return !strings.HasSuffix(name, ".wal") })
		r := rot{name: names[rng.IntN(len(names))]}
		r.from = rng.IntN(fs.Size(r.name))
		for range 1 + rng.IntN(600) {
			r.masks = append(r.masks, byte(1+rng.IntN(255)))
		}
		disk := fs.Clone()
		r.happen(disk)
		l, err := wal.Open(dir, m.options(disk))
		if err != nil {
			continue
		}
		saved, err := l.Load()
		require.NoError(m.t, err)
		require.NoError(m.t, lossesOf(l, saved, m.now), "seed %d", m.seed)
		if r.lost = saved.Lost; len(r.lost) > 0 {
			return r
		}
	}
	return rot{lost: m.stillLost(fs)}
}

// stillLost returns what is lost when nothing else happens to a log.
func (m *mended) stillLost(fs *simfs.FS) []wire.Range {
	l, err := wal.Open(dir, m.options(fs.Clone()))
	require.NoError(m.t, err)
	saved, err := l.Load()
	require.NoError(m.t, err)
	return saved.Lost
}

// mend gives back some of what is lost, and now and then writes something else with it.
func (m *mended) mend() error {
	write := raft.Write{State: m.now.state}
	if m.rng.IntN(3) == 0 {
		write = m.randomWrite()
	}
	lost := m.losses(m.now)
	for i := m.now.before + 1; i <= m.now.last(); i++ {
		if _, named := lost[i]; named && m.rng.IntN(3) > 0 {
			write.Repairs = append(write.Repairs, m.now.entry(i))
		}
	}
	if err := m.write(write, m.now.bytes); err != nil {
		return err
	}
	for i := range write.Repairs {
		delete(m.lost, write.Repairs[i].Index)
		m.wrote++
	}
	return nil
}

// run does n steps.
func (m *mended) run(fs *simfs.FS, n int) error {
	if err := m.open(m.options(fs)); err != nil {
		return err
	}
	for i := range n {
		var err error
		switch lost := m.losses(m.now); {
		case i%10 == 9:
			err = m.suffer(fs)
		case len(lost) > 0 && m.rng.IntN(2) == 0:
			err = m.mend()
		default:
			err = m.step()
		}
		if err != nil {
			return err
		}
	}
	return m.log.Close()
}

// Each boundary between two calls to a disk whose log is damaged and repaired, with many subsets of the
// sectors that weren't synced there: nothing is lost but what was damaged, and no repair that was
// acknowledged.
//
//	go test ./wal -run TestCrashImagesOfRepairs -images 100000
func TestCrashImagesOfRepairs(t *testing.T) {
	oneGoroutine(t)
	t.Parallel()
	const lucks = 10
	seen, torn, wrote, refused := 0, 0, 0, 0
	for seed := *imageSeed; seen < *images; seed++ {
		var rots []rot
		run := func(fs *simfs.FS) *mended {
			m := &mended{writer: newWriter(seed), t: t, seed: seed, rots: rots}
			m.size, m.salt = []int64{4 << 10, 32 << 10}[seed%2], 1
			if err := m.run(fs, 75); err != nil {
				require.ErrorIs(t, err, simfs.ErrPower, "seed %d", seed)
			}
			rots = m.rots
			return m
		}
		whole := simfs.New(seed)
		wrote += run(whole).wrote
		step := strideOf(5)
		for n := int(seed) % step; n < whole.Calls() && seen < *images; n += step {
			fs := simfs.New(seed)
			fs.PowerOffAfter(n)
			m := run(fs)
			for luck := range uint64(lucks) {
				image, tears := cutImage(fs, seed, luck)
				torn += tears
				require.NoError(t, m.judge(image), "seed %d, luck %d, power cut after call %d", seed, luck, n)
				seen++
			}
			refused += m.refused
		}
	}
	t.Logf("%d images, %d of them with a torn write, %d refused; %d entries repaired in the histories", seen, torn, refused, wrote)
	require.Less(t, refused, max(seen/500, 10))
	require.Positive(t, wrote)
}

// strideOf returns how many calls to the disk lie between two at which the power is cut: a few, so that
// many histories come in, or none if there are very many images.
func strideOf(few int) int {
	if *images > 100_000 {
		return 1
	}
	return few
}

// live does n steps with a log that works in the background, and gives it time to fill files beforehand.
// The disk fills up now and then, and has room again three seconds later.
func (w *writer) live(fs *simfs.FS, n int) (err error) {
	defer func() {
		if err != nil && w.log != nil {
			_ = w.log.Close() // as with a process that was killed
		}
	}()
	options := wal.Options{SegmentSize: w.size, Salt: w.salt, FS: fs, Logger: slog.New(slog.DiscardHandler)}
	if err := w.open(options); err != nil {
		return err
	}
	for range n {
		switch w.rng.IntN(16) {
		case 0, 1, 2:
			time.Sleep(time.Duration(w.rng.IntN(1500)) * time.Millisecond)
		case 3:
			fs.SetCapacity(fs.Used() + int64(w.rng.IntN(5000)))
			time.AfterFunc(3*time.Second, func() { fs.SetCapacity(0) })
		case 4:
			if err := w.log.Close(); err != nil {
				return err
			}
			if err := w.open(options); err != nil {
				return err
			}
		}
		err := w.step()
		if errors.Is(err, syscall.ENOSPC) { // a snapshot may find no room, and a Write waits for it
			time.Sleep(4 * time.Second)
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return w.log.Close()
}

// The same for logs that fill files beforehand, take them for segments, and remove them when the disk is
// full.
//
//	go test ./wal -run TestCrashImagesWithReadyFiles -images 100000
func TestCrashImagesWithReadyFiles(t *testing.T) {
	const lucks = 10
	seen, ready := 0, 0
	for seed := *imageSeed; seen < *images; seed++ {
		run := func(fs *simfs.FS) *writer {
			w := newWriter(seed)
			w.size, w.salt = []int64{4 << 10, 16 << 10}[seed%2], 1
			if err := w.live(fs, 40); err != nil {
				require.ErrorIs(t, err, simfs.ErrPower, "seed %d", seed)
			}
			return w
		}
		calls, step := 0, strideOf(31)
		synctest.Test(t, func(*testing.T) {
			whole := simfs.New(seed)
			run(whole)
			calls = whole.Calls()
		})
		for n := int(seed) % step; n < calls && seen < *images; n += step {
			synctest.Test(t, func(t *testing.T) {
				fs := simfs.New(seed)
				fs.PowerOffAfter(n)
				w := run(fs)
				if count(fs, ".ready") > 0 {
					ready += lucks
				}
				for luck := range uint64(lucks) {
					image := fs.Clone()
					image.Reseed(luck<<32 ^ seed)
					image.Cut()
					image.SetCapacity(0)
					require.NoError(t, opens(image, w.now, w.next), "seed %d, luck %d, power cut after call %d", seed, luck, n)
					seen++
				}
			})
		}
	}
	t.Logf("%d images, %d of them with files that were ready, or being filled", seen, ready)
	require.Positive(t, ready)
}
