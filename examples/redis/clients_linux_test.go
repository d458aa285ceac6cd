package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"
)

// A stock is a client library that nobody here wrote. Its functions use a connection to one server.
type stock interface {
	// set and get are one command each, on a connection that the library may open anew.
	set(key, value string) error
	get(key string) (string, error)
	// pipeline sends n INCR of a key at once and returns their results.
	pipeline(key string, n int) ([]int64, error)
	// transact adds one to a number by WATCH, GET and MULTI. between runs before EXEC. conflict says
	// that EXEC wasn't carried out, because the key had changed.
	transact(key string, between func()) (conflict bool, err error)
	// hash sets a hash and reads all of it.
	hash(key string, fields map[string]string) (map[string]string, error)
	close()
}

// TestStockClients: each library gets through its handshake, a pipeline, transactions and a
// fail-over, at a server that follows and is killed in the end.
func TestStockClients(t *testing.T) {
	for name, connect := range map[string]func(t *testing.T, address string) stock{
		"go-redis with RESP3":           func(_ *testing.T, a string) stock { return newGoRedis(a, 3) },
		"go-redis with RESP2":           func(_ *testing.T, a string) stock { return newGoRedis(a, 2) },
		"redigo":                        func(_ *testing.T, a string) stock { return newRedigo(a) },
		"go-redis, keys in pebble":      func(_ *testing.T, a string) stock { return newGoRedis(a, 3) },
		"redigo, keys in pebble":        func(_ *testing.T, a string) stock { return newRedigo(a) },
		"rueidis":                       func(t *testing.T, a string) stock { return newRueidis(t, a) },
		"rueidis, which asks for RESP2": func(t *testing.T, a string) stock { return newRueidis2(t, a) },
		"redis of npm with RESP2":       func(t *testing.T, a string) stock { return newNodeClient(t, "redis", a, "2") },
		"redis of npm with RESP3":       func(t *testing.T, a string) stock { return newNodeClient(t, "redis", a, "3") },
		"ioredis of npm":                func(t *testing.T, a string) stock { return newNodeClient(t, "ioredis", a, "2") },
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(name, "npm") {
				requireNode(t)
			}
			var flags []string
			if strings.Contains(name, "pebble") {
				flags = []string{"-store", "pebble"}
			}
			t.Parallel()
			p := startProcesses(t, flags...)
			followers, leader := p.followers()
			client := connect(t, followers[0].Address)
			defer client.close()
			useStock(t, client)

			leader.Kill() // the library's own connection stays, and its server finds the next leader
			require.Eventually(t, func() bool { return client.set("after", "fail-over") == nil }, patience, pollEach)
			leader.Start()
			p.await(leader)

			followers[0].Kill() // now its own server goes and comes back
			followers[0].Start()
			p.await(followers[0])
			// A library may have more connections than one that ended, and find out when it uses them: one of
			// them for many commands at once, for instance.
			inARow := 0
			require.Eventually(t, func() bool {
				got, err := client.get("after")
				_, errOfPipeline := client.pipeline("n", 500)
				_, errOfTransaction := client.transact("n", func() {})
				inARow++
				if errors.Join(err, errOfPipeline, errOfTransaction) != nil || got != "fail-over" {
					inARow = 0
				}
				return inARow == 8
			}, patience, pollEach)
			useStock(t, client)
		})
	}
}

// useStock does with a library what its users do.
func useStock(t *testing.T, client stock) {
	value := "a value\r\n\x00" + strings.Repeat("x", 100_000)
	require.NoError(t, client.set("key", value))
	got, err := client.get("key")
	require.NoError(t, err)
	require.Equal(t, value, got)

	require.NoError(t, client.set("n", "0"))
	results, err := client.pipeline("n", 500)
	require.NoError(t, err)
	require.Len(t, results, 500)
	for i, result := range results {
		require.EqualValues(t, i+1, result)
	}
	conflict, err := client.transact("n", func() {})
	require.NoError(t, err)
	require.False(t, conflict)
	conflict, err = client.transact("n", func() { require.NoError(t, client.set("n", "7")) })
	require.NoError(t, err)
	require.True(t, conflict)
	got, err = client.get("n")
	require.NoError(t, err)
	require.Equal(t, "7", got)

	fields := map[string]string{"f": "1", "g": "", "": "3"}
	all, err := client.hash("h", fields)
	require.NoError(t, err)
	require.Equal(t, fields, all)
}

func shortly() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 10*time.Second)
}

type goRedis struct{ *goredis.Client }

func newGoRedis(address string, protocol int) stock {
	return goRedis{goredis.NewClient(&goredis.Options{Addr: address, Protocol: protocol, ClientName: "go-redis"})}
}

func (c goRedis) close() { _ = c.Close() }

func (c goRedis) set(key, value string) error {
	ctx, cancel := shortly()
	defer cancel()
	return c.Set(ctx, key, value, time.Hour).Err()
}

func (c goRedis) get(key string) (string, error) {
	ctx, cancel := shortly()
	defer cancel()
	return c.Get(ctx, key).Result()
}

func (c goRedis) pipeline(key string, n int) (results []int64, err error) {
	ctx, cancel := shortly()
	defer cancel()
	commands, err := c.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for range n {
			p.Incr(ctx, key)
		}
		return nil
	})
	for _, command := range commands {
		results = append(results, command.(*goredis.IntCmd).Val())
	}
	return results, err
}

func (c goRedis) transact(key string, between func()) (bool, error) {
	ctx, cancel := shortly()
	defer cancel()
	err := c.Watch(ctx, func(tx *goredis.Tx) error {
		n, err := tx.Get(ctx, key).Int()
		if err != nil {
			return err
		}
		between()
		_, err = tx.TxPipelined(ctx, func(p goredis.Pipeliner) error { return p.Set(ctx, key, n+1, 0).Err() })
		return err
	}, key)
	if errors.Is(err, goredis.TxFailedErr) {
		return true, nil
	}
	return false, err
}

func (c goRedis) hash(key string, fields map[string]string) (map[string]string, error) {
	ctx, cancel := shortly()
	defer cancel()
	if err := c.HSet(ctx, key, fields).Err(); err != nil {
		return nil, err
	}
	return c.HGetAll(ctx, key).Result()
}

type redigo struct{ *redis.Pool }

func newRedigo(address string) stock {
	return redigo{&redis.Pool{Dial: func() (redis.Conn, error) {
		return redis.Dial("tcp", address, redis.DialClientName("redigo"), redis.DialReadTimeout(10*time.Second), redis.DialDatabase(0))
	}}}
}

func (c redigo) close() { _ = c.Close() }

// do uses a connection of the pool.
func (c redigo) do(f func(conn redis.Conn) error) error {
	conn := c.Get()
	return errors.Join(f(conn), conn.Close())
}

func (c redigo) set(key, value string) error {
	return c.do(func(conn redis.Conn) error {
		_, err := conn.Do("SET", key, value)
		return err
	})
}

func (c redigo) get(key string) (value string, err error) {
	err = c.do(func(conn redis.Conn) error {
		value, err = redis.String(conn.Do("GET", key))
		return err
	})
	return value, err
}

func (c redigo) pipeline(key string, n int) (results []int64, err error) {
	err = c.do(func(conn redis.Conn) error {
		for range n {
			if err := conn.Send("INCR", key); err != nil {
				return err
			}
		}
		results, err = redis.Int64s(conn.Do(""))
		return err
	})
	return results, err
}

func (c redigo) transact(key string, between func()) (conflict bool, err error) {
	err = c.do(func(conn redis.Conn) error {
		if _, err := conn.Do("WATCH", key); err != nil {
			return err
		}
		n, err := redis.Int(conn.Do("GET", key))
		if err != nil {
			return err
		}
		between()
		if err := errors.Join(conn.Send("MULTI"), conn.Send("SET", key, n+1)); err != nil {
			return err
		}
		reply, err := conn.Do("EXEC")
		conflict = reply == nil
		return err
	})
	return conflict, err
}

func (c redigo) hash(key string, fields map[string]string) (all map[string]string, err error) {
	err = c.do(func(conn redis.Conn) error {
		if _, err := conn.Do("HSET", redis.Args{key}.AddFlat(fields)...); err != nil {
			return err
		}
		all, err = redis.StringMap(conn.Do("HGETALL", key))
		return err
	})
	return all, err
}

type rueidisClient struct{ rueidis.Client }

func newRueidis(t *testing.T, address string) stock {
	// Without client-side caching, which takes CLIENT TRACKING.
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{address}, DisableCache: true, ClientName: "rueidis"})
	require.NoError(t, err)
	return rueidisClient{client}
}

func newRueidis2(t *testing.T, address string) stock {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{address}, DisableCache: true, AlwaysRESP2: true})
	require.NoError(t, err)
	return rueidisClient{client}
}

func (c rueidisClient) close() { c.Close() }

func (c rueidisClient) set(key, value string) error {
	ctx, cancel := shortly()
	defer cancel()
	return c.Do(ctx, c.B().Set().Key(key).Value(value).Build()).Error()
}

func (c rueidisClient) get(key string) (string, error) {
	ctx, cancel := shortly()
	defer cancel()
	return c.Do(ctx, c.B().Get().Key(key).Build()).ToString()
}

func (c rueidisClient) pipeline(key string, n int) (results []int64, err error) {
	ctx, cancel := shortly()
	defer cancel()
	var commands []rueidis.Completed
	for range n {
		commands = append(commands, c.B().Incr().Key(key).Build())
	}
	for _, reply := range c.DoMulti(ctx, commands...) {
		result, failed := reply.AsInt64()
		results, err = append(results, result), errors.Join(err, failed)
	}
	return results, err
}

func (c rueidisClient) transact(key string, between func()) (conflict bool, err error) {
	ctx, cancel := shortly()
	defer cancel()
	err = c.Dedicated(func(d rueidis.DedicatedClient) error {
		if err := d.Do(ctx, d.B().Watch().Key(key).Build()).Error(); err != nil {
			return err
		}
		n, err := d.Do(ctx, d.B().Get().Key(key).Build()).AsInt64()
		if err != nil {
			return err
		}
		between()
		replies := d.DoMulti(ctx, d.B().Multi().Build(), d.B().Set().Key(key).Value(fmt.Sprint(n+1)).Build(), d.B().Exec().Build())
		err = replies[2].Error()
		if conflict = rueidis.IsRedisNil(err); conflict {
			return nil
		}
		return err
	})
	return conflict, err
}

func (c rueidisClient) hash(key string, fields map[string]string) (map[string]string, error) {
	ctx, cancel := shortly()
	defer cancel()
	set := c.B().Hset().Key(key).FieldValue()
	for field, value := range fields {
		set = set.FieldValue(field, value)
	}
	if err := c.Do(ctx, set.Build()).Error(); err != nil {
		return nil, err
	}
	return c.Do(ctx, c.B().Hgetall().Key(key).Build()).AsStrMap()
}
