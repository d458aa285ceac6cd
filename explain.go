package raft

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// NoLeader explains why a server knows no leader.
type NoLeader struct {
	Reason NoLeaderReason
	// For is how long this server has known no leader.
	For time.Duration
	// Granted, Refused and Silent are the voters, by what this server has heard from them as a
	// candidate. Granted have given their votes; this server is among them once its own vote is on
	// its disk. Refused have refused. Silent are all others.
	Granted, Refused, Silent []ServerID
}

// NoLeaderReason says why a server knows no leader.
type NoLeaderReason string

// The reasons why a server knows no leader.
const (
	// NoLeaderTrouble: the server takes no part in its cluster. Status.Trouble says why.
	NoLeaderTrouble NoLeaderReason = "this server takes no part"
	// NoLeaderDisk: the server's disk has finished nothing for an election timeout, so the server
	// doesn't campaign.
	NoLeaderDisk NoLeaderReason = "this server's disk is stalled"
	// NoLeaderPromise: the server has promised a lease that isn't over (§6.4.1).
	NoLeaderPromise NoLeaderReason = "this server has promised not to campaign yet"
	// NoLeaderNoVote: the server is no voter, and waits until a voter is elected.
	NoLeaderNoVote NoLeaderReason = "this server may not campaign"
	// NoLeaderBehind: the server has heard that more is committed than its log holds. It waits for
	// a leader whose log holds it.
	NoLeaderBehind NoLeaderReason = "this server lacks entries that are committed"
	// NoLeaderTimeout: the server waits to hear from a leader, and campaigns if it doesn't (§3.4).
	NoLeaderTimeout NoLeaderReason = "this server waits for its election timeout"
	// NoLeaderVotes: the server campaigns and lacks votes. To found a cluster it needs all of them.
	NoLeaderVotes NoLeaderReason = "this server lacks votes"
)

// noLeaderDamage: the server's disk has lost bytes that are needed. It campaigns after the other
// servers, or was elected and repairs its log before it leads. Status.Damage says more.
const noLeaderDamage NoLeaderReason = "this server lacks bytes that its disk has lost"

// noLeaderInquiry: the server has just started, and not enough of the others have answered.
const noLeaderInquiry NoLeaderReason = "this server asks the others what they know of its disk"

// noLeaderTurn: the server has waited for its election timeout, and campaigns in its turn (MayCampaign).
const noLeaderTurn NoLeaderReason = "other groups of this host elect their leaders first"

// String explains in one line.
func (n *NoLeader) String() string {
	return fmt.Sprintf("no leader for %v: %s", n.For, n.why())
}

// why is String without the time.
func (n *NoLeader) why() string {
	s := string(n.Reason)
	for _, group := range []struct {
		servers []ServerID
		are     string
	}{{n.Granted, "granted"}, {n.Refused, "refused"}, {n.Silent, "silent"}} {
		if len(group.servers) > 0 {
			s += fmt.Sprintf("; %s: %s", group.are, names(group.servers))
		}
	}
	return s
}

// A PeerStatus is what a leader knows of another server.
type PeerStatus struct {
	ID ServerID
	// Match is the index up to which the peer holds the leader's log on its disk. Next is the index
	// of the next entry that it is sent.
	Match, Next Index
	// Sending says how the peer is sent entries. "probing" looks for where the logs agree.
	// "replicating" sends entries from memory, and "reading" entries that are only on the leader's
	// disk. "snapshot" sends a snapshot first.
	Sending string
	// InFlight is how many appends are on their way to the peer and not acknowledged. InFlightBytes
	// is the size of their entries.
	InFlight, InFlightBytes int
	// Snapshot says where the transfer of a snapshot to the peer stands; nil while it is sent none.
	Snapshot *TransferStatus
	// Silent is how long nothing has come from the peer, counted at most from the beginning of the
	// leadership.
	Silent time.Duration
	// Trouble says why the server takes no part, if this one knows: ErrRolledBack or
	// ErrOtherIncarnation.
	Trouble error
	// Room is for how many bytes of entries the peer's disk has room behind what it had received, as
	// it has said last; math.MaxUint64 if it has said nothing, or if its room has no end. Full says
	// that the disk is full, as it has said too.
	Room uint64
	Full bool
}

// A TransferStatus says where the transfer of a snapshot stands.
type TransferStatus struct {
	Peer  ServerID // the server that it goes to, or comes from
	Index Index    // the last index that the snapshot covers
	// Stage says what comes next. "waiting": snapshots of other groups are sent or received first.
	// "offered": the receiver has to say from which byte on it needs the snapshot, and a stream has to
	// be opened. "streaming": the bytes are on their way.
	// "installing": all bytes were sent; the receiver has to make them durable, and to restore its
	// state machine from them.
	Stage string
	// Done of Size bytes are there. For a snapshot that is sent, Done counts the bytes that the
	// receiver held when the present stream began, and those written to the stream since. For one
	// that is received, it counts the bytes that are stored.
	Done, Size uint64
}

// The stages of a transfer.
const (
	stageWaiting    = "waiting"
	stageOffered    = "offered"
	stageStreaming  = "streaming"
	stageInstalling = "installing"
)

func names(servers []ServerID) string {
	list := make([]string, len(servers))
	for i, id := range servers {
		list[i] = string(id)
	}
	return strings.Join(list, ", ")
}

// An Explanation says, to somebody who wonders, why a server doesn't get further. Nothing is
// decided by it.
type Explanation struct {
	// NoLeader is nil while a leader is known. Its For is 0: a core doesn't remember since when it
	// has known none.
	NoLeader *NoLeader
	// Command, Read and Call are the oldest calls of callers at this server, one of each kind.
	Command, Read, Call OldestCall
	// Peers are the other servers as this server knows them while it leads; nil while it doesn't.
	Peers []PeerStatus
	// Receiving says where the transfer of a snapshot to this server stands; nil when there is
	// none.
	Receiving *TransferStatus
}

// An OldestCall is the oldest call of its kind that waits. Number is the one that the core has
// given it.
type OldestCall struct {
	Number uint64
	// Wait is nil when no call waits. Its For is 0: a core doesn't remember since when a call
	// waits.
	Wait *Wait
}

// Explain returns an Explanation of where this server is now. It costs more than Status, and
// changes nothing.
func (c *Core) Explain() Explanation {
	c.wake()
	x := Explanation{Receiving: c.receiving()}
	if c.leaderID() == "" {
		x.NoLeader = c.noLeader()
	}
	x.Command.Number, x.Command.Wait = c.commandWaits()
	x.Read.Number, x.Read.Wait = c.readWaits()
	x.Call.Number, x.Call.Wait = c.callWaits()
	if l, leads := c.role.(*leader); leads {
		for i := range l.peers {
			p := &l.peers[i]
			x.Peers = append(x.Peers, PeerStatus{
				ID: p.id, Match: p.match, Next: p.next, Sending: p.mode(), InFlight: len(p.window), InFlightBytes: p.windowBytes,
				Silent: time.Duration(c.now - p.heard), Snapshot: p.sending.status(p.id), Trouble: c.peerTrouble(p),
				Room: p.vacancy.room(), Full: p.vacancy.full,
			})
		}
	}
	return x
}

// mode returns PeerStatus.Sending.
func (p *progress) mode() string {
	switch {
	case p.sending.state != sendingNot:
		return "snapshot"
	case p.fetching:
		return "reading"
	case p.replicating:
		return "replicating"
	}
	return "probing"
}

// status says where the transfer of a snapshot to a peer stands; nil when there is none.
func (t *sending) status(peer ServerID) *TransferStatus {
	if t.state == sendingNot {
		return nil
	}
	s := &TransferStatus{Peer: peer, Index: t.snapshot.meta.Index, Stage: stageOffered, Size: t.snapshot.bytes}
	switch {
	case t.waits:
		s.Stage = stageWaiting
	case t.state == sendingOpen:
		s.Stage, s.Done = stageStreaming, t.sent
	case t.state == sendingDone:
		s.Stage, s.Done = stageInstalling, s.Size
	}
	return s
}

// receiving says where the transfer of a snapshot to this server stands, up to the restore that
// ends it; nil when there is none.
func (c *Core) receiving() *TransferStatus {
	in := &c.incoming
	switch {
	case in.state == incomingNot && (c.snapshots.restore == restoreNot || c.snapshots.restore == restoreLost):
		return nil
	case in.state == incomingNot:
		snapshot := c.snapshots.current
		if c.snapshots.named != nil {
			snapshot = c.snapshots.named
		}
		return &TransferStatus{Index: snapshot.meta.Index, Stage: stageInstalling, Done: snapshot.bytes, Size: snapshot.bytes}
	}
	s := &TransferStatus{Peer: in.name.from, Index: in.name.place.Index, Stage: stageOffered, Done: in.held, Size: in.name.size}
	switch {
	case in.state == incomingStored:
		s.Stage = stageInstalling
	case in.stream != 0:
		s.Stage = stageStreaming
	}
	return s
}

// noLeader says why this server knows no leader.
func (c *Core) noLeader() *NoLeader {
	switch {
	case c.trouble != nil:
		return &NoLeader{Reason: NoLeaderTrouble}
	case c.diskStalled():
		return &NoLeader{Reason: NoLeaderDisk}
	case c.armed(promiseDeadline):
		return &NoLeader{Reason: NoLeaderPromise}
	case c.log.last < c.witnessed:
		return &NoLeader{Reason: NoLeaderBehind}
	case c.inquiry != nil && c.log.obstacle() == 0:
		return &NoLeader{Reason: noLeaderInquiry}
	case c.inquiry == nil && !c.mayCampaign():
		return &NoLeader{Reason: NoLeaderNoVote}
	}
	r, asks := c.role.(*candidate)
	if !asks && c.log.obstacle() != 0 {
		return &NoLeader{Reason: noLeaderDamage}
	}
	if !asks && c.waits() {
		return &NoLeader{Reason: noLeaderTurn}
	}
	if !asks {
		return &NoLeader{Reason: NoLeaderTimeout}
	}
	n := &NoLeader{Reason: NoLeaderVotes}
	for _, id := range c.electorate() {
		granted := slices.ContainsFunc(r.ballots, func(b ballot) bool { return b.from == id })
		switch {
		case id == c.id && (r.pre || r.ownVote <= c.out.durable), granted:
			n.Granted = append(n.Granted, id)
		case slices.Contains(r.refused, id):
			n.Refused = append(n.Refused, id)
		default:
			n.Silent = append(n.Silent, id)
		}
	}
	return n
}

// electorate returns the servers that vote, each of them once: the voters of the configuration, or
// the servers that are to found a cluster.
func (c *Core) electorate() (voters []ServerID) {
	configuration := c.log.configuration()
	if configuration == nil {
		for _, server := range c.config.Bootstrap {
			voters = append(voters, server.ID)
		}
		return voters
	}
	for _, half := range [2][]Member{configuration.Members, configuration.Old} {
		for i := range half {
			if half[i].Role == Voter && !slices.Contains(voters, half[i].ID) {
				voters = append(voters, half[i].ID)
			}
		}
	}
	return voters
}
