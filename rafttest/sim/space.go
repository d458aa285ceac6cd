package sim

import (
	"errors"
	"math"
	"slices"

	"github.com/e17579a5/raft"
)

// The model of a disk may know its room (Params.Reserve). A write takes a record, and the bytes of
// its entries and repairs, from what the log owns; the log owns somewhat more than two reserves as
// long as the rest of the disk has enough. What a compaction frees comes back; so does then what a
// truncation has left behind. A write for which there is no room waits.
//
//	fill    from now on the rest of the disk has room for so many bytes
//	free    the rest of the disk has room without end

// recordBytes is what a write takes beside its entries.
const recordBytes = 32

// A room is how much room a disk has.
type room struct {
	known  bool  // the storage says how much it owns
	target int64 // what the log wants to own
	owned  int64 // what nobody else can take
	// outside is what the rest of the disk has room for, and forSnapshots what all snapshots
	// together may take; never is without end.
	outside, forSnapshots int64
	left                  int64 // records, repairs and truncated entries, which the next compaction frees
	untold                []untold
}

// An untold is a number of bytes for which a disk has no room any more, though a leader may not have
// heard of that: lost entries that it got back, and entries that it must store again because it went
// back. at is when, on the clock of the run. If it went back, every one of its starts from then on tells
// of it: from is the first of them, in the order of backStarts.
type untold struct {
	at, bytes int64
	back      bool
	from      int
}

// openRoom gives a disk room without end, unless this run has done so before. Its log may be that of
// another run, which had another reserve.
func (w *World) openRoom(d *disk) {
	target := 2*w.params.Reserve + w.params.Reserve/4
	if d.room.target != target {
		d.room = room{known: target > 0, target: target, owned: target, outside: never, forSnapshots: never}
	}
}

// bytesOf returns the bytes of entries.
func bytesOf(entries []raft.Entry) (bytes int64) {
	for i := range entries {
		bytes += int64(entries[i].Size())
	}
	return bytes
}

// fits reports whether there is room for a write.
func (d *disk) fits(w *raft.Write) bool {
	return !d.room.known || d.room.outside == never || recordBytes+bytesOf(w.Entries)+bytesOf(w.Repairs) <= d.room.owned+d.room.outside
}

// takeRoom takes the room for a write that is about to be performed, and gives back what the write
// frees.
func (d *disk) takeRoom(w *raft.Write) {
	r := &d.room
	if !r.known {
		return
	}
	r.owned -= recordBytes + bytesOf(w.Entries) + bytesOf(w.Repairs)
	r.left += recordBytes + bytesOf(w.Repairs)
	last := d.last()
	if len(w.Entries) > 0 && w.Entries[0].Index <= last {
		r.left += bytesOf(d.entries[w.Entries[0].Index-1 : last])
		last = w.Entries[0].Index - 1
	}
	if to := min(w.Compact, last); to > d.base {
		r.owned += r.left + bytesOf(d.entries[d.base:to])
		r.left = 0
	}
	r.fetch()
}

// fetch lets the log own what it wants, as far as the rest of the disk has it. What it has beyond
// that goes there.
func (r *room) fetch() {
	more := r.target - r.owned
	if r.outside == never {
		r.owned = r.target
		return
	}
	more = min(more, r.outside)
	r.owned, r.outside = r.owned+more, r.outside-more
}

// snapshotBytes returns the bytes of all snapshots on a server's disk.
func (s *server) snapshotBytes() (bytes int64) {
	for _, f := range append([]*snapshotFile{s.disk.current, s.disk.previous}, s.disk.stored...) {
		if f != nil {
			bytes += int64(len(f.bytes))
		}
	}
	if s.partial != nil {
		bytes += int64(len(s.partial.content))
	}
	return bytes
}

// errNoRoom is the error of a model of a disk that has no room for a snapshot.
var errNoRoom = errors.New("no room")

// snapshotFits reports whether there is room for so many more bytes of snapshots.
func (s *server) snapshotFits(bytes int) bool {
	r := &s.disk.room
	return !r.known || r.forSnapshots == never || s.snapshotBytes()+int64(bytes) <= r.forSnapshots
}

// fill leaves room for n bytes on the rest of a disk, or room without end if n is never. It reports
// whether the disk knows its room.
func (w *World) fill(s *server, n int64) bool {
	r := &s.disk.room
	if !r.known {
		return false
	}
	r.outside, r.forSnapshots = n, never
	if n != never && w.params.Ballast == 0 {
		r.forSnapshots = s.snapshotBytes() + n
	}
	r.fetch()
	if w.timed && s.up {
		w.planLanes(w.index(s))
	}
	return true
}

// tellRoom tells a core how much room its storage has, as a node does in each turn.
func (w *World) tellRoom(s *server) {
	r := &s.disk.room
	if !r.known {
		return
	}
	s.core.Room(w.local(s), uint64(max(r.owned-w.params.Writes*recordBytes, 0)))
	if full := s.core.Status().Full; full != s.full {
		s.full = full
		if full {
			w.stats.Filled++
			w.note("its disk is full")
		} else {
			w.note("its disk has room again")
		}
	}
}

// A roomy is what the simulator notes of the room at a server's present life.
type roomy struct {
	full bool // the core says that its disk is full
	// verify is the snapshot that is to be read, and sound the last one that was found to be so.
	verify    *raft.SnapshotMeta
	sound     *snapshotFile
	verifying bool
	// grew is when the disk last took entries, on the clock of the run.
	grew int64
	// dry is since when no quorum has had room for any command while this server led, on the clock
	// of the run; 0 for not.
	dry int64
}

// verifySnapshot reads the current snapshot of a server to its end, and reports whether it is sound.
func (w *World) verifySnapshot(s *server) bool {
	if s.verify == nil {
		return false
	}
	meta := s.verify
	s.verify = nil
	current := s.disk.current
	_, err := w.readSnapshot(s, meta)
	if err == nil {
		s.sound = current
		w.stats.Verified++
	}
	s.core.SnapshotVerified(w.local(s), err)
	return true
}

// checkForgotten checks a write that lets the log be forgotten up to the current snapshot, so that
// the one before goes: the current one must have been read since it is the current one.
func (w *World) checkForgotten(i int, write *raft.Write) {
	s := &w.servers[i]
	d := s.disk
	if write.Snapshot == nil && d.previous != nil && write.Compact > d.previous.index() && s.sound != d.current {
		w.fail(SnapshotSound, i, "the log is forgotten up to %d, and the snapshot of index %d goes, before that of index %d was read",
			write.Compact, d.previous.index(), d.current.index())
	}
}

// left returns for how many bytes the disk of a member has room behind what it lacks of the log of
// server i. In the place of entries that server i has forgotten, it gets a snapshot.
func (w *World) left(i int, m *raft.Member) int64 {
	d, view := w.diskOf(m), w.servers[i].view
	if d == nil {
		return 0
	}
	common := min(raft.Index(len(view)), d.last())
	for common > 0 && d.slots[common-1].chain != view[common-1].chain {
		common--
	}
	common = max(common, min(w.servers[i].disk.base, raft.Index(len(view))))
	lacks := int64(0)
	if n := len(view); n > 0 {
		lacks = int64(view[n-1].weight)
		if common > 0 {
			lacks -= int64(view[common-1].weight)
		}
	}
	if d.room.outside == never {
		return never
	}
	return d.room.owned + d.room.outside - lacks
}

// replaced returns how many bytes of a member's log a snapshot takes the place of, because server i
// has forgotten what the member needs next.
func (w *World) replaced(i int, m *raft.Member) int64 {
	d, lead := w.diskOf(m), w.servers[i].disk
	if d == nil || d.last() >= lead.base {
		return 0
	}
	return bytesOf(d.entries[d.base:]) + d.room.left
}

// storing reports whether a member's disk isn't full, has taken entries of late, and lacks some of the
// log of server i.
func (w *World) storing(i int, m *raft.Member) bool {
	d := w.diskOf(m)
	if d == nil {
		return false
	}
	s := &w.servers[serverOf(m.ID)]
	return d == s.disk && d.room.known && d.room.owned >= w.params.Reserve+w.params.Reserve/2 &&
		d.last() < raft.Index(len(w.servers[i].view)) && w.now-s.grew <= patienceFull*w.slowest()
}

// noteStored notes what a write of a server stores, and what it gives back of lost entries.
func (w *World) noteStored(s *server, write *raft.Write) {
	if len(write.Entries) > 0 {
		s.grew = w.now
	}
	r := &s.disk.room
	r.untold = slices.DeleteFunc(r.untold, func(u untold) bool { return w.now-u.at > patienceFull*w.slowest() })
	if bytes := bytesOf(write.Repairs); r.known && bytes > 0 {
		r.untold = append(r.untold, untold{at: w.now, bytes: bytes})
	}
}

// untold returns for how many bytes a member's disk has no room any more of late, though nobody has
// written that much. The leader i may count on that until the member has told it otherwise, after the
// disk went back by any answer to a heartbeat.
func (w *World) untold(i int, m *raft.Member) (bytes int64) {
	d := w.diskOf(m)
	if d == nil {
		return 0
	}
	j := serverOf(m.ID)
	told := slices.Index(w.servers[j].backStarts, w.servers[i].heardOf[j].roomBy)
	for _, u := range d.room.untold {
		if w.now-u.at <= patienceFull*w.slowest() && !(u.back && told >= u.from) {
			bytes += u.bytes
		}
	}
	return bytes
}

// toldOfRoom reports whether any peer has told a leader that its room has an end.
func (w *World) toldOfRoom(s *server) bool {
	return slices.ContainsFunc(s.core.Explain().Peers, func(p raft.PeerStatus) bool { return p.Room != math.MaxUint64 })
}

// checkRoom checks, when the present leader has taken commands, that a quorum has room for them.
// Half of the reserve is allowed for: for terms and votes that the leader hasn't heard of. So is what
// lost entries have taken of late, and what a disk that went back must store again, as long as the leader
// hasn't heard of that: nobody has kept room for their bytes. A disk that the leader knows to have gone back has no
// room. A leader whose own disk has no end takes commands before the others have told it of theirs.
func (w *World) checkRoom(i int) {
	s := &w.servers[i]
	if w.params.Reserve == 0 || w.params.WAL != 0 || !w.foremost(i) || s.disk.room.outside == never && !w.toldOfRoom(s) {
		return
	}
	roomy := func(m *raft.Member) bool {
		h := &s.heardOf[serverOf(m.ID)]
		return !(h.back && h.incarnation == m.Incarnation) && w.left(i, m)+w.untold(i, m) >= w.params.Reserve/2
	}
	// The core may know of another configuration, behind these commands.
	if c := s.configurations[len(s.configurations)-1].configuration; !quorum(c, roomy) {
		w.fail(RoomKept, i, "takes the command at index %d, but no quorum of %s has room for it beside half of its reserve",
			len(s.view), describeConfiguration(c))
	}
}

// foremost reports whether nobody was elected in a later term than that of server i.
func (w *World) foremost(i int) bool {
	for t := int(w.servers[i].status.term) + 1; t < len(w.ghost.leaders); t++ {
		if w.ghost.leaders[t].server != 0 {
			return false
		}
	}
	return true
}

// patienceFull is the number of election timeouts within which a leader must know that the disks
// are full, or that they have room again.
const patienceFull = 6

// checkDry checks, when a leader has just looked at its clock, that no command waits at it for
// room while there has been none on a quorum's disks for a while. A snapshot on its way makes room. And
// a disk that isn't full, and is still being given the log, may have room when it has all of it.
func (w *World) checkDry(i int) {
	s := &w.servers[i]
	if w.params.Reserve == 0 || w.params.WAL != 0 {
		return
	}
	c := s.core.Status().Configuration
	roomy := func(m *raft.Member) bool {
		return w.left(i, m)+w.replaced(i, m) >= w.params.Reserve || w.storing(i, m)
	}
	switch {
	case s.status.handing || quorum(c, roomy):
		s.dry = 0
		return
	case s.dry == 0:
		s.dry = w.now
	}
	if s.held {
		return // what is held back may be the refusal
	}
	wait := s.core.Explain().Command.Wait
	if w.now-s.dry > patienceFull*w.slowest() && w.local(s)-s.leaderSince > raft.Instant(patienceFull*w.params.Election) &&
		wait != nil && wait.On == raft.WaitRoom {
		w.fail(RefusedWhenFull, i, "a command waits for room, though no quorum of %s has had any for %d election timeouts",
			describeConfiguration(c), (w.now-s.dry)/w.slowest())
	}
}

// slowest is an election timeout on the slowest clock.
func (w *World) slowest() int64 {
	return w.params.Election + w.params.Election*w.params.Drift/1_000_000
}

// checkRefusedFull checks that a command isn't refused for want of room when all disks have had
// room for a while.
func (w *World) checkRefusedFull(i int, o *operation, err error) {
	if !errors.Is(err, raft.ErrFull) {
		return
	}
	w.stats.RefusedFull++
	o.full = true
	if w.freed > 0 && w.now-w.freed > patienceFull*w.slowest() {
		w.fail(GoesOn, i, "refuses a command because the disks are full, though all of them have had room for %d election timeouts",
			(w.now-w.freed)/w.slowest())
	}
}

// fillsUp fills a disk, or each disk with a chance. Some of them stay full until the faults end.
func (w *World) fillsUp(victim int, span int64, h uint64) {
	for i := range w.n {
		own := mix(h + uint64(i))
		if i != victim && (h%2 == 0 || own%4 == 0) {
			continue
		}
		w.step(Event{Op: OpFill, Server: int8(i), N: below(mix(own), pick(own, 1, w.params.Reserve, 4*w.params.Reserve))}, nil)
		if mix(own+1)%3 != 0 {
			w.queue.push(item{at: w.now + 8*spread(mix(own+2), span), what: itemFree, a: int8(i)})
		}
	}
}

// brim leaves the disks of Params.Brim full when the faults end, and frees all others. A disk that
// has used up most of its reserve by then is freed too: how long that lasts is a question of size. So
// is one that has lost entries: nobody has kept room for their bytes.
func (w *World) brim() {
	w.freed = w.now
	for i := range w.n {
		if w.params.Brim>>i&1 != 0 && w.mayStayFull(i) {
			w.step(Event{Op: OpFill, Server: int8(i)}, nil)
			w.freed = 0
			w.stats.Brims++
			continue
		}
		w.step(Event{Op: OpFree, Server: int8(i)}, nil)
	}
}

// mayStayFull reports whether the disk of a server may stay full when the faults end.
func (w *World) mayStayFull(i int) bool {
	s := &w.servers[i]
	r := &s.disk.room
	return r.known && len(s.disk.gone) == 0 && r.owned > w.params.Reserve/2 && (len(s.writes) == 0 || s.disk.fits(s.writes[0]))
}

// exhausted reports whether a disk that stays full has used up its reserve: entries, or a write, wait
// for room that never comes. From then on the server is one whose disk stands still.
func (w *World) exhausted(i int) bool {
	s := &w.servers[i]
	if !w.calm || !s.up || !s.disk.room.known || s.disk.room.outside == never {
		return false
	}
	return len(s.writes) > 0 && !s.disk.fits(s.writes[0]) ||
		len(s.writes) == 0 && s.full && s.status.last > raft.Index(len(s.view)) && w.stuck(s)
}

// stuck reports whether nothing is on its way that may make room at a server.
func (w *World) stuck(s *server) bool {
	return s.capture == nil && s.verify == nil && len(s.lane) == 0 && !s.held && s.status.applied == s.status.commit
}

// worn reports whether so many servers are exhausted or frozen that no quorum is left.
func (w *World) worn() bool {
	some := false
	for i := range w.n {
		some = some || w.exhausted(i)
	}
	fit := func(m *raft.Member) bool {
		i := serverOf(m.ID)
		return w.diskOf(m) == w.servers[i].disk && w.servers[i].frozen == frozenNot && !w.exhausted(i)
	}
	latest, index := w.ghost.settled, raft.Index(0)
	for i := range w.n { // who leads next may have the latest configuration of all
		if s := &w.servers[i]; s.up {
			if shown := s.core.Status(); shown.ConfigurationIndex > index {
				latest, index = shown.Configuration, shown.ConfigurationIndex
			}
		}
	}
	return some && !(quorum(w.ghost.settled, fit) && quorum(latest, fit))
}

// probed reports whether a probe has had the answer that it must get: a result, or, while disks stay
// full, that there is no room.
func (w *World) probed(n int64) bool {
	o := &w.ops[n]
	return o.outcome == outcomeDone || w.freed == 0 && o.outcome == outcomeNotApplied && o.full
}
