package main

import (
	"net/http"
	"os/exec"
	"testing"

	"github.com/e17579a5/raft/internal/process"
)

// server is the name of the program itself, for tests that run it in processes.
const server = "server"

func TestMain(m *testing.M) { process.Main(m, map[string]func(){server: main}) }

// processes is a cluster of real processes, with files and sockets of their own.
type processes struct {
	*process.Cluster
	t    *testing.T
	kind string
}

// startProcesses starts three servers, and ends them with the test. They take a snapshot after every
// 32 KiB of log, so that one that was away soon needs a snapshot.
func startProcesses(t *testing.T, kind string) *processes {
	p := &processes{process.NewCluster(t, func(c *process.Cluster, s *process.Process) *exec.Cmd {
		return process.Command(t, server, "-id", s.Name, "-peers", c.Peers, "-http", s.Address, "-data", c.Dir,
			"-store", kind, "-timeout", "1s", "-snapshot", "32768")
	}), t, kind}
	p.StartAll()
	return p
}

// await waits until a server serves a read.
func (p *processes) await(s *process.Process) {
	p.t.Helper()
	process.Await(p.t, func() bool {
		code, _, err := p.ask(s, http.MethodGet, "/keys/nothing")
		return err == nil && code == http.StatusNotFound
	}, "server %s doesn't answer", s.Name)
}

// ask sends a request, and returns the answer's code and its value.
func (p *processes) ask(s *process.Process, method, path string) (code int, v value, err error) {
	code, err = p.Request(s, method, path, &v)
	return code, v, err
}
