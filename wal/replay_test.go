package wal_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
)

// A written is a log whose last batch has no mark, after the process that wrote it has died.
type written struct {
	fs      *simfs.FS
	before  model  // without the last batch
	after   model  // with it
	segment string // where the last batch was written
	old     []byte // the segment without the last batch
	new     []byte // the segment with it
}

// writeLog makes a log of a few segments.
func writeLog(t *testing.T, seed uint64) written {
	fs := simfs.New(seed)
	w := newWriter(seed)
	require.NoError(t, w.open(small(fs)))
	require.NoError(t, w.steps(24))
	entries := commands(w.now.last()+1, 3, 60)
	files := map[string][]byte{}
	write := raft.Write{State: w.now.state, Entries: entries[:1]}
	require.NoError(t, w.write(write, ""))
	for _, name := range fs.Names() {
		files[name] = fs.Bytes(name)
	}
	log := written{fs: fs, before: w.now}
	write.Entries = entries[1:]
	require.NoError(t, w.write(write, ""))
	log.after = w.now
	fs.Kill()
	for name, old := range files {
		if now := fs.Bytes(name); string(now) != string(old) {
			require.Empty(t, log.segment, "the last batch began a segment: choose another seed")
			log.segment, log.old, log.new = name, old, now
		}
	}
	require.NotEmpty(t, log.segment)
	return log
}

// changed returns where the last batch begins and ends.
func (w *written) changed() (from, to int64) {
	from = -1
	for i := range w.old {
		if w.old[i] != w.new[i] {
			if from < 0 {
				from = int64(i)
			}
			to = int64(i) + 1
		}
	}
	return from, to
}

// opens opens a log and returns nil if it equals one of the models.
func opens(fs *simfs.FS, models ...model) error {
	l, err := wal.Open(dir, small(fs))
	if err != nil {
		return err
	}
	defer l.Close()
	saved, err := l.Load()
	if err != nil {
		return err
	}
	for _, m := range models {
		if err = m.differs(l, saved); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%w: %w", errLost, err)
}

func TestTailCutAtEachByte(t *testing.T) {
	oneGoroutine(t)
	log := writeLog(t, 1)
	from, to := log.changed()
	for cut := from; cut <= to; cut++ {
		for _, garbage := range []byte{0, 0x5a} {
			fs := log.fs.Clone()
			for i := cut; i < to; i++ {
				if mask := log.old[i] ^ log.new[i] ^ garbage; mask != 0 {
					require.True(t, fs.Rot(log.segment, i, mask))
				}
			}
			want := log.before
			if cut == to {
				want = log.after
			}
			require.NoError(t, opens(fs, want), "cut at %d of %d to %d, garbage %#x", cut, from, to, garbage)
		}
	}
}

func TestTornSectorsOfTheTail(t *testing.T) {
	log := writeLog(t, 1)
	from, to := log.changed()
	for i := from; i < to; i++ {
		fs := log.fs.Clone()
		require.True(t, fs.Rot(log.segment, i, 0x10))
		require.NoError(t, opens(fs, log.before, log.after), "byte %d of the last batch, from %d to %d, is wrong", i, from, to)
	}
}

// Every byte before the last acknowledged record counts: if one is wrong, the log says what is lost,
// unless nothing is stored in it.
func TestEachFlippedByteIsFound(t *testing.T) {
	oneGoroutine(t)
	t.Parallel()
	log := writeLog(t, 1)
	last, _ := log.changed()
	verdicts := map[verdict]int{}
	for _, name := range log.fs.Names() {
		if !strings.HasSuffix(name, ".wal") {
			continue
		}
		content := log.fs.Bytes(name)
		for i := range int64(len(content)) {
			if name > log.segment || name == log.segment && i >= last {
				continue // it doesn't stand before the last record
			}
			if content[i] == 0 && i%16 > 0 {
				continue // most of them are padding
			}
			fs := log.fs.Clone()
			require.True(t, fs.Rot(name, i, 1<<(i%8)))
			verdicts[requireHonest(t, fs, log.after, "byte %d of %s", i, name)]++
		}
	}
	require.Greater(t, verdicts[lossy], 1000, "of %v", verdicts)
	require.Less(t, verdicts[refused], 500, "of %v", verdicts)
}

// When the log was closed, the last batch counts too.
func TestFlippedByteOfTheLastBatch(t *testing.T) {
	oneGoroutine(t)
	log := writeLog(t, 1)
	from, to := log.changed()
	l, err := wal.Open(dir, small(log.fs))
	require.NoError(t, err)
	require.NoError(t, l.Close())
	log.fs.Kill()
	verdicts := map[verdict]int{}
	for i := from; i < to; i++ {
		fs := log.fs.Clone()
		require.True(t, fs.Rot(log.segment, i, 0x80))
		verdicts[requireHonest(t, fs, log.after, "byte %d", i)]++
	}
	require.Zero(t, verdicts[refused])
	require.Greater(t, verdicts[lossy], 50)
}

func TestMissingSegmentIsRefused(t *testing.T) {
	log := writeLog(t, 1)
	var segments []string
	for _, name := range log.fs.Names() {
		if strings.HasSuffix(name, ".wal") {
			segments = append(segments, name)
		}
	}
	require.Greater(t, len(segments), 3)
	for i, name := range segments {
		fs := log.fs.Clone()
		require.NoError(t, fs.Remove(name))
		if v := requireHonest(t, fs, log.after, name); i > 0 { // the first one may be waiting to be used again
			require.Equal(t, refused, v, name)
		}
	}
	for _, name := range segments {
		require.NoError(t, log.fs.Remove(name))
	}
	require.ErrorIs(t, opens(log.fs, log.after), raft.ErrCorrupt, "the snapshots are still there")
}

func TestSegmentOfAnotherLogIsRefused(t *testing.T) {
	fs := simfs.New(1)
	for _, salt := range []uint64{1, 2} {
		options := small(fs)
		options.Salt = salt
		l, err := wal.Open(fmt.Sprint("/", salt), options)
		require.NoError(t, err)
		require.NoError(t, l.Write(raft.Write{Entries: commands(1, 60, 100)}))
		require.NoError(t, l.Close())
	}
	require.NoError(t, fs.Rename("/1/0000000000000002.wal", "/2/0000000000000002.wal"))
	_, err := wal.Open("/2", small(fs))
	require.ErrorIs(t, err, raft.ErrCorrupt)
	require.ErrorContains(t, err, "another log")
}

// The last record of a segment may replace entries, and leave the log as long as before. If it is
// damaged, the head of the next segment doesn't miss an entry; the damage is found all the same.
func TestDamagedReplacementIsFound(t *testing.T) {
	fs := simfs.New(1)
	l := open(t, fs)
	require.NoError(t, l.Write(raft.Write{Entries: commands(1, 1, 100)}))
	before := fs.Bytes(segmentOne)
	replacement := commands(1, 1, 100)
	replacement[0].Term = 2
	require.NoError(t, l.Write(raft.Write{Entries: replacement}))
	after := fs.Bytes(segmentOne)
	next := commands(2, 1, 4000)
	next[0].Term = 2
	require.NoError(t, l.Write(raft.Write{Entries: next}))
	fs.Kill()
	require.Equal(t, after, fs.Bytes(segmentOne), "the next one begins another segment")
	for i := range after {
		if before[i] == after[i] {
			continue
		}
		damaged := fs.Clone()
		require.True(t, damaged.Rot(segmentOne, int64(i), 1))
		want := model{entries: []raft.Entry{replacement[0], next[0]}}
		requireHonest(t, damaged, want, "byte %d", i)
	}
}

const (
	anchorFile   = "/log/ANCHOR"
	segmentOne   = "/log/0000000000000001.wal"
	segmentTwo   = "/log/0000000000000002.wal"
	segmentThree = "/log/0000000000000003.wal"
)

// filled returns commands whose data is all of one byte.
func filled(first raft.Index, n, size int, with byte) []raft.Entry {
	entries := commands(first, n, size)
	for i := range entries {
		entries[i].Data = []byte(strings.Repeat(string(with), size))
	}
	return entries
}

// A batch was lost and written over. The batch behind it is intact, and begins where the new one
// ends; but it followed the lost one, so it isn't taken for the continuation of the new one.
func TestStaleRecordIsNotTheContinuation(t *testing.T) {
	one := simfs.New(1)
	l := open(t, one)
	require.NoError(t, l.Write(raft.Write{Entries: filled(1, 1, 100, 'a')}))
	first := one.Bytes(segmentOne)
	require.NoError(t, l.Write(raft.Write{Entries: filled(2, 1, 100, 'b')}))
	both := one.Bytes(segmentOne)
	from := 0
	for first[from] == both[from] {
		from++
	}
	for _, with := range []byte{'a', 'c'} {
		other := simfs.New(1)
		require.NoError(t, open(t, other).Write(raft.Write{Entries: filled(1, 1, 100, with)}))
		require.True(t, other.Overwrite(segmentOne, int64(from), both[from:]))
		other.Kill()
		_, saved := load(t, other)
		if with == 'a' {
			require.EqualValues(t, 2, saved.Last, "it is the continuation")
		} else {
			require.EqualValues(t, 1, saved.Last)
		}
	}
}

// The head of a segment and its first batch are synced together. So a power cut may keep the batch
// and lose the head. When the segment is begun anew, the batch must not come back behind the new
// head.
func TestStaleBatchBehindANewHead(t *testing.T) {
	for _, room := range []int{400, 90} { // with room for an open record, and without
		t.Run(fmt.Sprint(room), func(t *testing.T) {
			disk := simfs.New(1)
			l := open(t, disk)
			used := 0
			for i, b := range disk.Bytes(segmentOne) {
				if b != 0 {
					used = i + 1
				}
			}
			require.NoError(t, l.Write(raft.Write{Entries: commands(1, 1, wal.MinSegmentSize-used-room-120)}))
			before, anchor := disk.Bytes(segmentTwo), disk.Bytes(anchorFile)
			require.NoError(t, l.Write(raft.Write{Entries: filled(2, 1, 1000, 'a')}))
			stale := disk.Bytes(segmentTwo)
			require.Equal(t, "raft-wal", string(stale[:8]), "the second segment has begun")
			disk.Kill()
			require.NoError(t, disk.Remove(segmentThree), "it came after the sync")
			require.True(t, disk.Overwrite(anchorFile, 0, anchor), "and so did that")
			require.True(t, disk.Overwrite(segmentTwo, 0, before[:100]), "the head is lost")
			l, saved := load(t, disk)
			require.EqualValues(t, 1, saved.Last)
			anchor = disk.Bytes(anchorFile)
			if string(disk.Bytes(segmentTwo)[:8]) != "raft-wal" {
				require.NoError(t, l.Write(raft.Write{Entries: filled(2, 1, 1000, 'b')}))
			}
			disk.Kill()
			now := disk.Bytes(segmentTwo)
			at := 0
			for i := range now[:200] {
				if now[i] != 0 && i < 112 {
					at = i + 1
				}
			}
			at = (at + 7) &^ 7
			require.True(t, disk.Overwrite(segmentTwo, int64(at), stale[at:]), "the head is there, its batch is lost")
			require.True(t, disk.Overwrite(anchorFile, 0, anchor), "the batch was never synced")
			_, saved = load(t, disk)
			require.EqualValues(t, 1, saved.Last, "the batch was cut off once")
		})
	}
}

// A segment is refused unless it is the one that the next segment continues.
func TestSegmentOfAnotherHistoryIsRefused(t *testing.T) {
	var logs []*simfs.FS
	for _, with := range []byte{'a', 'b'} {
		disk := simfs.New(1)
		l := open(t, disk)
		require.NoError(t, l.Write(raft.Write{Entries: filled(1, 1, 1500, with)}))
		require.NoError(t, l.Write(raft.Write{Entries: filled(2, 1, 1500, 'c')}))
		require.NoError(t, l.Write(raft.Write{Entries: filled(3, 1, 3000, 'c')}))
		require.NoError(t, l.Close())
		disk.Kill()
		logs = append(logs, disk)
	}
	require.True(t, logs[0].Overwrite(segmentOne, 0, logs[1].Bytes(segmentOne)))
	_, err := wal.Open(dir, small(logs[0]))
	require.ErrorIs(t, err, raft.ErrCorrupt)
	require.ErrorContains(t, err, "continues another one")
}

// What is left of a newest segment that is cut off in its head isn't taken for a segment that has not
// begun, since the anchor knows better. When the log was closed, it also knows what is lost.
func TestNewestSegmentCutInItsHead(t *testing.T) {
	disk := simfs.New(1)
	l := open(t, disk)
	want := model{entries: append(commands(1, 1, 3000), commands(2, 1, 3000)...)}
	require.NoError(t, l.Write(raft.Write{Entries: want.entries[:1]}))
	require.NoError(t, l.Write(raft.Write{Entries: want.entries[1:]}))
	killed := disk.Clone()
	require.NoError(t, l.Close())
	whole := disk.Bytes(segmentTwo)
	for name, disk := range map[string]*simfs.FS{"closed": disk, "killed": killed} {
		disk.Kill()
		for cut := range 200 {
			fs := disk.Clone()
			put(t, fs, segmentTwo, whole[:cut])
			v := requireHonest(t, fs, want, "%s, cut at %d", name, cut)
			require.Equal(t, name == "closed", v == lossy, "cut at %d: %s", cut, v)
		}
	}
}

// The newest segment without its head isn't taken for one that has not begun, if a record in it or
// the anchor proves that it had.
func TestNewestSegmentWithoutItsHead(t *testing.T) {
	disk := simfs.New(1)
	l := open(t, disk)
	require.NoError(t, l.Write(raft.Write{Entries: commands(1, 1, 3000)}))
	anchor := disk.Bytes(anchorFile)
	require.NoError(t, l.Write(raft.Write{Entries: commands(2, 1, 1500)}))
	once := disk.Clone()
	require.NoError(t, l.Write(raft.Write{Entries: commands(3, 1, 100)}))
	for name, fs := range map[string]*simfs.FS{"not proven": once, "proven by the next batch": disk} {
		fs.Kill()
		require.NoError(t, fs.Remove(segmentThree))
		require.True(t, fs.Overwrite(anchorFile, 0, anchor))
		for _, at := range []int64{3, 20, 50, 80} {
			fs := fs.Clone()
			require.True(t, fs.Rot(segmentTwo, at, 1))
			_, saved := load(t, fs)
			if name == "not proven" {
				require.EqualValues(t, 1, saved.Last, "a torn head looks the same")
				continue
			}
			require.EqualValues(t, 3, saved.Last)
			require.Empty(t, saved.Lost)
		}
	}
}
