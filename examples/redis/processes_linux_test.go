package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/e17579a5/raft/internal/process"
)

// processes is a cluster of real processes, with files and sockets of their own.
type processes struct {
	*process.Cluster
	t     *testing.T
	flags []string // beside those that all have
}

// startProcesses starts three servers, with flags beside those that all have, and ends them with the
// test.
func startProcesses(t *testing.T, flags ...string) *processes {
	p := &processes{t: t, flags: flags}
	p.Cluster = process.NewCluster(t, func(c *process.Cluster, s *process.Process) *exec.Cmd {
		return process.Command(t, asServer, append([]string{"-id", s.Name, "-peers", c.Peers, "-listen", s.Address, "-dir", c.Dir, "-timeout", "2s"}, p.flags...)...)
	})
	p.StartAll()
	for _, s := range p.Servers {
		p.await(s)
	}
	return p
}

// ask sends a server one command on a connection of its own.
func (p *processes) ask(s *process.Process, args ...any) (any, error) {
	client := redis.NewClient(&redis.Options{Addr: s.Address, MaxRetries: -1, DialTimeout: time.Second, PoolSize: 1})
	defer func() { _ = client.Close() }() // it was used for one command
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return client.Do(ctx, args...).Result()
}

// await waits until a server answers a read, and so until it knows a leader.
func (p *processes) await(s *process.Process) {
	p.t.Helper()
	process.Await(p.t, func() bool {
		_, err := p.ask(s, "exists", "somewhere")
		return err == nil
	}, "server %s doesn't answer", s.Name)
}

// leader waits until a server says that it leads, and returns it.
func (p *processes) leader() (leader *process.Process) {
	p.t.Helper()
	return p.Leader(func(s *process.Process) (term uint64) {
		info, err := p.ask(s, "info", "raft")
		text := fmt.Sprint(info)
		_, at, found := strings.Cut(text, "raft_term:")
		if err != nil || !found || !strings.Contains(text, "raft_role:leader\r\n") {
			return 0
		}
		if _, err := fmt.Sscan(at, &term); err != nil {
			return 0
		}
		return term
	})
}

// followers returns the servers that don't lead, and the one that does.
func (p *processes) followers() (followers []*process.Process, leader *process.Process) {
	p.t.Helper()
	leader = p.leader()
	return p.Others(leader), leader
}
