package raft

import (
	"slices"
	"time"

	"github.com/e17579a5/raft/wire"
)

// A Status is what a node knows at one moment. It belongs to the caller. It is for people and for
// supervision: a Leadership is cheaper, and an Event comes by itself.
type Status struct {
	ID ServerID
	// Role is "follower", "pre-candidate", "candidate" or "leader", and "stopped" at the end. It is
	// "recovering" while a server that was elected repairs its log, and doesn't lead yet.
	Role string
	Term Term

	// Leader is the server that leads in Term, as far as this server knows; "" while it knows none.
	// LeaderAddress is where the other servers reach it.
	Leader        ServerID
	LeaderAddress string

	// These say how far this server has come in the log (Figure 2). Applied ≤ Commit ≤ Last, and
	// Stable ≤ Last. Last is the last entry in the log. Stable is the last one on this server's
	// disk. Commit is the last one that it knows to be committed. Applied is the last one that its
	// state machine has applied. Snapshot is the last one that its current snapshot covers.
	Snapshot, Applied, Commit, Stable, Last Index
	// SnapshotBytes is the size of the current snapshot.
	SnapshotBytes uint64

	// Cluster is zero and Members is empty until the server belongs to a cluster. The members are
	// those of the latest configuration in the log, committed or not, which is the entry at
	// ConfigurationIndex. While a change of the members is under way, Next are the members that are
	// to be, if servers still catch up for it, and Old are the members that were, if a majority of
	// both is needed (§4.3).
	Cluster            ClusterID
	Members, Old, Next []Member
	ConfigurationIndex Index
	// Level is the one that is in force, by the same configuration.
	Level wire.Level

	// PendingProposals, PendingReads and PendingCalls are how many callers at this server wait.
	PendingProposals, PendingReads, PendingCalls int
	// PendingBytes is the size of the commands among them, in bytes.
	PendingBytes int
	// UncommittedBytes and UnappliedBytes are what this server, as the leader, has taken in that
	// counts against Config.MaxUncommittedBytes and MaxUnappliedBytes. They are 0 while it doesn't
	// lead.
	UncommittedBytes, UnappliedBytes int
	// Inbox is what had gathered for the node to look at, when it looked.
	Inbox InboxStatus
	// RefusedMessages counts messages from other servers that weren't taken, since the start, because
	// they contradict what this server knows or because their sender isn't a member. In an election
	// timeout at most one is counted, which is also logged.
	RefusedMessages uint64

	// HandingOver is the server to which this server, as the leader, hands over; "" when there is
	// none. Lease is how long the lease of this leader still runs unless it is renewed; 0 while it
	// has none.
	HandingOver ServerID
	Lease       time.Duration

	// Trouble says why this server takes no part in its cluster, as far as it can tell:
	// ErrBootstrapMismatch, ErrOtherIncarnation, ErrRolledBack, ErrRemoved, ErrOtherCluster,
	// ErrOutdated, ErrMoved or ErrNoCluster. It is nil otherwise.
	Trouble error

	// Stuck says which function of the user's holds up the whole node, because it doesn't return;
	// "" while none does. Then the rest is what the node knew when it was held up, and only as far
	// as its events tell: who leads, the members, and Trouble.
	Stuck string

	// NoLeader explains why there is no leader; it is nil while one is known. The next three
	// explain what the oldest call of its kind at this server waits for; each is nil while no such
	// call waits. Command is for Propose and for sessions, Read for the three kinds of reads, and
	// Call for the calls about the cluster itself (AddServer, TransferLeadership and so on).
	NoLeader            *NoLeader
	Command, Read, Call *Wait
	// Peers are the other servers as this one knows them. It is empty unless this server leads.
	Peers []PeerStatus
	// Receiving says how far the transfer of a snapshot to this server has come; nil when there is
	// none. The last stage of a transfer is that the state machine is restored. After a start with
	// a snapshot there is only this stage.
	Receiving *TransferStatus
	// Disk, CatchUp and Machine are the lanes of the node: writes to the storage, reads of entries
	// that have left memory, and batches for the state machine.
	Disk, CatchUp, Machine LaneStatus
	// SnapshotTrouble says what is wrong with this server's snapshots: the current one is damaged, so
	// that the state machine waits for another server's, or none can be sent; or the last attempt to
	// take one has failed, with the reason. It wraps ErrCorrupt in the first case. It is nil
	// otherwise. If it is so at every server, only an export can help (BootstrapFrom).
	SnapshotTrouble error
	// Damage is what this server's disk has lost of the log; nil if nothing is lost.
	Damage *Damage
	// StorageTrouble is what the storage says is wrong with it (its method Trouble), though no call
	// has failed yet; nil if nothing is, or if the storage says nothing of the kind.
	StorageTrouble error
	// Room is for how many bytes of entries this server's disk has room, if the storage says so, and
	// math.MaxUint64 otherwise. FullFor is how long the disk has been full: hardly more than
	// Config.ReserveBytes is left. It is 0 while the disk isn't full.
	Room    uint64
	FullFor time.Duration
	// Diverged is a *Divergence if the state machine of another server gave other results than the
	// one here (Config.CompareResults). It is nil otherwise.
	Diverged error
}

// An InboxStatus says what had gathered for a node while it was at work: Messages from other servers,
// of which the appends, forwards and calls have Bytes bytes (Config.MaxInboxMessages,
// MaxInboxBytes). Dropped counts the messages, since the start, for which there was no room.
type InboxStatus struct {
	Messages, Bytes int
	Dropped         uint64
}

// Damage says which entries' bytes a server's disk has lost. The server keeps what it has promised by
// their indexes and terms, and gets the bytes from the other members. What its state machine needs
// of them holds the server up, and it doesn't lead; the rest is in nobody's way. If no member has
// them, it waits: entries that may have been acknowledged are never given up, and a person has to
// decide.
//
// It is also an event, whenever what is lost changes. With an empty Lost, nothing is lost any more.
type Damage struct {
	Lost  []wire.Range  // shared: it must not be changed
	For   time.Duration // since the first of them was found to be lost
	Asked []ServerID    // the members that were asked, and have given nothing since
	Err   error         // what the storage has said when it was asked for one; nil if it hasn't been
}

// Status returns what the node knows now. After the node has stopped, it returns what the node knew
// at the end. It returns soon also while the disk or the state machine hangs. While a function of
// the user's holds up the whole node, it says which one (Status.Stuck), and little else.
func (n *Node) Status() Status {
	answer := make(chan Status, 1)
	if n.inbox.query(answer) {
		patience := time.NewTimer(n.config.patience())
		defer patience.Stop()
		select {
		case s := <-answer:
			s.StorageTrouble = n.storageTrouble()
			return s
		case <-patience.C:
			n.inbox.forget(answer)
			return n.glimpse()
		}
	}
	<-n.life.done.wait()
	s := *n.life.last
	s.Members, s.Old, s.Next = slices.Clone(s.Members), slices.Clone(s.Old), slices.Clone(s.Next)
	return s
}

// storageTrouble asks the storage what is wrong with it. The caller's goroutine asks.
func (n *Node) storageTrouble() error {
	storage, ok := n.config.Storage.(troubleTeller)
	if !ok {
		return nil
	}
	return guard("storage", storage.Trouble)
}

// glimpse returns what is known without the loop, which stands still.
func (n *Node) glimpse() Status {
	leadership, membership, trouble := n.board.shown()
	s := Status{
		ID: n.config.ID, Stuck: n.step.holdsUp(), Trouble: trouble.Err,
		Role: leadership.Role, Term: leadership.Term, Leader: leadership.Leader, LeaderAddress: leadership.LeaderAddress,
	}
	s.showMembers(&membership.Configuration, membership.Index)
	return s
}

// showMembers shows a configuration, which is at an index. Index 0 stands for none.
func (s *Status) showMembers(c *Configuration, at Index) {
	if at == 0 {
		return
	}
	s.Cluster, s.ConfigurationIndex, s.Level = c.Cluster, at, c.LevelInForce()
	s.Members, s.Old, s.Next = slices.Clone(c.Members), slices.Clone(c.Old), slices.Clone(c.Next)
}

// status makes a Status from what the core knows.
func (l *loop) status() Status {
	c := l.core.Status()
	s := Status{
		ID: c.ID, Role: c.Role, Term: c.Term, Leader: c.Leader,
		Snapshot: c.Snapshot, Applied: c.Applied, Commit: c.Commit, Stable: c.Stable, Last: c.Last,
		SnapshotBytes: c.SnapshotBytes,
		Cluster:       c.Cluster, Trouble: l.standing().Trouble, SnapshotTrouble: c.SnapshotTrouble,
		PendingProposals: c.PendingProposals, PendingReads: c.PendingReads, PendingCalls: c.PendingCalls,
		PendingBytes: c.PendingBytes, UncommittedBytes: c.UncommittedBytes, UnappliedBytes: c.UnappliedBytes, RefusedMessages: l.core.Standing().Refused,
		Inbox:       InboxStatus{len(l.intake.messages), l.intake.bulkBytes, l.inbox.dropped.Load()},
		HandingOver: c.HandingOver, Lease: time.Duration(max(c.LeaseUntil-l.clock.now(), 0)),
		LeaderAddress: l.addressOf(c.Leader, c.Configuration),
	}
	if damage := l.damage(&c); len(damage.Lost) > 0 {
		s.Damage = &damage
	}
	s.Room = c.Room
	if c.Full {
		s.FullFor = max(time.Duration(l.read-l.shown.fullSince), 1)
	}
	if c.Diverged != nil {
		s.Diverged = c.Diverged
	}
	if c.Configuration != nil {
		s.showMembers(c.Configuration, c.ConfigurationIndex)
	}
	l.explain(&s)
	return s
}

// damage says what the disk has lost.
func (l *loop) damage(c *CoreStatus) Damage {
	if len(c.Lost) == 0 {
		return Damage{}
	}
	return Damage{c.Lost, time.Duration(l.clock.now() - c.LostSince), c.LostAsked, c.LostWhy}
}

// stoppedStatus returns the last status. A core that broke isn't asked any more: then the status
// says only which server it was.
func (l *loop) stoppedStatus(intact bool) Status {
	s := Status{ID: l.config.ID}
	if intact {
		s = l.status()
	}
	s.Role, s.Leader, s.LeaderAddress, s.PendingProposals, s.PendingReads, s.PendingCalls = stoppedRole, "", "", 0, 0, 0
	s.PendingBytes, s.UncommittedBytes, s.UnappliedBytes, s.Inbox = 0, 0, 0, InboxStatus{Dropped: s.Inbox.Dropped}
	s.NoLeader, s.Command, s.Read, s.Call, s.Peers, s.Receiving = nil, nil, nil, nil, nil, nil
	s.Disk, s.CatchUp, s.Machine = LaneStatus{}, LaneStatus{}, LaneStatus{}
	s.HandingOver, s.Lease = "", 0
	return s
}

// stoppedRole is the role of a node that has stopped.
const stoppedRole = "stopped"

// reply answers a question for the status, unless it was answered before.
func reply(question chan<- Status, s Status) {
	select {
	case question <- s:
	default:
	}
}

// logFailure logs why the node stops, with the stack if it was a panic.
func (l *loop) logFailure(cause error) {
	l.logger.Error("raft: stopped", "err", cause, "term", l.shown.standing.Term)
}

// explain fills in the explanations: why things are as they are.
func (l *loop) explain(s *Status) {
	now, why := l.read, l.core.Explain()
	if s.NoLeader = why.NoLeader; s.NoLeader != nil {
		s.NoLeader.For = time.Duration(now - l.shown.leaderless)
	}
	s.Command = l.waiting.commands.explain(why.Command, now)
	s.Read = l.waiting.reads.explain(why.Read, now)
	s.Call = l.waiting.calls.explain(why.Call, now)
	for _, peer := range why.Peers {
		peer.Silent = min(peer.Silent, time.Duration(now-l.shown.ledSince))
		s.Peers = append(s.Peers, peer)
	}
	s.Receiving = why.Receiving
	s.Disk, s.CatchUp, s.Machine = l.busy.disk.status(now), l.busy.catchUp.status(now), l.busy.machine.status(now)
	if storage, ok := l.config.Storage.(waitingStorage); ok {
		s.Disk.Waits = storage.Waiting()
	}
	if lacks := l.lanes.lacks.Load(); lacks != nil {
		s.Machine.Waits = *lacks
	}
}
