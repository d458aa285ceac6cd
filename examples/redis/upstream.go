package main

import (
	"bufio"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/e17579a5/raft/examples/redis/kv"
	"github.com/e17579a5/raft/examples/redis/resp"
)

const (
	dialWithin = 500 * time.Millisecond // for a connection to another server
	idleMost   = 64                     // how many connections to a server are kept that nobody uses
)

// An upstream is a connection to another server, at which this one is a client like any other.
type upstream struct {
	net.Conn
	to      route
	replies chan []byte // closed when the connection has ended
	err     error       // why it has; set before replies is closed
	done    chan struct{}
	end     sync.Once
}

// A route says what connections do for each other: they lead to one server, in one version of the protocol.
type route struct {
	address  string
	protocol int
}

// upstreams are the connections to other servers.
type upstreams struct {
	dial func(ctx context.Context, address string) (net.Conn, error)

	mu     sync.Mutex
	idle   map[route][]*upstream
	closed bool
}

func newUpstreams(dial func(context.Context, string) (net.Conn, error)) *upstreams {
	return &upstreams{dial: dial, idle: map[route][]*upstream{}}
}

// dialTCP is what upstreams dial with.
func dialTCP(ctx context.Context, address string) (net.Conn, error) {
	return (&net.Dialer{Timeout: dialWithin}).DialContext(ctx, "tcp", address)
}

// get returns a connection to a server.
func (p *upstreams) get(ctx context.Context, to route) (*upstream, error) {
	for {
		u := p.take(to)
		if u == nil {
			return p.connect(ctx, to)
		}
		select {
		case <-u.replies: // it has ended: nobody has asked anything
			u.close()
		default:
			return u, nil
		}
	}
}

func (p *upstreams) take(to route) *upstream {
	p.mu.Lock()
	defer p.mu.Unlock()
	idle := p.idle[to]
	if len(idle) == 0 {
		return nil
	}
	u := idle[len(idle)-1]
	p.idle[to] = idle[:len(idle)-1]
	return u
}

func (p *upstreams) connect(ctx context.Context, to route) (*upstream, error) {
	conn, err := p.dial(ctx, to.address)
	if err != nil {
		return nil, err
	}
	u := &upstream{Conn: conn, to: to, replies: make(chan []byte), done: make(chan struct{})}
	go u.read()
	if to.protocol == 3 {
		for reply, err := range u.ask(ctx, encode(nil, "hello", "3"), 1) {
			if text, failed := resp.Failure(reply); failed {
				err = errors.New(text)
			}
			if err != nil {
				u.close()
				return nil, err
			}
		}
	}
	return u, nil
}

// put takes a connection back to which no reply is on its way.
func (p *upstreams) put(u *upstream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if idle := p.idle[u.to]; !p.closed && len(idle) < idleMost {
		p.idle[u.to] = append(idle, u)
	} else {
		u.close()
	}
}

// close ends the connections that nobody uses, and those that are put back later.
func (p *upstreams) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, idle := range p.idle {
		for _, u := range idle {
			u.close()
		}
	}
	clear(p.idle)
}

func (u *upstream) close() {
	u.end.Do(func() {
		close(u.done)
		_ = u.Conn.Close() // whoever waits for a reply sees that
	})
}

// read hands out the replies, also while nobody waits for one: so it sees that the other server is gone.
func (u *upstream) read() {
	defer close(u.replies)
	in := bufio.NewReaderSize(u.Conn, 16<<10)
	for {
		reply, err := resp.ReadReply(in, 2*kv.MaxReplies)
		if err != nil {
			u.err = err
			u.close()
			return
		}
		select {
		case u.replies <- reply:
		case <-u.done:
			u.err = net.ErrClosed
			return
		}
	}
}

// ask sends commands, and hands out the replies, of which there are n, one after the other. An error is the last
// thing that it hands out. Then, and if the loop doesn't take all replies, the connection is closed.
func (u *upstream) ask(ctx context.Context, commands []byte, n int) func(yield func([]byte, error) bool) {
	return func(yield func([]byte, error) bool) {
		go func() {
			if _, err := u.Write(commands); err != nil {
				u.close() // read tells
			}
		}()
		for range n {
			var reply []byte
			var err error
			select {
			case got, more := <-u.replies:
				if reply = got; !more {
					err = u.err
				}
			case <-ctx.Done():
				err = ctx.Err()
			}
			if err != nil {
				u.close()
			}
			if !yield(reply, err) {
				u.close()
				return
			}
			if err != nil {
				return
			}
		}
	}
}

// encode appends a command as clients send it.
func encode(b []byte, args ...string) []byte {
	w := resp.Writer{Buf: b}
	w.Array(len(args))
	for _, arg := range args {
		w.Text(arg)
	}
	return w.Buf
}

// encodeArgs is encode for arguments of any bytes.
func encodeArgs(b []byte, args [][]byte) []byte {
	w := resp.Writer{Buf: b}
	w.Array(len(args))
	for _, arg := range args {
		w.Bulk(arg)
	}
	return w.Buf
}
