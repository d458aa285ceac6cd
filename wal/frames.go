package wal

import (
	"fmt"
	"hash/crc32"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// appendFrame appends an entry in a frame, with its length and its CRC.
func appendFrame(b []byte, e *raft.Entry, seed uint32) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	b = wire.AppendEntry(b, e)
	little.PutUint32(b[at:], uint32(len(b)-at-frameSize))
	little.PutUint32(b[at+4:], frameCRC(b[at:], seed))
	return b
}

// frameCRC returns the CRC of a frame, as it must be.
func frameCRC(frame []byte, seed uint32) uint32 {
	return crc32.Update(crc32.Update(seed, castagnoli, frame[:4]), castagnoli, frame[frameSize:])
}

// frameAt returns the frame at the beginning of b, if b is long enough for it.
func frameAt(b []byte) ([]byte, bool) {
	if len(b) < frameSize || uint64(little.Uint32(b)) > uint64(len(b)-frameSize) {
		return nil, false
	}
	return b[:frameSize+little.Uint32(b)], true
}

// entryIn decodes the entry in a frame. The error says what is wrong with the frame or the entry.
func entryIn(frame []byte, seed uint32, decoder *wire.Decoder) (raft.Entry, error) {
	if little.Uint32(frame[4:]) != frameCRC(frame, seed) {
		return raft.Entry{}, fmt.Errorf("its checksum is wrong")
	}
	e, rest, err := decoder.DecodeEntry(frame[frameSize:])
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes stand behind it", len(rest))
	}
	return e, err
}

// walkFrames finds the points of a record that was read. The frames of its entries begin at the
// offset at.
func (c *change) walkFrames(record []byte, at int) error {
	since := -pointSpacing
	for i := range c.count {
		frame, ok := frameAt(record[at:])
		if !ok {
			return fmt.Errorf("entry %d ends past the end of its batch", c.first+raft.Index(i))
		}
		if at-since >= pointSpacing {
			c.points = append(c.points, point{index: c.first + raft.Index(i), offset: uint32(at)})
			since = at
		}
		at += len(frame)
	}
	if at != len(record) {
		return fmt.Errorf("%d bytes behind the last entry of a batch", len(record)-at)
	}
	c.endPoints(len(record))
	return nil
}

// searchFrames does what walkFrames does in a record that is damaged. It finds out which entries
// are lost. When the length of an entry is damaged, all entries behind it are.
func (c *change) searchFrames(record []byte, at int, seed uint32) {
	since := -pointSpacing
	var decoder wire.Decoder
	terms := termWalk{runs: c.runs}
	for index := c.first; index <= c.last(); index++ {
		frame, ok := frameAt(record[at:])
		if !ok {
			c.lose(index, c.last())
			break
		}
		e, err := entryIn(frame, seed, &decoder)
		if err != nil || e.Index != index || e.Term != terms.at(index) {
			c.lose(index, index)
			since = -pointSpacing
		} else if at-since >= pointSpacing {
			c.points = append(c.points, point{index: index, offset: uint32(at)})
			since = at
		}
		at += len(frame)
	}
	c.endPoints(len(record))
}

// lose notes that entries of the change are lost.
func (c *change) lose(first, last raft.Index) {
	if n := len(c.lost); n > 0 && c.lost[n-1].Last+1 == first {
		c.lost[n-1].Last = last
		return
	}
	c.lost = append(c.lost, wire.Range{First: first, Last: last})
}

// searchPieces notes the sound entries in n frames, or, if n is negative, in all frames up to the
// end of the record. It returns where the frames end, and whether all of them could be walked.
func (c *change) searchPieces(record []byte, at, n int, seed uint32) (end int, ok bool) {
	var decoder wire.Decoder
	since, follows := 0, false
	for ; n > 0 || n < 0 && at < len(record); n-- {
		frame, ok := frameAt(record[at:])
		if !ok {
			return at, false
		}
		e, err := entryIn(frame, seed, &decoder)
		if err != nil {
			follows = false
			at += len(frame)
			continue
		}
		p := point{index: e.Index, offset: uint32(at), end: uint32(len(record))}
		last := len(c.pieces) - 1
		switch {
		case follows && c.pieces[last].last+1 == e.Index && c.pieces[last].term == e.Term:
			c.pieces[last].last = e.Index
			if at-since >= pointSpacing {
				c.pieces[last].points = append(c.pieces[last].points, p)
				since = at
			}
		default:
			c.pieces = append(c.pieces, piece{first: e.Index, last: e.Index, term: e.Term, points: []point{p}})
			since, follows = at, true
		}
		at += len(frame)
	}
	return at, true
}

// A termWalk tells the terms of entries, of which each is asked for after those before it.
type termWalk struct{ runs []raft.TermRun }

func (w *termWalk) at(index raft.Index) raft.Term {
	for len(w.runs) > 1 && w.runs[1].First <= index {
		w.runs = w.runs[1:]
	}
	return w.runs[0].Term
}
