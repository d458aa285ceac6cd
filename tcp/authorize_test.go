package tcp_test

import (
	"crypto/tls"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
)

// A warden is the user's own check of certificates.
type warden struct {
	mu     sync.Mutex
	asked  []raft.ServerID
	judges func(raft.ServerID) error
}

func (w *warden) authorize(id raft.ServerID, state tls.ConnectionState) error {
	w.mu.Lock()
	w.asked = append(w.asked, id)
	judges := w.judges
	w.mu.Unlock()
	if !slices.Contains(state.PeerCertificates[0].DNSNames, string(id)) {
		return errors.New("the certificate was not compared yet")
	}
	return judges(id)
}

// startGuarded starts a server with TLS and a check of the user's own.
func (c *cluster) startGuarded(a *authority, judges func(raft.ServerID) error, id raft.ServerID, others ...raft.ServerID) (*server, *warden) {
	c.t.Helper()
	w := &warden{judges: judges}
	options := c.options
	options.TLS, options.Authorize = a.issue(string(id), time.Hour), w.authorize
	return c.startWith(options, id, others...), w
}

// The user's own check is asked on both sides, and has the last word on both.
func TestAuthorize(t *testing.T) {
	all := func(raft.ServerID) error { return nil }
	none := func(raft.ServerID) error { return errors.New("withdrawn") }
	panics := func(raft.ServerID) error { panic("broken") }
	ends := func(raft.ServerID) error { runtime.Goexit(); return nil }
	for _, test := range []struct {
		name         string
		dials, hears func(raft.ServerID) error
		passes       bool
	}{
		{"both want", all, all, true},
		{"the side that dials doesn't", none, all, false},
		{"the side that is dialled doesn't", all, none, false},
		{"it panics where it dials", panics, all, false},
		{"it panics where it is dialled", all, panics, false},
		{"it ends the goroutine where it dials", ends, all, false},
		{"it ends the goroutine where it is dialled", all, ends, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *cluster) {
				authority := newAuthority(t)
				a, ofA := c.startGuarded(authority, test.hears, "a")
				b, ofB := c.startGuarded(authority, test.dials, "b", "a")
				for range 5 {
					b.tell("a", 1)
					pass(2 * time.Second)
				}
				require.Equal(t, test.passes, len(a.received()) > 0)
				require.Contains(t, ofB.asked, raft.ServerID("a"))
				if test.passes { // once for the connection, on either side
					require.Equal(t, []raft.ServerID{"b"}, ofA.asked)
					require.Equal(t, []raft.ServerID{"a"}, ofB.asked)
				}
				// It still works afterwards.
				for _, w := range []*warden{ofA, ofB} {
					w.mu.Lock()
					w.judges = all
					w.mu.Unlock()
				}
				for range 5 {
					b.tell("a", 2)
					pass(2 * time.Second)
				}
				require.Contains(t, a.received(), uint64(2))
			})
		})
	}
}

// A server that isn't authorised isn't told why.
func TestAuthorizeTellsNoReason(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		authority := newAuthority(t)
		c.startGuarded(authority, func(raft.ServerID) error { return errors.New("a secret reason") }, "a")
		conn := c.dial("a")
		config := authority.issue("x", time.Hour)
		config.InsecureSkipVerify = true
		err := tcp.GreetForMessages(tls.Client(conn, config), raft.Server{ID: "x"}, "a")
		require.ErrorContains(t, err, "not authorised")
		require.NotContains(t, err.Error(), "secret")
		synctest.Wait()
		require.Contains(t, c.log.String(), "a secret reason")
	})
}

// A session of TLS that is resumed is judged like any other, and its proofs are its own.
func TestResumedSessions(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		authority := newAuthority(t)
		a, ofA := c.startGuarded(authority, func(raft.ServerID) error { return nil }, "a")
		a.SetKeys(keys(1))
		config := authority.issue("b", time.Hour)
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		config.ServerName = "a"
		config.InsecureSkipVerify = true
		first := c.call(config, "b", "a", keys(1)...)
		first.tell()
		a.requireHeard(t, "b", false)
		proofs, err := tcp.Prove(first.conn, "b", "a", keys(1)...)
		require.NoError(t, err)

		second := c.call(config, "b", "a")
		require.True(t, second.conn.(*tls.Conn).ConnectionState().DidResume)
		write(t, second.conn, tcp.Renewal(proofs...))
		second.tell()
		a.requireHeard(t, "b", true)
		second.prove(keys(1)...)
		second.tell()
		a.requireHeard(t, "b", false)
		require.Len(t, ofA.asked, 2)
	})
}

// Earlier versions of TLS are refused: not all of their sessions export what proofs are bound to.
func TestEarlierTLSIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		authority := newAuthority(t)
		old := authority.issue("a", time.Hour)
		old.MinVersion = tls.VersionTLS12
		c.startTLS(old, "a")
		config := authority.issue("b", time.Hour)
		config.InsecureSkipVerify, config.MaxVersion = true, tls.VersionTLS12
		require.ErrorContains(t, tls.Client(c.dial("a"), config).Handshake(), "protocol version not supported")
	})
}
