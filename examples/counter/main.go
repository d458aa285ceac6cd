// Counter is a replicated counter: a service on top of package raft, written to be copied.
//
// Without flags it runs three servers in one process; with -id it runs one server of a cluster:
//
//	go run ./examples/counter
//	go run ./examples/counter -id a -peers a=127.0.0.1:7001,b=127.0.0.1:7002,c=127.0.0.1:7003 -http 127.0.0.1:8001 -data DIR
//
// The state machine is in counter.go, and the service in service.go. This file puts them together,
// and options.go reads the flags.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "counter:", err)
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
Try:  curl -d '{"add": 5}' http://%s/counter
      curl http://%s/counter
      curl http://%s/status
Ctrl-C ends it.
`, o.data, first, last, first); err != nil {
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
// earlier goes to failed.
func start(o options, self raft.Server, web string, failed chan<- error) (stop func() error, err error) {
	listener, err := net.Listen("tcp", web)
	if err != nil {
		return nil, err
	}
	secure, err := o.tls(self.ID)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	transport, err := tcp.Listen(self.Address, tcp.Options{TLS: secure})
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	dir := filepath.Join(o.data, string(self.ID))
	store, err := wal.Open(dir, wal.Options{})
	if err != nil {
		return nil, errors.Join(err, transport.Close(), listener.Close())
	}
	machine := &counter{}
	config := raft.Config{ID: self.ID, Address: self.Address, Machine: machine, Storage: store, Transport: transport}
	if !o.join {
		config.Bootstrap = o.cluster
	}
	node, err := raft.Start(config)
	if err != nil { // store and transport are closed: Start owns them
		return nil, errors.Join(err, listener.Close())
	}
	if err := checkAddress(node, self); err != nil {
		return nil, errors.Join(err, node.Close(context.Background()), listener.Close())
	}
	server := &http.Server{
		Handler:      (&service{node, machine, o.timeout}).handler(),
		ReadTimeout:  o.timeout,
		WriteTimeout: 2 * o.timeout,
		IdleTimeout:  time.Minute,
	}
	go func() { failed <- server.Serve(listener) }()
	go func() { <-node.Done(); failed <- node.Err() }()
	return func() error { return stopServer(server, node, o.timeout) }, nil
}

// stopServer takes no more requests, lets those that are under way come to their end, and closes the
// node after that. The other way round, their clients would be told that the outcome is unknown. A
// request that takes longer than the timeout is broken off.
func stopServer(server *http.Server, node *raft.Node, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	err := server.Shutdown(ctx)
	if ctx.Err() != nil {
		err = server.Close()
	}
	ctx, cancel = context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return errors.Join(err, node.Close(ctx))
}

// tls returns what the server proves itself with to the others, and checks them by. It is nil
// without TLS.
func (o *options) tls(id raft.ServerID) (*tls.Config, error) {
	if o.certs == "" {
		return nil, nil
	}
	file := filepath.Join(o.certs, string(id))
	own, err := tls.LoadX509KeyPair(file+".pem", file+"-key.pem")
	if err != nil {
		return nil, fmt.Errorf("-certs: %w", err)
	}
	authority, err := os.ReadFile(filepath.Join(o.certs, "ca.pem"))
	if err != nil {
		return nil, fmt.Errorf("-certs: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, errors.New("-certs: ca.pem holds no certificate")
	}
	return &tls.Config{Certificates: []tls.Certificate{own}, RootCAs: roots}, nil
}

// checkAddress returns an error if the cluster knows this server by another address. The other
// servers would look for it there.
func checkAddress(node *raft.Node, self raft.Server) error {
	for _, m := range node.Status().Members {
		if m.ID == self.ID && m.Address != self.Address {
			return fmt.Errorf("the stored address is %s, not %s: start with the stored one, or with another -data", m.Address, self.Address)
		}
	}
	return nil
}
