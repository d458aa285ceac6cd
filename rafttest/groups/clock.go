package groups

import (
	"time"

	"github.com/e17579a5/raft"
)

// A clock is that of a process. It is faster than the world's by drift in a second, since an instant
// of the world's at which it showed something.
type clock struct {
	since, showed raft.Instant
	drift         time.Duration
}

// now returns what the process's clock shows.
func (h *host) now() raft.Instant {
	c := &h.clock
	since := time.Duration(h.w.now - c.since)
	return c.showed + raft.Instant(since+since*c.drift/time.Second)
}

// drift makes the clock faster than the world's by so much in a second from now on. No two clocks
// drift apart by more than Options.Drift.
func (h *host) drift(by time.Duration) {
	h.clock = clock{since: h.w.now, showed: h.now(), drift: by}
}

// until plans something for when the process's clock shows an instant, as fast as it is now. If the
// clock becomes slower meanwhile, that is too early.
func (h *host) until(at raft.Instant, do func()) {
	d := max(time.Duration(at-h.now()), 0)
	h.w.after(d-d*h.clock.drift/(time.Second+h.clock.drift)+1, do)
}
