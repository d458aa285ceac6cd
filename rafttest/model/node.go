package model

import (
	"encoding/binary"
	"math/bits"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A node is one server in one of its states, with its disk. It is never changed: an event makes
// another one. Nodes that behave alike are one.
type node struct {
	id   uint32
	core *raft.Core // drained
	disk disk
	// writes are handed out and not durable yet. view is the log with all of them.
	writes []*raft.Write
	view   []slot
	// machine is the state of the state machine. The encoding doesn't need it, since applied
	// determines it.
	machine machine

	server   int
	status   status
	standing standing
	start    uint64
	armed    []string // the deadlines that are armed
	hashes   []sum    // by naming
	// bare are the hashes without held.
	bare []sum
	// voters are those of the latest configuration in the view. While that is joint, old are the
	// voters of its old half, whose majority counts as well.
	voters, old servers
	held        []parcel
}

// A servers is a set of servers, one bit each.
type servers uint8

func (s servers) has(i int) bool { return s>>i&1 != 0 }

// majority reports whether more than half of the servers are in among.
func (s servers) majority(among servers) bool {
	return 2*bits.OnesCount8(uint8(s&among)) > bits.OnesCount8(uint8(s))
}

// findVoters looks for the latest configuration in the view.
func (n *node) findVoters() {
	d := n.disk
	for _, w := range n.writes {
		d = d.with(w)
	}
	for i := len(d.entries) - 1; i >= 0; i-- {
		if d.entries[i].Kind == wire.EntryConfiguration {
			configuration, err := wire.DecodeConfiguration(d.entries[i].Data)
			if err == nil {
				n.voters, n.old = votersOf(configuration.Members), votersOf(configuration.Old)
			}
			return
		}
	}
}

func votersOf(members []raft.Member) servers {
	var set servers
	for i := range members {
		if members[i].Role == raft.Voter {
			set |= 1 << serverOf(members[i].ID)
		}
	}
	return set
}

// A parcel is a message that leaves when the given number of writes is durable. The number is 0 for
// a message that is on its way.
type parcel struct {
	message *message
	writes  int
}

// A status is the part of a core's state that is looked at after every event.
type status struct {
	role                          string
	leader                        raft.ServerID
	term                          raft.Term
	commit, applied, stable, last raft.Index
	held                          int
}

// The roles, as raft.CoreStatus has them
const (
	leads         = "leader"
	follows       = "follower"
	candidates    = "candidate"
	preCandidates = "pre-candidate"
	recovers      = "recovering"
)

func look(c *raft.Core) status {
	s := c.Status()
	return status{s.Role, s.Leader, s.Term, s.Commit, s.Applied, s.Stable, s.Last, s.Held}
}

// encode appends an encoding of everything that decides what the node will do.
func (n *node) encode(b []byte, naming *naming) []byte {
	return n.encodeRest(n.core.AppendState(b, naming.of), naming)
}

// encodeBare appends the same without the messages that wait for the disk.
func (n *node) encodeBare(b []byte, naming *naming) []byte {
	return n.encodeRest(n.core.AppendStateButHeld(b, naming.of), naming)
}

func (n *node) encodeRest(b []byte, naming *naming) []byte {
	b = encodeLog(b, &n.disk.state, n.disk.entries, naming)
	b = binary.AppendUvarint(b, uint64(n.disk.lost))
	for _, w := range n.writes {
		b = encodeLog(b, &w.State, w.Entries, naming)
		for i := range w.Repairs {
			b = binary.AppendUvarint(b, uint64(w.Repairs[i].Index))
		}
		b = append(b, 0)
	}
	return b
}

// encodeLog appends an encoding of what a disk holds or is to be given.
func encodeLog(b []byte, state *raft.DurableState, entries []raft.Entry, naming *naming) []byte {
	// A message consists of the same things, and its encoding is known to be complete.
	m := wire.ForwardRequest{Start: state.Start, Lowest: uint64(state.MaxLease), Commands: entries}.Message()
	m.From, m.To, m.Term, m.Cluster, m.FromIncarnation = state.Server, state.Vote, state.Term, state.Cluster, state.Incarnation
	return wire.Naming(naming.of).AppendMessage(b, &m)
}

// A message is one that some server may send. Equal messages are one.
type message struct {
	id       uint32
	from, to int
	content  wire.Message
	hashes   []sum // by naming
	// canon has, for each naming, a number: the same for messages that are equal under that naming.
	canon []uint32
}

// A machine is the state of the replicated state machine: a hash over all commands in their order.
// The hash is also the result of each command.
type machine uint64

// next returns the state after a command.
func (m machine) next(e *raft.Entry) machine {
	return machine(mix(uint64(m) ^ chainEntry(0, &raft.Entry{Kind: e.Kind, Origin: e.Origin, Number: e.Number, Data: e.Data})))
}

// An event is what can happen to a node: the arrival of a message, which the event is the number
// of, or one of the kinds below with a number of its own.
type event uint32

// The kinds of events other than arrivals
const (
	eventStart event = 1<<31 + iota<<8
	eventTransfer
	eventPropose
	eventRead
	eventPersist
	eventCrash // + the number of writes that reach the disk
	eventPass  // + the deadline's place among those that are armed
	// The leader is asked to remove a server, to add one, or to hand over to one: + the server.
	eventRemove
	eventAdd
	eventHandOver
	eventDamage  // + the index of the entry whose bytes are lost
	eventOverdue // a server with damage has waited long enough for another leader
)

// arrival reports whether an event is the arrival of a message. The event is then the number of the
// message.
func (e event) arrival() bool { return e < 1<<31 }

func (e event) kind() event { return e &^ 255 }
func (e event) number() int { return int(e & 255) }

// A step is what an event makes of a node. It depends on nothing else.
type step struct {
	after *node
	sent  []*message
	// applied are the entries that the state machine applied, and answers are the answers that
	// callers got.
	applied []raft.Entry
	answers []raft.Answer
	// call is the number of the call that the event made, or 0.
	call uint64
	// broken is the violation of an invariant, or nil.
	broken *Violation
	// whole says that the view is the whole log: no write waits for another one to end.
	whole bool
	// silent says that a round of heartbeats began which doesn't leave the leader.
	silent bool
	// plain says that, besides the messages, nothing in the step matters to the checks of the whole
	// cluster.
	plain bool
	// commit is the highest commit index that a message of the step names. claims says that one of
	// the messages is a leader's, or claims a match.
	commit raft.Index
	claims bool
}
