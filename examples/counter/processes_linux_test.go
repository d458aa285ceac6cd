package main

import (
	"net/http"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/internal/process"
)

// processes is a cluster of real processes, with files and sockets of their own.
type processes struct {
	*process.Cluster
	t *testing.T
}

// startProcesses starts three servers, and ends them with the test. They find their certificates in the
// folder certs, if that isn't "".
func startProcesses(t *testing.T, certs string) *processes {
	p := &processes{process.NewCluster(t, func(c *process.Cluster, s *process.Process) *exec.Cmd {
		return process.Command(t, server, "-id", s.Name, "-peers", c.Peers, "-http", s.Address, "-data", c.Dir, "-timeout", "1s", "-certs", certs)
	}), t}
	p.StartAll()
	return p
}

// value waits until a server answers with the value, and returns it.
func (p *processes) value(s *process.Process) int64 {
	p.t.Helper()
	var got value
	process.Await(p.t, func() bool {
		code, err := p.Request(s, http.MethodGet, "/counter", &got)
		return err == nil && code == http.StatusOK
	}, "server %s doesn't answer", s.Name)
	return got.Value
}

// requireValue requires that every server answers with the same value.
func (p *processes) requireValue(want int64) {
	p.t.Helper()
	for _, s := range p.Servers {
		require.Equal(p.t, want, p.value(s), "server %s", s.Name)
	}
}
