package main

import (
	"errors"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/history"
)

// A judge checks whether what clients see is linearizable, for as long as the lab runs. An order of
// all operations exists if there is one for each object alone (Herlihy and Wing, 1990). So the judge
// lets clients use a register for a while, waits until all of their operations on it have ended,
// checks its whole history with package history, and forgets it. The slot's next generation is
// another register. Every operation is checked, and what is kept is bounded.
type judge struct {
	mu      sync.Mutex
	changed *sync.Cond // any of these has changed
	current [slots]*object
	waiting []*object // those that are to be checked
	judged  *object   // the one that is being checked
	ended   bool
	verdict verdict

	done chan struct{}
}

// maxWaiting is how many histories wait at most. When as many wait, clients wait for the judge.
const maxWaiting = 2 * slots

// A verdict is what the judge has found so far.
type verdict struct {
	Checked    int    `json:"checked"`    // operations of all histories that were checked
	Registers  int    `json:"registers"`  // those histories
	Undecided  int    `json:"undecided"`  // histories for which it would have taken too long
	Violations int    `json:"violations"` // histories that aren't linearizable
	First      string `json:"first"`      // the first violation, in words
	violation  *history.Violation
}

// A register is closed, and then checked, after so many operations, or operations with an unknown
// outcome, or after that time. The search takes longer with each operation whose outcome is unknown.
const (
	maxOperations = 100
	maxUnknown    = 6
	maxAge        = 2 * time.Second
)

// An object is one register while clients use it.
type object struct {
	slot       int
	generation uint64
	history    *history.History[history.RegisterCall, string]

	// The judge's lock guards these.
	began, running, unknown int
	since                   time.Time
	void                    bool // it began before the last pardon, and isn't judged
}

// key is the object's name in the model.
func (o *object) key() string {
	return strconv.Itoa(o.slot) + "." + strconv.FormatUint(o.generation, 10)
}

func newJudge() *judge {
	j := &judge{done: make(chan struct{})}
	j.changed = sync.NewCond(&j.mu)
	for i := range j.current {
		j.current[i] = newObject(i, 1)
	}
	go j.check()
	return j
}

func newObject(slot int, generation uint64) *object {
	return &object{slot: slot, generation: generation, since: time.Now(), history: history.New[history.RegisterCall, string]()}
}

// end ends the judge, and the waits of clients for it. What wasn't checked yet isn't checked.
func (j *judge) end() {
	j.mu.Lock()
	j.ended = true
	j.changed.Broadcast()
	j.mu.Unlock()
	<-j.done
}

// isClosed says that nobody may begin another operation on an object.
func (o *object) isClosed() bool {
	return o.began >= maxOperations || o.unknown >= maxUnknown || o.began > 0 && time.Since(o.since) > maxAge
}

// take returns an object for one operation: that of the slot, or of the next slot that is free. It
// waits if there is none, and returns nil when the judge has ended.
func (j *judge) take(slot int) *object {
	j.mu.Lock()
	defer j.mu.Unlock()
	for !j.ended {
		for i := range slots {
			o := j.current[(slot+i)%slots]
			j.retire(o) // it may have got too old while nobody used it
			if o = j.current[o.slot]; !o.isClosed() {
				o.began++
				o.running++
				return o
			}
		}
		j.changed.Wait()
	}
	return nil
}

// give gives an object back when the operation has ended with err.
func (j *judge) give(o *object, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	o.running--
	if err != nil && !errors.Is(err, raft.ErrNotApplied) {
		o.unknown++
	}
	j.retire(o)
}

// retire hands over an object that is closed and whose operations have all ended, if there is room,
// and puts the next generation in its place.
func (j *judge) retire(o *object) {
	if o.running == 0 && o.isClosed() && len(j.waiting) < maxWaiting {
		j.waiting = append(j.waiting, o)
		j.current[o.slot] = newObject(o.slot, o.generation+1)
		j.changed.Broadcast()
	}
}

// next returns the next history to check, and nil when the judge has ended.
func (j *judge) next() *object {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.waiting) == 0 && !j.ended {
		j.changed.Wait()
	}
	if j.ended {
		return nil
	}
	o := j.waiting[0]
	j.waiting, j.judged = j.waiting[1:], o
	j.changed.Broadcast()
	return o
}

// check checks histories until the judge ends.
func (j *judge) check() {
	defer close(j.done)
	for o := j.next(); o != nil; o = j.next() {
		j.convict(o)
	}
}

// convict checks one history.
func (j *judge) convict(o *object) {
	err := history.Check(o.history, history.Registers())
	count := o.history.Count()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.judged = nil
	if o.void {
		return
	}
	v := &j.verdict
	v.Registers++
	v.Checked += count.Returned + count.Refused + count.Unknown
	var violation *history.Violation
	switch {
	case errors.As(err, &violation):
		v.Violations++
		if v.violation == nil {
			v.First, v.violation = violation.Error(), violation
		}
	case err != nil:
		v.Undecided++
	}
}

// found returns the verdict so far.
func (j *judge) found() verdict {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.verdict
}

// pardon forgets what was found, and every history that has begun, so that only what comes from now on
// is judged.
func (j *judge) pardon() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.verdict, j.waiting = verdict{}, nil
	for _, o := range j.current {
		o.void = o.began > 0
	}
	if j.judged != nil {
		j.judged.void = true
	}
	j.changed.Broadcast()
}

// errNoViolation says that there is nothing to draw.
var errNoViolation = errors.New("raftlab: the history is linearizable so far")

// draw writes a page that shows the first violation.
func (j *judge) draw(w io.Writer) error {
	if v := j.found().violation; v != nil {
		return v.WriteHTML(w)
	}
	return errNoViolation
}
