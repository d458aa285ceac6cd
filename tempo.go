package raft

import "time"

// A tempo is how fast this server's disk, or its state machine, does what it is given. The core
// sees when it hands work out, and when that work is reported. So it measures how much is done in a
// piece of a heartbeat interval, and gives no more than that at a time. What doesn't fit waits.
//
//	disk     1 MB/s    a write of  25 KB takes 25 ms
//	        20 MB/s               500 KB
//	       200 MB/s                 2 MiB  takes 10 ms: maxRoom
//
// Without that bound a write is everything that has gathered. On a disk that works steadily, but
// not fast, such a write outlasts the election timeout: the disk is taken for one that stands
// still, and votes and terms wait behind the write.
//
// What was measured is luck, like the length of a timeout: it decides how work is cut into pieces,
// and when a command gets into the log, but never what is safe. Where no time passes, as in a model
// checker, nothing is measured and the room stays what it was at the start.
type tempo struct {
	// room is how many bytes of work are handed out at a time. A single entry may be larger.
	// measured says that a whole piece of work was measured.
	room     int
	measured bool
	// delay is what a piece of work takes beside the time for its bytes.
	delay time.Duration
	// since is when the work that is measured began. last is the work that was measured before.
	since Instant
	last  piece
}

// A piece is something that was done: so many bytes, and the time that they took.
type piece struct {
	bytes int
	took  time.Duration
}

const (
	// maxRoom bounds the room. Larger pieces would make a fast disk hardly faster, and a disk that
	// becomes slow all at once would take long for the piece that it is at.
	maxRoom = 2 << 20
	// backlogRooms is how many times the room a leader takes in ahead of its disk, or of its state
	// machine: about two heartbeat intervals of work.
	backlogRooms = 8
	// doubtful is how many times longer than expected a single large entry may take before the
	// disk is taken for one that stands still.
	doubtful = 8
)

// micros returns a duration in microseconds. That is how many bytes a disk of 1 MB/s does in the
// time: no disk is taken for a slower one.
func micros(d time.Duration) int { return int(d / time.Microsecond) }

// newTempo returns the tempo of something that is known to do 1 MB/s in the worst case: its first
// pieces of work take a quarter of an election timeout then.
func newTempo(config *CoreConfig) tempo {
	return tempo{room: min(max(micros(config.ElectionTimeout/4), 1), maxRoom)}
}

// goal is how long a piece of work should take, beside the delay.
func (c *CoreConfig) goal() time.Duration { return c.Heartbeat / 4 }

// begin notes that work was handed out to something that had none.
func (t *tempo) begin(now Instant) { t.since = now }

// done notes that pieces of work were reported, and adapts the room. The room at most doubles or
// halves each time, so that a hiccup spoils little. It never falls below least.
func (t *tempo) done(now Instant, bytes, pieces int, goal time.Duration, least int) {
	took := time.Duration(now - t.since)
	t.since = now
	if took <= 0 || pieces == 0 {
		return
	}
	w := piece{bytes / pieces, max(took/time.Duration(pieces), 1)}
	t.learnDelay(w)
	if t.last = w; 2*w.bytes < t.room {
		return // it doesn't tell what a whole piece takes
	}
	t.measured = true
	due := max(w.took-t.delay, w.took/8)
	room := min(float64(w.bytes)*(float64(goal)/float64(max(due, 1))), float64(2*t.room))
	t.room = min(max(int(room), t.room/2, least, 1), maxRoom)
}

// learnDelay learns from two pieces of work of different sizes how much of the smaller one's time
// its bytes don't account for.
func (t *tempo) learnDelay(w piece) {
	small, large := w, t.last
	if small.bytes > large.bytes {
		small, large = large, small
	}
	if t.last.took == 0 || large.bytes == 0 || large.bytes < 2*small.bytes {
		return
	}
	each := float64(max(large.took-small.took, 0)) / float64(large.bytes-small.bytes)
	rest := max(small.took-time.Duration(each*float64(small.bytes)), 0)
	if t.delay == 0 {
		t.delay = rest
	}
	t.delay += (rest - t.delay) / 4
}

// backlog is how many bytes a leader takes in ahead.
func (t *tempo) backlog() int { return backlogRooms * t.room }

// patience is how long the disk may take for what it is at before it is taken for one that stands
// still: an election timeout, and more for a write of a single entry that is larger than the room.
// As long as nothing is known of the disk, it may be as slow as any.
func (c *Core) patience(watch deadlineName) time.Duration {
	patience := c.config.ElectionTimeout
	if watch == writeDeadline && len(c.out.flights) > 0 {
		room := c.disk.room
		if !c.disk.measured {
			room = min(room, max(micros(c.config.goal()), 1))
		}
		over := float64(max(c.out.flights[0].bytes-c.disk.room, 0)) / float64(room)
		patience += time.Duration(min(over*float64(doubtful*c.config.goal()), 1<<60))
	}
	return patience
}
