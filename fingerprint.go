package raft

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/e17579a5/raft/wire"
)

// A state machine that isn't deterministic goes unnoticed until somebody reads at another server.
// So each server can keep a fingerprint of all results that its state machine has ever given, and
// tell it to the others when it has taken a snapshot. A server that has another fingerprint at the
// same index knows that one of the two state machines has gone astray, and since when. It reports
// that and does nothing else, since it doesn't know which of the two is right. Of three servers,
// the odd one is the one that both others name.

func encodeFingerprint(f *wire.Fingerprint, s *stateEncoder) {
	s.numbers(uint64(f.Index), uint64(f.Sum))
}

// fingerprintInterval is how many indexes lie between two fingerprints that are kept.
// maxFingerprints is how many of them are kept, and toldFingerprints how many are told at a time.
const fingerprintInterval, maxFingerprints, toldFingerprints = 64, 256, 16

// fingerprintTable is the table of CRC-32C, which processors compute by themselves.
var fingerprintTable = crc32.MakeTable(crc32.Castagnoli)

// nextFingerprint returns the fingerprint after one more result.
func nextFingerprint(f wire.Fingerprint, index Index, result []byte) wire.Fingerprint {
	var head [9]byte
	binary.LittleEndian.PutUint64(head[:], uint64(index))
	if result == nil {
		head[8] = 1
	}
	sum := crc32.Update(f.Sum, fingerprintTable, head[:])
	return wire.Fingerprint{Index: index, Sum: crc32.Update(sum, fingerprintTable, result)}
}

// A Divergence says that two state machines that should be equal are not.
type Divergence struct {
	With ServerID // the server whose results differ from those here
	// After and Upto bound the index of the first result that differs: After < index ≤ Upto. After
	// is 0 if the fingerprints differ at the first index at which both servers have one.
	After, Upto Index
}

func (d *Divergence) encode(s *stateEncoder) {
	s.server(d.With)
	s.numbers(uint64(d.After), uint64(d.Upto))
}

// Error says where the results differ.
func (d *Divergence) Error() string {
	return fmt.Sprintf("raft: results of state machines differ: those of server %q differ from those here, first after index %d and up to index %d",
		d.With, d.After, d.Upto)
}

// fingerprints are what a server keeps: those of its own results, and those that it was told and
// hasn't reached.
type fingerprints struct {
	own    []wire.Fingerprint
	ahead  []wire.Message // the latest message of each server that is ahead of this one
	differ *Divergence
}

func (f *fingerprints) encode(s *stateEncoder) {
	encodeList(s, f.own, encodeFingerprint)
	s.numbers(uint64(len(f.ahead)))
	for i := range f.ahead {
		s.message(&f.ahead[i])
	}
	s.numbers(flag(f.differ != nil))
	if f.differ != nil {
		f.differ.encode(s)
	}
}

func (f *fingerprints) clone() fingerprints {
	n := *f
	n.own, n.ahead = slices.Clone(f.own), slices.Clone(f.ahead)
	return n
}

// fingerprintsTaken keeps the fingerprints that come with a batch, and compares what was told for
// indexes up to there.
func (c *Core) fingerprintsTaken(batch *Batch) {
	f := &c.fingerprints
	if !c.config.CompareResults || len(batch.Fingerprints) == 0 {
		return
	}
	f.own = append(f.own, batch.Fingerprints...)
	if gone := len(f.own) - maxFingerprints; gone > 0 {
		f.own = append(f.own[:0], f.own[gone:]...)
	}
	waiting := f.ahead
	f.ahead = nil
	for i := range waiting {
		c.compareFingerprints(&waiting[i])
	}
}

// tellFingerprints tells the other members the latest of this server's fingerprints.
func (c *Core) tellFingerprints() {
	own := c.fingerprints.own
	configuration := c.log.configuration()
	if !c.config.CompareResults || len(own) == 0 || configuration == nil {
		return
	}
	from := len(own) - 1
	for from > 0 && len(own)-from < toldFingerprints && own[from-1].Index+fingerprintInterval == own[from].Index {
		from-- // a snapshot that is restored leaves a gap, and what lies before a gap isn't told
	}
	own = own[from:]
	sums := make([]uint64, len(own))
	for i := range own {
		sums[i] = uint64(own[i].Sum)
	}
	for i := range configuration.Members {
		if to := configuration.Members[i].ID; to != c.id {
			c.send(to, wire.Fingerprints{Index: own[len(own)-1].Index, Sums: sums}.Message())
		}
	}
}

// compareFingerprints compares what another server has told with what is known here. If it is about
// an index that this server hasn't applied yet, it waits.
func (c *Core) compareFingerprints(m *wire.Message) {
	f := &c.fingerprints
	if !c.config.CompareResults || f.differ != nil {
		return
	}
	told := m.Fingerprints()
	if told.Index > c.log.applied {
		for i := range f.ahead {
			if f.ahead[i].From == m.From {
				f.ahead[i] = *m
				return
			}
		}
		if len(f.ahead) < wire.MaxMembers {
			f.ahead = append(f.ahead, *m)
		}
		return
	}
	after := Index(0)
	for i, sum := range told.Sums {
		index := told.Index - Index(len(told.Sums)-1-i)*fingerprintInterval
		for j := range f.own {
			if f.own[j].Index != index {
				continue
			}
			if uint64(f.own[j].Sum) != sum {
				f.differ = &Divergence{With: m.From, After: after, Upto: index}
				return
			}
			after = index
		}
	}
}
