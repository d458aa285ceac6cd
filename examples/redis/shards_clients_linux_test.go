package main

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestClientsOfShards: stock libraries use a store with shards, at a server that has three quarters of them. As
// clients of Redis Cluster they find the others, and at its other address they needn't.
func TestClientsOfShards(t *testing.T) {
	p := startShardProcesses(t)
	d := p.join()
	cluster, plain := d.Address, p.plains["d"]
	for name, connect := range map[string]func(t *testing.T) stock{
		"go-redis with RESP3":          func(*testing.T) stock { return newGoRedis(plain, 3) },
		"go-redis with RESP2":          func(*testing.T) stock { return newGoRedis(plain, 2) },
		"redigo":                       func(*testing.T) stock { return newRedigo(plain) },
		"rueidis":                      func(t *testing.T) stock { return newRueidis(t, plain) },
		"redis of npm with RESP3":      func(t *testing.T) stock { return newNodeClient(t, "redis", plain, "3") },
		"ioredis of npm":               func(t *testing.T) stock { return newNodeClient(t, "ioredis", plain, "2") },
		"rueidis as a cluster":         func(t *testing.T) stock { return newRueidis(t, cluster) },
		"redis of npm as a cluster":    func(t *testing.T) stock { return newNodeClient(t, "redis", cluster, "3", "cluster") },
		"ioredis of npm, as a cluster": func(t *testing.T) stock { return newNodeClient(t, "ioredis", cluster, "2", "cluster") },
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(name, "npm") {
				requireNode(t)
			}
			client := connect(t)
			defer client.close()
			for i := range 30 { // so many that some are at this server, and some aren't
				require.NoError(t, client.set(fmt.Sprint("key", i), fmt.Sprint(i)))
			}
			for i := range 30 {
				got, err := client.get(fmt.Sprint("key", i))
				require.NoError(t, err)
				require.Equal(t, fmt.Sprint(i), got)
			}
			results, err := client.pipeline("key3", 500)
			require.NoError(t, err)
			require.Len(t, results, 500)
			require.EqualValues(t, 503, results[499])
			if !strings.Contains(name, "npm as a cluster") { // it has no WATCH on a cluster
				useTransactions(t, client)
			}
			fields := map[string]string{"f": "1", "g": "", "": "3"}
			all, err := client.hash("h", fields)
			require.NoError(t, err)
			require.Equal(t, fields, all)
		})
	}
}

// useTransactions uses WATCH for keys of several shards.
func useTransactions(t *testing.T, client stock) {
	for i := range 8 {
		key := fmt.Sprint("n", i)
		require.NoError(t, client.set(key, "0"))
		conflict, err := client.transact(key, func() {})
		require.NoError(t, err)
		require.False(t, conflict)
		conflict, err = client.transact(key, func() { require.NoError(t, client.set(key, "7")) })
		require.NoError(t, err)
		require.True(t, conflict)
	}
}

// TestToolsOfShards: redis-cli and redis-benchmark use a store with shards, as what they take it for.
func TestToolsOfShards(t *testing.T) {
	for _, program := range []string{"redis-cli", "redis-benchmark"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("there is no %s here", program)
		}
	}
	p := startShardProcesses(t)
	d := p.join()
	run := func(program, address string, args ...string) string {
		t.Helper()
		host, port, err := net.SplitHostPort(address)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, program, append([]string{"-h", host, "-p", port}, args...)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return strings.TrimSpace(string(out))
	}
	for i := range 20 {
		key := fmt.Sprint("key", i)
		require.Equal(t, "OK", run("redis-cli", p.plains["d"], "set", key, fmt.Sprint(i)))
		require.Equal(t, fmt.Sprint(i), run("redis-cli", d.Address, "-c", "get", key))
		require.Equal(t, fmt.Sprint(i), run("redis-cli", p.plains["b"], "get", key))
	}
	require.Equal(t, "20", run("redis-cli", p.plains["d"], "dbsize"))
	require.Len(t, strings.Fields(run("redis-cli", p.plains["d"], "--scan", "--pattern", "key*")), 20)
	require.Regexp(t, `Sampled 20 keys`, run("redis-cli", p.plains["d"], "--bigkeys"))
	host, port, err := net.SplitHostPort(p.Servers[0].Address)
	require.NoError(t, err)
	out, _ := exec.CommandContext(t.Context(), "redis-cli", "--cluster", "check", net.JoinHostPort(host, port)).CombinedOutput()
	require.Contains(t, string(out), "All 16384 slots covered")
	for _, bench := range []struct{ address, commands, more string }{
		{p.plains["d"], "set,get,incr,lpush,hset", ""}, {p.Servers[0].Address, "set,get,incr,mset", " --cluster"},
	} {
		out := run("redis-benchmark", bench.address, strings.Fields("-n 1000 -c 10 -P 8 -r 1000 -q -t "+bench.commands+bench.more)...)
		require.Equal(t, len(strings.Split(bench.commands, ",")), strings.Count(out, "requests per second"), out)
	}
}
