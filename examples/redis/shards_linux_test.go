package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/examples/shards/shard"
	"github.com/e17579a5/raft/internal/process"
)

// TestShards: a stock client of Redis Cluster uses a store with shards, also while a fourth server joins and
// another one is killed. A server that doesn't have a key says who has it.
func TestShards(t *testing.T) {
	admins := map[string]string{}
	command := func(c *process.Cluster, s *process.Process, flags ...string) *exec.Cmd {
		if admins[s.Name] == "" {
			admins[s.Name] = c.FreeAddress()
		}
		return process.Command(t, asServer, append([]string{
			"-id", s.Name, "-listen", s.Address, "-admin", admins[s.Name], "-dir", c.Dir, "-timeout", "2s", "-shards", "64",
		}, flags...)...)
	}
	c := process.NewCluster(t, func(c *process.Cluster, s *process.Process) *exec.Cmd { return command(c, s, "-peers", c.Peers) })
	c.StartAll()
	await := func(id string, holds func(*shard.Table) bool) {
		t.Helper()
		process.Await(t, func() bool {
			table := new(shard.Table)
			code, err := process.Request(c.Client, http.MethodGet, "http://"+admins[id]+"/table", table)
			return err == nil && code == http.StatusOK && holds(table)
		}, "the table isn't as it should be")
	}
	for _, s := range c.Servers {
		await(s.Name, (*shard.Table).Settled)
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: c.Addresses(), MaxRedirects: 16, DialerRetries: 1, ClusterStateReloadInterval: time.Second, // so that it soon sees who is there
	})
	defer func() { _ = client.Close() }()
	useShards(t, client)

	address := c.FreeAddress()
	var d *process.Process
	d = c.Add("d", func() *exec.Cmd { return command(c, d, "-join", "-peers", "d="+address) })
	d.Address = c.FreeAddress()
	d.Start()
	body := fmt.Sprintf(`{"address": %q, "client": %q}`, address, d.Address)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+admins["a"]+"/servers/d", strings.NewReader(body))
	require.NoError(t, err)
	answer, err := c.Client.Do(request)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusNoContent, answer.StatusCode)
	await("d", func(table *shard.Table) bool {
		has := 0
		for i := range table.Shards {
			if table.Shards[i].Has("d") {
				has++
			}
		}
		return table.Settled() && has == 48
	})
	useShards(t, client)

	moved := 0
	for i := range 20 {
		_, err := ask(d, "get", fmt.Sprint("key", i))
		if err != nil && strings.HasPrefix(err.Error(), fmt.Sprintf("MOVED %d ", shard.Slot(fmt.Sprint("key", i)))) {
			moved++
		} else {
			require.NoError(t, err)
		}
	}
	require.NotZero(t, moved)
	c.Servers[1].Kill()
	for i := range 20 {
		process.Await(t, func() bool { return client.Get(t.Context(), fmt.Sprint("key", i)).Val() == fmt.Sprint(i) }, "key %d isn't answered", i)
	}
}

// useShards uses a store in the ways of Redis Cluster.
func useShards(t *testing.T, client *redis.ClusterClient) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range 20 {
		require.NoError(t, client.Set(ctx, fmt.Sprint("key", i), i, 0).Err())
	}
	pipeline := client.Pipeline()
	for i := range 20 {
		pipeline.Get(ctx, fmt.Sprint("key", i))
	}
	results, err := pipeline.Exec(ctx)
	require.NoError(t, err)
	for i, result := range results {
		require.Equal(t, fmt.Sprint(i), result.(*redis.StringCmd).Val())
	}
	require.NoError(t, client.Del(ctx, "{tag}n").Err())
	require.NoError(t, client.MSet(ctx, "{tag}1", "x", "{tag}2", "y").Err())
	require.ErrorContains(t, client.MSet(ctx, "key1", "1", "key2", "2").Err(), "CROSSSLOT")
	require.NoError(t, client.Watch(ctx, func(tx *redis.Tx) error {
		_, err := tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.Incr(ctx, "{tag}n")
			p.Append(ctx, "{tag}1", "x")
			return nil
		})
		return err
	}, "{tag}n"))
	require.Equal(t, "1", client.Get(ctx, "{tag}n").Val())
	err = client.Watch(ctx, func(tx *redis.Tx) error {
		if err := client.Incr(ctx, "{tag}n").Err(); err != nil {
			return err
		}
		_, err := tx.TxPipelined(ctx, func(p redis.Pipeliner) error { return p.Incr(ctx, "{tag}n").Err() })
		return err
	}, "{tag}n")
	require.True(t, errors.Is(err, redis.TxFailedErr), err)
	require.Equal(t, "2", client.Get(ctx, "{tag}n").Val())
}
