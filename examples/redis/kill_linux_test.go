package main

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/examples/redis/resp"
	"github.com/e17579a5/raft/internal/process"
	"github.com/e17579a5/raft/rafttest/history"
)

// The long version: go test . -run TestKilledUnderLoad -v -timeout 30m -kills 30 -operations 100000
var kills = flag.Int("kills", 2, "how many times a server is killed or stopped for a while")

// TestKilledUnderLoad: clients use all of three processes while servers, mostly the leader, are
// killed, or stopped to go on later. Each key is a register that changes at one moment for all.
//
// SIGKILL leaves the page cache as it is: the test doesn't show what a power cut does to files.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	p := startProcesses(t)
	l := &load{p: p, t: t, history: history.New[history.RegisterCall, string]()}
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for number := range 8 {
		clients.Go(func() { l.client(number, stop) })
	}
	each := int64(*operations / (*kills + 1))
	for n := range *kills {
		l.await(each)
		victim := p.leader()
		if n%4 == 3 {
			victim = p.Servers[rand.IntN(3)]
		}
		if n%3 == 1 {
			victim.Pause()
			<-time.After(1700 * time.Millisecond)
			victim.Resume()
		} else {
			victim.Kill()
			l.await(1)
			victim.Start()
		}
		p.await(victim)
	}
	l.await(each)
	close(stop)
	clients.Wait()
	require.NoError(t, history.Check(l.history, history.Registers()))
	count := l.history.Count()
	t.Logf("%d times a server was killed or stopped: %+v", *kills, count)
	require.Greater(t, count.Returned, *operations/2)
	for _, s := range p.Servers {
		s.Terminate()
	}
}

// A load is clients that perform operations, each one after another.
type load struct {
	p       *processes
	t       *testing.T
	history *registers
	done    atomic.Int64
}

// await waits until so many more operations have been answered.
func (l *load) await(n int64) {
	from := l.done.Load()
	require.Eventually(l.t, func() bool { return l.done.Load() >= from+n }, 10*patience, pollEach, "the cluster answers no more")
}

func (l *load) client(number int, stop <-chan struct{}) {
	luck := rand.New(rand.NewPCG(rand.Uint64(), uint64(number)))
	var c *plainClient
	for n := 0; ; n++ {
		select {
		case <-stop:
			if c != nil {
				_ = c.conn.Close()
			}
			return
		default:
		}
		if c == nil {
			var err error
			if c, err = dial(l.p.Servers[luck.IntN(3)].Address); err != nil {
				<-time.After(pollEach)
				continue
			}
		}
		_ = c.conn.SetDeadline(time.Now().Add(4 * time.Second))
		if err := perform(l.history, number, c, luck, 200, fmt.Sprint(number, "-", n)); err != nil {
			if errors.Is(err, errAnswer) {
				l.t.Error(err)
			}
			_ = c.conn.Close()
			c = nil
			continue
		}
		l.done.Add(1)
	}
}

// TestTools: redis-cli and redis-benchmark of Redis itself do what they do with Redis.
func TestTools(t *testing.T) {
	for _, tool := range []string{"redis-cli", "redis-benchmark"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("there is no %s here", tool)
		}
	}
	t.Parallel()
	p := startProcesses(t)
	run := func(input string, s *process.Process, tool string, args ...string) string {
		host, port, _ := strings.Cut(s.Address, ":")
		command := exec.Command(tool, append([]string{"-h", host, "-p", port}, args...)...)
		command.Stdin = strings.NewReader(input)
		out, err := command.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	cli := func(s *process.Process, args ...string) string { return run("", s, "redis-cli", args...) }
	require.Equal(t, "OK\n", cli(p.Servers[0], "set", "a", "1"))
	require.Equal(t, "1\n", cli(p.Servers[1], "get", "a"))
	require.Equal(t, "2\n", cli(p.Servers[2], "hset", "h", "f", "1", "g", "2"))
	require.Equal(t, "1# \"f\" => \"1\"\n2# \"g\" => \"2\"\n", cli(p.Servers[0], "--no-raw", "-3", "hgetall", "h"))
	require.Equal(t, "OK\nQUEUED\nQUEUED\n2\n3\n", run("multi\nincr a\nincr a\nexec\n", p.Servers[1], "redis-cli"))
	require.ElementsMatch(t, []string{"a", "h"}, strings.Fields(cli(p.Servers[2], "--scan")))
	require.Contains(t, cli(p.Servers[0], "--bigkeys"), "hashs with 2 fields")

	w := resp.Writer{Proto: 2} // as redis-cli --pipe takes it: 1,000 commands at once
	for n := range 1000 {
		w.Buf = encode(w.Buf, "set", fmt.Sprint("pipe", n), "x")
	}
	require.Contains(t, run(string(w.Buf), p.Servers[1], "redis-cli", "--pipe"), "errors: 0, replies: 1000")
	require.Equal(t, "1002\n", cli(p.Servers[2], "dbsize"))

	out := run("", p.Servers[0], "redis-benchmark", "-q", "-n", "2000", "-P", "16", "-t", "ping,set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,lrange_100,mset")
	require.NotContains(t, out, "rror")
	require.GreaterOrEqual(t, strings.Count(out, "requests per second"), 12, out)
	require.Equal(t, "OK\n", cli(p.Servers[1], "flushall"))
	require.Equal(t, "0\n", cli(p.Servers[2], "dbsize"))
}
