package raft

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sort"
	"sync"
)

// MemoryStorage is a Storage in memory: for tests, and for state that may be lost with the process.
// Its content outlives it: Reopen gives a storage that holds what this one was told to hold, as a disk
// would after a crash.
//
// It copies what it is given into chunks without pointers, so that even a long log costs the garbage
// collector nothing.
type MemoryStorage struct {
	mu     sync.Mutex
	closed bool
	failed error // of the first Write that failed; every later one fails with it
	data   *memoryData
}

// memoryData is what survives a Reopen.
type memoryData struct {
	state    DurableState
	snapshot *memorySnapshot
	// written are the snapshots that were committed, but that no Write has named yet.
	written []*memorySnapshot

	// first is the index of the log's first entry, last that of its last one; last is first-1 when the
	// log is empty.
	first, last Index
	baseTerm    Term           // of the entry before the first one
	chunks      []*memoryChunk // never empty ones; contiguous, from first (or before) to last
	origins     []Origin       // what the numbers in memoryRecord.origin stand for
	spare       []*memoryChunk // of maxMemoryChunk bytes, to be used again; no more of them than there are chunks at a compaction
}

// A memoryChunk holds neighbouring entries. A byte of it is written once: truncation shortens only records,
// and the next entry's data goes behind what is there, so that what was handed out stays as it is. Of a chunk that the log has
// forgotten nothing is left to keep, unless some of it was handed out: so the others are used again.
type memoryChunk struct {
	first   Index
	records []memoryRecord
	bytes   []byte
	lent    bool // whether any of it was handed out
}

// A memoryRecord is an entry without its index and without pointers.
type memoryRecord struct {
	term     Term
	number   uint64
	from, to uint32 // where the data is in the chunk
	origin   uint32 // in memoryData.origins
	kind     EntryKind
	none     bool // the data was nil
}

// Chunks start small and double up to maxMemoryChunk bytes of data; a larger entry has one of its own.
const (
	minMemoryChunk        = 4 << 10
	maxMemoryChunk        = 256 << 10
	memoryChunkBytesARow  = 64 // expected data per entry, for the first guess of a chunk's capacity
	maxMemoryChunkRecords = 4096
)

type memorySnapshot struct {
	meta  SnapshotMeta
	bytes []byte
}

// NewMemoryStorage returns a storage that holds nothing yet.
func NewMemoryStorage() *MemoryStorage {
	return &MemoryStorage{data: &memoryData{first: 1, origins: []Origin{{}}}}
}

// Reopen closes the storage and returns another one with the same content. A snapshot that no Write
// has named is gone, like a temporary file.
func (s *MemoryStorage) Reopen() *MemoryStorage {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.data.written = nil
	return &MemoryStorage{data: s.data}
}

// errMemoryClosed is what a closed storage answers.
var errMemoryClosed = fmt.Errorf("raft: memory storage: %w", fs.ErrClosed)

// Load implements Storage.
func (s *MemoryStorage) Load() (Saved, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return Saved{}, errMemoryClosed
	}
	d := s.data
	saved := Saved{State: d.state, Base: d.first - 1, BaseTerm: d.baseTerm, Last: d.last}
	if d.snapshot != nil {
		saved.Snapshot, saved.SnapshotBytes = d.snapshot.meta, uint64(len(d.snapshot.bytes))
	}
	for _, chunk := range d.chunks {
		for i := range chunk.records {
			r, index := &chunk.records[i], chunk.first+Index(i)
			if index <= saved.Base {
				continue
			}
			if n := len(saved.Runs); n == 0 || saved.Runs[n-1].Term != r.term {
				saved.Runs = append(saved.Runs, TermRun{First: index, Term: r.term})
			}
			if index > saved.Snapshot.Index {
				saved.LogBytes += uint64(r.to-r.from) + entryOverhead
			}
			if r.kind == EntryConfiguration && index > saved.Snapshot.Index {
				saved.Configurations = append(saved.Configurations, d.entry(chunk, i))
			}
		}
	}
	return saved, nil
}

// Write implements Storage. A write that breaks the contract is refused, and so is every one after it.
func (s *MemoryStorage) Write(w Write) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errMemoryClosed
	}
	if s.failed != nil {
		return s.failed
	}
	if err := s.data.write(w); err != nil {
		s.failed = fmt.Errorf("raft: memory storage: write %d: %w", w.Number, err)
		return s.failed
	}
	return nil
}

// write checks all of w before it changes anything: a write takes effect as a whole or not at all.
func (d *memoryData) write(w Write) error {
	first, last, snapshot := d.first, d.last, d.snapshot
	if w.Snapshot != nil {
		if snapshot = d.find(w.Snapshot); snapshot == nil {
			return fmt.Errorf("snapshot %d of term %d was not committed", w.Snapshot.Index, w.Snapshot.Term)
		}
		if d.snapshot != nil && w.Snapshot.Index < d.snapshot.meta.Index {
			return fmt.Errorf("snapshot %d is older than the current one, %d", w.Snapshot.Index, d.snapshot.meta.Index)
		}
		if term, ok := d.term(w.Snapshot.Index); !ok || term != w.Snapshot.Term {
			first, last = w.Snapshot.Index+1, w.Snapshot.Index
		}
	}
	if n := len(w.Entries); n > 0 {
		from := w.Entries[0].Index
		if from < first || from > last+1 {
			return fmt.Errorf("entry %d doesn't follow a log of entries %d to %d", from, first, last)
		}
		for i := range w.Entries {
			if w.Entries[i].Index != from+Index(i) {
				return fmt.Errorf("entry %d stands where %d should", w.Entries[i].Index, from+Index(i))
			}
			if len(w.Entries[i].Data) > MaxCommandSize {
				return fmt.Errorf("entry %d has %d bytes, more than %d", w.Entries[i].Index, len(w.Entries[i].Data), MaxCommandSize)
			}
		}
	}
	if w.Compact > 0 && (snapshot == nil || w.Compact > snapshot.meta.Index) {
		return fmt.Errorf("compaction up to %d without a snapshot there", w.Compact)
	}

	d.state = w.State
	if w.Snapshot != nil {
		d.install(snapshot, first, last)
	}
	if len(w.Entries) > 0 {
		d.truncate(w.Entries[0].Index)
		for i := range w.Entries {
			d.append(&w.Entries[i])
		}
	}
	d.compact(w.Compact)
	return nil
}

// find returns the snapshot that a Write names, or nil.
func (d *memoryData) find(meta *SnapshotMeta) *memorySnapshot {
	for _, snapshot := range d.written {
		if snapshot.meta.Index == meta.Index && snapshot.meta.Term == meta.Term {
			return snapshot
		}
	}
	return nil
}

// install makes a snapshot the current one and drops the log unless it goes on from it.
func (d *memoryData) install(snapshot *memorySnapshot, first, last Index) {
	d.snapshot = snapshot
	kept := d.written[:0]
	for _, other := range d.written {
		if other.meta.Index > snapshot.meta.Index {
			kept = append(kept, other)
		}
	}
	clear(d.written[len(kept):])
	d.written = kept
	if first != d.first || last != d.last {
		d.first, d.last, d.chunks, d.spare, d.baseTerm = first, last, nil, nil, snapshot.meta.Term
	}
}

// truncate drops the entries from an index on.
func (d *memoryData) truncate(from Index) {
	for n := len(d.chunks); d.last >= from; n = len(d.chunks) {
		chunk := d.chunks[n-1]
		if chunk.first >= from {
			d.chunks[n-1] = nil
			d.chunks = d.chunks[:n-1]
			d.last = chunk.first - 1
			continue
		}
		chunk.records = chunk.records[:from-chunk.first]
		d.last = from - 1
	}
}

// append adds the entry after the last one.
func (d *memoryData) append(e *Entry) {
	var chunk *memoryChunk
	size := minMemoryChunk
	if n := len(d.chunks); n > 0 {
		chunk = d.chunks[n-1]
		size = min(2*cap(chunk.bytes), maxMemoryChunk)
		full := len(chunk.records) == cap(chunk.records) || len(e.Data) > cap(chunk.bytes)-len(chunk.bytes)
		if full {
			chunk = nil
		}
	}
	if chunk == nil {
		chunk = d.newChunk(size, len(e.Data))
		chunk.first = e.Index
		d.chunks = append(d.chunks, chunk)
	}
	from := len(chunk.bytes)
	chunk.bytes = append(chunk.bytes, e.Data...)
	chunk.records = append(chunk.records, memoryRecord{
		term: e.Term, number: e.Number, kind: e.Kind, none: e.Data == nil,
		origin: d.origin(e.Origin), from: uint32(from), to: uint32(len(chunk.bytes)),
	})
	d.last = e.Index
}

// newChunk returns an empty chunk for size bytes of data, or for the need of a larger entry.
func (d *memoryData) newChunk(size, need int) *memoryChunk {
	if n := len(d.spare); n > 0 && size == maxMemoryChunk && need <= size {
		chunk := d.spare[n-1]
		d.spare[n-1] = nil
		d.spare = d.spare[:n-1]
		chunk.records, chunk.bytes = chunk.records[:0], chunk.bytes[:0]
		return chunk
	}
	return &memoryChunk{
		records: make([]memoryRecord, 0, min(size/memoryChunkBytesARow, maxMemoryChunkRecords)),
		bytes:   make([]byte, 0, max(size, need)),
	}
}

// origin returns the number of an origin. There is one per start of a server, and neighbouring
// entries mostly share theirs, so that the search from the right ends soon.
func (d *memoryData) origin(o Origin) uint32 {
	for i := len(d.origins) - 1; i >= 0; i-- {
		if d.origins[i] == o {
			return uint32(i)
		}
	}
	d.origins = append(d.origins, o)
	return uint32(len(d.origins) - 1)
}

// compact forgets the chunks that lie wholly at or below an index.
func (d *memoryData) compact(to Index) {
	if to < d.first {
		return
	}
	d.baseTerm, _ = d.term(min(to, d.last))
	d.first = min(to, d.last) + 1
	n := 0
	for n < len(d.chunks) && d.chunks[n].end() < d.first {
		if chunk := d.chunks[n]; !chunk.lent && cap(chunk.bytes) == maxMemoryChunk {
			d.spare = append(d.spare, chunk)
		}
		n++
	}
	if most := len(d.chunks) - n; len(d.spare) > most {
		clear(d.spare[most:])
		d.spare = d.spare[:most]
	}
	if n == len(d.chunks) {
		d.chunks = nil
		return
	}
	d.chunks = append([]*memoryChunk(nil), d.chunks[n:]...)
}

// end is the index of the chunk's last entry.
func (c *memoryChunk) end() Index { return c.first + Index(len(c.records)) - 1 }

// term returns the term of the entry at an index, if the log or the snapshot tells it.
func (d *memoryData) term(index Index) (Term, bool) {
	if d.snapshot != nil && index == d.snapshot.meta.Index {
		return d.snapshot.meta.Term, true
	}
	if index < d.first || index > d.last {
		return 0, false
	}
	chunk := d.chunks[d.chunk(index)]
	return chunk.records[index-chunk.first].term, true
}

// chunk returns the position of the chunk that holds an index of the log.
func (d *memoryData) chunk(index Index) int {
	return sort.Search(len(d.chunks), func(i int) bool { return d.chunks[i].end() >= index })
}

// entry returns the i-th entry of a chunk. Its data is the chunk's own.
func (d *memoryData) entry(chunk *memoryChunk, i int) Entry {
	chunk.lent = true
	r := &chunk.records[i]
	e := Entry{Index: chunk.first + Index(i), Term: r.term, Kind: r.kind, Origin: d.origins[r.origin], Number: r.number}
	if !r.none {
		e.Data = chunk.bytes[r.from:r.to:r.to]
	}
	return e
}

// Entries implements Storage.
func (s *MemoryStorage) Entries(after, last Index, maxBytes int) ([]Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errMemoryClosed
	}
	d := s.data
	if after+1 < d.first || after+1 > d.last || last <= after {
		return nil, fmt.Errorf("raft: memory storage: entries after %d up to %d of a log from %d to %d: %w",
			after, last, d.first, d.last, ErrCompacted)
	}
	last = min(last, d.last)
	var entries []Entry
	bytes := 0
	for n := d.chunk(after + 1); n < len(d.chunks); n++ {
		chunk := d.chunks[n]
		for i := int(max(after+1, chunk.first) - chunk.first); i < len(chunk.records); i++ {
			if chunk.first+Index(i) > last {
				return entries, nil
			}
			size := int(chunk.records[i].to - chunk.records[i].from)
			if len(entries) > 0 {
				if bytes += size; bytes > maxBytes {
					return entries, nil
				}
			}
			entries = append(entries, d.entry(chunk, i))
		}
	}
	return entries, nil
}

// CreateSnapshot implements Storage.
func (s *MemoryStorage) CreateSnapshot(meta SnapshotMeta) (SnapshotWriter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errMemoryClosed
	}
	return &memorySnapshotWriter{storage: s, meta: meta}, nil
}

// OpenSnapshot implements Storage.
func (s *MemoryStorage) OpenSnapshot() (SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return SnapshotMeta{}, nil, errMemoryClosed
	}
	if s.data.snapshot == nil {
		return SnapshotMeta{}, nil, ErrNoSnapshot
	}
	return s.data.snapshot.meta, io.NopCloser(bytes.NewReader(s.data.snapshot.bytes)), nil
}

// Close implements Storage.
func (s *MemoryStorage) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// memorySnapshotWriter gathers the bytes of a snapshot.
type memorySnapshotWriter struct {
	storage *MemoryStorage
	meta    SnapshotMeta
	bytes   []byte
	ended   bool
}

var errSnapshotEnded = errors.New("raft: memory storage: write to a snapshot that was committed or aborted")

// Write implements io.Writer.
func (w *memorySnapshotWriter) Write(b []byte) (int, error) {
	if w.ended {
		return 0, errSnapshotEnded
	}
	w.bytes = append(w.bytes, b...)
	return len(b), nil
}

// Commit implements SnapshotWriter.
func (w *memorySnapshotWriter) Commit() error {
	if w.ended {
		return nil
	}
	w.ended = true
	w.storage.mu.Lock()
	defer w.storage.mu.Unlock()
	if w.storage.closed {
		return errMemoryClosed
	}
	d := w.storage.data
	snapshot := &memorySnapshot{meta: w.meta, bytes: w.bytes}
	for i, other := range d.written {
		if other.meta.Index == w.meta.Index && other.meta.Term == w.meta.Term {
			d.written[i] = snapshot
			return nil
		}
	}
	d.written = append(d.written, snapshot)
	return nil
}

// Abort implements SnapshotWriter.
func (w *memorySnapshotWriter) Abort() error {
	w.ended, w.bytes = true, nil
	return nil
}
