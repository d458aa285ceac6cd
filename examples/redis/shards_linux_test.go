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

// shardProcesses are servers of a store with shards, in processes of their own.
type shardProcesses struct {
	*process.Cluster
	t *testing.T
	// admins and plains are where the administration of each server is, and where plain clients find it.
	admins, plains map[string]string
}

// startShardProcesses founds a store with 64 shards on three servers.
func startShardProcesses(t *testing.T) *shardProcesses {
	p := &shardProcesses{t: t, admins: map[string]string{}, plains: map[string]string{}}
	p.Cluster = process.NewCluster(t, func(c *process.Cluster, s *process.Process) *exec.Cmd { return p.command(c, s, "-peers", c.Peers) })
	p.StartAll()
	for _, s := range p.Servers {
		p.await(s.Name, (*shard.Table).Settled)
	}
	return p
}

func (p *shardProcesses) command(c *process.Cluster, s *process.Process, flags ...string) *exec.Cmd {
	if p.admins[s.Name] == "" {
		p.admins[s.Name], p.plains[s.Name] = c.FreeAddress(), c.FreeAddress()
	}
	return process.Command(p.t, asServer, append([]string{
		"-id", s.Name, "-listen", s.Address, "-plain", p.plains[s.Name], "-admin", p.admins[s.Name], "-dir", c.Dir, "-timeout", "2s", "-shards", "64",
	}, flags...)...)
}

// await waits until the table that a server knows is as it should be.
func (p *shardProcesses) await(id string, holds func(*shard.Table) bool) {
	p.t.Helper()
	process.Await(p.t, func() bool {
		table := new(shard.Table)
		code, err := process.Request(p.Client, http.MethodGet, "http://"+p.admins[id]+"/table", table)
		return err == nil && code == http.StatusOK && holds(table)
	}, "the table isn't as it should be")
}

// join has a fourth server join, which gets its share of the shards.
func (p *shardProcesses) join() (d *process.Process) {
	address := p.FreeAddress()
	d = p.Add("d", func() *exec.Cmd { return p.command(p.Cluster, d, "-join", "-peers", "d="+address) })
	d.Address = p.FreeAddress()
	d.Start()
	body := fmt.Sprintf(`{"address": %q, "client": %q}`, address, d.Address)
	request, err := http.NewRequestWithContext(p.t.Context(), http.MethodPut, "http://"+p.admins["a"]+"/servers/d", strings.NewReader(body))
	require.NoError(p.t, err)
	answer, err := p.Client.Do(request)
	require.NoError(p.t, err)
	require.NoError(p.t, answer.Body.Close())
	require.Equal(p.t, http.StatusNoContent, answer.StatusCode)
	p.await("d", func(table *shard.Table) bool {
		has := 0
		for i := range table.Shards {
			if table.Shards[i].Has("d") {
				has++
			}
		}
		return table.Settled() && has == 48
	})
	return d
}

// TestShards: a stock client of Redis Cluster uses a store with shards, also while a fourth server joins and
// another one is killed. A server that doesn't have a key says who has it.
func TestShards(t *testing.T) {
	p := startShardProcesses(t)
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: p.Addresses(), MaxRedirects: 16, DialerRetries: 1, ClusterStateReloadInterval: time.Second, // so that it soon sees who is there
	})
	defer func() { _ = client.Close() }()
	useShards(t, client)
	d := p.join()
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
	p.Servers[1].Kill()
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
	size, err := client.DBSize(ctx).Result()
	require.NoError(t, err)
	keys, cursor, seen := []string(nil), uint64(0), map[string]bool{}
	for more := true; more; more = cursor != 0 {
		keys, cursor, err = client.Scan(ctx, cursor, "", 7).Result()
		require.NoError(t, err)
		for _, key := range keys {
			seen[key] = true
		}
	}
	require.Len(t, seen, int(size))
	slot := client.ClusterKeySlot(ctx, "key7").Val()
	require.EqualValues(t, shard.Slot("key7"), slot)
	require.Equal(t, []string{"key7"}, client.ClusterGetKeysInSlot(ctx, int(slot), 10).Val())
	require.EqualValues(t, 1, client.ClusterCountKeysInSlot(ctx, int(slot)).Val())
	require.Contains(t, client.ClusterNodes(ctx).Val(), "myself,master")
	require.Contains(t, client.ClusterInfo(ctx).Val(), "cluster_state:ok")
	require.Len(t, client.ClusterMyID(ctx).Val(), 40)
	covered := int64(0)
	for _, is := range client.ClusterShards(ctx).Val() {
		for _, run := range is.Slots {
			covered += run.End - run.Start + 1
		}
		require.Len(t, is.Nodes, 3)
		require.Equal(t, "master", is.Nodes[0].Role)
	}
	require.EqualValues(t, shard.Slots, covered)
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
