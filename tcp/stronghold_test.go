package tcp_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wire"
)

// A stronghold is a cluster on real sockets that outsiders attack.
type stronghold struct {
	t         *testing.T
	authority *authority // nil without TLS
	servers   []raft.Server
	bastions  map[raft.ServerID]*bastion
	value     int // what the state machines have added up
	addedBy   []raft.ServerID
}

// A bastion is one server of it.
type bastion struct {
	*tcp.Transport
	self    raft.Server
	storage *memory.Storage
	node    *raft.Node

	mu       sync.Mutex
	keys     []wire.ClusterKey
	heard    []wire.ClusterKey // all keys that it ever had, the latest first
	received []wire.Message    // from outsiders
	sent     []wire.Message    // to outsiders
	urged    bool              // it has campaigned on somebody's behalf
}

// SetKeys implements the optional method of raft.Transport.
func (b *bastion) SetKeys(keys []wire.ClusterKey) {
	b.mu.Lock()
	b.keys = keys
	for _, key := range slices.Backward(keys) {
		if !slices.Contains(b.heard, key) {
			b.heard = slices.Insert(b.heard, 0, key)
		}
	}
	b.mu.Unlock()
	b.Transport.SetKeys(keys)
}

func (b *bastion) known() []wire.ClusterKey {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.keys
}

// everKnown returns all keys that the server ever had, the latest first. One that has left has no
// keys any more.
func (b *bastion) everKnown() []wire.ClusterKey {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.heard)
}

// outside says whether a server isn't one of the stronghold's.
func outside(id raft.ServerID) bool { return len(id) > 1 }

// newStronghold starts a cluster of a, b and c, and waits until each of them has a key.
func newStronghold(t *testing.T, authority *authority) *stronghold {
	t.Helper()
	s := &stronghold{t: t, authority: authority, bastions: make(map[raft.ServerID]*bastion)}
	for _, id := range []raft.ServerID{"a", "b", "c"} {
		s.servers = append(s.servers, s.listen(id).self)
	}
	for _, server := range s.servers {
		s.start(server.ID, s.servers)
	}
	s.propose(1)
	s.eventually("each server has a key", func() bool {
		return !slices.ContainsFunc(s.servers, func(server raft.Server) bool { return len(s.bastions[server.ID].known()) == 0 })
	})
	return s
}

// options returns the options of a transport in this name.
func (s *stronghold) options(id raft.ServerID) tcp.Options {
	options := tcp.Options{Logger: slog.New(slog.DiscardHandler)}
	if s.authority != nil {
		options.TLS = s.authority.issue(string(id), time.Hour)
	}
	return options
}

// listen opens the port of a server with an empty disk.
func (s *stronghold) listen(id raft.ServerID) *bastion {
	s.t.Helper()
	transport, err := tcp.Listen("127.0.0.1:0", s.options(id))
	require.NoError(s.t, err)
	b := &bastion{
		Transport: transport, self: raft.Server{ID: id, Address: transport.Addr().String()}, storage: memory.NewStorage(),
	}
	s.bastions[id] = b
	return b
}

// start starts a server whose port is open.
func (s *stronghold) start(id raft.ServerID, bootstrap []raft.Server) *bastion {
	s.t.Helper()
	b := s.bastions[id]
	config := raft.Config{
		ID: id, Address: b.self.Address, Machine: &tally{}, Storage: b.storage, Transport: b, Bootstrap: bootstrap, AddedBy: s.addedBy,
		ElectionTimeout: 500 * time.Millisecond, Heartbeat: 50 * time.Millisecond,
		Logger: slog.New(slog.DiscardHandler),
		Trace: &raft.Trace{
			Received: func(m wire.Message) {
				if outside(m.From) {
					b.mu.Lock()
					b.received = append(b.received, m)
					b.mu.Unlock()
				}
			},
			Sent: func(m wire.Message) {
				b.mu.Lock()
				b.urged = b.urged || m.VoteRequest().Transfer
				if outside(m.To) {
					b.sent = append(b.sent, m)
				}
				b.mu.Unlock()
			},
		},
	}
	node, err := raft.Start(config)
	require.NoError(s.t, err)
	b.node = node
	s.t.Cleanup(func() { b.stop(s.t) })
	return b
}

func (b *bastion) stop(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = b.node.Close(ctx) // one that has been stopped by an attack says so elsewhere
	require.NoError(t, b.AtRest())
}

// restart opens the port of a server that was stopped, and starts it on the disk that it had.
func (s *stronghold) restart(id raft.ServerID) *bastion {
	s.t.Helper()
	before := s.bastions[id]
	transport, err := tcp.Listen(before.self.Address, s.options(id))
	require.NoError(s.t, err)
	s.bastions[id] = &bastion{Transport: transport, self: before.self, storage: before.storage.Reopen()}
	return s.start(id, nil)
}

// eventually waits until something holds. The sockets of these tests are real, and so is the time.
func (s *stronghold) eventually(what string, holds func() bool) {
	s.t.Helper()
	require.Eventually(s.t, holds, time.Minute, 2*time.Millisecond, what)
}

// some returns a server of the cluster that runs.
func (s *stronghold) some() *raft.Node {
	s.t.Helper()
	for _, server := range s.servers {
		b := s.bastions[server.ID]
		select {
		case <-b.node.Done():
		default:
			return b.node
		}
	}
	require.Fail(s.t, "no server is left")
	return nil
}

// propose adds a number, and requires that the sum is what it must be.
func (s *stronghold) propose(number int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	result, err := s.some().Propose(ctx, []byte(strconv.Itoa(number)))
	require.NoError(s.t, err)
	s.value += number
	require.Equal(s.t, strconv.Itoa(s.value), string(result))
}

// change changes the members. On a loaded machine a new server may not answer in time, so it is
// asked again.
func (s *stronghold) change(f func(ctx context.Context, at *raft.Node) (raft.Index, error)) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	_, err := f(ctx, s.some())
	for errors.Is(err, raft.ErrUnreachable) && ctx.Err() == nil {
		_, err = f(ctx, s.some())
	}
	require.NoError(s.t, err)
}

// add starts a server that waits to be added, and adds it.
func (s *stronghold) add(id raft.ServerID) *bastion {
	s.t.Helper()
	b := s.listen(id)
	s.start(id, nil)
	s.change(func(ctx context.Context, at *raft.Node) (raft.Index, error) { return at.AddServer(ctx, b.self) })
	s.servers = append(s.servers, b.self)
	return b
}

// remove removes a server, and forgets it.
func (s *stronghold) remove(id raft.ServerID) {
	s.t.Helper()
	s.servers = slices.DeleteFunc(slices.Clone(s.servers), func(server raft.Server) bool { return server.ID == id })
	s.change(func(ctx context.Context, at *raft.Node) (raft.Index, error) { return at.RemoveServer(ctx, id) })
}

// An outsider says whatever it likes in a name, with the certificate that goes with it.
type outsider struct {
	*server
	s    *stronghold
	self raft.Server
	// base is the envelope of what it says.
	base wire.Envelope
}

// outsider starts one that knows all that a member could have told it, and has these keys.
func (s *stronghold) outsider(id raft.ServerID, keys ...wire.ClusterKey) *outsider {
	s.t.Helper()
	transport, err := tcp.Listen("127.0.0.1:0", s.options(id))
	require.NoError(s.t, err)
	o := &outsider{
		server: newServer(transport, id), s: s, self: raft.Server{ID: id, Address: transport.Addr().String()},
		base: wire.Envelope{From: id, Cluster: s.some().Status().Cluster, FromIncarnation: 4711, FromStart: wire.NextStart(8, 15)},
	}
	s.t.Cleanup(func() { o.close(s.t) })
	s.forget()
	require.NoError(s.t, transport.Start(o.self, o.server))
	transport.SetServers(s.servers)
	transport.SetKeys(keys)
	return o
}

// forget forgets what was said by outsiders, and to them.
func (s *stronghold) forget() {
	for _, b := range s.bastions {
		b.mu.Lock()
		b.received, b.sent = nil, nil
		b.mu.Unlock()
	}
}

// far is how much higher than the cluster's a term is that an outsider names.
const far = 1000

// blows are what an outsider tries, each in a term of its own. st is what it knows of the cluster.
func (o *outsider) blows(st *raft.Status) []wire.Message {
	o.base.Cluster = st.Cluster
	last := wire.Place{Index: st.Commit, Term: st.Term}
	next := raft.Entry{Index: st.Commit + 1, Term: st.Term + far, Kind: wire.EntryCommand, Data: []byte("1000000")}
	command := raft.Entry{Kind: wire.EntryCommand, Data: []byte("1000000"), Number: 1}
	self := []raft.Member{{Server: o.self, Role: raft.Voter, Incarnation: o.base.FromIncarnation}}
	call := func(kind wire.CallKind, number uint64) wire.Message {
		return wire.CallRequest{Start: o.base.FromStart, Lowest: 1, Number: number, Call: &wire.Call{Kind: kind, Members: self}}.Message()
	}
	in := func(term raft.Term, bodies ...wire.Message) (blows []wire.Message) {
		for _, body := range bodies {
			e := o.base
			e.Term = term
			blows = append(blows, body.In(e))
		}
		return blows
	}
	append1 := wire.AppendRequest{Previous: last, Commit: st.Commit + 1, Entries: []raft.Entry{next}}.Message()
	snapshot := wire.SnapshotRequest{Snapshot: wire.Place{Index: st.Commit + far, Term: st.Term}, Attempt: 1, Start: o.base.FromStart, Serial: 1, Bytes: 1 << 20}
	return slices.Concat(
		in(0, wire.IdentityRequest{Round: 1}.Message(), wire.IdentityResponse{AskedIn: st.Term, Round: 1}.Message(), wire.Removed{Committed: wire.Place{Index: st.Commit + far, Term: st.Term}}.Message()),
		in(st.Term, wire.Heartbeat{Round: 1, Commit: st.Commit}.Message(), wire.TimeoutNow{}.Message()),
		in(st.Term+far, append1, wire.Heartbeat{Round: 1, Acknowledged: last, Commit: st.Commit, Lease: time.Hour}.Message()),
		in(st.Term+far, wire.PreVoteRequest{Last: wire.Place{Index: 1 << 40, Term: st.Term + far}}.Message()),
		in(st.Term+far, wire.VoteRequest{Last: wire.Place{Index: 1 << 40, Term: st.Term + far}, Transfer: true}.Message()),
		in(1<<62, wire.VoteRequest{Last: wire.Place{Index: 1 << 40, Term: 1 << 61}, Transfer: true}.Message(), wire.Heartbeat{Round: 1}.Message(),
			wire.AppendResponse{Accepted: true, Index: st.Commit}.Message(), wire.VoteResponse{}.Message(), wire.PreVoteResponse{}.Message()),
		in(st.Term, wire.AppendResponse{Accepted: true, Index: st.Commit + 1}.Message(), wire.AppendResponse{Index: st.Commit, Agree: wire.Place{}}.Message(),
			wire.HeartbeatResponse{Round: 1, Durable: st.Commit, Received: st.Commit, Lost: st.Commit, Fitness: 1 << 60}.Message(),
			wire.ReadResponse{Index: 1, Start: 1, Number: 1}.Message(), wire.ForwardResponse{Start: 1, Refused: []uint64{1}}.Message(),
			wire.CallResponse{Index: 1, Start: 1, Number: 1, Done: true}.Message(),
			wire.SnapshotResponse{Snapshot: last, Attempt: 1, Start: 1, Serial: 1}.Message()),
		in(st.Term, wire.ForwardRequest{Start: o.base.FromStart, Lowest: 1, Commands: []raft.Entry{command}}.Message(),
			wire.ReadRequest{Start: o.base.FromStart, Number: 1}.Message(),
			call(wire.CallAdd, 1), call(wire.CallSet, 2), call(wire.CallTransfer, 3)),
		in(st.Term, snapshot.Message()), in(st.Term+far, snapshot.Message()),
	)
}

// strike sends a message to all servers, until each of them has received it and has done with it
// whatever it does.
func (o *outsider) strike(blow wire.Message) {
	o.s.t.Helper()
	for _, to := range o.s.servers {
		b := o.s.bastions[to.ID]
		b.mu.Lock()
		before := len(b.received)
		b.mu.Unlock()
		again := time.Now()
		o.s.eventually(fmt.Sprintf("%v arrives at %s", blow, to.ID), func() bool {
			if now := time.Now(); !now.Before(again) {
				e := blow.Envelope
				e.To = to.ID
				if st := b.node.Status(); len(st.Members) > 0 {
					e.ToIncarnation = incarnationOf(&st, to.ID)
				}
				o.Send(blow.In(e))
				again = now.Add(100 * time.Millisecond)
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			return slices.ContainsFunc(b.received[before:], func(m wire.Message) bool { return m.Kind() == blow.Kind() && m.Term == blow.Term })
		})
		b.node.Status() // the loop has taken its turn
	}
}

func incarnationOf(st *raft.Status, id raft.ServerID) raft.Incarnation {
	for _, m := range st.Members {
		if m.ID == id {
			return m.Incarnation
		}
	}
	return 0
}

// requireUnmoved requires that nothing has come of what an outsider has said: no state, no term, no
// leader, no members have changed, no server was stopped, and nothing was told but what the outsider
// has said itself. To whom knows the cluster's ID it is told that it isn't a member.
func (o *outsider) requireUnmoved(before *raft.Status, blow wire.Message) {
	o.s.t.Helper()
	o.s.propose(0)
	for _, server := range o.s.servers {
		b := o.s.bastions[server.ID]
		require.NoError(o.s.t, b.node.Err(), "%v", blow)
		now := b.node.Status()
		require.Less(o.s.t, now.Term, before.Term+far, "%v", blow)
		require.NotEqual(o.s.t, o.self.ID, now.Leader, "%v", blow)
		require.NoError(o.s.t, now.Trouble, "%v", blow)
		require.Equal(o.s.t, before.Members, now.Members, "%v", blow)
		require.Empty(o.s.t, now.HandingOver, "%v", blow)
		b.mu.Lock()
		urged, sent := b.urged, slices.Clone(b.sent)
		b.mu.Unlock()
		require.False(o.s.t, urged, "%v", blow)
		for _, m := range sent {
			echo := wire.Envelope{From: m.From, To: m.To}
			if m.Cluster == o.base.Cluster { // the outsider has said so itself
				echo.Cluster = m.Cluster
			}
			if m.ToIncarnation == o.base.FromIncarnation {
				echo.ToIncarnation = m.ToIncarnation
			}
			require.Equal(o.s.t, echo, m.Envelope, "%v is answered by %v", blow, m)
			if m.Kind() != wire.KindRemoved || o.base.Cluster != before.Cluster {
				require.Equal(o.s.t, wire.KindIdentityResponse, m.Kind(), "%v is answered by %v", blow, m)
			}
		}
	}
}

// requireStreamsRefused requires that no server takes a stream.
func (o *outsider) requireStreamsRefused() {
	o.s.t.Helper()
	for _, to := range o.s.servers {
		_, err := o.OpenStream(o.s.t.Context(), to.ID)
		require.ErrorContains(o.s.t, err, "refused by the other side")
	}
}

// storm strikes all blows.
func (o *outsider) storm() {
	o.s.t.Helper()
	before := o.s.some().Status()
	for _, blow := range o.blows(&before) {
		o.strike(blow)
		o.requireUnmoved(&before, blow)
	}
	o.requireStreamsRefused()
}
