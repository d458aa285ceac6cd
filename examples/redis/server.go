package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/admin"
	"github.com/e17579a5/raft/examples/redis/kv"
	"github.com/e17579a5/raft/examples/redis/resp"
	"github.com/e17579a5/raft/examples/shards/shard"
)

// limits are what one server grants its clients.
type limits struct {
	clients int           // connections at one time
	request int           // bytes of a command, or of a transaction
	timeout time.Duration // for the commands of one read
	stale   time.Duration // how old the state may be that READONLY reads
	idle    time.Duration // how long a client may be silent; 0 for ever
	write   time.Duration // how long a client may leave replies unread
}

// maxArguments bounds the arguments of a command, as Redis does.
const maxArguments = 1 << 20

// expireEvery is how often the leader looks for keys that have expired, and expireTicks is how many
// entries it then makes at most. Each deletes a few hundred keys.
const (
	expireEvery = 100 * time.Millisecond
	expireTicks = 50
)

var errClosing = errors.New("the server is closing")

// A server serves Redis clients at one server of the cluster. Any server takes any command.
type server struct {
	// node is the one of the keys, or, if there are shards, the one of their table.
	node    *raft.Node
	machine *kv.Machine // nil if there are shards
	shards  *shard.Host // nil if all keys are in one group
	// plain says that clients are to see one large server, not a Redis Cluster: keys that are elsewhere, this
	// server gets there. upstreams are its connections to others, which the servers for both kinds share.
	plain     bool
	upstreams *upstreams
	self      raft.Server
	limits    limits
	started   time.Time
	// administration is served elsewhere; nil if it isn't served.
	administration *admin.Server

	commands, refused atomic.Int64
	closing           atomic.Bool
	deadline          atomic.Pointer[deadline]
	listener          net.Listener
	stopped           chan struct{} // closed when nothing is accepted any more
	working           sync.WaitGroup

	mu      sync.Mutex
	clients map[int64]*connection
	latest  int64 // the highest ID of a client
	total   int64 // clients that were accepted
}

func newServer(node *raft.Node, machine *kv.Machine, self raft.Server, listener net.Listener, l limits) *server {
	return &server{
		node: node, machine: machine, self: self, limits: l, started: time.Now(), listener: listener,
		stopped: make(chan struct{}), clients: map[int64]*connection{},
	}
}

// serve accepts clients until the listener is closed, and returns why.
func (s *server) serve() error {
	defer close(s.stopped)
	if !s.plain { // the other server of this process does
		s.working.Go(s.expire)
	}
	for pause := time.Millisecond; ; {
		conn, err := s.listener.Accept()
		if err == nil {
			pause = time.Millisecond
			s.accept(conn)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		// There may be too many open files. The clients that are there go on.
		slog.Warn("redis: can't accept", "node", s.self.ID, "err", err)
		time.Sleep(pause)
		pause = min(2*pause, time.Second)
	}
}

// accept serves a client in a goroutine of its own, or refuses it.
func (s *server) accept(conn net.Conn) {
	c := &connection{server: s, net: conn, out: resp.Writer{Proto: 2}}
	c.parser.Limits = resp.Limits{Bytes: s.limits.request, Arguments: maxArguments}
	if err := s.admit(c); err != nil {
		s.refused.Add(1)
		c.out.Error("ERR " + err.Error())
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = conn.Write(c.out.Buf) // the client is sent away in any case
		_ = conn.Close()
		return
	}
	s.working.Go(func() {
		defer s.leave(c)
		if err := reason(c.serve()); err != nil {
			slog.Info("redis: a client's connection has ended", "node", s.self.ID, "client", conn.RemoteAddr(), "err", err)
		}
	})
}

// admit gives a client an ID.
func (s *server) admit(c *connection) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return errClosing
	}
	if len(s.clients) >= s.limits.clients {
		return errors.New("max number of clients reached")
	}
	s.latest++
	s.total++
	c.info = newClientInfo(s.latest, c.net)
	s.clients[s.latest] = c
	return nil
}

func (s *server) leave(c *connection) {
	if c.failed {
		c.linger()
	}
	c.unwatchElsewhere()
	_ = c.net.Close() // nothing was left to be sent
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, c.info.id)
}

// await lets a connection wait for its client, unless the server is closing. stop first says that the
// server is, and then sets a deadline: so either that is seen here, or that deadline counts.
func (s *server) await(c *connection) error {
	if s.limits.idle > 0 {
		if err := c.net.SetReadDeadline(time.Now().Add(s.limits.idle)); err != nil {
			return err
		}
	}
	if s.closing.Load() {
		return errClosing
	}
	return nil
}

// silent says why a connection waits no longer for its client.
func (s *server) silent() error {
	if s.closing.Load() {
		return errClosing
	}
	return fmt.Errorf("the client was silent for %v (-idle)", s.limits.idle)
}

// A deadline is a context that all share who begin to wait at about the same time. One for each
// batch of commands would cost more than the batch.
type deadline struct {
	ctx   context.Context
	until time.Time // for whom begins before that
}

// deadlineParts says how much longer than the timeout a call may take: this part of it.
const deadlineParts = 8

// context returns a context that ends after the timeout, or a little later.
func (s *server) context() context.Context {
	now := time.Now()
	d := s.deadline.Load()
	if d == nil || !now.Before(d.until) {
		share := s.limits.timeout / deadlineParts
		ctx, cancel := context.WithTimeout(context.Background(), s.limits.timeout+share)
		context.AfterFunc(ctx, cancel)
		fresh := &deadline{ctx, now.Add(share)}
		if !s.deadline.CompareAndSwap(d, fresh) {
			cancel() // another call was faster
			return s.deadline.Load().ctx
		}
		d = fresh
	}
	return d.ctx
}

// stop accepts no more clients, lets commands that are under way come to their end, and then ends
// all connections. What takes longer than ctx is broken off.
func (s *server) stop(ctx context.Context) error {
	s.closing.Store(true)
	s.mu.Lock()
	now := time.Now()
	for _, c := range s.clients {
		_ = c.net.SetReadDeadline(now) // wakes those that wait for their clients; the others see closing
	}
	s.mu.Unlock()
	err := s.listener.Close()
	<-s.stopped
	done := make(chan struct{})
	go func() { s.working.Wait(); close(done) }()
	select {
	case <-done:
		return err
	case <-ctx.Done():
	}
	s.mu.Lock()
	for _, c := range s.clients {
		_ = c.net.Close() // what it was about to send is lost; its client will notice
	}
	s.mu.Unlock()
	<-done
	return err
}

// expire has expired keys deleted while no entries come that do so by the way. The leader alone
// does, and any number of servers may: it only puts the time into the log.
func (s *server) expire() {
	ticker := time.NewTicker(expireEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-s.stopped:
			return
		case <-s.node.Done():
			return
		}
		for _, at := range s.here() {
			s.expireAt(at)
		}
	}
}

// expireAt has expired keys of one place deleted, if this server leads there.
func (s *server) expireAt(at place) {
	for range expireTicks {
		is := at.machine.Summary()
		if is.Expires == 0 || is.Expires > max(wall(), is.Now) || !at.node.Leadership().Ready {
			return
		}
		if err := tick(s.context(), at); err != nil {
			slog.Debug("redis: expired keys wait for a leader", "node", s.self.ID, "err", err)
			return
		}
	}
}
