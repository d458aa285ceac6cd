package raft

// tail holds the recent entries of a log. The entries that are neither stable nor before base are
// always there, and as many others as the bound of the tail allows. A slot is written once. A
// truncation closes the last chunk, and what follows goes into a new one. So messages, writes and
// the state machine may share the slots without a copy, and a clone shares all chunks but the last
// one.
type tail struct {
	chunks   []chunk
	bytes    int `state:"derived"`
	expected int `state:"transient"` // how many entries come next; 0 when that isn't known
}

// encode writes the entries. The boundaries of chunks don't show.
func (t *tail) encode(s *stateEncoder) {
	s.numbers(uint64(t.count()))
	for _, chunk := range t.chunks {
		for i := range chunk.entries {
			s.entry(&chunk.entries[i])
		}
	}
}

// clone returns a copy that never writes a slot of the original. The two share all chunks but the
// last one. The copy's last chunk has as much room as the original's. So both go on alike, even in
// what they let go of when they are full.
func (t *tail) clone() tail {
	n := tail{chunks: append([]chunk(nil), t.chunks...), bytes: t.bytes, expected: t.expected}
	if last := len(n.chunks) - 1; last >= 0 {
		if entries := n.chunks[last].entries; len(entries) < cap(entries) {
			n.chunks[last].entries = append(make([]Entry, 0, cap(entries)), entries...)
		}
	}
	return n
}

// A chunk is a run of entries. The slots between its length and its capacity belong to one tail
// alone.
type chunk struct {
	entries []Entry `clone:"shared"`
	bytes   int     `state:"derived"`
}

// The sizes of chunks, in entries. The first chunks are small, so that a short log costs little.
const minChunk, maxChunk = 8, 512

// count returns the number of entries.
func (t *tail) count() Index {
	if len(t.chunks) == 0 {
		return 0
	}
	last := t.chunks[len(t.chunks)-1].entries
	return last[len(last)-1].Index - t.after()
}

// after returns the index before the first entry. The tail must not be empty.
func (t *tail) after() Index { return t.chunks[0].entries[0].Index - 1 }

// expect says how many entries come next. They will be asked for together, so they get one chunk,
// where they stand side by side. If they all come, the slots that this leaves empty in the last
// chunk are fewer than they are.
func (t *tail) expect(count int) { t.expected = count }

// append adds an entry.
func (t *tail) append(e *Entry) {
	n := len(t.chunks)
	if n == 0 || t.chunks[n-1].room() < max(t.expected, 1) {
		size := minChunk
		if n > 0 {
			size = min(max(2*len(t.chunks[n-1].entries), minChunk), maxChunk)
		}
		t.chunks = append(t.chunks, chunk{entries: make([]Entry, 0, max(size, t.expected))})
		n++
	}
	t.expected = 0
	last := &t.chunks[n-1]
	last.entries = append(last.entries, *e)
	last.bytes += e.Size()
	t.bytes += e.Size()
}

// adopt makes a chunk of the slice of entries itself. It is for as many entries as fill a chunk.
func (t *tail) adopt(entries []Entry) {
	bytes := 0
	for i := range entries {
		bytes += entries[i].Size()
	}
	t.chunks = append(t.chunks, chunk{entries[:len(entries):len(entries)], bytes})
	t.bytes += bytes
	t.expected = 0
}

// room returns the number of entries for which there is room.
func (c *chunk) room() int { return cap(c.entries) - len(c.entries) }

// truncate drops the entries after an index.
func (t *tail) truncate(after Index) {
	for n := len(t.chunks); n > 0; n-- {
		last := &t.chunks[n-1]
		first := last.entries[0].Index
		if first <= after {
			keep := min(int(after-first)+1, len(last.entries))
			for i := keep; i < len(last.entries); i++ {
				last.bytes -= last.entries[i].Size()
				t.bytes -= last.entries[i].Size()
			}
			last.entries = last.entries[:keep:keep]
			return
		}
		t.bytes -= last.bytes
		t.chunks = t.chunks[:n-1]
	}
}

// shrink drops whole chunks from the left while the tail holds more than limit bytes. It drops
// neither the last chunk nor one with an entry after keep.
func (t *tail) shrink(limit int, keep Index) {
	drop := 0
	for drop < len(t.chunks)-1 && t.bytes > limit && t.chunks[drop+1].entries[0].Index-1 <= keep {
		t.bytes -= t.chunks[drop].bytes
		drop++
	}
	if drop > 0 {
		n := copy(t.chunks, t.chunks[drop:])
		clear(t.chunks[n:])
		t.chunks = t.chunks[:n]
	}
}

// trim drops entries from the left while the tail holds more than limit bytes, and more than one entry.
// It drops none after keep. What is left of a chunk is copied, so that the memory of the rest is free.
func (t *tail) trim(limit int, keep Index) {
	t.shrink(limit, keep)
	if t.bytes <= limit || len(t.chunks) == 0 {
		return
	}
	first, gone := &t.chunks[0], 0
	for gone < len(first.entries)-1 && t.bytes > limit && first.entries[gone].Index <= keep {
		size := first.entries[gone].Size()
		first.bytes, t.bytes = first.bytes-size, t.bytes-size
		gone++
	}
	if gone > 0 {
		first.entries = append([]Entry(nil), first.entries[gone:]...)
	}
}

// TrimTail lets go of entries in memory beyond so many bytes, as far as they aren't needed there, and
// returns how many bytes the rest takes. It is for a driver of many cores, which has a bound for all of
// them beside CoreConfig.TailBytes.
func (c *Core) TrimTail(limit int) (bytes int) {
	c.log.tail.trim(limit, c.log.stable)
	return c.log.tail.bytes
}

// compact drops the entries up to an index.
func (t *tail) compact(to Index) {
	gone := 0
	for gone < len(t.chunks) && t.chunks[gone].entries[0].Index+Index(len(t.chunks[gone].entries)) <= to+1 {
		t.bytes -= t.chunks[gone].bytes
		gone++
	}
	t.chunks = append([]chunk(nil), t.chunks[gone:]...)
	if len(t.chunks) == 0 || t.chunks[0].entries[0].Index > to {
		return
	}
	first := &t.chunks[0]
	n := int(to + 1 - first.entries[0].Index)
	for i := range first.entries[:n] {
		first.bytes -= first.entries[i].Size()
		t.bytes -= first.entries[i].Size()
	}
	first.entries = first.entries[n:]
}

// entries returns entries of (after, last], beginning with after+1: one at least, and more while
// all of them fit into maxBytes. It returns nil when after+1 isn't in the tail. Entries of more
// than one chunk are copied.
func (t *tail) entries(after, last Index, maxBytes int) []Entry {
	if after >= last {
		return nil
	}
	i := t.find(after + 1)
	if i < 0 {
		return nil
	}
	var joined []Entry
	for budget := maxBytes; ; i++ {
		all := t.chunks[i].entries
		from := int(after + 1 - all[0].Index)
		to := min(int(last+1-all[0].Index), len(all))
		n := from
		for ; n < to; n++ {
			if budget -= all[n].Size(); budget < 0 && (n > from || joined != nil) {
				break
			}
		}
		run := all[from:n:n]
		after += Index(len(run))
		if after == last || n < to || i+1 == len(t.chunks) {
			if joined == nil {
				return run
			}
			return append(joined, run...)
		}
		if joined == nil {
			joined = make([]Entry, 0, len(run)+min(int(last-after), maxChunk))
		}
		joined = append(joined, run...)
	}
}

// find returns the number of the chunk that holds an index, or -1. Nearly always it is one of the
// last chunks.
func (t *tail) find(index Index) int {
	for i := len(t.chunks) - 1; i >= 0; i-- {
		entries := t.chunks[i].entries
		if first := entries[0].Index; index >= first {
			if int(index-first) >= len(entries) {
				return -1
			}
			return i
		}
	}
	return -1
}
