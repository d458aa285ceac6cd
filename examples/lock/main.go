// Lock is a distributed lock with fencing tokens: a service on top of package raft, written to be
// copied.
//
// Without flags it runs three servers and a store that the locks guard, in one process. With -id it
// runs one server of a cluster; with the word store, the store alone; with -acquire, a command while
// it holds a lock:
//
//	go run ./examples/lock
//	go run ./examples/lock -id a -peers a=127.0.0.1:7101,b=127.0.0.1:7102,c=127.0.0.1:7103 -http 127.0.0.1:8180 -data DIR
//	go run ./examples/lock store -http 127.0.0.1:8190 -data DIR
//	go run ./examples/lock -acquire name -- command arguments
//
// The state machine is in machine.go and state.go, its commands are in commands.go, and the
// measuring of leases is in expiry.go. service.go has the routes, and store.go the guarded store.
// This file puts them together, options.go reads the flags, and command.go holds a lock for a
// command. Package client is for programs that use locks.
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
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/admin"
	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wal/vfs"
)

// maxBody bounds the body of a request, in bytes.
const maxBody = 64 << 10

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := run(ctx, os.Args[1:], os.Stdout)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	if failed, ok := errors.AsType[*exec.ExitError](err); ok && failed.Exited() {
		os.Exit(failed.ExitCode()) // the command has said what is wrong
	}
	fmt.Fprintln(os.Stderr, "lock:", err)
	os.Exit(1)
}

// run does what the arguments say, until ctx ends or something fails.
func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 0 && args[0] == "store" {
		return runStore(ctx, args[1:], out)
	}
	o, err := parseOptions(args, out)
	if err != nil {
		return err
	}
	if o.acquire != "" {
		return runCommand(ctx, o)
	}
	return runServers(ctx, o, out)
}

// runServers runs servers, and the store if there is one, until ctx ends or one of them fails.
func runServers(ctx context.Context, o options, out io.Writer) (err error) {
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, len(o.run)+1)
	started := 0
	defer func() {
		stop()
		for range started {
			err = errors.Join(err, <-ended)
		}
	}()
	begin := func(serve func(context.Context) error) {
		started++
		go func() {
			defer stop() // the end of one is the end of all
			ended <- serve(ctx)
		}()
	}
	for i, self := range o.run {
		serve, err := start(o, i)
		if err != nil {
			return fmt.Errorf("server %s: %w", self.ID, err)
		}
		begin(serve)
	}
	if o.store != "" {
		serve, _, err := startStore(o.store, filepath.Join(o.data, "store"))
		if err != nil {
			return err
		}
		begin(serve)
	}
	first, last := o.http[0], o.http[len(o.http)-1]
	if _, err := fmt.Fprintf(out, `Data: %s
Try:  curl -d '{"owner": "me", "lease_ms": 60000}' http://%s/locks/door/acquire
      curl http://%s/locks/door
`, o.data, first, last); err != nil {
		return err
	}
	if o.store != "" {
		if _, err := fmt.Fprintf(out, `      curl -X PUT -d '{"token": TOKEN, "value": "hello"}' http://%s/store/greeting
`, o.store); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(out, "Ctrl-C ends it."); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// start starts one of the servers that run here. It returns a function that answers requests until a
// context ends or the server fails, and then shuts the server down.
func start(o options, i int) (serve func(context.Context) error, err error) {
	self := o.run[i]
	listener, err := net.Listen("tcp", o.http[i])
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
	store, err := wal.Open(filepath.Join(o.data, string(self.ID)), wal.Options{})
	if err != nil {
		return nil, errors.Join(err, transport.Close(), listener.Close())
	}
	machine := newMachine()
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
	administration, err := o.administer(node, i, secure)
	if err != nil {
		return nil, errors.Join(err, node.Close(context.Background()), listener.Close())
	}
	api := httpapi.New(node, httpapi.Options{Timeout: o.timeout, MaxBody: maxBody})
	s := &service{api, node, machine, o.timeout}
	return func(ctx context.Context) error {
		// Leases are measured until the node ends, and so until after the last request.
		measuring, stop := context.WithCancel(context.WithoutCancel(ctx))
		measured := make(chan struct{})
		go func() {
			defer close(measured)
			expireClaims(measuring, node, machine)
		}()
		err := api.Serve(ctx, listener, s.routes())
		stop()
		<-measured
		return errors.Join(err, administration())
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

// runStore runs the store alone.
func runStore(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("lock store", flag.ContinueOnError)
	flags.SetOutput(out)
	web := flags.String("http", "127.0.0.1:8190", "the HTTP address, `host:port`")
	data := flags.String("data", "", "the `folder` for the data (default: raft-lock/store in the user's cache folder)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	if *data == "" {
		folder, err := defaultData()
		if err != nil {
			return err
		}
		*data = filepath.Join(folder, "store")
	}
	serve, address, err := startStore(*web, *data)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "Data: %s\nThe store is at http://%s/store/KEY. Ctrl-C ends it.\n", *data, address); err != nil {
		return err
	}
	return serve(ctx)
}

// startStore opens a store and a listener. It returns a function that answers requests until a
// context ends, and then lets those under way come to their end.
func startStore(web, dir string) (serve func(context.Context) error, address net.Addr, err error) {
	listener, err := net.Listen("tcp", web)
	if err != nil {
		return nil, nil, fmt.Errorf("store: %w", err)
	}
	s, err := openStore(vfs.OS, dir)
	if err != nil {
		return nil, nil, errors.Join(err, listener.Close())
	}
	server := &http.Server{Handler: s.routes(), ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: maxBody}
	return func(ctx context.Context) error {
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		var failure error
		select {
		case <-ctx.Done():
		case failure = <-served:
		}
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return errors.Join(failure, server.Shutdown(patience), s.close())
	}, listener.Addr(), nil
}
