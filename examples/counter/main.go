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
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
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
	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wal"
)

// maxBody bounds the body of a request, in bytes.
const maxBody = 64 << 10

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
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, len(o.run)+1)
	started := 0
	defer func() {
		stop()
		for range started {
			err = errors.Join(err, <-ended)
		}
	}()
	background := func(f func(context.Context) error) {
		started++
		go func() {
			defer stop() // the end of one server is the end of all
			ended <- f(ctx)
		}()
	}
	var servers []*httpapi.API
	for i, self := range o.run {
		api, serve, err := start(o, i)
		if err != nil {
			return fmt.Errorf("server %s: %w", self.ID, err)
		}
		servers = append(servers, api)
		background(serve)
	}
	background(func(ctx context.Context) error { return notify(ctx, servers) })
	first, last := o.http[0], o.http[len(o.http)-1]
	if _, err := fmt.Fprintf(out, `Data: %s
Try:  curl -d '{"add": 5}' http://%s/counter
      curl http://%s/counter
      curl http://%s/status
Ctrl-C ends it.
`, o.data, first, last, first); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// start starts one of the servers that run here. It returns a function that answers requests until a
// context ends or the server fails, and then shuts the server down.
func start(o options, i int) (api *httpapi.API, serve func(context.Context) error, err error) {
	self := o.run[i]
	listener, err := net.Listen("tcp", o.http[i])
	if err != nil {
		return nil, nil, err
	}
	secure, err := o.tls(self.ID)
	if err != nil {
		return nil, nil, errors.Join(err, listener.Close())
	}
	transport, err := tcp.Listen(cmp.Or(o.listen, self.Address), tcp.Options{TLS: secure})
	if err != nil {
		return nil, nil, errors.Join(err, listener.Close())
	}
	dir := filepath.Join(o.data, string(self.ID))
	store, err := wal.Open(dir, wal.Options{})
	if err != nil {
		return nil, nil, errors.Join(err, transport.Close(), listener.Close())
	}
	machine := &counter{}
	config := raft.Config{ID: self.ID, Address: self.Address, Machine: machine, Storage: store, Transport: transport}
	if !o.join {
		config.Bootstrap = o.cluster
	}
	if o.moved {
		config.Moved = o.cluster
	}
	if o.from != "" {
		config.BootstrapFrom = func() (io.ReadCloser, error) { return os.Open(o.from) }
	}
	node, err := raft.Start(config)
	if err != nil { // store and transport are closed: Start owns them
		return nil, nil, errors.Join(err, listener.Close())
	}
	if err := checkAddress(node, self); err != nil && !o.moved {
		return nil, nil, errors.Join(err, node.Close(context.Background()), listener.Close())
	}
	administration, err := o.administer(node, i, secure)
	if err != nil {
		return nil, nil, errors.Join(err, node.Close(context.Background()), listener.Close())
	}
	api = httpapi.New(node, httpapi.Options{Timeout: o.timeout, MaxBody: maxBody, Drain: o.drain})
	s := &service{api, node, machine}
	return api, func(ctx context.Context) error {
		return errors.Join(api.Serve(ctx, listener, s.routes()), administration())
	}, nil
}

// administer serves the administration of a server (command raft), if -admin says where. It returns a
// function that ends that. It never is on the listener of the service: whoever can use the service
// could then take the cluster apart. With certificates, whoever has one of the authority may use it.
func (o *options) administer(node *raft.Node, i int, secure *tls.Config) (stop func() error, err error) {
	if len(o.admin) == 0 {
		return func() error { return nil }, nil
	}
	if secure != nil {
		secure = secure.Clone()
		secure.ClientAuth, secure.ClientCAs = tls.RequireAndVerifyClientCert, secure.RootCAs
	}
	server, err := admin.Listen(node, o.admin[i], secure, nil)
	if err != nil {
		return nil, fmt.Errorf("-admin: %w", err)
	}
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), o.timeout)
		defer cancel()
		return server.Close(ctx)
	}, nil
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
