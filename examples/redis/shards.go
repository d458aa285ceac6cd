package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/redis/kv"
	"github.com/e17579a5/raft/examples/shards/shard"
	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wal"
)

// listenShards listens where a server with shards is found: by clients of Redis Cluster, by operators and, if
// -plain says so, by other clients. On an error nothing is left open.
func listenShards(o options, i int) (cluster, operators, plain net.Listener, err error) {
	var listeners [3]net.Listener
	for n, flag := range []struct {
		name      string
		addresses []string
	}{{"-listen", o.listen}, {"-admin", o.admin}, {"-plain", o.plain}} {
		if len(flag.addresses) == 0 {
			continue
		}
		if listeners[n], err = net.Listen("tcp", flag.addresses[i]); err != nil {
			for _, opened := range listeners[:n] {
				err = errors.Join(err, opened.Close())
			}
			return nil, nil, nil, fmt.Errorf("%s: %w", flag.name, err)
		}
	}
	return listeners[0], listeners[1], listeners[2], nil
}

// startShards is start for a store whose keys are in shards. It is served as a Redis Cluster, and to plain
// clients as one large server.
func startShards(o options, i int, failed chan<- error) (stop func() error, err error) {
	listener, administration, plain, err := listenShards(o, i)
	if err != nil {
		return nil, err
	}
	host, err := startHost(o, i, listener.Addr().String())
	if err != nil {
		err = errors.Join(err, listener.Close(), administration.Close())
		if plain != nil {
			err = errors.Join(err, plain.Close())
		}
		return nil, err
	}
	others := newUpstreams(dialTCP)
	servers := []*server{newShardServer(host, o.run[i], listener, o.limits, others, false)}
	if plain != nil {
		servers = append(servers, newShardServer(host, o.run[i], plain, o.limits, others, true))
	}
	for _, s := range servers {
		go func() { failed <- s.serve() }()
	}
	operators := &http.Server{Handler: host.Administration(httpapi.Options{Timeout: o.limits.timeout}), ReadTimeout: o.limits.timeout}
	go func() { failed <- operators.Serve(administration) }()
	go func() {
		select {
		case <-host.Done():
			failed <- host.Err()
		case <-host.Left():
			failed <- nil
		}
	}()
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), o.limits.timeout)
		defer cancel()
		var err error
		for i := len(servers) - 1; i >= 0; i-- {
			err = errors.Join(err, servers[i].stop(ctx))
		}
		others.close()
		err = errors.Join(err, operators.Close())
		ctx, cancel = context.WithTimeout(context.Background(), 2*o.limits.timeout)
		defer cancel()
		return errors.Join(err, host.Close(ctx))
	}, nil
}

// newShardServer returns a server for the clients of one kind.
func newShardServer(host *shard.Host, self raft.Server, listener net.Listener, l limits, others *upstreams, plain bool) *server {
	s := newServer(host.TableNode(), nil, self, listener, l)
	s.shards, s.upstreams, s.plain = host, others, plain
	return s
}

// startHost starts what has the shards of a server. client is where clients of Redis Cluster find it.
func startHost(o options, i int, client string) (*shard.Host, error) {
	self := o.run[i]
	largest := o.limits.request + batchBytes + 64<<10
	quiet := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	transport, err := tcp.Listen(self.Address, tcp.Options{MaxFrame: max(largest+64<<10, defaultFrame), Logger: quiet})
	if err != nil {
		return nil, err
	}
	disk, err := wal.Open(filepath.Join(o.dir, string(self.ID)), wal.Options{})
	if err != nil {
		return nil, errors.Join(err, transport.Close())
	}
	founders := o.cluster
	if o.join {
		founders = nil
	}
	// disk and transport belong to the host from here on, also if it doesn't start.
	return shard.Start(shard.Options{
		Self:     shard.Server{ID: self.ID, Address: self.Address, Client: client},
		Founders: founders, Shards: o.shards, Storage: disk, Transport: transport, Logger: quiet,
		Group: func(int) raft.Config { return groupConfig(largest) },
	})
}

// groupConfig says what the group of a shard is made of.
func groupConfig(largest int) raft.Config {
	return raft.Config{
		Machine: kv.New(&kv.Memory{}), MaxCommandBytes: largest, SnapshotMinBytes: 4 << 20, TailBytes: 256 << 10,
	}
}
