package raft

import (
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// A HostStatus is what a host knows at one moment. It belongs to the caller.
type HostStatus struct {
	ID      ServerID
	Address string
	// Stopped says that no group runs any more. Err is that of Host.Err.
	Stopped bool
	Err     error

	// Groups are the groups of this host, in the order of their names: those that run, and those that
	// have ended here and weren't removed.
	Groups []GroupStatus
	// Running counts the groups that run: Led are those that this server leads, Followed those in which
	// it knows another leader, and Leaderless those in which it knows none. Quiet counts those of them
	// in which nothing happens. Ended counts the groups that don't run, by a failure or by Node.Close.
	Running, Led, Followed, Leaderless, Quiet, Ended int

	// Processes are the servers that the groups name, without this one, in the order of their IDs.
	Processes []ProcessStatus
	// Inbox is what has gathered for all groups.
	Inbox InboxStatus

	// Disk is the lane that writes for all groups. WaitingBytes is the size of the entries that it was
	// given and hasn't written. GroupWrites counts the writes of groups that were done since the start,
	// and Writes the calls of SharedStorage.WriteGroups that did them. Writing is how long these calls
	// took, in sum.
	Disk                LaneStatus
	WaitingBytes        int
	Writes, GroupWrites uint64
	Writing             time.Duration
	// StorageTrouble is what the shared storage says is wrong with it, as in Status.
	StorageTrouble error
	// Room is for how many bytes of entries the disk has room, as it was seen at the last heartbeat of
	// the process; math.MaxUint64 if nobody has looked yet, or the storage doesn't say. FullFor is how long
	// the disk has been full: hardly more than HostConfig.ReserveBytes is left. It is 0 while it isn't.
	Room    uint64
	FullFor time.Duration

	// LogBytes is about how many bytes the logs of all groups take (HostConfig.LogBytes).
	LogBytes uint64
	// Taking, Sending and Receiving are how many snapshots groups take, send and receive. ToTake, ToSend and
	// ToReceive are how many wait until some of these are done.
	Taking, Sending, Receiving int
	ToTake, ToSend, ToReceive  int

	// Scrubbing is the group that is reading what it has, to find out whether bytes are lost; "" while
	// none is. ToScrub is how many come after it in this pass, and Scrubs how many passes are done.
	Scrubbing GroupID
	ToScrub   int
	Scrubs    uint64
}

// A GroupStatus is what a host knows of one of its groups, without asking the group's node. Node.Status
// says more.
type GroupStatus struct {
	Group GroupID
	// Leadership is that of Node.Leadership. Its Role is "stopped" if the group has ended here.
	Leadership Leadership
	// Leaderless is for how long this server has known no leader; 0 while it knows one.
	Leaderless time.Duration
	// Commit and Applied are those of Status, as of the group's last turn.
	Commit, Applied Index
	// Pending is how many callers at this server waited at the end of the last turn.
	Pending int
	// Quiet says that nothing happens in the group: the heartbeats of the process stand for its own.
	Quiet bool
	// Trouble is that of Status.
	Trouble error
	// Err is why the group has ended here, or couldn't be started; nil while it runs, and after
	// Node.Close.
	Err error
}

// Runs says whether the group runs.
func (g *GroupStatus) Runs() bool { return g.Leadership.Role != stoppedRole }

// A ProcessStatus is what a host knows of another process.
type ProcessStatus struct {
	Server
	// Leads is in how many groups of this host the server leads.
	Leads int
	// Silent is how long nothing has come from the process, at most since the groups have named it.
	// Processes of which neither leads a group of the other one have nothing to say.
	Silent time.Duration
	// Lost says that the process led groups here, and was given up: it was silent for an election
	// timeout, or the transport says that it is gone. That stays so until something comes from it.
	// Absent is in how many quiet groups that this server leads it takes no part.
	Lost   bool
	Absent int
}

// Status returns what the host knows now. It asks neither the groups nor the state machines, and takes
// no longer while one of them hangs. It can be called at any time, from any function that a host calls,
// but for the methods of the storage. After the host has stopped, it says how the groups have ended.
func (h *Host) Status() HostStatus {
	s := HostStatus{ID: h.config.ID, Address: h.config.Address, Err: h.Err()}
	select {
	case <-h.life.done:
		s.Stopped = true
	default:
		s.StorageTrouble = h.storageTrouble()
	}
	h.showGroups(&s)
	h.link.show(&s)
	h.book.show(&s)
	h.disk.show(&s)
	h.scrub.show(&s)
	h.snapshots.show(&s)
	return s
}

// storageTrouble asks the shared storage what is wrong with it. The caller's goroutine asks.
func (h *Host) storageTrouble() error {
	storage, ok := h.config.Storage.(troubleTeller)
	if !ok {
		return nil
	}
	return guard("storage", storage.Trouble)
}

// showGroups shows all groups.
func (h *Host) showGroups(s *HostStatus) {
	type place struct {
		group GroupID
		node  *Node
		err   error
	}
	now := h.clock.now()
	h.mu.RLock()
	places := make([]place, 0, len(h.groups))
	for group, seat := range h.groups {
		if seat.node != nil || seat.failed != nil {
			places = append(places, place{group, seat.node, seat.failed})
		}
	}
	h.mu.RUnlock()
	slices.SortFunc(places, func(a, b place) int { return strings.Compare(string(a.group), string(b.group)) })
	s.Groups = make([]GroupStatus, 0, len(places))
	for i := range places {
		n := places[i].node
		if n == nil {
			s.Groups = append(s.Groups, GroupStatus{Group: places[i].group, Leadership: Leadership{Role: stoppedRole}, Err: places[i].err})
			continue
		}
		s.Groups = append(s.Groups, n.groupStatus(now))
		messages, bytes := n.inbox.gathered()
		s.Inbox.Messages, s.Inbox.Bytes = s.Inbox.Messages+messages, s.Inbox.Bytes+bytes
		s.Inbox.Dropped += n.inbox.dropped.Load()
	}
	for i := range s.Groups {
		g := &s.Groups[i]
		switch {
		case !g.Runs():
			s.Ended++
			continue
		case g.Leadership.Role == leaderRole:
			s.Led++
		case g.Leadership.Leader != "":
			s.Followed++
		default:
			s.Leaderless++
		}
		s.Running++
		if g.Quiet {
			s.Quiet++
		}
	}
}

// A glance is what a host shows of a group without asking the group's loop. The loop writes it at the
// end of a turn, and any goroutine reads it.
type glance struct {
	base            atomic.Uint64 // the log holds what follows it
	commit, applied atomic.Uint64
	pending         atomic.Int32
	quiet           atomic.Bool
	leaderless      atomic.Int64 // since when no leader is known; never while one is
}

// glimpsed shows what the loop of a host's group knows.
func (l *loop) glimpsed() {
	g, at := &l.glance, l.core.LogIndexes()
	g.base.Store(uint64(at.Base))
	g.commit.Store(uint64(at.Commit))
	g.applied.Store(uint64(at.Applied))
	g.pending.Store(int32(min(l.waiting.len(), math.MaxInt32)))
	g.quiet.Store(l.coalesced != nil && l.coalesced.settled)
	leaderless := never
	if l.shown.standing.Leader == "" {
		leaderless = l.shown.leaderless
	}
	g.leaderless.Store(int64(leaderless))
}

// groupStatus shows the node as one of the groups of its host.
func (n *Node) groupStatus(now Instant) GroupStatus {
	leadership, _, trouble := n.board.shown()
	g := &n.glance
	s := GroupStatus{
		Group: n.group, Leadership: leadership, Commit: Index(g.commit.Load()), Applied: Index(g.applied.Load()), Err: n.Err(),
	}
	if !s.Runs() {
		return s
	}
	s.Trouble, s.Quiet, s.Pending = trouble.Err, g.quiet.Load(), int(g.pending.Load())
	if since := Instant(g.leaderless.Load()); leadership.Leader == "" && since != never {
		s.Leaderless = time.Duration(max(now-since, 1))
	}
	return s
}

// gathered returns how much waits in the inbox.
func (in *inbox) gathered() (messages, bytes int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.gathering == nil {
		return 0, 0
	}
	return in.messages(), in.intake.bytes
}

// heardProcesses says when other processes were heard last. The map never changes; its values do.
type heardProcesses map[ServerID]*atomic.Int64

// note notes that a process was heard.
func (p heardProcesses) note(id ServerID, now Instant) {
	if at := p[id]; at != nil {
		at.Store(int64(now))
	}
}

// with returns the times of some servers. Of those that are new it is now.
func (p heardProcesses) with(servers map[ServerID]string, now Instant) heardProcesses {
	next := make(heardProcesses, len(servers))
	for id := range servers {
		if next[id] = p[id]; next[id] == nil {
			next[id] = new(atomic.Int64)
			next[id].Store(int64(now))
		}
	}
	return next
}

// show shows the servers that groups name.
func (l *hostLink) show(s *HostStatus) {
	leads := make(map[ServerID]int)
	for i := range s.Groups {
		leads[s.Groups[i].Leadership.Leader]++
	}
	now, heard := l.host.clock.now(), l.heardOf()
	addresses := l.addresses.Load()
	if addresses == nil {
		return
	}
	for id, address := range *addresses {
		if id == l.host.config.ID {
			continue
		}
		p := ProcessStatus{Server: Server{ID: id, Address: address}, Leads: leads[id]}
		if at := heard[id]; at != nil {
			p.Silent = time.Duration(max(now-Instant(at.Load()), 0))
		}
		s.Processes = append(s.Processes, p)
	}
	slices.SortFunc(s.Processes, func(a, b ProcessStatus) int { return strings.Compare(string(a.ID), string(b.ID)) })
}

// show shows which processes are lost, and the room on the disk.
func (b *hostBook) show(s *HostStatus) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.Room = b.room; b.full {
		s.FullFor = time.Duration(max(b.host.clock.now()-b.fullSince, 1))
	}
	if b.book == nil { // the host hasn't started
		s.Room = math.MaxUint64
		return
	}
	for i := range s.Processes {
		p := &s.Processes[i]
		p.Lost, p.Absent = b.book.Misses(p.ID)
	}
}

// show shows what the disk does.
func (d *hostDisk) show(s *HostStatus) {
	if waiting, ok := d.host.config.Storage.(waitingStorage); ok && !s.Stopped {
		s.Disk.Waits = guard("storage", waiting.Waiting)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	waits := s.Disk.Waits
	s.Disk = d.busy.status(d.host.clock.now())
	s.Disk.Waits = waits
	s.WaitingBytes, s.Writes, s.GroupWrites, s.Writing = d.waitingBytes, d.calls, d.written, d.took
}

// show shows which group reads what it has.
func (s *hostScrub) show(status *HostStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	status.Scrubbing, status.ToScrub, status.Scrubs = s.reading, len(s.left), s.passes
}
