package rafttest

import (
	"errors"
	"fmt"
)

// A check checks one rule of a contract, in sessions with what is checked. It takes a new disk for each
// session.
type check[S session] struct {
	name, rule string
	check      func(open func() S)
}

// A session is something that is open while a check works with it.
type session interface {
	// open opens it on its disk.
	open()
	// end closes it. It convicts what doesn't close.
	end()
	// drop closes what is convicted already, so its errors don't count.
	drop()
}

// once returns a check that takes one session.
func once[S session](name, rule string, use func(S)) check[S] {
	return check[S]{name, rule, func(open func() S) {
		s := open()
		use(s)
		s.end()
	}}
}

// perform performs checks, one after the other. Each call of begin returns a session on a new disk. what
// names what is checked. If a call hangs, it is the last one, and hung is true.
func perform[S session](what string, checks []check[S], begin func(w *watch, rule string) S) (failures []error, hung bool) {
	for _, c := range checks {
		var last S
		opened := false
		w := newWatch()
		err := w.run(func() {
			c.check(func() S {
				last, opened = begin(w, c.name), true
				w.forget()
				last.open()
				return last
			})
		})
		if err == nil {
			continue
		}
		failures = append(failures, fmt.Errorf("rafttest: %s: %s: %w\n\tthe rule: %s", what, c.name, w.explain(err), c.rule))
		if errors.Is(err, errHung) {
			return failures, true
		}
		if opened {
			_ = w.run(last.drop)
		}
	}
	return failures, false
}
