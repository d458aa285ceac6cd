package tcp_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wire"
)

// withAndWithoutTLS runs a test twice: with an authority, and with nil.
func withAndWithoutTLS(t *testing.T, f func(t *testing.T, authority *authority)) {
	t.Parallel() // the servers of these tests are their own
	t.Run("TLS", func(t *testing.T) { f(t, newAuthority(t)) })
	t.Run("plain", func(t *testing.T) { f(t, nil) })
}

// Whoever speaks in a name that never was a member's can do nothing: with TLS although the
// certificate is one of the authority's, and although the outsider knows the cluster, its disks, its
// term and its log.
func TestStrangerDoesNothing(t *testing.T) {
	withAndWithoutTLS(t, func(t *testing.T, authority *authority) {
		newStronghold(t, authority).outsider("stranger").storm()
	})
}

// A server that was removed can do nothing, although it has its disk, all keys that it ever knew,
// and its certificate.
func TestRemovedMemberDoesNothing(t *testing.T) {
	withAndWithoutTLS(t, func(t *testing.T, authority *authority) {
		s := newStronghold(t, authority)
		removed := s.add("removed")
		s.propose(1)
		s.eventually("it has a key", func() bool { return len(removed.known()) > 0 })
		known := removed.known()
		s.remove("removed")
		s.eventually("the others have a newer key, and the leader has taken its leave", func() bool {
			for _, server := range s.servers {
				b := s.bastions[server.ID]
				leaves := func(p raft.PeerStatus) bool { return p.ID == "removed" }
				if b.known()[0] == known[0] || slices.ContainsFunc(b.node.Status().Peers, leaves) {
					return false
				}
			}
			return true
		})
		st := removed.node.Status()
		removed.stop(t)
		o := s.outsider("removed", removed.everKnown()...)
		o.base.FromIncarnation = incarnationOf(&st, "removed")
		o.storm()
	})
}

// A member of another cluster, whose certificate is of the same authority, can do nothing.
func TestMemberOfAnotherClusterDoesNothing(t *testing.T) {
	withAndWithoutTLS(t, func(t *testing.T, authority *authority) {
		s, other := newStronghold(t, authority), newStronghold(t, authority)
		o := s.outsider("stranger", other.bastions["a"].known()...)
		o.storm()
		// So it is when it speaks of its own cluster.
		s.forget()
		before := s.some().Status()
		of := before
		of.Cluster = other.some().Status().Cluster
		for _, blow := range o.blows(&of) {
			o.strike(blow)
			o.requireUnmoved(&before, blow)
		}
	})
}

// Without TLS nobody proves a name. Whoever reaches the port can speak in a member's, and do what a
// member can; an absurd term isn't taken from a member either. With TLS the name takes the
// certificate of that member, and this is what a member that lies can do.
func TestMembersNameDoesWhatAMemberDoes(t *testing.T) {
	withAndWithoutTLS(t, func(t *testing.T, authority *authority) {
		s := newStronghold(t, authority)
		st := s.some().Status()
		liar := s.outsider("b")
		liar.SetServers(s.servers[:1])
		at := s.bastions["a"].node
		say := func(m wire.Message, term raft.Term, done func() bool) {
			s.eventually("it is heard", func() bool {
				liar.Send(m.In(wire.Envelope{
					From: "b", To: "a", Cluster: st.Cluster, Term: term,
					FromIncarnation: incarnationOf(&st, "b"), ToIncarnation: incarnationOf(&st, "a"), FromStart: wire.NextStart(1<<40, 1),
				}))
				return done()
			})
		}
		heard := func() bool { return at.Status().Term >= st.Term+far }
		say(wire.Heartbeat{Round: 1}.Message(), 1<<62, func() bool { return true })
		say(wire.VoteRequest{Last: wire.Place{Index: 1 << 40, Term: 1 << 40}, Transfer: true}.Message(), 1<<62, func() bool { return true })
		say(wire.VoteRequest{Transfer: true}.Message(), st.Term+far, heard)
		require.Less(t, at.Status().Term, raft.Term(1<<61))
		require.NoError(t, at.Err())
	})
}

// What was recorded on the network is worth nothing later, if the servers speak TLS. If they don't,
// it is heard again.
func TestRecordedBytes(t *testing.T) {
	for _, test := range []struct {
		name  string
		heard int
		issue func(a *authority, id string) *tls.Config
	}{
		{"TLS", 0, func(a *authority, id string) *tls.Config { return a.issue(id, time.Hour) }},
		{"plain", 1, func(*authority, string) *tls.Config { return nil }},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *cluster) {
				authority := newAuthority(t)
				a := c.startTLS(test.issue(authority, "a"), "a", "b")
				a.SetKeys(keys(1))
				tape := &tape{}
				c.options.Dial = tape.record(c.options.Dial)
				b := c.startTLS(test.issue(authority, "b"), "b", "a")
				b.SetKeys(keys(1))
				b.tell("a", 1)
				pass(time.Second)
				require.Len(t, a.received(), 1)
				b.close(t)
				pass(time.Second)

				again := c.dial("a")
				write(t, again, tape.all())
				synctest.Wait()
				require.Len(t, a.received(), test.heard)
			})
		})
	}
}

// A tape has what was written on connections.
type tape struct {
	mu    sync.Mutex
	bytes []byte
}

func (p *tape) all() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes
}

func (p *tape) record(dial func(context.Context, string) (net.Conn, error)) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := dial(ctx, address)
		return &recorded{conn, p}, err
	}
}

type recorded struct {
	net.Conn
	tape *tape
}

func (r *recorded) Write(b []byte) (int, error) {
	r.tape.mu.Lock()
	r.tape.bytes = append(r.tape.bytes, b...)
	r.tape.mu.Unlock()
	return r.Conn.Write(b)
}

// Whoever has no certificate of the authority gets no further than the handshake of TLS, whatever
// name and keys it has.
func TestNoCertificateNoHello(t *testing.T) {
	t.Parallel()
	s := newStronghold(t, newAuthority(t))
	for _, server := range s.servers {
		foreign := newAuthority(t).issue("b", time.Hour)
		foreign.InsecureSkipVerify = true
		for _, config := range []*tls.Config{foreign, {InsecureSkipVerify: true}, nil} {
			conn, err := net.Dial("tcp", server.Address)
			require.NoError(t, err)
			speaks := conn
			if config != nil {
				speaks = tls.Client(conn, config)
			}
			proofs, err := tcp.Prove(speaks, "b", server.ID, s.bastions["b"].known()...)
			if err == nil {
				err = tcp.GreetForMessages(speaks, raft.Server{ID: "b", Address: server.Address}, server.ID, proofs...)
			}
			require.Error(t, err)
			_, err = io.Copy(io.Discard, conn)
			if err == nil {
				_, err = conn.Read(make([]byte, 1))
			}
			require.Error(t, err, "the connection has ended")
			require.NoError(t, conn.Close())
		}
	}
	s.propose(1)
}
