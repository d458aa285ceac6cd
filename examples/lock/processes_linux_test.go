package main

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/examples/lock/client"
	"github.com/e17579a5/raft/internal/process"
)

// processes is a cluster of real processes and a store, with files and sockets of their own.
type processes struct {
	*process.Cluster
	t     *testing.T
	store *process.Process
}

// startProcesses starts three servers and a store, and ends them with the test.
func startProcesses(t *testing.T) *processes {
	p := &processes{process.NewCluster(t, func(c *process.Cluster, s *process.Process) *exec.Cmd {
		return process.Command(t, asProgram, "-id", s.Name, "-peers", c.Peers, "-http", s.Address, "-data", c.Dir, "-timeout", "1s")
	}), t, nil}
	p.StartAll()
	address := p.FreeAddress()
	p.store = p.Add("store", func() *exec.Cmd {
		return process.Command(t, asProgram, "store", "-http", address, "-data", filepath.Join(p.Dir, "store"))
	})
	p.store.Address = address
	p.store.Start()
	p.LeaderByStatus()
	process.Await(t, func() bool {
		_, err := p.Request(p.store, http.MethodGet, "/store/x", nil)
		return err == nil
	}, "the store doesn't answer")
	return p
}

// startHolder starts a holder of lock x, and waits until it holds that. It returns the token.
func (p *processes) startHolder(lease time.Duration) (s *process.Process, token uint64) {
	s = p.Add("holder", func() *exec.Cmd { return holderCommand(p.t, p.Addresses(), p.store.Address, lease) })
	s.StartTalking()
	_, err := fmt.Sscanf(s.Line(), "holds %d", &token)
	require.NoError(p.t, err)
	return s, token
}

// holderCommand returns the command of a holder.
func holderCommand(t *testing.T, servers []string, store string, lease time.Duration) *exec.Cmd {
	command := process.Command(t, asHolder)
	command.Env = append(command.Env, holderServers+"="+strings.Join(servers, ","), holderStore+"="+store, holderLease+"="+lease.String())
	return command
}

// client returns a client of the servers.
func (p *processes) client() *client.Client { return newClient(p.t, p.Addresses()) }

func newClient(t *testing.T, servers []string) *client.Client {
	c, err := client.New(client.Options{Servers: servers, Attempt: 2 * time.Second})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = c.Close(ctx) // the servers may be gone
	})
	return c
}
