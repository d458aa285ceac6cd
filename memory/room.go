package memory

import (
	"errors"
	"fmt"
	"math"
	"syscall"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// SetSize bounds how many bytes the logs of all groups may take, and how many each snapshot may, as if
// the two had a part of the disk to themselves. Each entry counts for its data and wire.EntryOverhead bytes.
// math.MaxUint64 stands for no bound, and a new storage has none. The size may be changed at any
// time, as if others filled the disk and made room again. When nothing more fits, a Write waits, and
// a snapshot fails with an error that wraps syscall.ENOSPC. Reopen keeps the size.
func (s *Storage) SetSize(bytes uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.size = bytes
	s.changed.Broadcast()
}

// Room returns for how many bytes of entries there is room (see raft.Storage).
func (s *Storage) Room() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.room()
}

// errWaiting is what Waiting returns.
var errWaiting = errors.New("memory: a write waits for room")

// Waiting says whether a Write waits for room (see raft.Storage).
func (s *Storage) Waiting() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting {
		return errWaiting
	}
	return nil
}

// room returns how many bytes are free.
func (d *disk) room() uint64 {
	if d.size == math.MaxUint64 {
		return d.size
	}
	logged := uint64(0)
	for _, c := range d.groups {
		logged += c.logged
	}
	return d.size - min(logged, d.size)
}

// logBytes returns how many bytes the entries of [first, last] take, as far as the log holds them.
func (d *contents) logBytes(first, last raft.Index) (bytes uint64) {
	first, last = max(first, d.first), min(last, d.last)
	for n := d.chunk(first); n < len(d.chunks) && d.chunks[n].first <= last; n++ {
		chunk := d.chunks[n]
		for index := max(first, chunk.first); index <= min(last, chunk.end()); index++ {
			r := &chunk.records[index-chunk.first]
			bytes += uint64(r.to-r.from) + wire.EntryOverhead
		}
	}
	return bytes
}

// weigh says in saved how many bytes the entries take.
func (d *contents) weigh(saved *raft.Saved) {
	saved.LogBytes = d.logBytes(saved.Snapshot.Index+1, d.last)
	saved.KeptBytes = d.logBytes(d.first, saved.Snapshot.Index)
}

// grows returns by how many bytes a write makes the storage larger, and 0 if it doesn't.
func (d *contents) grows(w *raft.Write) uint64 {
	added, gone := uint64(0), uint64(0)
	for i := range w.Entries {
		added += uint64(w.Entries[i].Size())
	}
	first := max(d.first, w.Compact+1)
	if w.Compact >= d.first {
		gone += d.logBytes(d.first, w.Compact)
	}
	if len(w.Entries) > 0 {
		gone += d.logBytes(max(first, w.Entries[0].Index), d.last)
	}
	return added - min(gone, added)
}

// awaitRoom waits until writes fit. It returns false if the storage that they are for was closed.
func (d *disk) awaitRoom(s *Storage, writes []raft.GroupWrite) bool {
	defer func() { d.waiting = false }()
	for !s.gone() {
		grows := uint64(0)
		for i := range writes {
			grows += d.contents(writes[i].Group).grows(&writes[i].Write)
		}
		if grows == 0 || grows <= d.room() {
			return true
		}
		d.waiting = true
		d.changed.Wait()
	}
	return false
}

// fits returns an error if a snapshot may not have so many bytes.
func (s *Storage) fits(bytes int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if uint64(bytes) > s.size {
		return fmt.Errorf("memory: a snapshot of %d bytes or more, and room for %d: %w", bytes, s.size, syscall.ENOSPC)
	}
	return nil
}
