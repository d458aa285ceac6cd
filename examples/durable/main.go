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
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/durable/kv"
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
	failed := make(chan error, 2*len(o.run))
	for i, self := range o.run {
		stop, err := start(o, self, o.http[i], failed)
		if err != nil {
			return fmt.Errorf("server %s: %w", self.ID, err)
		}
		defer func() { err = errors.Join(err, stop()) }()
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
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// start starts one server, and returns a function that stops it. An error that ends the server
// earlier goes to failed. Whatever was opened before something fails is closed again, in the reverse
// order.
func start(o options, self raft.Server, web string, failed chan<- error) (stop func() error, err error) {
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
	opened = append(opened, func() error { return node.Close(context.Background()) })
	server := &http.Server{
		Handler:      (&service{node, store, o.timeout}).handler(),
		ReadTimeout:  o.timeout,
		WriteTimeout: 2 * o.timeout,
		IdleTimeout:  time.Minute,
	}
	go func() { failed <- server.Serve(listener) }()
	go func() { <-node.Done(); failed <- node.Err() }()
	return func() error { return stopServer(server, node, store, o.timeout) }, nil
}

// stopServer takes no more requests, lets those that are under way come to their end, closes the node
// after that, and the database last: the node applies commands until it is closed.
func stopServer(server *http.Server, node *raft.Node, store kv.Store, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	err := server.Shutdown(ctx)
	if ctx.Err() != nil {
		err = server.Close()
	}
	ctx, cancel = context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := node.Close(ctx); err != nil {
		return err // it may still use the database
	}
	return errors.Join(err, store.Close())
}
