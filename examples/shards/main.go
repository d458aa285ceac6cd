// Shards is a store of keys and values that is spread over many Raft groups: a service on top of package
// raft, written to be copied.
//
// Without flags it runs three servers in one process; with -id it runs one server of a store:
//
//	go run ./examples/shards
//	go run ./examples/shards -id a -peers a=127.0.0.1:7001,b=127.0.0.1:7002,c=127.0.0.1:7003 -http 127.0.0.1:8001 -admin 127.0.0.1:9001 -data DIR
//
// Package shard has what doesn't depend on the store: which server has which shard, and how shards move. Here,
// store.go has the state machine of a shard, service.go what clients may ask, and forward.go what happens
// when they ask a server that doesn't have the shard. This file puts them together, and options.go reads the
// flags.
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

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/shards/shard"
	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wal"
)

// maxBody bounds the body of a request, in bytes.
const maxBody = 1 << 20

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "shards:", err)
		os.Exit(1)
	}
}

// run runs servers until ctx ends or one of them fails, or was taken out of the store.
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
		serve, err := start(o, i)
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
Try:  curl -X PUT -d hello http://%s/keys/greeting
      curl http://%s/keys/greeting
      curl http://%s/table
Ctrl-C ends it.
`, o.data, first, last, first); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// start starts one of the servers that run here. It returns a function that answers requests until a
// context ends, the server fails or it was taken out, and then shuts the server down.
func start(o options, i int) (serve func(context.Context) error, err error) {
	self := o.run[i]
	var opened []io.Closer
	defer func() {
		for i := len(opened) - 1; err != nil && i >= 0; i-- {
			err = errors.Join(err, opened[i].Close())
		}
	}()
	listener, err := net.Listen("tcp", o.http[i])
	if err != nil {
		return nil, err
	}
	opened = append(opened, listener)
	administration, err := net.Listen("tcp", o.admin[i])
	if err != nil {
		return nil, fmt.Errorf("-admin: %w", err)
	}
	opened = append(opened, administration)
	secure, err := o.tls(self.ID)
	if err != nil {
		return nil, err
	}
	transport, err := tcp.Listen(self.Address, tcp.Options{TLS: secure, Logger: o.logger})
	if err != nil {
		return nil, err
	}
	disk, err := wal.Open(filepath.Join(o.data, string(self.ID)), wal.Options{})
	if err != nil {
		return nil, errors.Join(err, transport.Close())
	}
	host, err := shard.Start(shard.Options{
		Self:     shard.Server{ID: self.ID, Address: self.Address, Client: listener.Addr().String()},
		Founders: o.founders(), Shards: o.shards, Replicas: o.replicas, Moves: o.moves,
		Storage: disk, Transport: transport, Group: group, Logger: o.logger,
	})
	if err != nil { // disk and transport are closed: Start owns them
		return nil, err
	}
	return func(ctx context.Context) error { return serveHost(ctx, o, host, listener, administration) }, nil
}

// group says what the group of a shard is made of. There are many of them, so each gets little: a few old
// entries in memory, and on the disk a log of a few MiB.
func group(int) raft.Config {
	return raft.Config{
		Machine: newStore(), SnapshotMinBytes: 4 << 20, TailBytes: 256 << 10,
		MaxSessions: 1024, MaxSessionBytes: 1 << 20,
	}
}

// serveHost answers requests until ctx ends, or the server fails or was taken out. First no more requests are
// taken, then those that are under way come to their end, and then the groups are closed. In this order
// no client is told without need that an outcome is unknown.
func serveHost(ctx context.Context, o options, host *shard.Host, listener, administration net.Listener) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	limits := httpapi.Options{Timeout: o.timeout, MaxBody: maxBody, Drain: o.drain}
	s := &service{host: host, api: httpapi.New(host.TableNode(), limits), options: limits, client: newClient()}
	defer s.client.CloseIdleConnections()
	go func() {
		defer stop()
		select {
		case <-host.Left():
		case <-host.Done():
		case <-ctx.Done():
		}
	}()
	doors := &http.Server{Handler: host.Administration(limits), ReadTimeout: o.timeout}
	administered := make(chan error, 1)
	go func() { administered <- doors.Serve(administration) }()
	err := s.api.Serve(ctx, listener, s.routes())
	patience, cancel := context.WithTimeout(context.Background(), o.timeout)
	defer cancel()
	err = errors.Join(err, doors.Shutdown(patience))
	if failed := <-administered; !errors.Is(failed, http.ErrServerClosed) {
		err = errors.Join(err, failed)
	}
	err = errors.Join(err, host.Err())
	patience, cancel = context.WithTimeout(context.Background(), 2*o.timeout)
	defer cancel()
	return errors.Join(err, host.Close(patience))
}

// tls returns what the server proves itself with to the others, and checks them by. It is nil without TLS.
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
