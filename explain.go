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
	// For is for how long this server has known none.
	For time.Duration
	// Granted, Refused and Silent are the voters by what this server, as a candidate, has heard
	// from them: Granted are those whose votes it has, itself among them once its own is on its
	// disk; Silent are the rest.
	Granted, Refused, Silent []ServerID
}

// NoLeaderReason says why a server knows no leader.
type NoLeaderReason string

// Why a server knows no leader.
const (
	// NoLeaderTrouble: it takes no part; Status.Trouble says why.
	NoLeaderTrouble NoLeaderReason = "this server takes no part"
	// NoLeaderDisk: its disk has finished nothing for an election timeout, so it doesn't campaign.
	NoLeaderDisk NoLeaderReason = "this server's disk is stalled"
	// NoLeaderPromise: it has promised a lease, which isn't over (§6.4.1).
	NoLeaderPromise NoLeaderReason = "this server has promised not to campaign yet"
	// NoLeaderNoVote: it is no voter, and waits for one to be elected.
	NoLeaderNoVote NoLeaderReason = "this server may not campaign"
	// NoLeaderBehind: it has heard that more is committed than its log holds, so it waits for one who
	// holds it.
	NoLeaderBehind NoLeaderReason = "this server lacks entries that are committed"
	// NoLeaderTimeout: it waits to hear from a leader, and campaigns if it doesn't (§3.4).
	NoLeaderTimeout NoLeaderReason = "this server waits for its election timeout"
	// NoLeaderVotes: it lacks votes. To found a cluster it needs all of them.
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

// Wait explains what a call at this server waits for: the oldest of its kind.
type Wait struct {
	On WaitReason
	// For is for how long the call has waited.
	For time.Duration
	// Index is the entry that must be stored, committed or applied first; 0 when it isn't known.
	Index Index
	// Servers are those that it waits for, this one among them while its own disk is.
	Servers []ServerID
}

// WaitReason says what a call waits for.
type WaitReason string

// What a call waits for.
const (
	// WaitLeader: for a leader to be known; Status.NoLeader says why there is none.
	WaitLeader WaitReason = "a leader"
	// WaitAnswer: for the leader, Servers, which was asked.
	WaitAnswer WaitReason = "the leader's answer"
	// WaitNextTerm: the leader that the command was offered to is gone. What its successor has
	// committed will show whether the command is among that.
	WaitNextTerm WaitReason = "an entry of a later term"
	// WaitStored: this server leads, and Servers don't hold the entry at Index on their disks.
	WaitStored WaitReason = "a majority to store"
	// WaitRound: this server leads, and Servers haven't confirmed that since the read came (§6.4).
	WaitRound WaitReason = "a majority to confirm the leader"
	// WaitCommit: for word of the leader, Servers, that the entry at Index is committed.
	WaitCommit WaitReason = "the leader's word of a commit"
	// WaitDisk: what is committed is being read from this server's disk for its state machine.
	WaitDisk WaitReason = "the catch-up lane to read for the state machine"
	// WaitMachine: for this server's state machine to apply the entry at Index.
	WaitMachine WaitReason = "the state machine"
	// WaitIdentity: this server leads, and Servers, which are to be members, haven't said who they
	// are.
	WaitIdentity WaitReason = "new servers to answer"
	// WaitCatchUp: for Servers, which are to be voters, to catch up (§4.2.1).
	WaitCatchUp WaitReason = "new voters to catch up"
	// WaitStep: for the leader, Servers, to take the next step of a change, behind the
	// configuration at Index.
	WaitStep WaitReason = "the next step of the change"
	// WaitSuccessor: this server hands over to Servers (§3.10).
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
	// Match is up to where it holds the leader's log on its disk; Next is the next entry that it is
	// sent.
	Match, Next Index
	// Sending says how it is sent entries: "probing" for where the logs agree, "replicating",
	// "reading" what has left memory from the leader's disk, or "snapshot" when it is sent that
	// first.
	Sending string
	// InFlight are the appends that it was sent and has not acknowledged, InFlightBytes what they
	// hold.
	InFlight, InFlightBytes int
	// Snapshot is where the transfer of a snapshot to it stands, nil when it is sent none.
	Snapshot *TransferStatus
	// Silent is for how long nothing has come from it, counted at most from the beginning of the
	// leadership.
	Silent time.Duration
	// Trouble says why the server takes no part, if this one knows: ErrRolledBack or ErrOtherIncarnation.
	Trouble error
}

// A TransferStatus says where the transfer of a snapshot stands.
type TransferStatus struct {
	Peer  ServerID // where it goes to, or comes from
	Index Index    // that the snapshot covers
	Stage TransferStage
	// Done of Size bytes are there: of one that is sent, written to the present stream or held by
	// the receiver when that began; of one that is received, stored.
	Done, Size uint64
}

// TransferStage says what comes next in a transfer.
type TransferStage string

// Stages of a transfer.
const (
	// TransferOffered: the receiver is to say from where on it needs it, and a stream to be opened.
	TransferOffered TransferStage = "offered"
	// TransferStreaming: bytes are on their way.
	TransferStreaming TransferStage = "streaming"
	// TransferInstalling: all was sent. The receiver is to make it durable, and its state machine
	// to be restored.
	TransferInstalling TransferStage = "installing"
)

func names(servers []ServerID) string {
	list := make([]string, len(servers))
	for i, id := range servers {
		list[i] = string(id)
	}
	return strings.Join(list, ", ")
}

// An Explanation says why a server is where it is, to somebody who wonders. It decides nothing.
type Explanation struct {
	// NoLeader is nil while a leader is known. For is left at 0: a core doesn't remember since
	// when.
	NoLeader *NoLeader
	// Command, Read and Call are the oldest calls of callers at this server.
	Command, Read, Call OldestCall
	// Peers are the other servers as this one, while it leads, knows them.
	Peers []PeerStatus
	// Receiving is where the transfer of a snapshot to this server stands, nil when there is none.
	Receiving *TransferStatus
}

// An OldestCall is the oldest one of its kind that waits. Number is the one that the core gave it.
type OldestCall struct {
	Number uint64
	Wait   *Wait // nil when none waits. For is left at 0: a core doesn't remember since when
}

// Explain explains. It costs more than Status, and changes nothing.
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

// mode says how a peer is sent entries.
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

// status says where a transfer to a peer stands.
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

// receiving says where the transfer of a snapshot to this server stands, and the restore that ends
// it; nil when there is none.
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

// electorate returns the servers that vote, each once: those of the configuration, or those that
// are to found a cluster.
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
		if index == 0 && item.term < c.state.Term {
			wait = &Wait{On: WaitNextTerm}
			break
		}
		wait = c.applyWaits(index)
	case item.term < c.state.Term && item.state == pendingForwarded:
		wait = &Wait{On: WaitNextTerm}
	default:
		wait = &Wait{On: WaitAnswer, Servers: []ServerID{to}}
	}
	return item.number, wait
}

// maxLook bounds how many entries are looked at to find a command. The oldest one that waits is
// rarely far behind what was applied.
const maxLook = 1 << 14

// findOwn returns where a command of this server stands among the entries in memory that aren't
// applied, or 0.
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

// applyWaits says what must happen before an entry is applied here; 0 is any that isn't applied
// yet.
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

// storeWaits says which voters don't hold an entry on their disks yet.
func (c *Core) storeWaits(l *leader, index Index) *Wait {
	return &Wait{On: WaitStored, Index: index, Servers: c.lacking(l, func(p *progress) bool {
		if p == nil {
			return c.log.stable >= index
		}
		return p.match >= index
	})}
}

// lacking returns the voters that haven't reached something. nil stands for this server.
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

// callWaits says what the oldest call about the cluster itself that was made here waits for; nil
// when there is none.
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

// changeWaits says what a change waits for of which the log holds a configuration, the last one.
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
