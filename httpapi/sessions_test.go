package httpapi_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/memory"
)

// requireResult requires that a command was answered with a sum.
func requireResult(t *testing.T, want string, w *httptest.ResponseRecorder) {
	t.Helper()
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Equal(t, want, w.Body.String())
	require.Equal(t, "application/octet-stream", w.Header().Get("Content-Type"))
}

// TestSessionAppliesOnce: each copy of a command gets the first one's result, at any server.
func TestSessionAppliesOnce(t *testing.T) {
	bubble(t, memory.Faults{}, nil, func(t *testing.T, c *cluster) {
		id := c.session(0)
		key := func(number int) string { return fmt.Sprintf(`"%s-%d"`, id, number) }
		for range 2 {
			for server := range 3 {
				requireResult(t, "5", c.command(server, "5", key(1)))
			}
		}
		requireResult(t, "12", c.command(1, "7", key(3)))
		requireResult(t, "15", c.command(2, "3", key(2))) // in any order
		requireResult(t, "5", c.command(2, "5", key(1)))
		requireResult(t, "5", c.command(0, "100", key(1))) // a number is its first command
		requireResult(t, "16", c.command(1, "1", ""))      // without a key, each copy counts
		requireResult(t, "17", c.command(1, "1", ""))
	})
}

// TestSessionCopiesAtOnce: copies that come at the same time, and other numbers between them, are
// applied once each.
func TestSessionCopiesAtOnce(t *testing.T) {
	bubble(t, memory.Faults{}, nil, func(t *testing.T, c *cluster) {
		id := c.session(0)
		answers := make([]string, 300)
		var clients sync.WaitGroup
		for i := range answers {
			clients.Go(func() {
				w := c.command(i%3, "1", fmt.Sprintf(`"%s-%d"`, id, 1+i/3))
				answers[i] = w.Body.String()
			})
		}
		clients.Wait()
		seen := map[string]bool{}
		for i, answer := range answers {
			require.Equal(t, answers[i/3*3], answer, "copies of command %d", 1+i/3)
			seen[answer] = true
		}
		require.Len(t, seen, 100)
		requireResult(t, "100", c.command(0, "0", ""))
	})
}

// TestSessionForgetsWhatTheClientHas: a result below lowest isn't kept.
func TestSessionForgetsWhatTheClientHas(t *testing.T) {
	bubble(t, memory.Faults{}, nil, func(t *testing.T, c *cluster) {
		id := c.session(0)
		requireResult(t, "1", c.command(0, "1", `"`+id+`-1"`))
		requireResult(t, "2", c.command(0, "1", `"`+id+`-2";lowest=2`))
		requireResult(t, "2", c.command(1, "1", `"`+id+`-2"`))
		requireFailure(t, c.command(2, "1", `"`+id+`-1"`), 410, "session_answered", httpapi.Unknown)

		requireResult(t, "3", c.command(0, "1", `"`+id+`-257"`)) // without lowest, 256 results are kept
		requireResult(t, "2", c.command(1, "1", `"`+id+`-2"`))
		requireResult(t, "4", c.command(0, "1", `"`+id+`-258"`))
		requireFailure(t, c.command(2, "1", `"`+id+`-2";lowest=2`), 410, "session_answered", httpapi.Unknown)
		requireFailure(t, c.command(2, "1", `"`+id+`-259";lowest=3`), 400, "bad_key", httpapi.NotApplied)
		requireResult(t, "4", c.command(0, "0", ""))
	})
}

// TestSessionEnds: commands of a session that was closed, that has expired or that never was aren't
// applied.
func TestSessionEnds(t *testing.T) {
	few := func(c *raft.Config) { c.MaxSessions = 2 }
	bubble(t, memory.Faults{}, few, func(t *testing.T, c *cluster) {
		closed := c.session(0)
		requireResult(t, "1", c.command(0, "1", `"`+closed+`-1"`))
		for server := range 2 { // that it is closed already is no error
			w := c.ask(server, http.MethodDelete, "/sessions/"+closed, "")
			require.Equal(t, http.StatusNoContent, w.Code)
			require.Empty(t, w.Body.String())
		}
		first, second := c.session(0), c.session(1)
		requireResult(t, "2", c.command(0, "1", `"`+first+`-1"`)) // second is the one that wasn't used
		third := c.session(2)
		for _, gone := range []string{closed, second, "1.999999"} {
			requireFailure(t, c.command(1, "1", `"`+gone+`-1"`), 410, "session_expired", httpapi.Unknown)
		}
		for i, there := range []string{first, third} {
			requireResult(t, fmt.Sprint(3+i), c.command(1, "1", `"`+there+`-2"`))
		}
		requireFailure(t, c.ask(0, http.MethodDelete, "/sessions/x", ""), 400, "bad_request", httpapi.NotApplied)
	})
}

// TestSessionOutlivesALeader: a command whose outcome is unknown is sent again, and counts once.
func TestSessionOutlivesALeader(t *testing.T) {
	bubble(t, memory.Faults{}, nil, func(t *testing.T, c *cluster) {
		id := c.session(0)
		leader, other := c.leader()
		c.isolate(leader)
		key := `"` + id + `-1";lowest=1`
		requireFailure(t, c.command(leader, "5", key), 504, "outcome_unknown", httpapi.Unknown)
		requireResult(t, "5", c.command(other, "5", key))
		c.network.SetFaults(memory.Faults{})
		requireResult(t, "5", c.command(leader, "5", key))
		requireResult(t, "5", c.command(leader, "0", ""))
	})
}

// TestKeyThatIsMalformed: a command with a key that can't be read isn't applied.
func TestKeyThatIsMalformed(t *testing.T) {
	bubble(t, memory.Faults{}, nil, func(t *testing.T, c *cluster) {
		for _, key := range []string{"8e03978e", `"8e03978e"`, `"1.1-0"`} {
			requireFailure(t, c.command(0, "5", key), 400, "bad_key", httpapi.NotApplied)
		}
		requireResult(t, "0", c.command(0, "0", ""))
	})
}
