package wal

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wal/vfs"
	"github.com/e17579a5/raft/wire"
)

// A Report is what Inspect has found in the directory of a log.
type Report struct {
	// Saved is what Load would return: what is stored of the group "". It is complete when Err is nil.
	Saved raft.Saved
	// Groups are the other groups, in the order of their names. They are complete when Err is nil.
	Groups []GroupReport
	// Compacted is the index up to which the log may be forgotten. The entries behind it are in the
	// files, except those that Saved.Lost names: other servers must give these.
	Compacted raft.Index
	// Opens counts how often the log was opened.
	Opens uint64

	// Segments and Snapshots are the files of the log, in the order of their numbers.
	Segments  []SegmentReport
	Snapshots []SnapshotReport
	// Unfinished are the names of files that were never completed. Open removes them.
	Unfinished []string

	// Tail is where the log ends, and how.
	Tail Tail

	// Err is the error with which Open would refuse the log; nil when Open would open it.
	Err error
	// Damage is everything that was found damaged, each a *CorruptError; Err is among it, if it
	// isn't nil. Damage to a snapshot that isn't needed doesn't keep a log from being opened, nor
	// does damage that costs nothing but bytes of entries.
	Damage []error
	// Repaired says that there is damage, and that it costs nothing: every entry of the log can be
	// read, and all snapshots are sound. What was lost is stored again, or isn't needed any more.
	Repaired bool
}

// A SegmentReport tells of one segment.
type SegmentReport struct {
	Name string
	Size int64 // of the file
	// End is where its last record ends, as far as it was read; 0 for a segment that has not begun.
	End     int64
	Records int // how many were read
}

// A SnapshotReport tells of one stored snapshot.
type SnapshotReport struct {
	Name    string
	Size    int64 // of the file
	Meta    raft.SnapshotMeta
	Group   uint64 // the number of its group; 0 for the group ""
	Current bool   // it is the current one of its group
	Err     error  // what is wrong with it; nil when it is sound
}

// TailState says how the log ends.
type TailState string

// States of the end of a log.
const (
	// TailClosed is the end of a log that was closed in good order: nothing follows it.
	TailClosed TailState = "closed"
	// TailOpen is the end of a log that wasn't closed. If anything was written behind it, nothing of
	// it shows.
	TailOpen TailState = "open"
	// TailTorn is an end behind which a part of a batch stands. The batch was torn while it was
	// written, and nobody was told that it is stored. Open cuts it off. Damage to the very last
	// batch looks the same, as long as the anchor doesn't know that batch.
	TailTorn TailState = "torn"
)

// A Tail tells where the log ends.
type Tail struct {
	State   TailState // "" when the log wasn't read to its end
	Segment string    // the name of its last segment
	Offset  int64     // where the last record ends there, in bytes
	// Unproven is how many bytes before Offset aren't proven to be synced. Open writes them once
	// more.
	Unproven int64
}

// A Record is one record of a log, as Inspect reads it. It is valid only during the call of visit.
type Record struct {
	Segment string // the name of its segment
	Offset  int64  // where it begins there, in bytes
	Kind    string // "head", "open", "batch" or "part"
	Synced  int64  // how far the segment was synced when the record was written, as the record says

	// Group is the group of a part, with its number. Each part of a record is shown as a record of its own.
	// Records of other kinds are of the group "".
	Group       raft.GroupID
	GroupNumber uint64
	// Head says that a part has the head of its group, Ends that the group ends, and Moves that the
	// repairs are entries that were moved out of an older segment.
	Head, Ends, Moves bool

	// Durable, Snapshot and Compact are nil when they aren't in the record.
	Durable  *raft.DurableState
	Snapshot *raft.SnapshotMeta
	Compact  *raft.Index
	// Drops says that the snapshot takes the place of the whole log before the record.
	Drops bool
	// Last is, in a head, an open, or a part with a head, the index of the last entry in the log before the record.
	Last raft.Index
	// First, when not 0, is the index of the first entry of the record. Its entries replace everything
	// that the log held from there on.
	First raft.Index
	// Entries are those of the record that are sound. All are, unless Damaged says otherwise.
	Entries []raft.Entry
	// Repairs are entries that the log has held before, once more.
	Repairs []raft.Entry
	// Damaged says what is wrong with the record; nil when it is sound.
	Damaged error
}

// ErrNoLog says that a directory holds no log.
var ErrNoLog = errors.New("wal: no log there")

// Inspect reads the log in a directory exactly as Open does, and changes nothing: it repairs,
// removes and creates nothing, and needs no right to write. It tells a torn write from damage by
// the same code as Open. It reads every snapshot and every entry, and calls visit, if that isn't
// nil, with each record in order; an error of visit ends it. Of the options, only FS matters:
// nothing is logged, since the report says it.
//
// The log must not be in use, because a record that is being written can't be told from a damaged
// one. While somebody has the log open, the error is raft.ErrLocked. While Inspect reads, Open
// fails with raft.ErrLocked. A directory without a log is ErrNoLog. Any other error is one of
// reading: the report says what is wrong with the log.
func Inspect(dir string, options Options, visit func(*Record) error) (Report, error) {
	options, err := options.withDefaults()
	if err != nil {
		return Report{}, err
	}
	options.FS = vfs.ReadOnly(options.FS)
	i := inspection{visit: visit, names: make(map[uint64]raft.GroupID), log: newLog(dir, options)}
	err = i.run()
	if err != nil {
		err = fmt.Errorf("wal: inspect %s: %w", dir, err)
	}
	return i.report, err
}

// An inspection reads a log with the help of a Log that is never opened.
type inspection struct {
	log     *Log
	visit   func(*Record) error
	report  Report
	decoder wire.Decoder
	entries []raft.Entry
	names   map[uint64]raft.GroupID // of the groups, by their numbers
}

func (i *inspection) run() error {
	l := i.log
	// What was listed before the lock is held may be gone by then.
	lock, err := l.fs.Lock(l.path(lockName))
	if errors.Is(err, vfs.ErrLocked) {
		return raft.ErrLocked
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	names, err := l.fs.List(l.dir)
	if err != nil {
		return err
	}
	files := sortFiles(names)
	if len(files.segments)+len(files.snapshots) == 0 {
		return ErrNoLog
	}
	i.report.Unfinished = files.unfinished

	defer i.closeFiles()
	r := replay{log: l, visit: i.record}
	if err := i.found(i.replay(&r, &files)); err != nil {
		return err
	}
	for _, damage := range r.damage {
		if err := i.note(damage); err != nil {
			return err
		}
	}
	i.segments(&r, files.segments)
	if err := i.snapshots(files.snapshots); err != nil {
		return err
	}
	if i.report.Err != nil {
		return nil
	}
	if err := i.found(i.choose(files.snapshots)); err != nil {
		return err
	}
	if err := i.groups(); err != nil {
		return err
	}
	i.report.Repaired = i.report.repaired()
	return nil
}

// choose finds out what Load would return.
func (i *inspection) choose(numbers []uint64) error {
	own, _, err := i.log.sortSnapshots(numbers)
	if err != nil {
		return err
	}
	_, damage, err := i.log.chooseSnapshot(own)
	if err == nil {
		i.log.snapshots.damage = damage
		i.report.Saved = i.log.state()
	}
	return err
}

// repaired says whether there is damage that costs nothing.
func (r *Report) repaired() bool {
	bad := slices.ContainsFunc(r.Snapshots, func(s SnapshotReport) bool { return s.Err != nil }) ||
		slices.ContainsFunc(r.Groups, func(g GroupReport) bool { return !g.sound() })
	return len(r.Damage) > 0 && r.Err == nil && len(r.Saved.Lost) == 0 && r.Saved.SnapshotDamage == nil && !bad
}

// replay replays the log.
func (i *inspection) replay(r *replay, files *logFiles) (err error) {
	l := i.log
	if len(files.segments) == 0 {
		return l.noSegments()
	}
	if err := l.knowVersion(files.segments); err != nil {
		return err
	}
	if r.anchor, err = l.readAnchor(); err != nil {
		return err
	}
	return r.run(files.segments)
}

// found notes an error that says what is wrong with the log, and returns any other error.
func (i *inspection) found(err error) error {
	if err != nil && errors.Is(err, raft.ErrCorrupt) {
		i.report.Err = err
	}
	return i.note(err)
}

// note notes an error that says that something is damaged, and returns any other error.
func (i *inspection) note(err error) error {
	if err == nil || !errors.Is(err, raft.ErrCorrupt) {
		return err
	}
	known := slices.ContainsFunc(i.report.Damage, func(other error) bool { return other.Error() == err.Error() })
	if !known {
		i.report.Damage = append(i.report.Damage, err)
	}
	return nil
}

// closeFiles closes the segments, also the one that the replay has made the spare.
func (i *inspection) closeFiles() {
	if len(i.log.spare) == 0 {
		i.log.spare <- &spare{}
	}
	i.log.closeFiles()
}

// segments reports the segments as far as they were replayed, and the end of the log.
func (i *inspection) segments(r *replay, numbers []uint64) {
	l, t := i.log, &i.log.contents
	i.report.Compacted, i.report.Opens = t.compacted, l.opens
	i.report.Saved.State = t.durable
	for n, number := range numbers {
		report := SegmentReport{Name: fileName(number, segmentSuffix)}
		if n < len(r.all) {
			f := &r.all[n]
			report.Size, report.End, report.Records = f.segment.size, int64(f.segment.end), f.records
		}
		i.report.Segments = append(i.report.Segments, report)
	}
	if s := l.active; s != nil && i.report.Err == nil {
		i.report.Tail = Tail{r.tail, filepath.Base(s.name), int64(s.end), int64(s.end) - int64(s.synced)}
	}
}

// snapshots reads and reports every snapshot.
func (i *inspection) snapshots(numbers []uint64) error {
	l := i.log
	for _, g := range append(i.stored(), &l.group) {
		if current := g.contents.snapshot; current.file != 0 && !slices.Contains(numbers, current.file) {
			numbers = append(numbers, current.file)
		}
	}
	slices.SortFunc(numbers, cmp.Compare[uint64])
	for _, number := range numbers {
		name := fileName(number, snapshotSuffix)
		g, meta, err := i.owner(number)
		if err != nil {
			return err
		}
		report := SnapshotReport{Name: name, Group: g.number, Current: meta != nil}
		ref, err := g.verify(number, meta)
		report.Meta, report.Err = ref.meta, err
		if report.Err != nil && !errors.Is(report.Err, raft.ErrCorrupt) {
			return report.Err
		}
		if report.Err != nil {
			i.report.Damage = append(i.report.Damage, report.Err)
		}
		if report.Size, err = l.size(name); err != nil {
			return err
		}
		i.report.Snapshots = append(i.report.Snapshots, report)
	}
	return nil
}

// size returns the size of a file in bytes; 0 when there is no such file.
func (l *Log) size(name string) (int64, error) {
	file, err := l.fs.Open(l.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer file.Close()
	return file.Size()
}

// record checks a record that was replayed, entry by entry, and hands it to the visitor.
func (i *inspection) record(s *segment, at uint32, h header, record []byte) error {
	if h.kind == kindShared {
		return i.parts(s, at, h, record)
	}
	out := Record{Segment: filepath.Base(s.name), Offset: int64(at), Kind: kindNames[h.kind], Synced: int64(h.synced)}
	if err := i.decode(&out, h, record[headerSize:]); err != nil {
		out.Damaged = corrupt(s, at, err.Error())
		if err := i.note(out.Damaged); err != nil {
			return err
		}
	}
	if i.visit == nil {
		return nil
	}
	return i.visit(&out)
}

// decode fills in what a record says.
func (i *inspection) decode(out *Record, h header, body []byte) error {
	prelude, frames, err := splitBody(body)
	if err != nil {
		return err
	}
	if h.kind == kindBatch {
		var c change
		if err := c.decode(prelude); err != nil {
			return err
		}
		return i.batch(out, &c, body[frames:h.entries], body[h.entries:])
	}
	var c checkpoint
	if err := c.decode(prelude); err != nil {
		return err
	}
	out.Durable, out.Compact, out.Last = &c.durable, &c.compacted, c.last
	if c.snapshot.file != 0 {
		out.Snapshot = &c.snapshot.meta
	}
	return nil
}

// batch fills in what a batch changes.
func (i *inspection) batch(out *Record, c *change, repaired, frames []byte) error {
	if c.flags&changesState != 0 {
		out.Durable = &c.durable
	}
	if c.flags&changesSnapshot != 0 {
		out.Snapshot, out.Drops = &c.snapshot.meta, c.flags&dropsLog != 0
	}
	if c.flags&changesCompacted != 0 {
		out.Compact = &c.compacted
	}
	i.entries = i.entries[:0]
	var damage error
	for range c.repairs {
		e, size, err := i.entry(repaired)
		if err != nil {
			damage = fmt.Errorf("a repair: %w", err)
		} else {
			out.Repairs = append(out.Repairs, e)
		}
		repaired = repaired[size:]
	}
	if c.flags&changesEntries == 0 {
		return damage
	}
	out.First = c.first
	terms := termWalk{runs: c.runs}
	for next := c.first; next <= c.last(); next++ {
		e, size, err := i.entry(frames)
		if term := terms.at(next); err == nil && (e.Index != next || e.Term != term) {
			err = fmt.Errorf("it is entry %d of term %d in the place of %d of term %d", e.Index, e.Term, next, term)
		}
		if err == nil {
			i.entries = append(i.entries, e)
		} else if damage == nil {
			damage = fmt.Errorf("entry %d: %w", next, err)
		}
		frames = frames[size:]
	}
	out.Entries = i.entries
	return damage
}

// entry returns the entry in the frame at the beginning of b, and the size of the frame. What is
// behind a frame with a wrong length can't be read.
func (i *inspection) entry(b []byte) (raft.Entry, int, error) {
	frame, ok := frameAt(b)
	if !ok {
		return raft.Entry{}, len(b), errors.New("it ends past the end of its batch")
	}
	e, err := entryIn(frame, preamble{salt: i.log.salt}.seed(), &i.decoder)
	return e, len(frame), err
}

// kindNames are the names of the kinds of records.
var kindNames = map[recordKind]string{kindHead: "head", kindOpen: "open", kindBatch: "batch", kindShared: "part"}

// ReadSnapshot copies the bytes of a stored snapshot to w and returns its description, without
// opening the log. name is the name of its file, as in a SnapshotReport. Each block is checked
// before it is copied; if one is damaged, the error wraps a *CorruptError. ReadSnapshot changes
// nothing.
func ReadSnapshot(w io.Writer, dir, name string, options Options) (raft.SnapshotMeta, error) {
	options, err := options.withDefaults()
	if err != nil {
		return raft.SnapshotMeta{}, err
	}
	number, ok := fileNumber(name, snapshotSuffix)
	if !ok || strings.ContainsRune(name, filepath.Separator) {
		return raft.SnapshotMeta{}, fmt.Errorf("wal: %q isn't the name of a snapshot", name)
	}
	options.FS = vfs.ReadOnly(options.FS)
	l := newLog(dir, options)
	r, err := l.openSnapshotFile(number)
	if err != nil {
		return raft.SnapshotMeta{}, fmt.Errorf("wal: read snapshot: %w", err)
	}
	defer r.file.Close()
	if _, err := io.Copy(w, r); err != nil {
		return raft.SnapshotMeta{}, fmt.Errorf("wal: read snapshot: %w", err)
	}
	return r.meta, nil
}
