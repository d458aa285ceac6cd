package wire

import (
	"fmt"
	"math/bits"
	"time"
)

// A field is the bit of one field of a message.
type field uint32

// The fields of the envelope and of all bodies. Bodies of several kinds share a field where they mean
// the like. The order of the bits is the order in which the fields are encoded, but for the last two
// of the envelope, which come behind all others.
const (
	fieldCluster field = 1 << iota
	fieldFromIncarnation
	fieldToIncarnation
	fieldTerm
	fieldIndex
	fieldLogTerm
	fieldHint
	fieldCommit
	fieldRound
	fieldStart
	fieldNumber
	fieldGranted // the bit is the value
	fieldTransfer
	fieldMismatch
	fieldEntries
	fieldNumbers
	fieldServers
	fieldCall
	fieldRefusal
	fieldLease
	fieldFitness
	fieldByLease // the bit is the value
	fieldSize
	fieldOffset
	fieldLevel
	fieldFromStart // of the envelope
	fieldGroup     // of the envelope
	fieldProcess

	allFields = fieldProcess<<1 - 1

	envelopeFields = fieldCluster | fieldFromIncarnation | fieldToIncarnation | fieldTerm | fieldFromStart | fieldGroup
	flagFields     = fieldGranted | fieldTransfer | fieldMismatch | fieldByLease
	listFields     = fieldNumbers | fieldServers | fieldCall | fieldProcess
)

// numbers counts the fields among some that are numbers.
func (f field) numbers() int {
	return bits.OnesCount32(uint32(f &^ (envelopeFields | flagFields | listFields | fieldEntries)))
}

// fieldNames are the names of the fields, in the order of their bits; readNames are those names as
// the decoder's errors have them.
var (
	fieldNames = [...]string{
		"Cluster", "FromIncarnation", "ToIncarnation", "Term", "Index", "LogTerm", "Hint", "Commit", "Round", "Start",
		"Number", "Granted", "Transfer", "Mismatch", "Entries", "Numbers", "Servers", "Call", "Refusal", "Lease",
		"Fitness", "ByLease", "Size", "Offset", "Level", "FromStart", "Group", "Process",
	}
	readNames = func() (names [len(fieldNames)]string) {
		for i, name := range fieldNames {
			names[i] = "message: " + name
		}
		return names
	}()
)

// A packer moves the fields of a body of one kind between its own type and the form in which a
// Message has it. Each type of body lists its fields once, in the order of their bits, in its
// method pack. The codec, the size, the comparison of messages and the model checker all rest on
// that list.
type packer struct {
	body *body
	mode packMode
	next int // of body.numbers
}

type packMode uint8

const (
	packs    packMode = iota // from the type into the body
	unpacks                  // from the body into the type
	collects                 // nothing is moved; the body gets the bits of all fields that the type has
)

// has says whether a field is to be moved. When a body is packed, that is each field that isn't
// zero.
func (p *packer) has(f field, zero bool) bool {
	if p.mode == unpacks {
		return p.body.fields&f != 0
	}
	if !zero {
		p.body.fields |= f
		return true
	}
	if p.mode == collects {
		p.collect(f)
	}
	return false
}

// collect adds a field to those that a type of body has. All fields of that body are zero.
func (p *packer) collect(f field) {
	if p.body.fields >= f {
		panic(fmt.Sprintf("wire: %v lists %s out of order", p.body.kind, fieldNames[bits.TrailingZeros32(uint32(f))]))
	}
	p.body.fields |= f
}

// number moves a number.
func number[T ~uint64 | ~uint8 | time.Duration](p *packer, f field, v *T) {
	if !p.has(f, *v == 0) {
		return
	}
	if p.mode == unpacks {
		*v = T(p.body.numbers[p.next])
	} else {
		p.body.numbers[p.next] = uint64(*v)
	}
	p.next++
}

// flag moves a flag.
func (p *packer) flag(f field, v *bool) {
	if p.has(f, !*v) {
		*v = true
	}
}

// entries moves a list of entries.
func (p *packer) entries(v *[]Entry) {
	if !p.has(fieldEntries, len(*v) == 0) {
		return
	}
	if p.mode == unpacks {
		*v = p.body.entries
	} else {
		p.body.entries = *v
	}
}

// lists returns the place where a body has its rarer lists.
func (p *packer) lists() *rest {
	if p.body.rest == nil {
		p.body.rest = new(rest)
	}
	return p.body.rest
}

// numbers moves a list of numbers.
func (p *packer) numbers(v *[]uint64) {
	if !p.has(fieldNumbers, len(*v) == 0) {
		return
	}
	if p.mode == unpacks {
		*v = p.body.rest.numbers
	} else {
		p.lists().numbers = *v
	}
}

// servers moves a list of servers.
func (p *packer) servers(v *[]Server) {
	if !p.has(fieldServers, len(*v) == 0) {
		return
	}
	if p.mode == unpacks {
		*v = p.body.rest.servers
	} else {
		p.lists().servers = *v
	}
}

// call moves a call.
func (p *packer) call(v **Call) {
	if !p.has(fieldCall, *v == nil) {
		return
	}
	if p.mode == unpacks {
		*v = p.body.rest.call
	} else {
		p.lists().call = *v
	}
}

// place moves a place.
func (p *packer) place(v *Place) {
	number(p, fieldIndex, &v.Index)
	number(p, fieldLogTerm, &v.Term)
}

// one moves a list of one element, or an empty list when the element is zero.
func one[T any](list func(*[]T), zero bool, v *T) {
	var of []T
	if !zero {
		of = []T{*v}
	}
	if list(&of); len(of) == 1 {
		*v = of[0]
	}
}

// begin returns a packer for the body of a new message.
func (m *Message) begin(kind Kind) *packer {
	m.body.kind = kind
	return &packer{body: &m.body}
}

// open returns a packer that takes the body out of a message of a kind, or an empty one out of any
// other.
func (m *Message) open(kind Kind) *packer {
	if m.body.kind != kind {
		return &packer{body: &noBody, mode: unpacks}
	}
	return &packer{body: &m.body, mode: unpacks}
}

// noBody is never changed.
var noBody body
