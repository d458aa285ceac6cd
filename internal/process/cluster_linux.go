package process

import (
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/e17579a5/raft/httpapi"
)

// A Cluster is three servers, at addresses of their own, and what else runs beside them.
type Cluster struct {
	*Group
	// Servers are named a, b and c. Each has an Address for its clients.
	Servers []*Process
	// Peers says where they find each other, as the flag -peers has it: a=host:port,b=host:port,c=host:port.
	Peers string
	// Client is for requests over HTTP. Each takes at most two seconds.
	Client *http.Client
}

// NewCluster returns three servers that don't run yet. command makes the command of a server, each
// time that it is started.
func NewCluster(t testing.TB, command func(c *Cluster, s *Process) *exec.Cmd) *Cluster {
	t.Helper()
	c := &Cluster{Group: NewGroup(t), Client: &http.Client{Transport: &http.Transport{}, Timeout: 2 * time.Second}}
	t.Cleanup(c.Client.CloseIdleConnections)
	var peers []string
	for _, id := range []string{"a", "b", "c"} {
		var s *Process
		s = c.Add(id, func() *exec.Cmd { return command(c, s) })
		s.Address = c.FreeAddress()
		c.Servers = append(c.Servers, s)
		peers = append(peers, id+"="+c.FreeAddress())
	}
	c.Peers = strings.Join(peers, ",")
	return c
}

// StartAll starts all servers.
func (c *Cluster) StartAll() {
	c.t.Helper()
	for _, s := range c.Servers {
		s.Start()
	}
}

// Others returns all servers but one.
func (c *Cluster) Others(than *Process) []*Process {
	return slices.DeleteFunc(slices.Clone(c.Servers), func(s *Process) bool { return s == than })
}

// Addresses returns where clients find the servers.
func (c *Cluster) Addresses() (all []string) {
	for _, s := range c.Servers {
		all = append(all, s.Address)
	}
	return all
}

// Leader waits until a server says that it leads, and returns the one of the highest term. leads says
// in which term a server leads; 0 if it doesn't, or doesn't answer. It isn't asked about servers that
// are paused.
func (c *Cluster) Leader(leads func(s *Process) (term uint64)) (leader *Process) {
	c.t.Helper()
	Await(c.t, func() bool {
		highest := uint64(0)
		for _, s := range c.Servers {
			if s.paused {
				continue
			}
			if term := leads(s); term > highest {
				leader, highest = s, term
			}
		}
		return highest > 0
	}, "nobody leads")
	return leader
}

// LeaderByStatus is Leader for servers that have the routes of package httpapi.
func (c *Cluster) LeaderByStatus() *Process {
	c.t.Helper()
	return c.Leader(func(s *Process) uint64 {
		var is httpapi.Status
		if code, err := c.Request(s, http.MethodGet, "/status", &is); err != nil || code != http.StatusOK || is.Role != "leader" {
			return 0
		}
		return uint64(is.Term)
	})
}

// Request sends a process a request over HTTP, as the function Request does.
func (c *Cluster) Request(p *Process, method, path string, answer any) (status int, err error) {
	return Request(c.Client, method, "http://"+p.Address+path, answer)
}
