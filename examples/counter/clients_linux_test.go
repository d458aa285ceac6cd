package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/internal/otherlang"
	"github.com/e17579a5/raft/internal/process"
)

// These flags make the long version:
//
//	go test ./examples/counter -run TestClientsIncrementExactlyOnce -v -timeout 30m -increments 100000 -client-kills 20
var (
	increments  = flag.Int64("increments", 1000, "how many increments a client of another language makes")
	clientKills = flag.Int64("client-kills", 3, "how many times the leader is killed meanwhile")
)

// TestClientsIncrementExactlyOnce: the clients of other languages increment the counter while its
// leader is killed again and again. Every increment is applied once: the counter has their number in
// the end, and no two of them got the same value.
func TestClientsIncrementExactlyOnce(t *testing.T) {
	for _, language := range otherlang.Languages {
		t.Run(language.Program, func(t *testing.T) {
			t.Parallel()
			program := language.Find(t)
			folder := strings.TrimSuffix(language.Program, "3")
			incrementExactlyOnce(t, program, filepath.Join("..", "..", "httpapi", "clients", folder, "increment"+language.Ending))
		})
	}
}

func incrementExactlyOnce(t *testing.T, program, script string) {
	p := startProcesses(t, "")
	require.Zero(t, p.value(p.Servers[0]))
	ctx, cancel := context.WithTimeout(t.Context(), process.Patience+time.Duration(*increments)*10*time.Millisecond)
	defer cancel()
	var out bytes.Buffer
	client := exec.CommandContext(ctx, program, script, strings.Join(p.Addresses(), ","), strconv.FormatInt(*increments, 10))
	client.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	client.Stdout, client.Stderr = &out, &out
	begin := time.Now()
	require.NoError(t, client.Start())
	ended := make(chan error, 1)
	go func() { ended <- client.Wait() }()

	killed := int64(0)
	for ; killed < *clientKills; killed++ {
		due := *increments * (1 + killed) / (1 + *clientKills)
		require.Eventually(t, func() bool { return p.value(p.Servers[0]) >= due || len(ended) > 0 }, time.Duration(*increments)*10*time.Millisecond+process.Patience, process.PollEach)
		if len(ended) > 0 {
			break
		}
		leader := p.LeaderByStatus()
		leader.Kill()
		leader.Start()
		p.value(leader)
	}
	require.NoError(t, <-ended, out.String())
	took := time.Since(begin)
	p.requireValue(*increments)
	require.Positive(t, killed, "the client was done too early")
	require.NotContains(t, out.String(), "repeated requests: 0\n", "no request was sent again, so the test shows nothing")
	t.Logf("%d kills in %v: %s", killed, took.Round(time.Millisecond), out.String())
}
