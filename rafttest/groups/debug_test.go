package groups

import (
	"testing"
	"time"

	"github.com/e17579a5/raft/internal/coalesce"
)

func TestDebug(t *testing.T) {
	o := options(uint64(*start))
	o.Faults = true
	w := New(o)
	w.settle(3 * time.Second)
	w.faulty = true
	w.disturb()
	w.Run(20 * time.Second)
	w.heal()
	t.Log(w.settle(20 * time.Second))
	for _, m := range w.hosts[0].members {
		for _, h := range w.hosts {
			o := h.member(m.id)
			var q coalesce.Quiet
			quiet := o.core.Quiet(&q)
			s := o.core.Status()
			t.Logf("%s %s role %s term %d commit %d last %d fitq settled %v quiet %v armed %v q %+v trouble %v conf %v", m.id, h.id, s.Role, s.Term, s.Commit, s.Last, o.coalesced.Deadline() == 1<<63-1, quiet, o.core.Armed(nil), q, o.core.Standing().Trouble, s.Configuration)
		}
	}
	sendHook = func(s string) { t.Log(s) }
	defer func() { sendHook = nil }()
	w.failure = nil
	w.Run(250 * time.Millisecond)
}
