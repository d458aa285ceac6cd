package main

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/examples/durable/kv"
	"github.com/e17579a5/raft/internal/process"
)

// This flag makes the long version, of every kind of database or of one:
//
//	go test -C examples/durable . -run TestKilled/pebble -v -timeout 30m -kills 100
var kills = flag.Int("kills", 3, "how many times servers are killed")

// killClients is how many clients there are. Each adds 1 to a key of its own, again and again.
const killClients = 4

// A client knows between which two values its key is.
type client struct {
	key     string
	least   int64 // acknowledged
	unknown int64 // additions of which nobody knows whether they were made
	acked   int
}

// TestKilled: servers are killed at any moment, alone and together, and while they restore a snapshot.
// No addition that was acknowledged is lost, none that was refused is made, and none is made twice;
// and all servers have the same in the end.
//
// SIGKILL leaves the page cache as it is: the test doesn't show what a power cut does to files. The
// simulated power cuts are in package kv.
func TestKilled(t *testing.T) {
	for _, kind := range kv.Kinds {
		t.Run(kind, func(t *testing.T) {
			p := startProcesses(t, kind)
			p.await(p.Servers[0])
			l := startLoad(t, p)
			for n := range *kills {
				l.awaitAnswers(60)
				p.killSome(n, l)
			}
			l.awaitAnswers(60)
			l.stop(p)
		})
	}
}

// killSome kills one server, or all of them, or one that is away until it needs a snapshot, and once
// more while it may be restoring that.
func (p *processes) killSome(n int, l *load) {
	victim := p.Servers[rand.IntN(len(p.Servers))]
	for _, s := range p.Servers {
		s.RequireAlive()
	}
	switch n % 3 {
	case 0:
		victim.Kill()
		victim.Start()
	case 1:
		for _, s := range p.Servers {
			s.Kill()
		}
		for _, s := range p.Servers {
			s.Start()
		}
	case 2:
		victim.Kill()
		l.awaitAnswers(800)
		victim.Start()
		<-time.After(time.Duration(50+rand.IntN(400)) * time.Millisecond)
		victim.Kill()
		victim.Start()
	}
	p.await(victim)
}

// A load is the clients while they work.
type load struct {
	t       *testing.T
	clients [killClients]client
	all     sync.WaitGroup
	ended   atomic.Bool
	answers atomic.Int64
	wrong   chan error
}

func startLoad(t *testing.T, p *processes) *load {
	l := &load{t: t, wrong: make(chan error, killClients)}
	for i := range l.clients {
		c := &l.clients[i]
		c.key = fmt.Sprintf("client-%d", i)
		l.all.Go(func() {
			for !l.ended.Load() {
				if err := c.add(p, l); err != nil {
					l.wrong <- err
					return
				}
			}
		})
	}
	return l
}

// add adds 1 at any server, and checks the answer against all answers before.
func (c *client) add(p *processes, l *load) error {
	code, v, err := p.ask(p.Servers[rand.IntN(len(p.Servers))], http.MethodPost, "/keys/"+c.key+"/add")
	var dial *net.OpError
	switch {
	case err == nil && code == http.StatusOK:
		sum, err := strconv.ParseInt(v.Value, 10, 64)
		if err != nil || sum <= c.least || sum > c.least+c.unknown+1 {
			return fmt.Errorf("%s: the sum is %q, and was %d, with %d additions unknown", c.key, v.Value, c.least, c.unknown)
		}
		// Additions that came before it are in the sum, or may still come.
		c.unknown -= sum - c.least - 1
		c.least = sum
		c.acked++
		l.answers.Add(1)
	case err == nil && code == http.StatusServiceUnavailable: // not applied
	case errors.As(err, &dial) && dial.Op == "dial": // not sent
		<-time.After(process.PollEach)
	case err == nil && code != http.StatusGatewayTimeout:
		return fmt.Errorf("%s: the answer has the code %d", c.key, code)
	default:
		c.unknown++
	}
	return nil
}

// awaitAnswers waits until so many more additions were acknowledged.
func (l *load) awaitAnswers(n int64) {
	l.t.Helper()
	until := l.answers.Load() + n
	process.Await(l.t, func() bool { return l.answers.Load() >= until || len(l.wrong) > 0 }, "no answers")
	l.check()
}

func (l *load) check() {
	l.t.Helper()
	select {
	case err := <-l.wrong:
		require.NoError(l.t, err)
	default:
	}
}

// stop ends the load, and demands that every server has what was acknowledged, and the same as the
// others.
func (l *load) stop(p *processes) {
	l.ended.Store(true)
	l.all.Wait()
	l.check()
	acked, unknown := 0, int64(0)
	for i := range l.clients {
		c := &l.clients[i]
		acked, unknown = acked+c.acked, unknown+c.unknown
		for _, s := range p.Servers {
			p.await(s)
			code, v, err := p.ask(s, http.MethodGet, "/keys/"+c.key)
			require.NoError(l.t, err)
			require.Equal(l.t, http.StatusOK, code)
			sum, err := strconv.ParseInt(v.Value, 10, 64)
			require.NoError(l.t, err)
			require.GreaterOrEqual(l.t, sum, c.least, "%s at %s: an acknowledged addition is lost", c.key, s.Name)
			require.LessOrEqual(l.t, sum, c.least+c.unknown, "%s at %s: an addition was made twice, or though it was refused", c.key, s.Name)
			c.unknown -= sum - c.least // the next server reads later, and shows no less
			c.least = sum
		}
	}
	var current []string
	for _, s := range p.Servers {
		name, err := os.ReadFile(filepath.Join(p.Dir, s.Name, p.kind, "CURRENT"))
		require.NoError(l.t, err)
		current = append(current, strings.TrimSpace(string(name)))
	}
	l.t.Logf("%d times servers were killed: %d additions acknowledged, %d unknown; the databases are %s",
		*kills, acked, unknown, strings.Join(current, ", "))
}
