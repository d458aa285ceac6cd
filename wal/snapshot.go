package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wal/vfs"
)

// snapshots are the snapshots of one group.
type snapshots struct {
	stored  []snapshotRef // committed, in the order of their files
	unswept bool          // there may be snapshots that aren't needed any more
	damage  error         // that of the current one, if there is no other
}

// snapshotFiles are the files of snapshots, those of all groups.
type snapshotFiles struct {
	next    uint64                // the number of the next file
	open    map[vfs.File]struct{} // of writers and readers
	opening int                   // how many calls are about to open one for reading
	unswept []*group              // those with snapshots that may not be needed any more
	// found are the files that Open has found, by the number of their group, if that isn't 0. Load of
	// the group finds out which of them are needed.
	found map[uint64][]uint64
}

// closeAll closes the files that are still open. No call is under way any more, so nobody else uses
// them.
func (s *snapshotFiles) closeAll() {
	for file := range s.open {
		file.Close()
	}
	clear(s.open)
}

// CreateSnapshot starts to store a snapshot. Its file counts as a snapshot only after Commit. One that
// no write names takes its room until the current one is of a higher index, or until the next Open.
// After Close, CreateSnapshot and the writer fail with fs.ErrClosed. See raft.Storage.
func (l *Log) CreateSnapshot(meta raft.SnapshotMeta) (raft.SnapshotWriter, error) {
	return l.createSnapshot(l, meta)
}

// createSnapshot is CreateSnapshot for a group, whose calls pass a gate.
func (g *group) createSnapshot(gate gate, meta raft.SnapshotMeta) (raft.SnapshotWriter, error) {
	l := g.log
	if err := gate.enter(); err != nil {
		return nil, err
	}
	defer gate.leave()
	l.mu.Lock()
	g.setNumber()
	ref := snapshotRef{file: l.files.next, meta: meta}
	l.files.next++
	l.mu.Unlock()
	name := l.path(fileName(ref.file, snapshotSuffix))
	file, err := l.fs.Create(name + temporary)
	if err != nil {
		return nil, fmt.Errorf("wal: create snapshot: %w", err)
	}
	l.mu.Lock()
	l.files.open[file] = struct{}{}
	l.mu.Unlock()
	w := &snapshotWriter{log: l, group: g, gate: gate, ref: ref, name: name, file: file}
	w.buf, w.crc = appendSnapshotHeader(nil, &meta, g.number)
	w.block = len(w.buf)
	w.buf = append(w.buf, zeros[:blockHeaderSize]...)
	return w, nil
}

// closeFile closes the file of a snapshot, unless that was done before. The caller has entered: so
// Log.Close, which closes what is left, waits for it.
func (l *Log) closeFile(file vfs.File) error {
	l.mu.Lock()
	_, open := l.files.open[file]
	delete(l.files.open, file)
	l.mu.Unlock()
	if !open {
		return nil
	}
	return file.Close()
}

// storedSnapshot returns the newest stored snapshot with the index and the term of meta.
func (g *group) storedSnapshot(meta *raft.SnapshotMeta) (snapshotRef, error) {
	g.log.mu.Lock()
	defer g.log.mu.Unlock()
	for i := len(g.snapshots.stored) - 1; i >= 0; i-- {
		ref := g.snapshots.stored[i]
		if ref.meta.Index == meta.Index && ref.meta.Term == meta.Term {
			return ref, nil
		}
	}
	return snapshotRef{}, fmt.Errorf("%w: no snapshot of index %d and term %d was stored", ErrWrite, meta.Index, meta.Term)
}

// OpenSnapshot opens the current snapshot for reading. Without one it fails with
// raft.ErrNoSnapshot. The reader reports damage as raft.ErrCorrupt. It stays readable while other
// snapshots take its place, but not after Close. See raft.Storage.
func (l *Log) OpenSnapshot() (raft.SnapshotMeta, io.ReadCloser, error) { return l.openSnapshot(l) }

// openSnapshot is OpenSnapshot for a group, whose calls pass a gate.
func (g *group) openSnapshot(gate gate) (raft.SnapshotMeta, io.ReadCloser, error) {
	l := g.log
	if err := gate.enter(); err != nil {
		return raft.SnapshotMeta{}, nil, err
	}
	defer gate.leave()
	l.readers(1)
	defer l.readers(-1)
	for {
		ref := g.currentSnapshot()
		if ref.file == 0 {
			return raft.SnapshotMeta{}, nil, raft.ErrNoSnapshot
		}
		blocks, err := g.openBlocks(ref)
		if errors.Is(err, fs.ErrNotExist) && g.currentSnapshot().file != ref.file {
			continue // another snapshot has become the current one
		}
		if err != nil {
			return raft.SnapshotMeta{}, nil, fmt.Errorf("wal: open snapshot: %w", err)
		}
		l.mu.Lock()
		l.files.open[blocks.file] = struct{}{}
		l.mu.Unlock()
		return ref.meta, &snapshotReader{log: l, gate: gate, blocks: blocks}, nil
	}
}

// readers counts the calls that are about to open a snapshot.
func (l *Log) readers(more int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files.opening += more
}

func (g *group) currentSnapshot() snapshotRef {
	g.log.mu.Lock()
	defer g.log.mu.Unlock()
	return g.contents.snapshot
}

// sweepSnapshots removes the snapshots of all groups that aren't needed any more.
func (l *Log) sweepSnapshots() error {
	l.mu.Lock()
	unswept := l.files.unswept
	l.files.unswept = nil
	l.mu.Unlock()
	for i, g := range append([]*group{&l.group}, unswept...) {
		if err := g.sweep(); err != nil {
			l.mu.Lock()
			l.files.unswept = append(l.files.unswept, unswept[max(i-1, 0):]...)
			l.mu.Unlock()
			return err
		}
	}
	return nil
}

// removeSnapshots removes files of snapshots that no group has. If that fails, the next Open does it.
func (l *Log) removeSnapshots(numbers []uint64) {
	for _, number := range numbers {
		name := l.path(fileName(number, snapshotSuffix))
		if err := l.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			l.tell(slog.LevelWarn, "wal: snapshot not removed", err, slog.String("file", name))
		}
	}
}

// sweep removes the snapshots of the group that aren't needed any more. Of those before the current
// one, it keeps the newest as long as the log goes on from it: if the current one turns out to be
// damaged, this one takes its place.
func (g *group) sweep() error {
	l := g.log
	for _, ref := range g.unneededSnapshots() {
		if err := l.retire(l.path(fileName(ref.file, snapshotSuffix))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			l.mu.Lock()
			g.snapshots.unswept = true
			l.mu.Unlock()
			return err
		}
		l.mu.Lock()
		for i := range g.snapshots.stored {
			if g.snapshots.stored[i].file == ref.file {
				g.snapshots.stored = append(g.snapshots.stored[:i:i], g.snapshots.stored[i+1:]...)
				break
			}
		}
		l.mu.Unlock()
	}
	return nil
}

// unneededSnapshots returns the snapshots that may be removed, once after each change. One of the
// current one's index that was stored after it is to take its place: a write may be about to name it.
func (g *group) unneededSnapshots() []snapshotRef {
	g.log.mu.Lock()
	defer g.log.mu.Unlock()
	if !g.snapshots.unswept {
		return nil
	}
	g.snapshots.unswept = false
	current, fallback := g.contents.snapshot, snapshotRef{}
	for _, ref := range g.snapshots.stored {
		if ref.file != current.file && g.isFallback(ref) && ref.meta.Index >= fallback.meta.Index {
			fallback = ref
		}
	}
	var unneeded []snapshotRef
	for _, ref := range g.snapshots.stored {
		passed := ref.meta.Index < current.meta.Index || ref.meta.Index == current.meta.Index && ref.file < current.file
		if ref.file != fallback.file && passed {
			unneeded = append(unneeded, ref)
		}
	}
	return unneeded
}

// isFallback says whether a snapshot could take the place of the current one. A snapshot of the
// same index can't: the current one has replaced it because it was damaged. Nor can one that was
// stored after the current one: no write will name it. Nor can one of another cluster, which may end
// with an index and a term that the log holds too.
func (g *group) isFallback(ref snapshotRef) bool {
	t := &g.contents
	return ref.file < t.snapshot.file && ref.meta.Index < t.snapshot.meta.Index && t.covers(&ref.meta) && t.knows(ref.meta.Configuration.Cluster)
}

// A snapshotWriter stores a snapshot. Its buffer holds the block that is being filled. Before the
// first block, the buffer also holds the header of the snapshot.
type snapshotWriter struct {
	log    *Log
	group  *group
	gate   gate
	ref    snapshotRef
	name   string
	file   vfs.File
	at     int64 // where the buffer will be written in the file
	synced int64 // how far the file is synced
	// ballast is how large the file is from the start, because it was the ballast; 0 if it wasn't.
	ballast int64
	buf     []byte
	block   int    // where in the buffer the block begins
	crc     uint32 // of everything before the block
	err     error  // the first error
	ended   bool   // by Commit or Abort
}

// Write implements io.Writer.
func (w *snapshotWriter) Write(p []byte) (int, error) {
	if err := w.gate.enter(); err != nil {
		return 0, err
	}
	defer w.gate.leave()
	if w.ended {
		return 0, fmt.Errorf("wal: write snapshot: %w", fs.ErrClosed)
	}
	n := 0
	for n < len(p) && w.err == nil {
		room := w.block + blockHeaderSize + maxBlock - len(w.buf)
		k := min(room, len(p)-n)
		w.buf = append(w.buf, p[n:n+k]...)
		if n += k; k == room {
			w.endBlock()
			w.flush()
		}
	}
	if w.err != nil {
		return 0, fmt.Errorf("wal: write snapshot: %w", w.err)
	}
	return n, nil
}

// endBlock completes the block in the buffer and begins another one.
func (w *snapshotWriter) endBlock() {
	b := w.buf[w.block:]
	little.PutUint32(b, uint32(len(b)-blockHeaderSize))
	w.crc = blockCRC(w.crc, b)
	little.PutUint32(b[4:], w.crc)
	w.block = len(w.buf)
	w.buf = append(w.buf, zeros[:blockHeaderSize]...)
}

// flush writes the blocks that are complete.
func (w *snapshotWriter) flush() {
	if w.err != nil {
		return
	}
	if w.err = w.log.grow(w.file, w.buf[:w.block], w.at); isFull(w.err) && w.takeBallast() {
		_, w.err = w.file.WriteAt(w.buf[:w.block], w.at)
	}
	if w.err != nil {
		return
	}
	w.at += int64(w.block)
	w.buf = append(w.buf[:0], w.buf[w.block:]...)
	w.block = 0
	if w.at-w.synced >= snapshotSyncEvery {
		w.err = w.file.Sync()
		w.synced = w.at
	}
}

// Commit implements raft.SnapshotWriter.
func (w *snapshotWriter) Commit() error {
	if w.ended {
		return nil
	}
	if err := w.gate.enter(); err != nil {
		return err
	}
	defer w.gate.leave()
	w.ended = true
	if err := w.commit(); err != nil {
		return fmt.Errorf("wal: commit snapshot: %w", err)
	}
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	w.group.snapshots.stored = append(w.group.snapshots.stored, w.ref)
	// If a later snapshot has become the current one meanwhile, no write will name this one.
	w.group.snapshots.unswept, w.log.untidy = true, true
	w.log.files.unswept = append(w.log.files.unswept, w.group)
	return nil
}

// commit writes the end of the snapshot and makes the file durable under its final name. If that
// fails, it removes the file.
func (w *snapshotWriter) commit() error {
	if len(w.buf) > w.block+blockHeaderSize {
		w.endBlock()
	}
	w.endBlock() // an empty block ends the snapshot
	w.flush()
	if w.err == nil {
		w.err = w.cutBallast()
	}
	if w.err == nil {
		w.err = w.file.Sync()
	}
	if err := w.log.closeFile(w.file); w.err == nil {
		w.err = err
	}
	if w.err == nil {
		w.err = w.log.fs.Rename(w.name+temporary, w.name)
	}
	if w.err != nil {
		w.remove(w.name + temporary)
		return w.err
	}
	w.log.stored(w.at)
	if w.err = w.log.fs.SyncDir(w.log.dir); w.err != nil {
		w.remove(w.name)
	}
	return w.err
}

// Abort implements raft.SnapshotWriter.
func (w *snapshotWriter) Abort() error {
	if w.ended {
		return nil
	}
	if err := w.log.enter(); err != nil {
		return err
	}
	defer w.log.leave()
	w.ended = true
	w.log.closeFile(w.file)
	w.remove(w.name + temporary)
	return nil
}

// remove removes a file that nobody needs. If the file stays, the next Open removes it.
func (w *snapshotWriter) remove(name string) {
	if w.ballast > 0 && w.log.returnBallast(name, w.ballast) {
		return
	}
	if err := w.log.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.log.tell(slog.LevelWarn, "wal: snapshot not removed", err, slog.String("file", name))
	}
}

// A snapshotReader reads a snapshot for a caller of OpenSnapshot.
type snapshotReader struct {
	log    *Log
	gate   gate
	blocks *blockReader
}

// Read implements io.Reader.
func (r *snapshotReader) Read(p []byte) (int, error) {
	if err := r.gate.enter(); err != nil {
		return 0, err
	}
	defer r.gate.leave()
	return r.blocks.Read(p)
}

// Close implements io.Closer. After Log.Close there is nothing left to close.
func (r *snapshotReader) Close() error {
	if r.log.enter() != nil {
		return nil
	}
	defer r.log.leave()
	return r.log.closeFile(r.blocks.file)
}
