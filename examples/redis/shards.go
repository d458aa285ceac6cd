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

// startShards is start for a store whose keys are in shards. It is served as a Redis Cluster.
func startShards(o options, i int, failed chan<- error) (stop func() error, err error) {
	self := o.run[i]
	listener, err := net.Listen("tcp", o.listen[i])
	if err != nil {
		return nil, err
	}
	administration, err := net.Listen("tcp", o.admin[i])
	if err != nil {
		return nil, errors.Join(fmt.Errorf("-admin: %w", err), listener.Close())
	}
	largest := o.limits.request + batchBytes + 64<<10
	quiet := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	transport, err := tcp.Listen(self.Address, tcp.Options{MaxFrame: max(largest+64<<10, defaultFrame), Logger: quiet})
	if err != nil {
		return nil, errors.Join(err, listener.Close(), administration.Close())
	}
	disk, err := wal.Open(filepath.Join(o.dir, string(self.ID)), wal.Options{})
	if err != nil {
		return nil, errors.Join(err, transport.Close(), listener.Close(), administration.Close())
	}
	founders := o.cluster
	if o.join {
		founders = nil
	}
	host, err := shard.Start(shard.Options{
		Self:     shard.Server{ID: self.ID, Address: self.Address, Client: listener.Addr().String()},
		Founders: founders, Shards: o.shards, Storage: disk, Transport: transport, Logger: quiet,
		Group: func(int) raft.Config {
			return raft.Config{
				Machine: kv.New(&kv.Memory{}), MaxCommandBytes: largest, SnapshotMinBytes: 4 << 20, TailBytes: 256 << 10,
			}
		},
	})
	if err != nil { // disk and transport are closed: Start owns them
		return nil, errors.Join(err, listener.Close(), administration.Close())
	}
	s := newServer(host.TableNode(), nil, self, listener, o.limits)
	s.shards = host
	operators := &http.Server{Handler: host.Administration(httpapi.Options{Timeout: o.limits.timeout}), ReadTimeout: o.limits.timeout}
	go func() { failed <- s.serve() }()
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
		err := errors.Join(s.stop(ctx), operators.Close())
		ctx, cancel = context.WithTimeout(context.Background(), 2*o.limits.timeout)
		defer cancel()
		return errors.Join(err, host.Close(ctx))
	}, nil
}
