package wal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// A mark names a group that was touched, and says how many parts of the group have touched it. A replay
// that has read as many knows that damage in between hasn't hit the group.
type mark struct {
	number uint64
	parts  uint32 // unknownParts or more if it isn't known
	ended  bool   // the group has ended
}

// unknownParts says that a group was touched, and that damage has hit it: so nobody knows how many parts
// there were.
const unknownParts = 1 << 31

// markOf returns the mark of a group.
func markOf(g *group, parts uint32) mark { return mark{number: g.number, parts: parts, ended: g.ended} }

// A directory stands at the beginning of a shared record. It says which groups have a part in the
// record, and which ones have had a part in the records since a place before it.
type directory struct {
	since   place
	touched []mark
	parts   []part
	end     int // where in the record that was read the last part ends
}

// A part is what a record holds of one group. In a shared record it stands in the directory; a record
// of another kind is one part of the group "".
type part struct {
	group   uint64 // its number
	prelude []byte
	crc     uint32 // of the prelude
	// Where in the record its repairs begin, where its entries begin, and where the part ends.
	repairs, entries, end int
}

// sound says whether the prelude is undamaged.
func (p *part) sound() bool { return crc32.Checksum(p.prelude, castagnoli) == p.crc }

// Bounds of what a directory takes, in bytes.
const (
	maxDirectory = 4*binary.MaxVarintLen64 + 4 // beside its marks and its parts
	maxInPart    = 4*binary.MaxVarintLen64 + 4
	maxMark      = 2 * binary.MaxVarintLen64
)

// append appends the encoding of the directory.
func (d *directory) append(b []byte) []byte {
	start := len(b)
	b = binary.AppendUvarint(b, uint64(len(d.parts)))
	b = binary.AppendUvarint(b, d.since.segment)
	b = binary.AppendUvarint(b, uint64(d.since.offset))
	b = appendMarks(b, d.touched)
	for i := range d.parts {
		p := &d.parts[i]
		b = binary.AppendUvarint(b, p.group)
		b = binary.AppendUvarint(b, uint64(len(p.prelude)))
		b = binary.AppendUvarint(b, uint64(p.entries-p.repairs))
		b = binary.AppendUvarint(b, uint64(p.end-p.entries))
		b = little.AppendUint32(b, p.crc)
	}
	return little.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// errParts says that the parts of a record aren't what its directory says, though that is sound.
var errParts = errors.New("its parts don't fill it")

// decode decodes the directory at the beginning of the body of a record, and finds its parts. The
// error is errDamaged when the checksum is wrong.
func (d *directory) decode(record []byte) error {
	body := record[headerSize:]
	in := decoder{b: body}
	n := in.uvarint()
	d.since.segment = in.uvarint()
	offset := in.uvarint()
	if d.touched == nil {
		d.touched = []mark{}
	}
	d.touched = in.marks(d.touched[:0])
	d.parts = d.parts[:0]
	if in.check(n <= uint64(len(in.b)) && offset <= maxOffset, "directory"); in.err != nil {
		return errDamaged
	}
	d.since.offset = uint32(offset)
	for ; n > 0 && in.err == nil; n-- {
		group, prelude, repairs, entries := in.uvarint(), in.uvarint(), in.uvarint(), in.uvarint()
		in.check(prelude <= maxRecord && repairs <= maxRecord && entries <= maxRecord, "part")
		d.parts = append(d.parts, part{
			group: group, prelude: nil, crc: in.uint32(), repairs: int(prelude), entries: int(repairs), end: int(entries),
		})
	}
	covered := len(body) - len(in.b)
	if sum := in.uint32(); in.err != nil || sum != crc32.Checksum(body[:covered], castagnoli) {
		return errDamaged
	}
	at := len(record) - len(in.b)
	for i := range d.parts {
		p := &d.parts[i]
		prelude, repairs, entries := p.repairs, p.entries, p.end
		if len(record)-at < prelude || len(record)-at-prelude < repairs || len(record)-at-prelude-repairs < entries {
			return errParts
		}
		p.prelude = record[at : at+prelude]
		p.repairs = at + prelude
		p.entries = p.repairs + repairs
		p.end = p.entries + entries
		at = p.end
	}
	d.end = at
	return nil
}

// appendMarks appends a list of marks.
func appendMarks(b []byte, marks []mark) []byte {
	b = binary.AppendUvarint(b, uint64(len(marks)))
	for _, m := range marks {
		v := m.number << 2
		if m.ended {
			v |= 1
		}
		if m.parts == 1 {
			b = binary.AppendUvarint(b, v)
			continue
		}
		b = binary.AppendUvarint(b, v|2)
		if m.parts < unknownParts {
			b = binary.AppendUvarint(b, uint64(m.parts))
		} else {
			b = append(b, 0)
		}
	}
	return b
}

// marks decodes a list of marks, and appends them to marks.
func (d *decoder) marks(marks []mark) []mark {
	for i := d.count(); i > 0 && d.err == nil; i-- {
		v := d.uvarint()
		m := mark{number: v >> 2, parts: 1, ended: v&1 == 1}
		if v&2 == 2 {
			parts := d.uvarint()
			d.check(parts < unknownParts, "mark of a group")
			if m.parts = uint32(parts); parts == 0 {
				m.parts = unknownParts
			}
		}
		marks = append(marks, m)
	}
	return marks
}

// A window is which groups had a part in the last records: in all those behind a place, which is that
// of the trail.
type window struct {
	steps  []partStep // in order; those before begun are no part of the window any more
	begun  int
	base   uint64   // how many steps there were before the first of steps
	groups []*group // those with a step in the window
}

// A partStep is what one part has touched in its group.
type partStep struct {
	end   place // of its record
	group *group
	own   touch
	part  bool   // there was a part; else it is known in another way that the group was touched
	prior uint64 // the number of the group's step before it, counted from 1; 0 if there is none
}

// recent is what a group has in the window.
type recent struct {
	latest uint64 // the number of its last step, counted from 1
	steps  int32  // how many of its steps are in the window
	parts  uint32 // how many of these are parts
	at     int32  // where it stands among the groups of the window
}

// add notes a part of a record that ends at end.
func (w *window) add(end place, g *group, own touch) {
	w.note(end, g, own)
	w.steps[len(w.steps)-1].part = true
	g.recent.parts++
}

// note notes that a group was touched in a record that ends at end, though no part was read that says so.
func (w *window) note(end place, g *group, own touch) {
	w.steps = append(w.steps, partStep{end: end, group: g, own: own, prior: g.recent.latest})
	g.recent.latest = w.base + uint64(len(w.steps))
	if g.recent.steps++; g.recent.steps == 1 {
		g.recent.at = int32(len(w.groups))
		w.groups = append(w.groups, g)
	}
}

// begin leaves out what ends at a place or before it.
func (w *window) begin(since place) {
	for w.begun < len(w.steps) && !since.before(w.steps[w.begun].end) {
		g := w.steps[w.begun].group
		if w.steps[w.begun].part {
			g.recent.parts--
		}
		w.steps[w.begun].group = nil
		w.begun++
		if g.recent.steps--; g.recent.steps > 0 {
			continue
		}
		last := w.groups[len(w.groups)-1]
		w.groups[g.recent.at], last.recent.at = last, g.recent.at
		w.groups[len(w.groups)-1] = nil
		w.groups = w.groups[:len(w.groups)-1]
	}
	if w.begun > len(w.steps)/2 {
		n := copy(w.steps, w.steps[w.begun:])
		clear(w.steps[n:])
		w.steps = w.steps[:n]
		w.base += uint64(w.begun)
		w.begun = 0
	}
}

// touched returns what was touched of a group within the window.
func (w *window) touched(g *group) (all touch) {
	for i := g.recent.latest; i > w.base+uint64(w.begun); i = w.steps[i-1-w.base].prior {
		all = all.with(w.steps[i-1-w.base].own)
	}
	return all
}

// marks appends the marks of the groups in the window.
func (w *window) marks(marks []mark) []mark {
	for _, g := range w.groups {
		parts := g.recent.parts
		if uint32(g.recent.steps) > parts {
			parts = unknownParts
		}
		marks = append(marks, markOf(g, parts))
	}
	return marks
}

// parts returns how many parts of a group there were behind a place, if the window begins there or before.
func (w *window) parts(g *group, since place) (n uint32) {
	for i := g.recent.latest; i > w.base+uint64(w.begun); i = w.steps[i-1-w.base].prior {
		if step := &w.steps[i-1-w.base]; step.part && since.before(step.end) {
			n++
		}
	}
	return n
}
