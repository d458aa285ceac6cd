package groups

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// leads returns how many groups a process leads.
func (h *host) leads() (n int) {
	for _, m := range h.members {
		if m.core != nil && m.core.Leads() {
			n++
		}
	}
	return n
}

// led says whether each group is led by a process other than one.
func (w *World) led(but *host) bool {
	for _, m := range w.hosts[0].members {
		led := false
		for _, h := range w.hosts {
			led = led || h != but && h.running && h.member(m.id).core.Leads()
		}
		if !led {
			return false
		}
	}
	return true
}

// until lets the time pass until something holds, and returns how long that took.
func (w *World) until(t *testing.T, within time.Duration, holds func() bool) time.Duration {
	begun := w.now
	for !holds() {
		require.Less(t, time.Duration(w.now-begun), within)
		require.NoError(t, w.Run(time.Millisecond))
	}
	return time.Duration(w.now - begun)
}

// New groups are founded at once, and their leaders are spread over the processes.
func TestFoundingIsHurriedAndSpread(t *testing.T) {
	o := options(3)
	o.Groups = 60
	w := New(o)
	took := w.until(t, time.Second, func() bool { return w.led(nil) })
	require.Less(t, took, 50*time.Millisecond)
	for _, h := range w.hosts {
		require.Greater(t, h.leads(), 10)
	}
}

// campaigns returns the groups that ask for votes at a process.
func (h *host) campaigns() (groups []raft.GroupID) {
	for _, m := range h.members {
		if m.core == nil {
			continue
		}
		if strings.HasSuffix(m.core.Status().Role, "candidate") {
			groups = append(groups, m.id)
		}
	}
	return groups
}

// Groups that are new at once are founded a few at a time. While a process isn't there, the others go on
// trying, and when it comes all are founded soon.
func TestManyGroupsAreFoundedAFewAtATime(t *testing.T) {
	for _, late := range []bool{false, true} {
		o := options(6)
		o.Groups, o.Foundings = 90, 4
		w := New(o)
		most, tried := 0, make(map[raft.GroupID]bool)
		led := func() bool {
			for _, h := range w.hosts {
				groups := h.campaigns()
				most = max(most, len(groups))
				for _, id := range groups {
					tried[id] = true
				}
			}
			return w.led(nil)
		}
		if late {
			w.hosts[2].stop()
			took := w.until(t, 90*o.Election, func() bool { return led() || len(tried) == o.Groups })
			require.Greater(t, took, 8*o.Election)
			w.hosts[2].start()
			w.until(t, 4*o.Election, led)
		} else {
			w.until(t, time.Second, led)
			require.Equal(t, o.Foundings, most)
		}
		for _, h := range w.hosts {
			require.Greater(t, h.leads(), 10)
		}
	}
}

// §3.4: when a process ends, all the groups that it led have leaders soon after the others have
// noticed, since these agree who begins.
func TestProcessThatEndsIsSucceededAtOnce(t *testing.T) {
	for _, transport := range []bool{false, true} {
		o := options(4)
		o.Groups, o.Lease = 60, 0
		w := New(o)
		require.NoError(t, w.settle(3*time.Second))
		dead := w.hosts[1]
		require.Greater(t, dead.leads(), 10)
		elections, led := 0, dead.leads()
		for _, terms := range w.elected {
			elections += len(terms)
		}
		dead.stop()
		if transport {
			w.hosts[0].lost(dead.id)
			w.hosts[2].lost(dead.id)
		}
		took := w.until(t, 3*time.Second, func() bool { return w.led(dead) })
		after := 0
		for _, terms := range w.elected {
			after += len(terms)
		}
		require.LessOrEqual(t, after-elections, led, "no vote is split")
		if transport {
			require.Less(t, took, 50*time.Millisecond)
		} else {
			require.Less(t, took, o.Election+50*time.Millisecond)
		}
		require.NoError(t, w.Run(3*time.Second))
		for _, h := range []*host{w.hosts[0], w.hosts[2]} {
			for _, m := range h.members {
				require.Equal(t, raft.Instant(1<<63-1), m.coalesced.Deadline(), "%s at %s", m.id, h.id)
			}
		}
	}
}

// When a process ends that leads many groups, these have leaders again soon, and each of the others campaigns for a
// few at a time.
func TestManyGroupsAreSucceededAFewAtATime(t *testing.T) {
	o := options(7)
	o.Groups, o.Elections, o.Lease = 120, 3, 0
	w := New(o)
	require.NoError(t, w.settle(3*time.Second))
	dead := w.hosts[1]
	require.Greater(t, dead.leads(), 30)
	dead.stop()
	w.hosts[0].lost(dead.id)
	w.hosts[2].lost(dead.id)
	most := 0
	took := w.until(t, 3*time.Second, func() bool {
		for _, h := range w.hosts {
			most = max(most, len(h.campaigns()))
		}
		return w.led(dead)
	})
	require.Equal(t, o.Elections, most)
	require.Less(t, took, o.Election)
}

// A group whose core has failed in a process that goes on has a candidate at most one and a half
// election timeouts after its leader was heard last, though its process is heard all the time.
func TestCoreThatFailsIsSucceeded(t *testing.T) {
	w := New(options(5))
	require.NoError(t, w.settle(3*time.Second))
	require.NoError(t, w.Run(time.Second))
	for _, h := range w.hosts {
		for _, m := range h.members {
			if !m.core.Leads() {
				continue
			}
			m.fails()
			took := w.until(t, 2*w.Election, func() bool {
				for _, other := range w.hosts {
					if o := other.member(m.id); o.core != nil && o.core.Leads() {
						return true
					}
				}
				return false
			})
			require.Less(t, took, w.Election*3/2+20*time.Millisecond)
			m.startAgain()
			require.NoError(t, w.settle(3*time.Second))
		}
	}
}

// A command and a read wake their group, and no other one. By a lease a read takes no message at all;
// without one it takes a round of the process.
func TestReadsOfIdleGroups(t *testing.T) {
	w := New(options(6))
	require.NoError(t, w.settle(3*time.Second))
	require.NoError(t, w.Run(time.Second))
	for _, byLease := range []bool{true, false} {
		for _, h := range w.hosts {
			for _, m := range h.members {
				if !m.core.Leads() {
					continue
				}
				sent, process, answered := w.sent, w.process, w.answeredReads
				m.read(byLease)
				took := w.until(t, w.Election, func() bool { return w.answeredReads > answered })
				require.Less(t, took, 10*time.Millisecond)
				require.Equal(t, w.sent-sent, w.process-process, "no message of a group")
				if byLease {
					require.LessOrEqual(t, w.sent-sent, 6)
				}
				require.NoError(t, w.Settled())
			}
		}
	}
	m := w.hosts[0].members[0]
	m.propose()
	require.NoError(t, w.Run(3*w.Heartbeat))
	require.NoError(t, w.Settled())
	require.Equal(t, raft.Index(2), w.acked[m.id])
}

// §6.2: leaders whose process hears nobody any more step down, though they had nothing to do: whether
// the others become silent together or one after the other.
func TestLeadersThatAreCutOffStepDown(t *testing.T) {
	for _, apart := range []time.Duration{0, 3 * time.Second} {
		w := New(options(7))
		require.NoError(t, w.settle(3*time.Second))
		at := 0
		for i, h := range w.hosts {
			if h.leads() > w.hosts[at].leads() {
				at = i
			}
		}
		for other := range w.hosts {
			if other == at {
				continue
			}
			require.NoError(t, w.Run(apart))
			w.cut[[2]int{at, other}], w.cut[[2]int{other, at}] = true, true
		}
		require.NotZero(t, w.hosts[at].leads())
		w.until(t, w.Election+50*time.Millisecond, func() bool { return w.hosts[at].leads() == 0 })
		w.heal()
		require.NoError(t, w.settle(3*time.Second))
	}
}
