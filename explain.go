package raft

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/e17579a5/raft/wire"
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

// String explains in one line.
func (n *NoLeader) String() string {
	s := fmt.Sprintf("no leader for %v: %s", n.For, n.Reason)
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

// Wait explains what the oldest call of its kind at this server waits for.
type Wait struct {
	On WaitReason
	// For is how long the call has waited.
	For time.Duration
	// Index is the index of the entry that must be stored, committed or applied first; 0 while it
	// isn't known.
	Index Index
	// Servers are the servers that the call waits for. This server is among them if its own disk
	// is.
	Servers []ServerID
}

// WaitReason says what a call waits for.
type WaitReason string

// The things that a call waits for.
const (
	// WaitLeader: the call waits until a leader is known. Status.NoLeader says why there is none.
	WaitLeader WaitReason = "a leader"
	// WaitAnswer: the leader, Servers, was asked and has to answer.
	WaitAnswer WaitReason = "the leader's answer"
	// WaitNextTerm: the leader that the command or call was offered to is gone. What its successor
	// commits will show whether the command is in the log.
	WaitNextTerm WaitReason = "an entry of a later term"
	// WaitRoom: this server leads. It, or a majority, has too much to do to take more for now.
	WaitRoom WaitReason = "room in the leader's log"
	// WaitStored: this server leads. Servers don't hold the entry at Index on their disks yet.
	WaitStored WaitReason = "a majority to store"
	// WaitRound: this server leads. Servers haven't confirmed that since the read came (§6.4).
	WaitRound WaitReason = "a majority to confirm the leader"
	// WaitCommit: the leader, Servers, has to say that the entry at Index is committed.
	WaitCommit WaitReason = "the leader's word of a commit"
	// WaitDisk: committed entries are being read from this server's disk for its state machine.
	WaitDisk WaitReason = "the catch-up lane to read for the state machine"
	// WaitMachine: this server's state machine has to apply the entry at Index.
	WaitMachine WaitReason = "the state machine"
	// WaitIdentity: this server leads. Servers are to be members, and haven't said who they are.
	WaitIdentity WaitReason = "new servers to answer"
	// WaitCatchUp: Servers are to be voters, and have to catch up (§4.2.1).
	WaitCatchUp WaitReason = "new voters to catch up"
	// WaitStep: the leader, Servers, has to take the next step of a change, after the configuration
	// at Index.
	WaitStep WaitReason = "the next step of the change"
	// WaitSuccessor: this server hands the leadership over to Servers (§3.10).
	WaitSuccessor WaitReason = "the next leader"
)

// String explains in one line.
func (w *Wait) String() string {
	s := fmt.Sprintf("waits for %v on %s", w.For, w.On)
	if w.Index > 0 {
		s += fmt.Sprintf(" (entry %d)", w.Index)
	}
	if len(w.Servers) > 0 {
		s += ": " + names(w.Servers)
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
	// Trouble says why the server takes no part, if this one knows: ErrRolledBack or ErrOtherIncarnation.
	Trouble error
}

// A TransferStatus says where the transfer of a snapshot stands.
type TransferStatus struct {
	Peer  ServerID // the server that it goes to, or comes from
	Index Index    // the last index that the snapshot covers
	Stage TransferStage
	// Done of Size bytes are there. For a snapshot that is sent, Done counts the bytes that the
	// receiver held when the present stream began, and those written to the stream since. For one
	// that is received, it counts the bytes that are stored.
	Done, Size uint64
}

// TransferStage says what comes next in the transfer of a snapshot.
type TransferStage string

// The stages of a transfer.
const (
	// TransferOffered: the receiver has to say from which byte on it needs the snapshot, and a
	// stream has to be opened.
	TransferOffered TransferStage = "offered"
	// TransferStreaming: the bytes are on their way.
	TransferStreaming TransferStage = "streaming"
	// TransferInstalling: all bytes were sent. The receiver has to make them durable, and to
	// restore its state machine from them.
	TransferInstalling TransferStage = "installing"
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
	s := &TransferStatus{Peer: peer, Index: t.snapshot.meta.Index, Stage: TransferOffered, Size: t.snapshot.bytes}
	switch t.state {
	case sendingOpen:
		s.Stage, s.Done = TransferStreaming, t.sent
	case sendingDone:
		s.Stage, s.Done = TransferInstalling, s.Size
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
		return &TransferStatus{Index: snapshot.meta.Index, Stage: TransferInstalling, Done: snapshot.bytes, Size: snapshot.bytes}
	}
	s := &TransferStatus{Peer: in.name.from, Index: in.name.place.Index, Stage: TransferOffered, Done: in.held, Size: in.name.size}
	switch {
	case in.state == incomingStored:
		s.Stage = TransferInstalling
	case in.stream != 0:
		s.Stage = TransferStreaming
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
	case !c.mayCampaign():
		return &NoLeader{Reason: NoLeaderNoVote}
	}
	r, asks := c.role.(*candidate)
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

// commandWaits says what the oldest command of a caller here waits for; nil when there is none.
func (c *Core) commandWaits() (number uint64, wait *Wait) {
	p := &c.proposals
	if p.count() == 0 {
		return 0, nil
	}
	item := &p.items[p.skip]
	to := c.leaderID()
	switch {
	case to == "" && item.state == pendingFree:
		wait = &Wait{On: WaitLeader}
	case item.state == pendingLogged:
		index := c.findOwn(item.number)
		if wait = c.applyWaits(index); index == 0 && item.term < c.state.Term {
			wait = &Wait{On: WaitNextTerm}
		}
	case item.term < c.state.Term && item.state == pendingForwarded:
		wait = &Wait{On: WaitNextTerm}
	case item.state == pendingFree && to == c.id:
		wait = &Wait{On: WaitRoom}
	default:
		wait = &Wait{On: WaitAnswer, Servers: []ServerID{to}}
	}
	return item.number, wait
}

// maxLook bounds how many entries findOwn looks at. The oldest command that waits is rarely far
// behind what was applied.
const maxLook = 1 << 14

// findOwn returns the index of a command of this server, or 0. It looks only at entries that are in
// memory and not applied.
func (c *Core) findOwn(number uint64) Index {
	l := &c.log
	for at := l.applied; at < min(l.last, l.applied+maxLook); {
		entries := l.tail.entries(at, l.last, maxInt)
		if len(entries) == 0 {
			return 0
		}
		for i := range entries {
			if e := &entries[i]; e.Number == number && e.Origin == c.Origin() {
				return e.Index
			}
		}
		at = entries[len(entries)-1].Index
	}
	return 0
}

// applyWaits says what must happen before the entry at an index is applied here. 0 stands for any
// entry that isn't applied yet.
func (c *Core) applyWaits(index Index) *Wait {
	l := &c.log
	if index > 0 && index <= l.commit || index == 0 && l.applied < l.commit {
		if c.fetching {
			return &Wait{On: WaitDisk, Index: index}
		}
		return &Wait{On: WaitMachine, Index: index}
	}
	if r, leads := c.role.(*leader); leads {
		return c.storeWaits(r, max(index, l.commit+1))
	}
	if to := c.leaderID(); to != "" {
		return &Wait{On: WaitCommit, Index: index, Servers: []ServerID{to}}
	}
	return &Wait{On: WaitLeader, Index: index}
}

// storeWaits says which voters don't hold the entry at an index on their disks yet.
func (c *Core) storeWaits(l *leader, index Index) *Wait {
	return &Wait{On: WaitStored, Index: index, Servers: c.lacking(l, func(p *progress) bool {
		if p == nil {
			return c.log.stable >= index
		}
		return p.match >= index
	})}
}

// lacking returns the voters that haven't reached something. reached is asked with nil for this
// server.
func (c *Core) lacking(l *leader, reached func(*progress) bool) (servers []ServerID) {
	for _, id := range c.electorate() {
		p := l.peer(id)
		if id != c.id && p == nil || !reached(p) {
			servers = append(servers, id)
		}
	}
	return servers
}

// readWaits says what the oldest read of a caller here waits for; nil when there is none.
func (c *Core) readWaits() (number uint64, wait *Wait) {
	var oldest *waitingRead
	for i := range c.reads {
		for j := range c.reads[i].waiting {
			r := &c.reads[i].waiting[j]
			if !r.canceled && (oldest == nil || r.number < oldest.number) {
				oldest = r
			}
			if !r.canceled {
				break
			}
		}
	}
	if oldest == nil {
		return 0, nil
	}
	if oldest.known {
		return oldest.number, c.applyWaits(oldest.index)
	}
	to := c.leaderID()
	l, leads := c.role.(*leader)
	switch {
	case leads && c.log.commit < l.begin:
		return oldest.number, c.storeWaits(l, l.begin)
	case leads:
		return oldest.number, &Wait{On: WaitRound, Servers: c.lacking(l, func(p *progress) bool {
			return p == nil || p.round > l.confirmed
		})}
	case to == "":
		return oldest.number, &Wait{On: WaitLeader}
	}
	return oldest.number, &Wait{On: WaitAnswer, Servers: []ServerID{to}}
}

// callWaits says what the oldest administrative call of a caller here waits for; nil when there is
// none.
func (c *Core) callWaits() (number uint64, wait *Wait) {
	if len(c.calls.items) == 0 {
		return 0, nil
	}
	item, placed := &c.calls.items[0], c.log.placed()
	l, leads := c.role.(*leader)
	to := c.leaderID()
	switch {
	case placed != nil && placed.configuration.Origin == c.Origin() && placed.configuration.Number == item.number:
		wait = c.changeWaits(placed)
	case leads && l.change != nil && l.change.origin == c.Origin() && l.change.number == item.number:
		wait = &Wait{On: WaitIdentity}
		for i := range l.change.asked {
			wait.Servers = append(wait.Servers, l.change.asked[i].ID)
		}
	case leads && l.handover.to != "":
		wait = &Wait{On: WaitSuccessor, Servers: []ServerID{l.handover.to}}
	case leads && c.log.commit < l.begin:
		wait = c.storeWaits(l, l.begin)
	case to == "" && item.state == pendingFree:
		wait = &Wait{On: WaitLeader}
	case item.state == pendingForwarded && item.term < c.state.Term:
		wait = &Wait{On: WaitNextTerm}
	default:
		wait = &Wait{On: WaitAnswer, Servers: []ServerID{to}}
	}
	return item.number, wait
}

// changeWaits says what a change of the members waits for, where the last configuration in the log
// is one of that change.
func (c *Core) changeWaits(placed *placedConfiguration) *Wait {
	l, leads := c.role.(*leader)
	configuration := placed.configuration
	switch {
	case placed.index > c.log.commit && leads:
		return c.storeWaits(l, placed.index)
	case c.leaderID() == "":
		return &Wait{On: WaitLeader, Index: placed.index}
	case placed.index > c.log.commit:
		return &Wait{On: WaitCommit, Index: placed.index, Servers: []ServerID{c.leaderID()}}
	case leads && l.handover.to != "":
		return &Wait{On: WaitSuccessor, Index: placed.index, Servers: []ServerID{l.handover.to}}
	case configuration.Old == nil && configuration.Next != nil:
		wait := &Wait{On: WaitCatchUp, Index: placed.index}
		for i := range configuration.Next {
			if m := &configuration.Next[i]; m.Role == Voter && !wire.IsVoter(configuration.Members, m.ID) {
				wait.Servers = append(wait.Servers, m.ID)
			}
		}
		return wait
	}
	return &Wait{On: WaitStep, Index: placed.index, Servers: []ServerID{c.leaderID()}}
}
