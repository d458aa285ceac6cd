package sim

import "github.com/e17579a5/raft"

// A clock says how a server's clock runs from an instant on, until its rate changes.
type clock struct {
	from, base int64 // at instant from, in nanoseconds, the clock shows base
	rate       int64 // how much faster than time it runs, in millionths
}

// show returns what the clock shows at an instant.
func (c *clock) show(at int64) int64 {
	return c.base + (at - c.from) + (at-c.from)*c.rate/1_000_000
}

// when returns the first instant at which the clock shows t or later.
func (c *clock) when(t int64) int64 {
	at := c.from + (t-c.base)*1_000_000/(1_000_000+c.rate)
	for c.show(at) < t {
		at++
	}
	for c.show(at-1) >= t {
		at--
	}
	return at
}

// clock returns what the clock of s shows at an instant, which must not be before its last change
// of rate.
func (s *server) clock(at int64) int64 { return s.clocks[len(s.clocks)-1].show(at) }

// local returns the time that the clock of s shows now.
func (w *World) local(s *server) raft.Instant { return raft.Instant(s.clock(w.now)) }

// never is an instant later than the end of any run: about two hours and a half. The faults end
// after half of that at the latest.
const never = int64(1) << 43

// until returns the first instant, from now on, at which the clock of s shows t or later.
func (w *World) until(s *server, t raft.Instant) int64 {
	now := &s.clocks[len(s.clocks)-1]
	if int64(t)-now.base >= never {
		return never
	}
	return min(max(now.when(int64(t)), w.now), never)
}

// at returns the instant at which the clock of s showed t.
func (s *server) at(t raft.Instant) int64 {
	i := len(s.clocks) - 1
	for i > 0 && s.clocks[i].base > int64(t) {
		i--
	}
	return s.clocks[i].when(int64(t))
}

// setClock changes the rate at which the clock of s runs. The clock goes on from what it shows. It
// reports whether the rate changed.
func (w *World) setClock(s *server, rate int64) bool {
	if rate < -w.params.Drift || rate > w.params.Drift || rate == s.clocks[len(s.clocks)-1].rate {
		return false
	}
	s.clocks = append(s.clocks, clock{from: w.now, base: s.clock(w.now), rate: rate})
	return true
}
