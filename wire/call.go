package wire

import (
	"fmt"

	"github.com/e17579a5/raft/internal/codec"
)

// A CallKind says what an administrative call asks for.
type CallKind uint8

// Kinds of calls. All but CallTransfer change the members.
const (
	// CallAdd makes the server of Members a member in the role given there, if it isn't a member
	// yet, or moves it to another address.
	CallAdd CallKind = 1 + iota
	// CallRemove removes the server of Members, if it is a member.
	CallRemove
	// CallReplace lets the present disk of the server of Members take the place of the disk that
	// the cluster knows.
	CallReplace
	// CallSet makes Members the members, whatever they were.
	CallSet
	// CallTransfer hands the leadership over to the server of Members, or to the best server if
	// Members is empty (§3.10).
	CallTransfer
)

var callKindNames = [...]string{
	CallAdd: "add", CallRemove: "remove", CallReplace: "replace", CallSet: "set", CallTransfer: "transfer",
}

// String returns the kind in words.
func (k CallKind) String() string {
	if k > 0 && int(k) < len(callKindNames) {
		return callKindNames[k]
	}
	return fmt.Sprintf("call %d", uint8(k))
}

// A Call asks the leader for something about the cluster itself. The comment of each kind says
// which fields it uses; the others are zero.
type Call struct {
	Kind CallKind
	// Members are the servers that the call is about.
	Members []Member
	// Expected is the index of the configuration that the caller knows, or 0 for any.
	Expected Index
}

// String says what the call asks for.
func (c *Call) String() string {
	text := c.Kind.String()
	for i := range c.Members {
		text += " " + string(c.Members[i].ID)
	}
	return text
}

// size is what a call counts for against limits in bytes.
func (c *Call) size() int { return MessageOverhead * (1 + len(c.Members)) }

// A Refusal says why a server didn't do what it was asked for. Zero stands for none.
type Refusal uint8

// Refusals.
const (
	// RefusedUnknown: the leader is of a version that doesn't know this kind of call.
	RefusedUnknown Refusal = 1 + iota
	// RefusedConflict: the configuration isn't the one that the caller expected.
	RefusedConflict
	// RefusedInProgress: another change is under way.
	RefusedInProgress
	// RefusedMembers: no cluster can have such members.
	RefusedMembers
	// RefusedNotMember: the server whose disk is to be replaced isn't a member.
	RefusedNotMember
	// RefusedUnreachable: a new server doesn't answer.
	RefusedUnreachable
	// RefusedForeign: a new server belongs to another cluster.
	RefusedForeign
	// RefusedOtherDisk: a member has another disk than the cluster knows.
	RefusedOtherDisk
	// RefusedNotCaughtUp: a new server didn't catch up.
	RefusedNotCaughtUp
	// RefusedHalfway: the lost disk was replaced, but the server with the new one didn't catch up.
	RefusedHalfway
	// RefusedOutdated: a new server doesn't know the level in force.
	RefusedOutdated
	// RefusedTarget: there is no such server to hand over to.
	RefusedTarget
	// RefusedTransferring: the leader is handing over to another server.
	RefusedTransferring
	// RefusedGivenUp: the server that was to take over the leadership doesn't lead.
	RefusedGivenUp
	// RefusedRolledBack: the disk of a server has gone back in time, and there is no other in its
	// place.
	RefusedRolledBack
	// RefusedFull: there is no room on the disks. A leader refuses commands with it, and a server a
	// snapshot.
	RefusedFull
	// RefusedBusy: the server receives as many snapshots of other groups as it can at a time.
	RefusedBusy
)

var refusalNames = [...]string{
	0:                   "none",
	RefusedUnknown:      "unknown call",
	RefusedConflict:     "the configuration has changed",
	RefusedInProgress:   "another change is under way",
	RefusedMembers:      "no cluster can have these members",
	RefusedNotMember:    "not a member",
	RefusedUnreachable:  "unreachable",
	RefusedForeign:      "of another cluster",
	RefusedOtherDisk:    "other disk",
	RefusedNotCaughtUp:  "not caught up",
	RefusedHalfway:      "replaced, but not caught up",
	RefusedOutdated:     "outdated",
	RefusedTarget:       "no such server to hand over to",
	RefusedTransferring: "handing over to another server",
	RefusedGivenUp:      "handing over was given up",
	RefusedRolledBack:   "the disk has gone back in time",
	RefusedFull:         "no room on the disks",
	RefusedBusy:         "busy with other snapshots",
}

// String says why, in words.
func (r Refusal) String() string {
	if int(r) < len(refusalNames) {
		return refusalNames[r]
	}
	return fmt.Sprintf("refusal %d", uint8(r))
}

// A call is encoded as its kind (1 byte), Expected, and the members, as in a configuration. The
// decoder judges neither role nor ID of a member: the leader knows what each kind of call needs.

func appendCall(b []byte, c *Call) []byte {
	b = append(b, byte(c.Kind))
	b = codec.AppendUvarint(b, uint64(c.Expected))
	return appendMembers(b, c.Members)
}

func (r *reader) call() *Call {
	c := &Call{Kind: CallKind(r.Byte("call: kind")), Expected: Index(r.Uvarint("call: Expected"))}
	c.Members = r.members("call: Members")
	if r.Err() != nil {
		return nil
	}
	return c
}
