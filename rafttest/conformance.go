package rafttest

import (
	"cmp"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

// callPatience is how long a call of what is checked may take, unless a user sets another time.
const callPatience = time.Minute

// errHung is part of the error about a call that hasn't returned in time.
var errHung = errors.New("it hangs")

// A conviction ends a check. It is the panic by which convict gets out of it, however deep in its
// functions the broken rule shows. So no function of a check can forget to hand an error on.
type conviction struct{ err error }

// convict ends the check, and says what was found.
func convict(format string, arguments ...any) {
	panic(conviction{fmt.Errorf(format, arguments...)})
}

// must ends the check if a call has failed.
func must(call string, err error) {
	if err != nil {
		convict("%s failed: %w", call, err)
	}
}

// guarded calls f, and returns what f convicts. A panic of what is checked is an error too.
func guarded(f func()) (err error) {
	defer func() {
		switch cause := recover().(type) {
		case nil:
		case conviction:
			err = cause.err
		default:
			err = fmt.Errorf("panic: %v\n%s", cause, debug.Stack())
		}
	}()
	f()
	return nil
}

// during calls f, and adds to what it convicts when that was.
func during(when string, f func()) {
	if err := guarded(f); err != nil {
		convict("%s: %w", when, err)
	}
}

// together calls functions at the same time. It waits for all of them, and then convicts what they
// have convicted.
func together(functions ...func()) {
	failures := make([]error, len(functions))
	var done sync.WaitGroup
	for i, f := range functions {
		done.Go(func() { failures[i] = guarded(f) })
	}
	done.Wait()
	if err := errors.Join(failures...); err != nil {
		convict("%w", err)
	}
}

// A watch is there while a check runs. It knows what the check has done, and sees a call that hangs.
type watch struct {
	hung chan error // holds the error about the first call that hangs

	mu       sync.Mutex
	did      []string // the steps so far, for the explanation of a failure
	panicked error    // the first panic that was reported
}

func newWatch() *watch { return &watch{hung: make(chan error, 1)} }

// errGone says that a check has ended without a verdict.
var errGone = errors.New("a call doesn't return, but ends its goroutine, as t.FailNow does")

// run runs a check, and returns what it convicts. If a call hangs, run returns without the check: a
// goroutine can't be ended from outside. Then the check ends when that call returns, if ever.
func (w *watch) run(check func()) error {
	done := make(chan error, 1)
	go func() {
		verdict := errGone
		defer func() { done <- verdict }()
		verdict = guarded(check)
	}()
	select {
	case err := <-done:
		return err
	case err := <-w.hung:
		return err
	}
}

// within calls f, which must return within the given time.
func (w *watch) within(limit time.Duration, call string, f func()) {
	if late := w.timed(limit, call, f); late != nil {
		convict("%w", late) // run has returned
	}
}

// caller returns what makes calls that must return within callPatience.
func (w *watch) caller() caller {
	return func(call string, f func()) { w.within(callPatience, call, f) }
}

// timed calls f, and returns an error if f has returned too late.
func (w *watch) timed(limit time.Duration, call string, f func()) error {
	return timed(limit, call, f, func(late error) {
		select {
		case w.hung <- late:
		default: // another call hangs already
		}
	})
}

// reported calls f, in whichever goroutine, and returns its error. A panic of f is that error, and
// is kept: nobody may look at the error.
func (w *watch) reported(f func() error) (err error) {
	panicked := guarded(func() { err = f() })
	if panicked == nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.panicked = cmp.Or(w.panicked, panicked)
	return panicked
}

// withPanic adds to the verdict on a check the first panic that was reported, unless it is in it.
func (w *watch) withPanic(verdict error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if errors.Is(verdict, w.panicked) {
		return verdict
	}
	return errors.Join(verdict, w.panicked)
}

// timed calls f, and returns an error if f has returned too late. It hands this error to hangs as
// soon as f is late.
func timed(limit time.Duration, call string, f func(), hangs func(error)) error {
	late := func() error { return fmt.Errorf("%s hasn't returned within %v: %w", call, limit, errHung) }
	timer := time.AfterFunc(limit, func() { hangs(late()) })
	defer timer.Stop()
	f()
	if !timer.Stop() {
		return late()
	}
	return nil
}

// note remembers a step for explain.
func (w *watch) note(format string, arguments ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.did = append(w.did, fmt.Sprintf(format, arguments...))
}

// forget forgets the steps so far: others begin, with another disk.
func (w *watch) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.did = nil
}

// maxTold bounds the steps that an explanation tells: the last ones.
const maxTold = 12

// explain adds to an error the steps that led to it.
func (w *watch) explain(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.did) == 0 {
		return err
	}
	told, more := w.did, ""
	if len(told) > maxTold {
		told, more = told[len(told)-maxTold:], "…, "
	}
	return fmt.Errorf("after %s%s: %w", more, strings.Join(told, ", "), err)
}
