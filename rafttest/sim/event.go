package sim

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/e17579a5/raft/wire"
)

// An Op is the kind of an Event: what the event does.
type Op uint8

// Operations. Each one has a meaning in any state of the cluster. An operation that is impossible,
// such as a crash of a server that is down, or the delivery of a message that was never sent, does
// nothing.
const (
	// OpStart starts a server that is down, from what its disk holds. If N isn't 0, the start on a
	// real log is interrupted at call N%256 to the file system, if it makes so many calls: the
	// process is killed there if N/256 is 1, and the power fails there otherwise.
	OpStart Op = 1 + iota
	// OpCrash ends a server's process. N queued writes have reached the disk; the others are lost.
	// On a real log (Params.WAL) the number of these writes is N%256, and N/256 decides what
	// becomes of the rest. With 0 the power fails and the rest is lost. With 1 the process is
	// killed and the page cache stays. Any other value is the luck by which a power failure keeps,
	// loses and tears the rest.
	OpCrash
	// OpWipe replaces a server's disk by an empty one. It crashes the server first, if the server
	// is up.
	OpWipe
	// OpDeliver delivers a message from Peer. The message may have been delivered before.
	OpDeliver
	// OpExpire lets time pass until the server's next deadline.
	OpExpire
	// OpPersist completes N queued writes, at least one.
	OpPersist
	// OpApply applies N batches of committed entries, at least one.
	OpApply
	// OpRead reads the entries that the oldest fetch asks for from the disk. OpFetched reports them
	// to the core.
	OpRead
	// OpFetched reports the entries of the oldest fetch that was read.
	OpFetched
	// OpPropose proposes command N.
	OpPropose
	// OpQuery asks for a linearizable read, as operation N.
	OpQuery
	// OpCancel gives up operation N.
	OpCancel
	// OpLost tells the server that the process of Peer seems to be gone.
	OpLost
	// OpTransfer delivers a TimeoutNow from Peer, if Peer leads.
	OpTransfer
	// OpProbe delivers an append without entries from Peer, if Peer leads. The append follows all
	// but the last N entries of Peer's log. A leader may send such a message at any time.
	OpProbe
	// OpDrain takes the effects that were held back.
	OpDrain

	// OpCut cuts the link from Peer to the server, OpJoin mends it, and OpHeal mends all links.
	// They matter only to the events in which time passes by itself: OpFound, OpPass and OpSettle.
	OpCut
	OpJoin
	OpHeal
	// OpFound starts all servers and lets time pass until they are a cluster.
	OpFound
	// OpPass lets N nanoseconds pass: messages arrive, disks write, deadlines pass.
	OpPass
	// OpSettle ends all faults and lets time pass until the cluster has made progress.
	OpSettle

	// The following operations happen to a real log, and OpFill and OpFree also to a model that knows
	// its room. OpFailWrite makes the Nth write to a file from now on fail after a part of it is
	// written. OpFailSync makes the Nth sync from now on fail. OpFill leaves room for N bytes on the
	// disk. OpFree makes room and ends all other faults of the disk that pass. OpRot damages
	// files (rot.go); N is the luck that chooses which, and how.
	OpFailWrite
	OpFailSync
	OpFill
	OpFree
	OpRot

	// OpHandOver makes a call at the server that asks for a transfer of the leadership: to server
	// N, counted from 1, or to any server if N is 0. OpResign tells the server that it is about to
	// stop. OpClock changes the rate of the server's clock: from now on the clock runs N-1,000,000
	// millionths faster than time.
	OpHandOver
	OpResign
	OpClock
	// OpQueryLease and OpQueryStale ask for a read, as operation N: the first may be confirmed by a
	// lease, the second may be stale. OpProposeFenced proposes command N so that only this server
	// may append it, in its present term.
	OpQueryLease
	OpQueryStale
	OpProposeFenced
	// OpStore writes the snapshot that a server has captured to its disk. OpStored reports to the
	// core that this is done; if N is 1, it reports that there was no room.
	OpStore
	OpStored
	// OpSent lets a server write N bytes to its oldest stream to Peer, or notice that the stream
	// has ended. OpStream lets a server read N bytes from its oldest stream from Peer, or notice
	// that the stream has begun or ended. OpBreak breaks the streams from Peer to the server.
	OpSent
	OpStream
	OpBreak
	// OpSnapshot asks a server to take a snapshot. OpSpoil damages the current snapshot of a
	// server; the core notices when the snapshot is read.
	OpSnapshot
	OpSpoil

	// OpOpen, OpClose and OpCall are done by client number Peer among the clients with sessions, as
	// operation N. OpOpen opens a session. OpClose closes the session of the client. OpCall
	// proposes the command with sequence number Label; if that was proposed before, it is proposed
	// again unchanged. Sequence numbers are not used again in a later session.
	OpOpen
	OpClose
	OpCall

	// OpArrive lets a message from Peer, chosen as for OpDeliver, arrive at a process that stands
	// still. OpWake lets the process go on; in a schedule without times, its deadline has passed by
	// then. The process takes all that has arrived in one turn (raft.HandIn).
	OpArrive
	OpWake

	// OpUpgrade upgrades a server from an older version (Params.Older) to this one, from its next
	// start on.
	OpUpgrade

	// OpChange asks the server, as operation N, for the change of the members that Data names (see
	// changeCall). OpMove moves a server to another address. It crashes the server first, if the
	// server is up.
	OpChange
	OpMove

	// OpImage takes an image of a server's disk. OpPutBack puts image N of those that were taken of
	// this disk back on it, while the server is down.
	OpImage
	OpPutBack

	// OpStranger delivers a message of a server that doesn't belong to the cluster, if the
	// receiver's transport takes it for a stranger. N is the luck that chooses the message.
	OpStranger

	// OpLogBack and OpMachineBack put back only a part of image N, as OpPutBack does with the whole:
	// the log, or what a durable state machine has on a disk of its own.
	OpLogBack
	OpMachineBack

	// OpLose lets a disk lose the bytes of entries: N%256 of them, from entry N/256 on.
	OpLose

	// OpVerify reads the current snapshot of a server to its end, if the core has asked for that,
	// and reports how that went.
	OpVerify

	lastOp = OpVerify
)

var opNames = [...]string{
	OpStart: "start", OpCrash: "crash", OpWipe: "wipe", OpDeliver: "deliver", OpExpire: "expire",
	OpPersist: "persist", OpApply: "apply", OpRead: "read-log", OpFetched: "fetched",
	OpPropose: "propose", OpQuery: "read", OpCancel: "cancel", OpLost: "lost", OpTransfer: "transfer", OpProbe: "probe",
	OpDrain: "drain", OpCut: "cut", OpJoin: "join", OpHeal: "heal",
	OpFound: "found", OpPass: "pass", OpSettle: "settle",
	OpHandOver: "hand-over", OpResign: "resign", OpClock: "clock",
	OpQueryLease: "read-lease", OpQueryStale: "read-stale", OpProposeFenced: "propose-fenced",
	OpChange: "change", OpMove: "move", OpImage: "image", OpPutBack: "put-back", OpStranger: "stranger",
	OpLogBack: "log-back", OpMachineBack: "machine-back", OpVerify: "verify",
	OpFailWrite: "fail-write", OpFailSync: "fail-sync", OpFill: "fill", OpFree: "free", OpRot: "rot",
	OpOpen: "open", OpClose: "close", OpCall: "call", OpUpgrade: "upgrade",
	OpArrive: "arrive", OpWake: "wake",
	OpStore: "store", OpStored: "stored", OpSent: "sent", OpStream: "stream", OpBreak: "break", OpSnapshot: "snapshot", OpSpoil: "spoil",
	OpLose: "lose",
}

// String returns the operation's name in a schedule's file.
func (o Op) String() string {
	if o > 0 && o <= lastOp {
		return opNames[o]
	}
	return "op " + strconv.Itoa(int(o))
}

// pairs reports whether the operation has a Peer that is a server.
func (o Op) pairs() bool {
	return o.carries() || o == OpTransfer || o == OpProbe || o == OpCut || o == OpJoin || o == OpLost ||
		o == OpSent || o == OpStream || o == OpBreak
}

// carries reports whether the operation brings a message.
func (o Op) carries() bool { return o == OpDeliver || o == OpArrive }

// alone reports whether the operation concerns no single server.
func (o Op) alone() bool { return o == OpHeal || o == OpFound || o == OpPass || o == OpSettle }

// inSession reports whether a client with a session performs the operation.
func (o Op) inSession() bool { return o == OpOpen || o == OpClose || o == OpCall }

// counts reports whether N has a meaning for the operation.
func (o Op) counts() bool {
	switch o {
	case OpStart, OpCrash, OpProbe, OpPersist, OpApply, OpPropose, OpQuery, OpCancel, OpPass, OpDeliver, OpArrive,
		OpFailWrite, OpFailSync, OpFill, OpRot, OpStored, OpSent, OpStream, OpHandOver, OpClock, OpQueryLease, OpQueryStale, OpProposeFenced,
		OpOpen, OpClose, OpCall, OpChange, OpPutBack, OpLogBack, OpMachineBack, OpStranger, OpLose:
		return true
	}
	return false
}

// proposes reports whether the operation proposes a command, and reads whether it asks for a read.
func (o Op) proposes() bool { return o == OpPropose || o == OpProposeFenced || o == OpCall }
func (o Op) reads() bool    { return o == OpQuery || o == OpQueryLease || o == OpQueryStale }

// An Event is one step of a run.
type Event struct {
	Op     Op
	Server int8 // the server where it happens, from 0
	Peer   int8 // the other server, or the client with a session, from 0

	// Hold keeps the effects of the event in the core. They are drained together with those of a
	// later event.
	Hold bool

	// Kind and Label say which message is delivered: the Nth from Peer to Server, if it has this
	// kind and this label. Otherwise it is the latest message of this kind that is most similar:
	// one with the same label, or with the same term (the upper half of the label), preferably one
	// that wasn't delivered yet. For OpCall, Label is the sequence number.
	Kind  wire.Kind
	Label uint32

	// At is the time before which the event doesn't happen, in nanoseconds.
	At int64
	N  int64
	// Data is the command that is proposed. If it is nil, the simulator makes a command from N. For
	// OpChange, Data is the change.
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

// parseEvent parses a line of a schedule's file.
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
	for _, k := range wire.Kinds() {
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
