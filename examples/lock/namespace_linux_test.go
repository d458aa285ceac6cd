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
	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/internal/process"
)

// TestPartitions: three servers and holders are each in a network namespace of its own, and a real
// kernel carries their packets over a bridge. First the leader is cut off: the holder keeps its lock
// by the others. Then a holder is cut off: another one gets the lock, and when the network works
// again, the store refuses what the first one writes.
func TestPartitions(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 8 s")
	}
	t.Parallel() // it mostly waits
	process.InNetwork(t, partition)
}

// partition is TestPartitions in the process that has the network, and the store.
func partition(t *testing.T, n *process.Network) {
	serve, store, err := startStore(process.Host(100)+":0", filepath.Join(n.Dir, "store"))
	require.NoError(t, err)
	storing, stop := context.WithCancel(t.Context())
	stored := make(chan error, 1)
	go func() { stored <- serve(storing) }()
	defer func() {
		stop()
		require.NoError(t, <-stored)
	}()
	ids := []string{"a", "b", "c"}
	var peers, web []string
	for i, id := range ids {
		peers = append(peers, fmt.Sprintf("%s=%s:7101", id, process.Host(i+1)))
		web = append(web, process.Host(i+1)+":8180")
	}
	var servers []*process.Process
	for i, id := range ids {
		servers = append(servers, n.Join(i+1, id, func() *exec.Cmd {
			return process.Command(t, asProgram, "-id", id, "-peers", strings.Join(peers, ","), "-http", web[i], "-data", n.Dir, "-timeout", "1s")
		}))
	}
	hold := func(number int, lease time.Duration) (s *process.Process, token uint64) {
		s = n.Join(number, fmt.Sprint("holder", number), func() *exec.Cmd { return holderCommand(t, web, store.String(), lease) })
		_, err := fmt.Sscanf(s.Line(), "holds %d", &token)
		require.NoError(t, err)
		return s, token
	}

	// The first lease is so long that it can be renewed when the others have a leader: an election
	// takes up to two seconds.
	const long, short = 4 * time.Second, time.Second
	first, low := hold(4, long)
	leader := leaderAmong(t, web)
	n.Cut(servers[leader])
	<-time.After(long + 100*time.Millisecond) // without the others, the lease would be over
	require.Equal(t, "believes true", first.Ask("look"))
	require.Equal(t, "wrote 200 <nil>", first.Ask("write early"))
	n.Heal(servers[leader])
	require.Equal(t, "released <nil>", first.Ask("release"))

	cutOff, token := hold(5, short)
	require.Greater(t, token, low)
	began := time.Now()
	n.Cut(cutOff)
	ctx, cancel := context.WithTimeout(t.Context(), process.Patience)
	defer cancel()
	next, err := newClient(t, web).Acquire(ctx, "x", client.Terms{Lease: 30 * time.Second})
	require.NoError(t, err)
	took := time.Since(began)
	require.Greater(t, next.Token(), token)
	status, err := write(store.String(), "x", next.Token(), "by the next")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, client.ErrLeaseOver.Error(), cutOff.Ask("cause"), "who is cut off notices by its own clock")
	n.Heal(cutOff)
	require.Equal(t, "wrote 409 <nil>", cutOff.Ask("write late"))
	require.True(t, next.Held())
	require.NoError(t, next.Release(ctx))
	t.Logf("lease %v: the lock of a holder that was cut off was granted again after %v", short, took)
}

// leaderAmong waits until one of the servers says that it leads, and returns its number.
func leaderAmong(t *testing.T, web []string) (leader int) {
	asking := &http.Client{Timeout: time.Second}
	process.Await(t, func() bool {
		for i := range web {
			var is httpapi.Status
			if _, err := process.Request(asking, http.MethodGet, "http://"+web[i]+"/status", &is); err == nil && is.Role == "leader" {
				leader = i
				return true
			}
		}
		return false
	}, "nobody leads")
	return leader
}
