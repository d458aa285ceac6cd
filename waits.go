package raft

import (
	"fmt"
	"slices"
	"time"

	"github.com/e17579a5/raft/wire"
)

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
	// WaitSnapshot: the snapshot that the state machine is to be restored from is damaged, and
	// another server has to send one. Status.SnapshotTrouble says more. If it is so at every
	// server, none comes.
	WaitSnapshot WaitReason = "another server's snapshot"
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

// waitRepair: this server's disk has lost the bytes of the committed entry at Index. It has asked
// Servers for them. Status.Damage says more.
const waitRepair WaitReason = "the bytes of an entry that the disk has lost"

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

// oldest explains in the error of a call, which names the leader already.
func (w *Wait) oldest(leader ServerID) string {
	shown := *w
	if len(w.Servers) == 1 && w.Servers[0] == leader {
		shown.Servers = nil
	}
	return "the oldest call of its kind " + shown.String()
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
		switch {
		case c.snapshots.restore == restoreLost:
			return &Wait{On: WaitSnapshot, Index: index}
		case c.fetching:
			return &Wait{On: WaitDisk, Index: index}
		}
		if lost := l.obstacle(); lost != 0 && lost == l.applied+1 {
			return &Wait{On: waitRepair, Index: lost, Servers: slices.Clone(c.repairs.tried)}
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
			return c.log.sound() >= index
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
	case leads && len(l.handover.asked) > 0:
		wait = &Wait{On: WaitSuccessor}
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
