// Durable is a replicated store of keys and values whose servers keep it in a database of their own, so
// that a start takes no replay of the log. Without flags it runs three servers in one process; with -id
// it runs one server of a cluster:
//
//	go run -C examples/durable .
//	go run -C examples/durable . -store bolt
//	go run -C examples/durable . -id a -peers a=127.0.0.1:7001,b=127.0.0.1:7002,c=127.0.0.1:7003 -http 127.0.0.1:8001 -data DIR
//
// The state machine is in package kv, and what it takes to keep it on a disk in packages state,
// boltstate, pebblestate and sqlitestate. This file puts them together; service.go is the HTTP front,
// and options.go reads the flags.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/durable/kv"
	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "durable:", err)
		os.Exit(1)
	}
}

// run runs servers until ctx ends or one of them fails.
func run(ctx context.Context, args []string, out io.Writer) (err error) {
	o, err := parseOptions(args, out)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, len(o.run))
	started := 0
	defer func() {
		stop()
		for range started {
			err = errors.Join(err, <-ended)
		}
	}()
	for i, self := range o.run {
		serve, err := start(o, self, o.http[i])
		if err != nil {
			return fmt.Errorf("server %s: %w", self.ID, err)
		}
		started++
		go func() {
			defer stop() // the end of one server is the end of all
			ended <- serve(ctx)
		}()
	}
	first, last := o.http[0], o.http[len(o.http)-1]
	if _, err := fmt.Fprintf(out, `Data: %s
Try:  curl -X PUT -d 'hello' http://%s/keys/greeting
      curl http://%s/keys/greeting
      curl -X POST 'http://%s/keys/visits/add?n=5'
      curl http://%s/status
Ctrl-C ends it.
`, o.data, first, last, last, first); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// start starts one server. It returns a function that answers requests until a context ends or the
// server fails, and then shuts the server down. Whatever was opened before something fails is closed
// again, in the reverse order.
func start(o options, self raft.Server, web string) (serve func(context.Context) error, err error) {
	var opened []func() error
	defer func() {
		for i := len(opened) - 1; err != nil && i >= 0; i-- {
			err = errors.Join(err, opened[i]())
		}
	}()
	listener, err := net.Listen("tcp", web)
	if err != nil {
		return nil, err
	}
	opened = append(opened, listener.Close)
	transport, err := tcp.Listen(self.Address, tcp.Options{})
	if err != nil {
		return nil, err
	}
	// The log first: it is locked, so no other process has the state machine's folder.
	log, err := wal.Open(filepath.Join(o.data, string(self.ID), "log"), wal.Options{})
	if err != nil {
		return nil, errors.Join(err, transport.Close())
	}
	store, err := kv.Open(o.store, filepath.Join(o.data, string(self.ID), o.store), kv.Options{})
	if err != nil {
		return nil, errors.Join(err, log.Close(), transport.Close())
	}
	opened = append(opened, store.Close)
	node, err := raft.Start(raft.Config{
		ID: self.ID, Address: self.Address, Bootstrap: o.cluster, Storage: log, Transport: transport,
		Machine: store, Durable: store.Durable(),
		SnapshotMinBytes: o.snapshotBytes, // 0 for the default
	})
	if err != nil { // log and transport are closed: Start owns them
		return nil, err
	}
	api := httpapi.New(node, httpapi.Options{Timeout: o.timeout, MaxBody: kv.MaxValue})
	routes := (&service{api, node, store}).routes()
	return func(ctx context.Context) error {
		// The database is closed last: the node applies commands until it is closed.
		err := api.Serve(ctx, listener, routes)
		if errors.Is(err, context.DeadlineExceeded) {
			return err // the node isn't closed yet, and may still use the database
		}
		return errors.Join(err, store.Close())
	}, nil
}
