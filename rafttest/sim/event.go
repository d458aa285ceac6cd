package sim

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/e17579a5/raft"
)

// An Op is what an Event does.
type Op uint8

// Operations. Each means something in any state of the cluster: one that can't happen (a crash of a server that
// is down, the delivery of a message that was never sent) does nothing.
const (
	// OpStart starts a server that is down, from what its disk holds. On the real log, the power fails again at call N%256 to
	// the file system, if it comes to that, or the process is killed there if N/256 is 1; 0 for not.
	OpStart Op = 1 + iota
	// OpCrash ends a server's process. N queued writes have reached the disk, the others are lost; on the real log (Params.WAL)
	// that is what N%256 says, and N/256 what becomes of the rest: 0 for the power fails and all of it is lost, 1 for the
	// process is killed and the page cache stays, others are the luck by which the power failure keeps, loses and tears.
	OpCrash
	// OpWipe crashes a server, if it is up, and replaces its disk by an empty one.
	OpWipe
	// OpDeliver delivers a message from Peer, also one that was delivered before.
	OpDeliver
	// OpExpire lets the server's next deadline pass.
	OpExpire
	// OpPersist completes N queued writes, at least one.
	OpPersist
	// OpApply applies N batches of committed entries, at least one.
	OpApply
	// OpRead reads the entries that the oldest fetch asks for from the disk. (OpFetched reports them.)
	OpRead
	// OpFetched reports the oldest fetch that was read.
	OpFetched
	// OpPropose proposes command N.
	OpPropose
	// OpQuery reads, as operation N.
	OpQuery
	// OpCancel gives up operation N.
	OpCancel
	// OpLost tells the server that the process of Peer seems to be gone.
	OpLost
	// OpTransfer delivers a TimeoutNow from Peer, if Peer leads.
	OpTransfer
	// OpProbe delivers an append without entries from Peer, if Peer leads, after all but the last N entries of its log: a message that any
	// leader may send at any time.
	OpProbe
	// OpDrain takes the effects that were held back.
	OpDrain

	// OpCut cuts the link from Peer to the server, OpJoin mends it, OpHeal mends all. They matter to
	// the events in which time passes by itself, which follow.
	OpCut
	OpJoin
	OpHeal
	// OpFound starts all servers and lets time pass until they are a cluster.
	OpFound
	// OpPass lets N nanoseconds pass: messages arrive, disks write, deadlines pass.
	OpPass
	// OpSettle ends all faults and lets time pass until the cluster has made progress.
	OpSettle

	// What follows happens to the real log only. OpFailWrite makes the Nth write to a file, counted from now on, fail after a
	// part of it, and OpFailSync the Nth sync. OpFill leaves room for N bytes on the disk; OpFree makes room, and ends
	// all that is wrong with the disk for a while. OpRot changes a byte that was durable; N is its luck.
	OpFailWrite
	OpFailSync
	OpFill
	OpFree
	OpRot

	// OpHandOver asks, by a call at the server, for a transfer of the leadership to server N, from 1, or to any for 0; OpResign
	// says to the server that it is about to stop. OpClock lets its clock run faster than time by N-1,000,000 millionths from now on.
	OpHandOver
	OpResign
	OpClock
	// OpQueryLease and OpQueryStale read, as operation N, what a lease may confirm and what may be stale. OpProposeFenced
	// proposes command N to this server alone, in its present term alone.
	OpQueryLease
	OpQueryStale
	OpProposeFenced
	// OpStore writes the snapshot that a server has captured to its disk, OpStored reports that it is there; with N = 1 there was
	// no room for it.
	OpStore
	OpStored
	// OpSent lets a server write N bytes to its oldest stream to Peer, or get to know that this has ended. OpStream lets a
	// server take N bytes of its oldest stream from Peer, or get to know that this has begun or ended. OpBreak breaks
	// the streams from Peer to a server.
	OpSent
	OpStream
	OpBreak
	// OpSnapshot asks a server for a snapshot. OpSpoil damages its current one; its core gets to know it when it is read.
	OpSnapshot
	OpSpoil

	// OpOpen lets the client Peer, one of those with sessions, open one, as operation N; OpClose lets it close the one that it has. OpCall
	// lets it propose the command with the sequence Label, or propose it once more as it was. Sequences go on from session to session.
	OpOpen
	OpClose
	OpCall

	// OpArrive lets a message from Peer, chosen as by OpDeliver, arrive at a process that stands still; OpWake lets it go on,
	// when its deadline has passed if no time is given: it takes all that has arrived in one turn (raft.HandIn).
	OpArrive
	OpWake

	// OpUpgrade lets a server be of this version, instead of an older one (Params.Older), from its next start on.
	OpUpgrade

	// OpChange asks the server, as operation N, for a change of the members, which Data names (see changeCall). OpMove lets the
	// server crash, if it is up, and listen at another address from then on.
	OpChange
	OpMove

	lastOp = OpMove
)

var opNames = [...]string{
	OpStart: "start", OpCrash: "crash", OpWipe: "wipe", OpDeliver: "deliver", OpExpire: "expire",
	OpPersist: "persist", OpApply: "apply", OpRead: "read-log", OpFetched: "fetched",
	OpPropose: "propose", OpQuery: "read", OpCancel: "cancel", OpLost: "lost", OpTransfer: "transfer", OpProbe: "probe",
	OpDrain: "drain", OpCut: "cut", OpJoin: "join", OpHeal: "heal",
	OpFound: "found", OpPass: "pass", OpSettle: "settle",
	OpHandOver: "hand-over", OpResign: "resign", OpClock: "clock",
	OpQueryLease: "read-lease", OpQueryStale: "read-stale", OpProposeFenced: "propose-fenced",
	OpChange: "change", OpMove: "move",
	OpFailWrite: "fail-write", OpFailSync: "fail-sync", OpFill: "fill", OpFree: "free", OpRot: "rot",
	OpOpen: "open", OpClose: "close", OpCall: "call", OpUpgrade: "upgrade",
	OpArrive: "arrive", OpWake: "wake",
	OpStore: "store", OpStored: "stored", OpSent: "sent", OpStream: "stream", OpBreak: "break", OpSnapshot: "snapshot", OpSpoil: "spoil",
}

// String returns the operation's name in a schedule's file.
func (o Op) String() string {
	if o > 0 && o <= lastOp {
		return opNames[o]
	}
	return "op " + strconv.Itoa(int(o))
}

// pairs reports whether the operation has a Peer.
func (o Op) pairs() bool {
	return o.carries() || o == OpTransfer || o == OpProbe || o == OpCut || o == OpJoin || o == OpLost ||
		o == OpSent || o == OpStream || o == OpBreak
}

// carries reports whether the operation has a message.
func (o Op) carries() bool { return o == OpDeliver || o == OpArrive }

// alone reports whether the operation concerns no single server.
func (o Op) alone() bool { return o == OpHeal || o == OpFound || o == OpPass || o == OpSettle }

// inSession reports whether a client with a session does it.
func (o Op) inSession() bool { return o == OpOpen || o == OpClose || o == OpCall }

// counts reports whether N means something.
func (o Op) counts() bool {
	switch o {
	case OpStart, OpCrash, OpProbe, OpPersist, OpApply, OpPropose, OpQuery, OpCancel, OpPass, OpDeliver, OpArrive,
		OpFailWrite, OpFailSync, OpFill, OpRot, OpStored, OpSent, OpStream, OpHandOver, OpClock, OpQueryLease, OpQueryStale, OpProposeFenced,
		OpOpen, OpClose, OpCall, OpChange:
		return true
	}
	return false
}

// proposes and reads say whether the operation is a call of a client's, and of which kind.
func (o Op) proposes() bool { return o == OpPropose || o == OpProposeFenced || o == OpCall }
func (o Op) reads() bool    { return o == OpQuery || o == OpQueryLease || o == OpQueryStale }

// The kinds of messages.
const firstKind, lastKind = raft.PreVoteRequest, raft.Fingerprints

// An Event is one step of a run.
type Event struct {
	Op     Op
	Server int8 // where it happens, from 0
	Peer   int8 // the other one, from 0

	// Hold keeps the effects of the event in the core: they are drained with those of a later event.
	Hold bool

	// Kind and Label say which message is delivered: the Nth from Peer to Server, if its content has
	// this label; or else the one with this label; or else the latest of this kind and in the same term
	// (upper half of the label), of this kind, that wasn't delivered yet.
	Kind  raft.MessageKind
	Label uint32

	// At is the time before which the event doesn't happen, in nanoseconds.
	At int64
	N  int64
	// Data is the command that is proposed; nil for one that the simulator makes of N. Or the change that is asked for.
	Data []byte
}

// appendText appends the event as a line of a schedule's file, without a newline.
func (e *Event) appendText(b []byte) []byte {
	b = append(b, e.Op.String()...)
	switch {
	case e.Op.pairs():
		b = append(b, ' ', '1'+byte(e.Peer), '>', '1'+byte(e.Server))
	case !e.Op.alone():
		b = append(b, ' ', '1'+byte(e.Server))
	}
	if e.Op.carries() {
		b = append(append(b, ' '), e.Kind.String()...)
	}
	if e.Op.counts() && (e.Op != OpStart || e.N != 0) {
		b = strconv.AppendInt(append(b, ' '), e.N, 10)
	}
	if e.Op.carries() {
		b = strconv.AppendUint(append(b, ' '), uint64(e.Label), 16)
	}
	if e.Op.inSession() {
		b = strconv.AppendInt(append(b, " client="...), int64(e.Peer), 10)
	}
	if e.Op == OpCall {
		b = strconv.AppendUint(append(b, " sequence="...), uint64(e.Label), 10)
	}
	if (e.Op.proposes() || e.Op == OpChange) && e.Data != nil {
		b = hex.AppendEncode(append(b, " data="...), e.Data)
	}
	if e.At != 0 {
		b = strconv.AppendInt(append(b, " at="...), e.At, 10)
	}
	if e.Hold {
		b = append(b, " hold"...)
	}
	return b
}

// String returns the event as a line of a schedule's file.
func (e Event) String() string { return string(e.appendText(nil)) }

// parseEvent reads a line of a schedule's file.
func parseEvent(line string) (Event, error) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return Event{}, fmt.Errorf("no event")
	}
	var e Event
	for o := OpStart; o <= lastOp; o++ {
		if o.String() == words[0] {
			e.Op = o
		}
	}
	if e.Op == 0 {
		return e, fmt.Errorf("no event is called %q", words[0])
	}
	words = words[1:]
	take := func() string {
		if len(words) == 0 {
			return ""
		}
		w := words[0]
		words = words[1:]
		return w
	}
	if err := e.parseServers(take); err != nil {
		return e, err
	}
	if e.Op.carries() {
		if err := e.parseKind(take()); err != nil {
			return e, err
		}
	}
	if e.Op.counts() && (e.Op != OpStart || len(words) > 0 && words[0][0] >= '0' && words[0][0] <= '9') {
		if w := take(); w != "" {
			n, err := strconv.ParseInt(w, 10, 64)
			if err != nil || n < 0 {
				return e, fmt.Errorf("%q is not a number", w)
			}
			e.N = n
		}
	}
	if e.Op.carries() {
		if w := take(); w != "" {
			label, err := strconv.ParseUint(w, 16, 32)
			if err != nil {
				return e, fmt.Errorf("%q is not a label", w)
			}
			e.Label = uint32(label)
		}
	}
	return e, e.parseOptions(words)
}

func (e *Event) parseServers(take func() string) error {
	server := func(c byte) (int8, bool) { return int8(c - '1'), c >= '1' && c < '1'+MaxServers }
	switch {
	case e.Op.pairs():
		w := take()
		if len(w) != 3 || w[1] != '>' {
			return fmt.Errorf("%s: %q is not a link like 1>2", e.Op, w)
		}
		a, okA := server(w[0])
		b, okB := server(w[2])
		if !okA || !okB || a == b {
			return fmt.Errorf("%s: %q is not a link like 1>2", e.Op, w)
		}
		e.Peer, e.Server = a, b
	case !e.Op.alone():
		w := take()
		if len(w) != 1 {
			return fmt.Errorf("%s: %q is not a server from 1 to %d", e.Op, w, MaxServers)
		}
		s, ok := server(w[0])
		if !ok {
			return fmt.Errorf("%s: %q is not a server from 1 to %d", e.Op, w, MaxServers)
		}
		e.Server = s
	}
	return nil
}

func (e *Event) parseKind(word string) error {
	for k := firstKind; k <= lastKind; k++ {
		if k.String() == word {
			e.Kind = k
			return nil
		}
	}
	return fmt.Errorf("deliver: no message is called %q", word)
}

func (e *Event) parseOptions(words []string) error {
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		var err error
		switch name {
		case "hold":
			e.Hold = true
		case "at":
			e.At, err = strconv.ParseInt(value, 10, 64)
		case "data":
			e.Data, err = hex.DecodeString(value)
		case "client":
			var n uint64
			n, err = strconv.ParseUint(value, 10, 3)
			e.Peer = int8(n)
		case "sequence":
			var n uint64
			n, err = strconv.ParseUint(value, 10, 32)
			e.Label = uint32(n)
		default:
			return fmt.Errorf("%q means nothing here", w)
		}
		if err != nil {
			return fmt.Errorf("%q: %v", w, err)
		}
	}
	return nil
}
