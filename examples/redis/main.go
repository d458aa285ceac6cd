// Redis is a replicated store that Redis clients use: a service on top of package raft, written to
// be copied.
//
// Without flags it runs three servers in one process; with -id it runs one server of a cluster:
//
//	go run .
//	go run . -id a -peers a=127.0.0.1:7101,b=127.0.0.1:7102,c=127.0.0.1:7103 -listen 127.0.0.1:6379 -dir DIR
//
// Package resp is the protocol, and package kv the state machine. Here, server.go has the clients,
// conn.go one of them, batch.go how its commands get into the log, and local.go, clients.go and
// info.go the commands that are not for the store. With -shards, places.go says where keys are, cluster.go
// what clients of Redis Cluster ask, and forward.go and everywhere.go what is asked of other servers, over
// the connections in upstream.go. This file and shards.go put them together.
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
	"github.com/e17579a5/raft/admin"
	"github.com/e17579a5/raft/examples/redis/kv"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "redis:", err)
		os.Exit(1)
	}
}

// run runs servers until ctx ends or one of them fails.
func run(ctx context.Context, args []string, out io.Writer) (err error) {
	o, err := parseOptions(args, out)
	if err != nil {
		return err
	}
	failed := make(chan error, 3*len(o.run)) // more than any of them sends before it is stopped
	begin := start
	if o.shards > 0 {
		begin = startShards
	}
	for i, self := range o.run {
		stop, err := begin(o, i, failed)
		if err != nil {
			return fmt.Errorf("server %s: %w", self.ID, err)
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	host, number, _ := net.SplitHostPort(o.listen[0])
	if _, err := fmt.Fprintf(out, "Data: %s\nTry:  redis-cli -h %s -p %s\nCtrl-C ends it.\n", o.dir, host, number); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// start starts one of the servers that run here, and returns a function that stops it. An error that
// ends the server earlier goes to failed. Whatever was opened before something fails is closed again,
// in the reverse order.
func start(o options, i int, failed chan<- error) (stop func() error, err error) {
	self := o.run[i]
	var opened []func() error
	defer func() {
		for i := len(opened) - 1; err != nil && i >= 0; i-- {
			err = errors.Join(err, opened[i]())
		}
	}()
	listener, err := net.Listen("tcp", o.listen[i])
	if err != nil {
		return nil, err
	}
	opened = append(opened, listener.Close)
	largest := o.limits.request + batchBytes + 64<<10 // an entry, with what is in it beside commands
	transport, err := tcp.Listen(self.Address, tcp.Options{MaxFrame: max(largest+64<<10, defaultFrame)})
	if err != nil {
		return nil, err
	}
	// The log first: it is locked, so no other process has the folder for the keys.
	store, err := wal.Open(filepath.Join(o.dir, string(self.ID)), wal.Options{})
	if err != nil {
		return nil, errors.Join(err, transport.Close())
	}
	keys, err := o.keyspace(self.ID)
	if err != nil {
		return nil, errors.Join(err, store.Close(), transport.Close())
	}
	machine := kv.New(keys)
	opened = append(opened, machine.Close)
	node, err := raft.Start(raft.Config{
		ID: self.ID, Address: self.Address, Machine: machine, Durable: machine.Durable(), Storage: store, Transport: transport,
		Bootstrap: o.cluster, MaxCommandBytes: largest, MaxLease: o.lease,
	})
	if err != nil { // store and transport are closed: Start owns them
		return nil, err
	}
	opened = append(opened, func() error { return node.Close(context.Background()) })
	if err := checkAddress(node, self); err != nil {
		return nil, err
	}
	var administration *admin.Server // whoever uses it can take the cluster apart, so clients aren't to reach it
	if len(o.admin) > 0 {
		if administration, err = admin.Listen(node, o.admin[i], nil, nil); err != nil {
			return nil, fmt.Errorf("-admin: %w", err)
		}
	}
	s := newServer(node, machine, self, listener, o.limits)
	s.administration = administration
	go func() { failed <- s.serve() }()
	go func() { <-node.Done(); failed <- node.Err() }()
	return func() error { return stopServer(s, o) }, nil
}

// stopServer takes no more commands, lets those that are under way come to their end, and closes the
// node after that. The other way round, their clients would be told that the outcome is unknown. The
// keys are closed last: the node applies commands until it is closed.
func stopServer(s *server, o options) error {
	ctx, cancel := context.WithTimeout(context.Background(), o.limits.timeout)
	defer cancel()
	err := s.stop(ctx)
	if s.administration != nil {
		err = errors.Join(err, s.administration.Close(ctx))
	}
	ctx, cancel = context.WithTimeout(context.Background(), o.limits.timeout)
	defer cancel()
	if closed := s.node.Close(ctx); closed != nil {
		return errors.Join(err, closed) // it may still use the keys
	}
	return errors.Join(err, s.machine.Close())
}

// checkAddress returns an error if the cluster knows this server by another address. The other
// servers would look for it there.
func checkAddress(node *raft.Node, self raft.Server) error {
	for _, m := range node.Status().Members {
		if m.ID == self.ID && m.Address != self.Address {
			return fmt.Errorf("the stored address is %s, not %s: start with the stored one, or with another -dir", m.Address, self.Address)
		}
	}
	return nil
}
