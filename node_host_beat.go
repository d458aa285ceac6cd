package raft

import (
	"math"
	"sync"
	"time"

	"github.com/e17579a5/raft/internal/coalesce"
	"github.com/e17579a5/raft/wire"
)

// A hostBook has the Book of a host: what this process and the others know of the groups in which
// nothing happens (package coalesce). Shards take turns of groups with it, the transport brings the
// heartbeats of other processes, and a timer sends those of this one.
type hostBook struct {
	host  *Host
	start uint64 // the name of this start of the process

	mu    sync.Mutex
	book  *coalesce.Book
	timer *time.Timer
	at    Instant // when the timer rings; never before the start
	// seen is how many rounds of turns each shard had begun when it was last looked at.
	seen []uint64
	room uint64 // of the disk, when it was last looked at
	// full says that the disk is full, and fullSince since when.
	full      bool
	fullSince Instant
	// swept is when the shards were last swept.
	swept Instant
}

func (b *hostBook) init(h *Host) {
	c := &h.settings
	b.mu.Lock()
	defer b.mu.Unlock()
	b.host, b.at, b.room = h, never, math.MaxUint64
	b.book = coalesce.NewBook(coalesce.Config{
		Self: h.config.ID, Start: b.start, Heartbeat: c.Heartbeat, ElectionTimeout: c.ElectionTimeout,
		Shards: len(h.shards), Now: coalesce.Instant(h.clock.now()),
	})
	b.seen = make([]uint64, len(h.shards))
	b.timer = time.AfterFunc(time.Duration(never), b.beat)
}

// event lets the Book take an event, and sees to what it wants done. A panic in the Book ends the
// host, since nobody knows any more what the Book vouches for.
func (b *hostBook) event(take func(book *coalesce.Book, now coalesce.Instant)) {
	defer b.host.protect("transport")
	var out coalesce.Out
	if err := guard("heartbeats", func() error { out = b.take(take); return nil }); err != nil {
		b.host.stop(err)
		return
	}
	for i := range out.Messages {
		b.host.config.Transport.Send(out.Messages[i])
	}
	for _, group := range out.Turns {
		if n := b.host.node(group); n != nil {
			n.inbox.nudge()
		} else {
			b.host.opener.wake(group)
		}
	}
}

// take lets the Book take an event, and returns what it wants done. Others may have the next event
// before this one's messages are sent, so each has slices of its own.
func (b *hostBook) take(take func(book *coalesce.Book, now coalesce.Instant)) (out coalesce.Out) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.host.clock.now()
	take(b.book, coalesce.Instant(now))
	b.book.Drain(&out)
	b.set(now)
	return out
}

// set sets the timer. The caller holds mu.
func (b *hostBook) set(now Instant) {
	if at := Instant(b.book.Deadline()); at != b.at {
		b.at = at
		b.timer.Reset(time.Duration(at - now))
	}
}

// sooner notes that the Book's deadline may have become earlier.
func (b *hostBook) sooner(now Instant) {
	err := guard("heartbeats", func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.set(now)
		return nil
	})
	if err != nil {
		b.host.stop(err)
	}
}

// broken ends the host because the Book has panicked while a shard asked it.
func (b *hostBook) broken(panicked *PanicError) {
	panicked.Where = "heartbeats"
	b.host.stop(panicked)
}

// beat lets the Book do what is due. The timer calls it, in a goroutine of its own.
func (b *hostBook) beat() {
	defer b.host.protect("storage")
	full := b.lookAtRoom()
	b.event(func(book *coalesce.Book, now coalesce.Instant) {
		b.at = never
		for i, s := range b.host.shards {
			if begun, sleeps := s.progress(); sleeps || begun != b.seen[i] {
				b.seen[i] = begun
				book.Turned(now, i)
			}
		}
		book.Beat(now)
	})
	if b.sweeps() {
		for _, s := range b.host.shards {
			s.sweep()
		}
	}
	if full {
		for _, n := range b.host.nodes() {
			n.inbox.nudge()
		}
	}
}

// sweeps says whether the shards are to be swept again. Two beats may run at a time.
func (b *hostBook) sweeps() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.host.clock.now()
	due := now >= b.swept+Instant(restAfter)
	if due {
		b.swept = now
	}
	return due
}

// lookAtRoom tells the Book how much room the disk has. It returns true if the disk has become full, or
// isn't full any more: then each group has to know.
func (b *hostBook) lookAtRoom() (changed bool) {
	roomy, ok := b.host.config.Storage.(roomyStorage)
	if !ok {
		return false
	}
	room := roomy.Room()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.book.Room(room)
	b.room = room
	c, was := &b.host.settings, b.full
	b.full = c.fullWith(room, was)
	if b.full && !was {
		b.fullSince = b.host.clock.now()
	}
	return b.full != was
}

// receive takes a heartbeat of another process.
func (b *hostBook) receive(m wire.Message) {
	b.event(func(book *coalesce.Book, now coalesce.Instant) { book.Receive(now, &m) })
}

// lost takes the hint that a process is gone.
func (b *hostBook) lost(server ServerID) {
	b.event(func(book *coalesce.Book, now coalesce.Instant) { book.Lost(now, server) })
}

// ended takes a group from the lists.
func (b *hostBook) ended(group GroupID) {
	b.event(func(book *coalesce.Book, now coalesce.Instant) { book.End(now, group) })
}

// stop ends the timer.
func (b *hostBook) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timer != nil { // otherwise the host hasn't started
		b.timer.Stop()
	}
}
