package memory

import (
	"fmt"
	"io/fs"
	"sort"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A Storage keeps the state of one server. Its contents outlive it: Reopen returns a storage with
// all that this one was told to hold, as a disk has it after a crash. It is the storage of the group
// "", and as a raft.SharedStorage it has those of other groups.
//
// It copies what it is given into chunks without pointers. So even a long log costs the garbage
// collector nothing.
type Storage struct {
	*disk
	group  raft.GroupID
	whole  bool // its Close closes the storages of all groups
	closed bool
	data   *contents
}

// contents is what one group has on a disk. All but written and failed survives a Reopen.
type contents struct {
	stored bool  // a Write has made the group
	failed error // the error of the first Write that failed; every later Write fails with it

	state    raft.DurableState
	snapshot *storedSnapshot
	// written are the committed snapshots that no Write has named yet.
	written []*storedSnapshot

	// first and last are the indexes of the log's first and last entry. When the log is empty, last
	// is first-1.
	first, last raft.Index
	baseTerm    raft.Term     // of the entry before the first one
	chunks      []*chunk      // contiguous, from first (or before it) to last; none is empty
	origins     []raft.Origin // record.origin is an index of this slice
	logged      uint64        // the bytes of the log, as they count against the size of the disk
	// spare are chunks of maxChunk bytes that can be used again. A compaction leaves no more of
	// them than the log has chunks.
	spare []*chunk
}

// A chunk holds neighbouring entries. Each byte of it is written once: a truncation shortens only
// the records, and the next entry's data goes behind the bytes that are there. So whatever was
// handed out stays as it is. When the log has forgotten a chunk, the chunk is used again, unless a
// part of it was handed out.
type chunk struct {
	first   raft.Index
	records []record
	bytes   []byte
	lent    bool // a part of it was handed out
}

// A record is an entry without its index and without pointers.
type record struct {
	term     raft.Term
	number   uint64
	from, to uint32 // the data is chunk.bytes[from:to]
	origin   uint32 // in contents.origins
	kind     wire.EntryKind
	none     bool // the data is nil, rather than empty
	lost     bool // the data can't be read
}

// Chunks start with minChunk bytes of data, and double up to maxChunk. An entry that is larger has
// a chunk of its own.
const (
	minChunk     = 4 << 10
	maxChunk     = 256 << 10
	bytesARecord = 64 // the data that an entry is expected to have: a chunk has room for records by it
	maxRecords   = 4096
)

// errStorageClosed is what a closed storage answers.
var errStorageClosed = fmt.Errorf("memory: storage: %w", fs.ErrClosed)

// Load implements raft.Storage.
func (s *Storage) Load() (raft.Saved, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone() {
		return raft.Saved{}, errStorageClosed
	}
	d := s.data
	saved := raft.Saved{State: d.state, Base: d.first - 1, BaseTerm: d.baseTerm, Last: d.last}
	if d.snapshot != nil {
		saved.Snapshot, saved.SnapshotBytes = d.snapshot.meta, uint64(len(d.snapshot.bytes))
	}
	d.weigh(&saved)
	for _, chunk := range d.chunks {
		for i := range chunk.records {
			r, index := &chunk.records[i], chunk.first+raft.Index(i)
			if index <= saved.Base {
				continue
			}
			if n := len(saved.Runs); n == 0 || saved.Runs[n-1].Term != r.term {
				saved.Runs = append(saved.Runs, raft.TermRun{First: index, Term: r.term})
			}
			if r.lost {
				saved.Lost = withLost(saved.Lost, index)
			}
			if r.kind == wire.EntryConfiguration && index > saved.Snapshot.Index {
				saved.Configurations = append(saved.Configurations, d.entry(chunk, i))
			}
		}
	}
	return saved, nil
}

// Write implements raft.Storage. It refuses a write that breaks the contract, and every write after
// it.
func (s *Storage) Write(w raft.Write) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	writes := []raft.GroupWrite{{Group: s.group, Write: w}}
	if !s.awaitRoom(s, writes) {
		return errStorageClosed
	}
	return s.write(&writes[0])
}

// write performs the write of a group, unless an earlier one has failed.
func (d *disk) write(w *raft.GroupWrite) error {
	c := d.contents(w.Group)
	if c.failed != nil {
		return c.failed
	}
	if err := c.write(w.Write); err != nil {
		c.failed = fmt.Errorf("memory: write %d: %w", w.Write.Number, err)
		return c.failed
	}
	return nil
}

// write checks all of w before it changes anything: a write takes effect as a whole or not at all.
func (d *contents) write(w raft.Write) error {
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
			if w.Entries[i].Index != from+raft.Index(i) {
				return fmt.Errorf("entry %d stands where %d should", w.Entries[i].Index, from+raft.Index(i))
			}
			if len(w.Entries[i].Data) > wire.MaxCommandSize {
				return fmt.Errorf("entry %d has %d bytes, more than %d",
					w.Entries[i].Index, len(w.Entries[i].Data), wire.MaxCommandSize)
			}
		}
	}
	if err := d.checkRepairs(w.Repairs); err != nil {
		return err
	}
	if w.Compact > 0 && (snapshot == nil || w.Compact > snapshot.meta.Index) {
		return fmt.Errorf("compaction up to %d without a snapshot there", w.Compact)
	}

	d.state, d.stored = w.State, true
	for i := range w.Repairs {
		d.record(w.Repairs[i].Index).lost = false
	}
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
func (d *contents) find(meta *raft.SnapshotMeta) *storedSnapshot {
	for _, snapshot := range d.written {
		if snapshot.meta.Index == meta.Index && snapshot.meta.Term == meta.Term {
			return snapshot
		}
	}
	return nil
}

// install makes a snapshot the current one. It drops the log unless the log goes on after the
// snapshot.
func (d *contents) install(snapshot *storedSnapshot, first, last raft.Index) {
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
		d.logged = 0
	}
}

// truncate drops the entries from an index on.
func (d *contents) truncate(from raft.Index) {
	d.logged -= d.logBytes(from, d.last)
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
func (d *contents) append(e *raft.Entry) {
	last := d.roomFor(e)
	from := len(last.bytes)
	last.bytes = append(last.bytes, e.Data...)
	last.records = append(last.records, record{
		term: e.Term, number: e.Number, kind: e.Kind, none: e.Data == nil,
		origin: d.origin(e.Origin), from: uint32(from), to: uint32(len(last.bytes)),
	})
	d.last = e.Index
	d.logged += uint64(e.Size())
}

// roomFor returns the chunk that the next entry goes into. That is the last chunk, or a new one if
// the last chunk is full.
func (d *contents) roomFor(e *raft.Entry) *chunk {
	size := minChunk
	if n := len(d.chunks); n > 0 {
		last := d.chunks[n-1]
		if len(last.records) < cap(last.records) && len(e.Data) <= cap(last.bytes)-len(last.bytes) {
			return last
		}
		size = min(2*cap(last.bytes), maxChunk)
	}
	added := d.newChunk(size, len(e.Data))
	added.first = e.Index
	d.chunks = append(d.chunks, added)
	return added
}

// newChunk returns an empty chunk for size bytes of data, or for need bytes if that is more.
func (d *contents) newChunk(size, need int) *chunk {
	if n := len(d.spare); n > 0 && size == maxChunk && need <= size {
		spare := d.spare[n-1]
		d.spare[n-1] = nil
		d.spare = d.spare[:n-1]
		spare.records, spare.bytes = spare.records[:0], spare.bytes[:0]
		return spare
	}
	return &chunk{
		records: make([]record, 0, min(size/bytesARecord, maxRecords)),
		bytes:   make([]byte, 0, max(size, need)),
	}
}

// origin returns the number of an origin. There is one origin for each start of a server, and
// neighbouring entries mostly have the same one. So the search from the right soon ends.
func (d *contents) origin(o raft.Origin) uint32 {
	for i := len(d.origins) - 1; i >= 0; i-- {
		if d.origins[i] == o {
			return uint32(i)
		}
	}
	d.origins = append(d.origins, o)
	return uint32(len(d.origins) - 1)
}

// compact forgets the chunks that lie wholly at or below an index.
func (d *contents) compact(to raft.Index) {
	if to < d.first {
		return
	}
	d.logged -= d.logBytes(d.first, to)
	d.baseTerm, _ = d.term(min(to, d.last))
	d.first = min(to, d.last) + 1
	n := 0
	for n < len(d.chunks) && d.chunks[n].end() < d.first {
		if chunk := d.chunks[n]; !chunk.lent && cap(chunk.bytes) == maxChunk {
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
	d.chunks = append([]*chunk(nil), d.chunks[n:]...)
}

// end is the index of the chunk's last entry.
func (c *chunk) end() raft.Index { return c.first + raft.Index(len(c.records)) - 1 }

// term returns the term of the entry at an index, if the log or the snapshot has it.
func (d *contents) term(index raft.Index) (raft.Term, bool) {
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
func (d *contents) chunk(index raft.Index) int {
	return sort.Search(len(d.chunks), func(i int) bool { return d.chunks[i].end() >= index })
}

// entry returns the i-th entry of a chunk. Its data is the chunk's own.
func (d *contents) entry(c *chunk, i int) raft.Entry {
	c.lent = true
	r := &c.records[i]
	e := raft.Entry{
		Index: c.first + raft.Index(i), Term: r.term, Kind: r.kind,
		Origin: d.origins[r.origin], Number: r.number,
	}
	if !r.none {
		e.Data = c.bytes[r.from:r.to:r.to]
	}
	return e
}

// Entries implements raft.Storage.
func (s *Storage) Entries(after, last raft.Index, maxBytes int) ([]raft.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone() {
		return nil, errStorageClosed
	}
	d := s.data
	if after+1 < d.first || after+1 > d.last || last <= after {
		return nil, fmt.Errorf("memory: entries after %d up to %d of a log from %d to %d: %w",
			after, last, d.first, d.last, raft.ErrCompacted)
	}
	last = min(last, d.last)
	var entries []raft.Entry
	bytes := 0
	for n := d.chunk(after + 1); n < len(d.chunks); n++ {
		chunk := d.chunks[n]
		for i := int(max(after+1, chunk.first) - chunk.first); i < len(chunk.records); i++ {
			if chunk.first+raft.Index(i) > last {
				return entries, nil
			}
			if chunk.records[i].lost {
				return entries, d.lostFrom(chunk.first+raft.Index(i), len(entries))
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
