package raft_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/wire"
)

// large is the size of a command that makes a large append.
const large = 1 << 20

// A large command is sent once, however many heartbeats overtake it, and it is sent again if it was
// lost.
func TestHeartbeatsOvertakeLargeAppends(t *testing.T) {
	for _, test := range []struct {
		name string
		lost func(*wire.Message) bool // among what comes late
		sent int                      // how often the command leaves for c
	}{
		{"late", func(*wire.Message) bool { return false }, 1},
		{"lost", func(m *wire.Message) bool { return m.Size() > large }, 2},
		{"lost with what is behind it", func(*wire.Message) bool { return true }, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := founded(t, 3)
			sent := 0
			var late []wire.Message
			hold := true
			c.lost = func(m *wire.Message) bool {
				if m.To != "c" || m.Kind() != wire.KindAppendRequest {
					return false
				}
				if m.Size() > large {
					sent++
				}
				if hold {
					late = append(late, *m)
				}
				return hold
			}
			c.propose("a", string(make([]byte, large)))
			c.propose("a", "behind it")
			for range 10 {
				c.pass(heartbeat)
			}
			require.Equal(t, 1, sent)
			require.Equal(t, "leader", c.status("a").Role)
			require.Equal(t, c.status("a").Commit, c.status("a").Last)
			require.Less(t, c.status("c").Last, c.status("a").Last)

			hold = false
			for _, m := range late {
				if !test.lost(&m) {
					c.deliver(m)
				}
			}
			c.settle()
			for range 4 {
				c.pass(heartbeat)
			}
			require.Equal(t, c.status("a").Last, c.status("c").Last)
			require.Equal(t, test.sent, sent)
			requireUnhurried(t, c)
		})
	}
}

// requireUnhurried requires that what is small is sent as before: one append for each command, and
// none without entries.
func requireUnhurried(t *testing.T, c *cores) {
	var appends []wire.Message
	c.lost = func(m *wire.Message) bool {
		if m.To == "c" && m.Kind() == wire.KindAppendRequest {
			appends = append(appends, *m)
		}
		return false
	}
	c.propose("a", "small")
	for range 4 {
		c.pass(heartbeat)
	}
	require.Len(t, appends, 1)
}

// A probe that is large waits for its answer as long as it takes.
func TestLargeProbeIsSentOnce(t *testing.T) {
	c := founded(t, 3)
	c.servers["c"].cut = true
	c.propose("a", string(make([]byte, large)))
	c.pass(2 * heartbeat)
	c.restart("a")
	c.elect("a")
	c.servers["c"].cut = false
	sent, hold := 0, true
	var late []wire.Message
	c.lost = func(m *wire.Message) bool {
		if m.To != "c" || m.Kind() != wire.KindAppendRequest || !hold && m.Size() < large {
			return false
		}
		if m.Size() > large {
			sent++
		}
		if sent > 0 && hold {
			late = append(late, *m)
			return true
		}
		return false
	}
	for range 10 {
		c.pass(heartbeat)
	}
	require.Equal(t, 1, sent)
	hold = false
	for _, m := range late {
		c.deliver(m)
	}
	c.settle()
	for range 4 {
		c.pass(heartbeat)
	}
	require.Equal(t, c.status("a").Last, c.status("c").Last)
	require.Equal(t, 1, sent)
}
