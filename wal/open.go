package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"runtime"
	"slices"
	"strings"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/logbook"
	"github.com/e17579a5/raft/wal/vfs"
)

// Open opens the log in a directory. It creates the directory and the log if they don't exist.
// Until Close, every other Open of the directory fails with raft.ErrLocked, in this process and in
// others.
//
// If the log is damaged, and the bytes of entries are all that is lost, Load names them. Any other
// damage is refused: the error wraps a *CorruptError, which is raft.ErrCorrupt. A write that a power
// cut has torn before it returned isn't damage; Open cuts it off. If only the current snapshot is
// damaged, Open goes on from the one before it, or leaves it to Load to report the damage.
func Open(dir string, options Options) (*Log, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	l := newLog(dir, options)
	if !options.Inline {
		l.synced = options.Synced
		l.book = logbook.New(options.Logger, slog.String("dir", dir))
	}
	if err := l.fs.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("wal: open %s: %w", dir, err)
	}
	l.lock, err = l.fs.Lock(l.path(lockName))
	if errors.Is(err, vfs.ErrLocked) {
		err = raft.ErrLocked
	}
	if err != nil {
		return nil, fmt.Errorf("wal: open %s: %w", dir, err)
	}
	if !options.Inline {
		l.disk = joinDisk(l.fs)
	}
	err = l.open()
	if err == nil {
		err = l.adoptReady()
	}
	if err != nil {
		l.leaveDisk()
		if len(l.spare) == 0 {
			l.spare <- &spare{}
		}
		l.closeFiles()
		l.lock.Close()
		l.closeBook()
		return nil, fmt.Errorf("wal: open %s: %w", dir, err)
	}
	l.completeReserve()
	l.patient = !options.Inline
	l.keeper.start(l)
	l.wrote()
	l.startFiller()
	return l, nil
}

// open reads what is in the directory. The caller holds the lock.
func (l *Log) open() error {
	names, err := l.fs.List(l.dir)
	if err != nil {
		return err
	}
	files := sortFiles(names)
	if len(files.segments) == 0 && len(files.snapshots) > 0 {
		return l.noSegments()
	}
	var found *anchorState
	if len(files.segments) > 0 || files.anchored {
		if err := l.knowVersion(files.segments); err != nil {
			return err
		}
		if found, err = l.readAnchor(); err != nil {
			return err
		}
	}
	for _, name := range files.unfinished {
		if err := l.fs.Remove(l.path(name)); err != nil {
			return err
		}
	}
	l.ready.left = files.ready
	if err := l.findReserves(names); err != nil {
		return err
	}
	if len(files.segments) == 0 {
		if found != nil && found.highest > 0 {
			return l.noSegments()
		}
		return l.create(found)
	}
	r := replay{log: l, anchor: found}
	if err := r.run(files.segments); err != nil {
		return err
	}
	own, stale, err := l.sortSnapshots(files.snapshots)
	if err != nil {
		return err
	}
	more, damage, err := l.chooseSnapshot(own)
	if err != nil {
		return err
	}
	stale = append(stale, more...)
	l.snapshots.damage = damage
	if err := l.completeAnchor(); err != nil {
		return err
	}
	if err := l.syncSpare(); err != nil {
		return err
	}
	if err := l.settle(&r); err != nil {
		return err
	}
	for _, number := range stale {
		if err := l.fs.Remove(l.path(fileName(number, snapshotSuffix))); err != nil {
			return err
		}
	}
	return nil
}

// knowVersion refuses a log of another version of the format. It looks at the first segment alone,
// and before anything is changed.
func (l *Log) knowVersion(segments []uint64) error {
	if len(segments) == 0 {
		return nil
	}
	name := l.path(fileName(segments[0], segmentSuffix))
	file, err := l.fs.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	b := make([]byte, preambleSize)
	if _, err := file.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if _, version, _, ok := parsePreamble(b); ok && version != formatVersion {
		return versionError(name, version)
	}
	return nil
}

// logFiles are the files of a log by kind, in the order of their numbers.
type logFiles struct {
	segments, snapshots, ready []uint64
	anchored                   bool
	unfinished                 []string
}

// sortFiles finds the files of a log among the names in its directory.
func sortFiles(names []string) (files logFiles) {
	for _, name := range names {
		if number, ok := fileNumber(name, segmentSuffix); ok {
			files.segments = append(files.segments, number)
		}
		if number, ok := fileNumber(name, snapshotSuffix); ok {
			files.snapshots = append(files.snapshots, number)
		}
		if number, ok := fileNumber(name, readySuffix); ok {
			files.ready = append(files.ready, number)
		}
		files.anchored = files.anchored || name == anchorName
		if strings.HasSuffix(name, segmentSuffix+temporary) || strings.HasSuffix(name, snapshotSuffix+temporary) || name == anchorName+temporary {
			files.unfinished = append(files.unfinished, name)
		}
	}
	slices.Sort(files.segments)
	slices.Sort(files.snapshots)
	return files
}

// noSegments is the error of a log that has an anchor or snapshots, but no segments.
func (l *Log) noSegments() error {
	return &CorruptError{File: l.dir, Offset: -1, Reason: "it holds an anchor or snapshots of a log, but no segment"}
}

// create makes the anchor and the first segment of a new log. The anchor may be there already, if
// an earlier attempt has got so far. The segment gets its name when it is complete; so the oldest
// segment always has a head.
func (l *Log) create(found *anchorState) error {
	l.opens = 1
	l.files.next = 1
	if found != nil {
		// Its name may not be durable yet.
		if err := l.fs.SyncDir(l.dir); err != nil {
			return err
		}
		l.salt = found.salt
	} else if err := l.createAnchor(); err != nil {
		return err
	}
	size := min(firstSegmentSize, l.options.SegmentSize)
	b, s := l.appendHead(nil, 1, nil, size)
	s.size = size
	file, err := l.fs.Create(s.name + temporary)
	if err != nil {
		return err
	}
	if err := fill(file, b, s.size); err != nil {
		file.Close()
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := l.fs.Rename(s.name+temporary, s.name); err != nil {
		return err
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return err
	}
	if s.file, err = l.fs.Open(s.name); err != nil {
		return err
	}
	s.synced = s.end
	l.segments, l.active = []*segment{s}, s
	l.tip = tip{place{s.number, s.end}, s.chain}
	l.prepared = prepared{s.number, s.size}
	l.trail.add(l.tip.place, s.end, touch{})
	l.spare <- l.newSpare(s)
	return l.writeAnchor(anchoring{sync: true})
}

// fill writes b and zeros to a file, up to size, and syncs it.
func fill(file vfs.File, b []byte, size int64) error {
	if _, err := file.WriteAt(b, 0); err != nil {
		return err
	}
	for at := int64(len(b)); at < size; {
		n, err := file.WriteAt(zeros[:min(size-at, int64(len(zeros)))], at)
		if err != nil {
			return err
		}
		at += int64(n)
	}
	return file.Sync()
}

// chooseSnapshot finds the current snapshot of a group among the files with these numbers. If that is
// damaged, it takes the newest older one that is intact and that the log goes on from; if there is none,
// it returns the damage. It also returns the files that can't be used any more. They may be removed
// once a record says durably which snapshot is current; while the current one is damaged, all of them
// stay.
func (g *group) chooseSnapshot(numbers []uint64) (stale []uint64, damage, err error) {
	l := g.log
	l.mu.Lock()
	current := g.contents.snapshot
	l.files.next = max(l.files.next, current.file+1)
	g.snapshots.unswept, l.untidy = true, true
	l.mu.Unlock()
	if current.file != 0 {
		current, damage = g.verify(current.file, &current.meta)
		if damage != nil && !errors.Is(damage, raft.ErrCorrupt) {
			return nil, nil, damage
		}
	}
	var stored []snapshotRef
	for _, number := range numbers {
		if number == current.file {
			continue
		}
		ref, err := g.verify(number, nil)
		if err != nil && !errors.Is(err, raft.ErrCorrupt) {
			return nil, nil, err
		}
		if err == nil && g.isFallback(ref) {
			stored = append(stored, ref)
		} else {
			stale = append(stale, number)
		}
	}
	if current.file != 0 && damage == nil {
		stored = append(stored, current)
	} else if damage != nil {
		stale = nil
		fallback := snapshotRef{}
		for _, ref := range stored {
			if ref.meta.Index >= fallback.meta.Index {
				fallback = ref
			}
		}
		if len(stored) == 0 {
			l.tell(slog.LevelError, "wal: snapshot damaged, and there is no other", damage, indexAttr("index", current.meta.Index))
			return nil, damage, nil
		}
		l.tell(slog.LevelError, "wal: snapshot damaged, an older one is used", damage,
			indexAttr("index", current.meta.Index), indexAttr("older", fallback.meta.Index))
		current, damage = fallback, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	g.snapshots.stored, g.contents.snapshot = stored, current
	return stale, damage, nil
}

// sortSnapshots finds out of which group each file is: those of the group "", and those that no group
// has any more. Those of others wait for the group's Load.
func (l *Log) sortSnapshots(numbers []uint64) (own, stale []uint64, err error) {
	if l.groups.next <= 1 {
		for _, number := range numbers {
			l.files.next = max(l.files.next, number+1)
		}
		return numbers, nil, nil // there has been no other group
	}
	known := map[uint64]uint64{l.contents.snapshot.file: 0}
	for _, g := range l.groups.numbered {
		if file := g.contents.snapshot.file; file > 0 {
			known[file] = g.number
		}
	}
	for _, number := range numbers {
		l.files.next = max(l.files.next, number+1)
		group, ok := known[number]
		if !ok {
			r, err := l.openSnapshotFile(number)
			if err == nil {
				group = r.group
				r.file.Close()
			} else if !errors.Is(err, raft.ErrCorrupt) {
				return nil, nil, err
			}
		}
		switch {
		case group == 0:
			own = append(own, number)
		case l.groups.numbered[group] != nil:
			l.files.found[group] = append(l.files.found[group], number)
		default:
			stale = append(stale, number)
		}
	}
	return own, stale, nil
}

// verify reads a snapshot of the group to its end and describes it. With meta, it must be the snapshot
// that meta describes.
func (g *group) verify(number uint64, meta *raft.SnapshotMeta) (snapshotRef, error) {
	l := g.log
	ref := snapshotRef{file: number}
	if meta != nil {
		ref.meta = *meta
	}
	r, err := l.openSnapshotFile(number)
	if errors.Is(err, fs.ErrNotExist) {
		name := l.path(fileName(number, snapshotSuffix))
		return ref, &CorruptError{File: name, Offset: -1, Reason: "it is missing"}
	}
	if err != nil {
		return ref, err
	}
	defer r.file.Close()
	if err := r.mustBeOf(g, meta); err != nil {
		return ref, err
	}
	ref.meta = r.meta
	readers := runtime.GOMAXPROCS(0)
	if l.options.Inline {
		readers = 1
	}
	ref.bytes, err = r.verify(readers)
	return ref, err
}

// state returns what Load returns of a group.
func (g *group) state() raft.Saved {
	t := &g.contents
	snapshot := t.snapshot.meta
	saved := raft.Saved{State: t.durable, Snapshot: snapshot, SnapshotBytes: t.snapshot.bytes, SnapshotDamage: g.snapshots.damage, Last: t.last}
	saved.Base, saved.BaseTerm = t.base()
	saved.LogBytes = t.bytesAfter(snapshot.Index)
	saved.KeptBytes = t.bytesAfter(saved.Base) - saved.LogBytes
	saved.Runs = slices.Clone(trimRuns(t.runs, saved.Base+1, t.last))
	saved.Configurations = slices.Clone(configurationsFrom(t.configurations, snapshot.Index+1))
	saved.Lost = t.lost(t.compacted)
	if len(saved.Lost) > 0 && g.damage == nil {
		g.damage = &CorruptError{File: g.log.dir, Offset: -1, Reason: "segments are missing"}
	}
	for _, lost := range saved.Lost {
		g.log.tell(slog.LevelError, "wal: entries are lost", g.damage, indexAttr("first", lost.First), indexAttr("last", lost.Last))
	}
	return saved
}

// settle makes everything durable that was found, and says so in a record. After a sync that
// failed, the page cache may show bytes that the disk doesn't have, and the next sync says nothing
// about them. So everything that isn't proven to be synced is written once more. The record counts
// how often the log was opened, so it equals no earlier record: a batch that was cut off behind it
// can't be taken for its continuation.
func (l *Log) settle(r *replay) error {
	l.opens++
	s := l.active
	if len(r.unproven) > 0 {
		if _, err := s.file.WriteAt(r.unproven, int64(s.synced)); err != nil {
			return err
		}
	}
	// The names that are there may be from a process that died before it synced the directory.
	if err := l.fs.SyncDir(l.dir); err != nil {
		return err
	}
	l.mu.Lock()
	l.tip = tip{place{s.number, s.end}, s.chain}
	l.mu.Unlock()
	state := l.checkpoint()
	record := appendDirectory(append([]byte(nil), zeros[:headerSize]...), state.append(nil))
	if err := l.opened(record); err != nil {
		return err
	}
	// It takes back that the log was closed.
	return l.writeAnchor(anchoring{sync: true})
}

// opened writes the open record, or begins the next segment if there is no room for it.
func (l *Log) opened(record []byte) error {
	s := l.active
	if s.fits(len(record)) {
		at, chain, err := l.append(record, header{kind: kindOpen, entries: uint32(len(record) - headerSize)})
		if err != nil {
			return err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.extend(at, uint32(len(record)), chain, touch{})
		return nil
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	s.synced = s.end
	err := l.begin(0) // the head counts the opens too
	if isFull(err) {
		// A server whose disk is full can start, and report it. It does without the record, which
		// guards against one case: a batch that was cut off shows up again behind the same bytes.
		// Such a batch can only stand behind the head of the next segment: the two were written
		// together, and torn apart. But for the next segment there was no room either.
		l.tell(slog.LevelError, "wal: no room for another segment", err)
		return nil
	}
	if err != nil {
		return err
	}
	return l.syncHead()
}
