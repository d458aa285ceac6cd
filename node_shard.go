package raft

import (
	"container/heap"
	"errors"
	"runtime"
	"slices"
	"sync"
	"time"
)

// A shard takes turns with the loops that it was given, one after the other, in one goroutine. A node
// that stands alone has a shard of its own.
//
//	             put                 a round                    park
//	a loop has ─────▶ ready ──┐                         ┌──────────────▶ the loop sleeps: its inbox
//	something                 ├──▶ one turn for each ───┤                puts it into ready, or its
//	its time has come ────────┤                         └──▶ active      alarm wakes it
//	active: had a turn        │                               │ had a turn; perhaps more has gathered
//	in the last round ────────┘◀──────────────────────────────┘
//
// So a loop that always has something to do gets one turn in each round, and holds up the others for
// no longer than that.
type shard struct {
	clock clock
	wake  chan struct{} // holds a token when the shard is to be woken
	timer *time.Timer   // rings
	until Instant       // when the timer rings; never if it doesn't

	mu       sync.Mutex
	ready    []*loop // they have something to do; each is here once
	sleeping bool
	rang     bool   // the timer has rung
	sweeps   bool   // the loops that sleep are to let go of memory
	begun    uint64 // how many rounds have begun
	left     int    // how many loops haven't ended

	// The goroutine alone uses these.
	round   []*loop // the loops of this round
	at      int     // the next one of them
	active  []*loop // those that had a turn in this round
	taken   []*loop // room for what was ready
	alarms  alarms
	desk    *desk
	warm    []*loop // those that had a turn since the last sweep
	turning *loop   // the one that has a turn
	done    bool    // all loops have ended
}

func newShard(c clock) *shard {
	return &shard{clock: c, wake: make(chan struct{}, 1), until: never, desk: newDesk()}
}

// add gives the shard a loop. Its first turn comes at once.
func (s *shard) add(l *loop) {
	l.desk, l.inbox.rouse = s.desk, func() { s.put(l) }
	s.mu.Lock()
	s.left++
	s.mu.Unlock()
	s.put(l)
}

// release ends the shard when all its loops have ended. The host that has made it calls this.
func (s *shard) release() {
	s.mu.Lock()
	s.left--
	s.rouse()
}

// loops returns how many loops the shard has.
func (s *shard) loops() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left
}

// progress returns how many rounds the shard has begun, and whether it sleeps between two of them.
func (s *shard) progress() (rounds uint64, sleeps bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun, s.sleeping
}

// put notes that a loop that sleeps has something to do. Its inbox calls it, once for each sleep.
func (s *shard) put(l *loop) {
	s.mu.Lock()
	s.ready = append(s.ready, l)
	s.rouse()
}

// ring notes that the time of the first alarm has come.
func (s *shard) ring() {
	s.mu.Lock()
	s.rang = true
	s.rouse()
}

// sweep lets the loops that have slept for a while let go of the memory that they need only when they
// don't sleep.
func (s *shard) sweep() {
	s.mu.Lock()
	s.sweeps = true
	s.rouse()
}

// rouse unlocks mu, and wakes the shard if it sleeps.
func (s *shard) rouse() {
	wake := s.sleeping
	s.sleeping = false
	s.mu.Unlock()
	if wake {
		s.wake <- struct{}{} // there is room: the shard takes one token for each sleep
	}
}

// run takes turns until all loops have ended. If something inside a turn ends the goroutine, another
// one goes on.
func (s *shard) run() {
	s.timer = time.AfterFunc(time.Duration(never), s.ring)
	s.takeRounds()
}

// takeRounds takes rounds until all loops have ended. A loop in whose turn something panics, or ends the
// goroutine, has ended.
func (s *shard) takeRounds() {
	defer func() {
		if !s.done { // the goroutine was ended
			go s.takeRounds()
		}
	}()
	defer func() {
		if !s.done && s.turning != nil {
			s.broke(&PanicError{})
		}
	}()
	for {
		err := guard("", s.rounds)
		if s.done {
			s.timer.Stop()
			return
		}
		if err == nil {
			err = &PanicError{} // of panic(nil), which a program may allow
		}
		s.broke(err)
	}
}

// broke ends the loop that has a turn.
func (s *shard) broke(cause error) {
	l := s.turning
	if l == nil {
		panic(cause) // it is the shard's own
	}
	s.turning = nil
	s.end(l, cause)
}

// rounds takes one round of turns after the other. It has no errors.
func (s *shard) rounds() error {
	for {
		for s.at < len(s.round) {
			l := s.round[s.at]
			s.round[s.at] = nil
			s.at++
			s.turn(l)
		}
		if s.done = !s.next(); s.done {
			return nil
		}
	}
}

// next gathers the loops of the next round, and waits until there are some. It returns false if there
// will be none any more.
func (s *shard) next() bool {
	if len(s.active) > 0 {
		s.gather()
	}
	s.round, s.active, s.at = s.active, s.round[:0], 0
	s.mu.Lock()
	for s.left > 0 && len(s.round) == 0 && len(s.ready) == 0 && !s.rang && !s.sweeps {
		s.sleeping = true
		s.mu.Unlock()
		<-s.wake
		s.mu.Lock()
	}
	if s.left == 0 {
		s.mu.Unlock()
		return false
	}
	s.begun++
	s.taken, s.ready = s.ready, s.taken
	rang, sweeps := s.rang, s.sweeps
	s.rang, s.sweeps = false, false
	s.mu.Unlock()
	for _, l := range s.taken {
		s.join(l)
	}
	s.taken = emptied(s.taken)
	if rang {
		s.due()
	}
	if sweeps {
		s.coolDown()
	}
	return true
}

// gather lets other goroutines run that are about to put something in, and does so again while more
// callers come. What is taken in one turn is written, sent and answered together. The shard only
// goes to the end of the scheduler's queue. It doesn't wait, so a caller that is alone loses no time.
func (s *shard) gather() {
	runtime.Gosched()
	if len(s.active) > fewLoops {
		return
	}
	for before, callers := 0, s.callers(); callers > before; callers = s.callers() {
		before = callers
		runtime.Gosched()
	}
}

// fewLoops is up to how many active loops a shard asks for callers who are about to come.
const fewLoops = 4

// callers returns how many proposals and reads have gathered for the loops that are active.
func (s *shard) callers() (n int) {
	for _, l := range s.active {
		n += l.inbox.callers()
	}
	return n
}

// due puts the loops whose alarm is due into this round, and sets the timer for the next alarm.
func (s *shard) due() {
	now := s.clock.now()
	for len(s.alarms) > 0 && s.alarms[0].alarm.at <= now {
		l := heap.Pop(&s.alarms).(*loop)
		l.alarm.rang = true
		s.join(l)
	}
	s.until = never
	s.setTimer(now)
}

// coolDown does what sweep is for. It costs as much as there were loops that had turns.
func (s *shard) coolDown() {
	now := s.clock.now()
	s.warm = slices.DeleteFunc(s.warm, func(l *loop) bool {
		if !l.over && (l.active || l.joined || now < l.read+Instant(restAfter)) {
			return false
		}
		if l.warm = false; !l.over {
			l.rest()
		}
		return true
	})
}

// restAfter is for how long a loop has slept that is to let go of memory.
const restAfter = time.Second

// join puts a loop into this round, if it isn't there.
func (s *shard) join(l *loop) {
	if !l.active && !l.joined {
		l.joined = true
		s.round = append(s.round, l)
	}
}

// setTimer lets the timer ring at the first alarm.
func (s *shard) setTimer(now Instant) {
	first := never
	if len(s.alarms) > 0 {
		first = s.alarms[0].alarm.at
	}
	if first != s.until {
		s.until = first
		s.timer.Reset(time.Duration(first - now))
	}
}

// turn takes a turn with a loop, if there is anything to do for it, and lets it sleep otherwise.
func (s *shard) turn(l *loop) {
	if l.joined = false; l.over {
		return // it was put into ready while it had its last turn
	}
	awaited := !l.active || l.awaits
	if took := l.inbox.take(&l.intake, awaited); !took && !l.alarm.rang {
		l.active = false
		s.park(l)
		return
	}
	l.alarm.rang = false
	s.turning = l
	cause := l.turn()
	s.turning = nil
	if cause != nil {
		s.end(l, cause)
		return
	}
	l.active = true
	s.active = append(s.active, l)
	if !l.warm && l.coalesced != nil {
		l.warm = true
		s.warm = append(s.warm, l)
	}
}

// park sets the alarm of a loop that sleeps.
func (s *shard) park(l *loop) {
	a, deadline := &l.alarm, l.deadline()
	if a.set(deadline, l.read) {
		if a.place < len(s.alarms) && s.alarms[a.place] == l {
			heap.Fix(&s.alarms, a.place)
		} else {
			heap.Push(&s.alarms, l)
		}
	}
	s.setTimer(l.read)
}

// end takes a loop out, because of a failure, a panic or its owner's wish.
func (s *shard) end(l *loop, cause error) {
	defer func() { *s.desk = *newDesk() }() // the others must find nothing of it, whatever Close of a transport does
	l.over = true
	if a := &l.alarm; a.place < len(s.alarms) && s.alarms[a.place] == l {
		heap.Remove(&s.alarms, a.place)
	}
	s.mu.Lock()
	s.left--
	s.mu.Unlock()
	var broken *PanicError
	switch {
	case !errors.As(cause, &broken) || broken.Where != "":
		broken = nil // no panic, or one of another goroutine
	case l.coalesced != nil && l.coalesced.asking:
		l.host.book.broken(broken)
	default:
		broken.Where = l.step.name()
	}
	l.Node.ended(l, cause, broken == nil)
}

// An alarm says when a loop is to have a turn though nothing has come for it.
type alarm struct {
	at    Instant // when it rings
	place int     // in the heap of the shard, if it is there
	rang  bool    // since the last turn
}

// set sets the alarm, and returns whether that has changed it. The core's deadline moves away with
// nearly every event, so a deadline that moved away leaves the alarm as it is. The alarm then rings
// early and is set again. Only when it would ring before half of the time to the new deadline has
// passed is it set at once, so that an idle server isn't woken for nothing.
func (a *alarm) set(deadline, now Instant) bool {
	if now < a.at && a.at <= deadline && deadline-a.at <= a.at-now {
		return false
	}
	a.at = deadline
	return true
}

// alarms are the loops with an alarm, as a heap.
type alarms []*loop

func (a alarms) Len() int           { return len(a) }
func (a alarms) Less(i, j int) bool { return a[i].alarm.at < a[j].alarm.at }
func (a alarms) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].alarm.place, a[j].alarm.place = i, j
}

func (a *alarms) Push(x any) {
	l := x.(*loop)
	l.alarm.place = len(*a)
	*a = append(*a, l)
}

func (a *alarms) Pop() any {
	n := len(*a) - 1
	l := (*a)[n]
	(*a)[n] = nil
	*a = (*a)[:n]
	return l
}
