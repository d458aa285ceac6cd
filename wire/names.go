package wire

import (
	"encoding/hex"
	"fmt"

	"github.com/e17579a5/raft/internal/codec"
)

// A Term numbers an election period (§3.3). Terms start at 1 and only rise; 0 means "none".
type Term uint64

// An Index is the position of an entry in the log. The first entry has index 1; 0 stands before it.
// A range of the log is written (after, last]: without its left end, and with its right end.
type Index uint64

// A Place is a position in a log, together with the term of the entry there. The zero Place stands
// before the first entry.
type Place struct {
	Index Index
	Term  Term
}

// A Range is the entries from First to Last, both included. It is never empty.
type Range struct {
	First Index
	Last  Index
}

// A ServerID names one member of a cluster. The user chooses it, and never uses it again for
// another machine. It has at most MaxServerID bytes. The empty ID means "nobody".
type ServerID string

// A GroupID names a group of servers, which has a log of its own, among the groups that one process
// serves. The user chooses it. It has at most MaxGroupID bytes. The empty ID is the group of a
// process that serves one only.
type GroupID string

// A ClusterID names a cluster. The founder draws it at random, and it never changes. The zero value
// means "no cluster yet".
type ClusterID [16]byte

// String returns the ID in hexadecimal digits.
func (id ClusterID) String() string { return hex.EncodeToString(id[:]) }

// An Incarnation names one life of a server's disk. A server draws it at random when it starts on
// an empty storage. A server whose disk was replaced comes back with another incarnation, so no
// vote and no acknowledgement of the lost disk is ever counted for the new one. Zero means "not
// known".
type Incarnation uint64

// An Origin is one run of one server: the server that first took a command from a caller, and the
// name of its start (NextStart).
type Origin struct {
	Server ServerID
	Start  uint64
}

// NextStart returns the name of the start that follows another one on the same disk. The upper half
// is a count, which is durable and rises with each start; the first start has the count 1. The
// lower half is luck, drawn anew for each start. A disk that was put back to an older state repeats
// the count, but not the luck: so no two starts have one name.
func NextStart(before uint64, luck uint32) uint64 { return (StartCount(before)+1)<<32 | uint64(luck) }

// StartCount returns the count of a start. Of two starts of one disk, the one with the higher count
// is the later one.
func StartCount(start uint64) uint64 { return start >> 32 }

// ShowStart shows the name of a start to people: its count, and its luck in hexadecimal digits.
func ShowStart(start uint64) string { return fmt.Sprintf("%d-%08x", StartCount(start), uint32(start)) }

// A Server is a member's name, and the address at which the other servers reach it.
type Server struct {
	ID      ServerID
	Address string // as the Transport understands it; at most MaxAddress bytes
}

// Limits of the formats. An encoding that exceeds one is refused with an error that names the
// limit.
const (
	MaxServerID    = 255     // bytes in a ServerID
	MaxGroupID     = 255     // bytes in a GroupID
	MaxAddress     = 1 << 10 // bytes in an address
	MaxMembers     = 255     // members of a cluster
	MaxClusterKeys = 16      // keys in a configuration
	MaxCommandSize = 1 << 30 // bytes in a command, whatever the Config allows

	// MaxTerm leaves room above it. No cluster gets there, so a server ignores a message that
	// claims to come from a higher term.
	MaxTerm Term = 1 << 62
)

// ErrMalformed says that bytes are not the encoding of what they should be, or that the numbers of
// a session's command are impossible.
var ErrMalformed = codec.ErrMalformed
