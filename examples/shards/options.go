package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/shards/shard"
)

// options are the values of the flags.
type options struct {
	cluster  []raft.Server // all servers that found the store, or the one that joins it
	run      []raft.Server // those that run in this process
	http     []string      // the HTTP address of each of these
	admin    []string      // where the administration of each of these is served
	join     bool          // wait to be added to a store, instead of founding one
	data     string        // the folder that has a folder for each server
	certs    string        // the folder of the certificates; "" for no TLS
	shards   int
	replicas int
	moves    int
	timeout  time.Duration // for one request
	drain    time.Duration // how long requests are taken after the servers have said that they stop
	logger   *slog.Logger
}

// founders returns the servers that found the store; nil for a server that joins one.
func (o *options) founders() []raft.Server {
	if o.join {
		return nil
	}
	return o.cluster
}

// parseOptions reads the command line. It writes problems of the flags to out, and returns them as
// an error too.
func parseOptions(args []string, out io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("shards", flag.ContinueOnError)
	flags.SetOutput(out)
	id := flags.String("id", "", "run only this server, instead of all")
	peers := flags.String("peers", "a=127.0.0.1:7001,b=127.0.0.1:7002,c=127.0.0.1:7003", "the servers that found the store, or the one that joins it: `id=host:port,...`")
	flags.BoolVar(&o.join, "join", false, "wait to be added to a store, instead of founding one")
	web := flags.String("http", "", "an HTTP address for each server that is run, at which the others find it, too: `host:port,...` (default: ports 8080, 8081, ... of 127.0.0.1)")
	administration := flags.String("admin", "", "a loopback address for the administration of each server that is run: `host:port,...` (default: ports 9080, 9081, ... of 127.0.0.1)")
	flags.StringVar(&o.data, "data", "", "the `folder` for the data, with one subfolder per server (default: raft-shards in the user's cache folder)")
	flags.StringVar(&o.certs, "certs", "", "speak TLS between servers: the `folder` with ca.pem, and ID.pem and ID-key.pem of each server that is run")
	flags.IntVar(&o.shards, "shards", 1000, "how many shards the store is founded with")
	flags.IntVar(&o.replicas, "replicas", 3, "how many servers have each shard")
	flags.IntVar(&o.moves, "moves", 16, "how many shards move at a time")
	flags.DurationVar(&o.timeout, "timeout", 3*time.Second, "how long a request may take")
	flags.DurationVar(&o.drain, "drain", 0, "how long a server that stops still takes requests, after it has said that it isn't ready")
	level := slog.LevelWarn // what one group does all day is no news where there are a thousand
	flags.TextVar(&level, "log", level, "the lowest `level` of what is logged: debug, info, warn or error")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	o.logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	if o.cluster, err = parsePeers(*peers); err != nil {
		return o, err
	}
	if err := o.check(); err != nil {
		return o, err
	}
	for i, server := range o.cluster {
		if *id == "" || *id == string(server.ID) {
			o.run = append(o.run, server)
			o.http = append(o.http, fmt.Sprintf("127.0.0.1:%d", 8080+i))
			o.admin = append(o.admin, fmt.Sprintf("127.0.0.1:%d", 9080+i))
		}
	}
	if len(o.run) == 0 {
		return o, fmt.Errorf("-id %q is not among -peers %s", *id, *peers)
	}
	if o.http, err = addresses("-http", *web, o.http); err != nil {
		return o, err
	}
	if o.admin, err = addresses("-admin", *administration, o.admin); err != nil {
		return o, err
	}
	for _, address := range o.admin {
		if host, _, _ := net.SplitHostPort(address); host != "localhost" && !net.ParseIP(host).IsLoopback() {
			return o, fmt.Errorf("-admin %s: whoever reaches it can take the store apart, so it must be a loopback address", address)
		}
	}
	if o.data == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return o, fmt.Errorf("no default folder for the data, name one with -data: %w", err)
		}
		o.data = filepath.Join(cache, "raft-shards")
	}
	return o, nil
}

// check says which flags make no sense, alone or together.
func (o *options) check() error {
	switch {
	case o.timeout <= 0:
		return fmt.Errorf("-timeout %v: must be positive", o.timeout)
	case o.drain < 0:
		return fmt.Errorf("-drain %v: must not be negative", o.drain)
	case o.shards < 1 || o.shards > shard.MaxShards:
		return fmt.Errorf("-shards %d: must be from 1 to %d", o.shards, shard.MaxShards)
	case o.moves < 1:
		return fmt.Errorf("-moves %d: must be positive", o.moves)
	case o.replicas < 1 || !o.join && o.replicas > len(o.cluster):
		return fmt.Errorf("-replicas %d: must be from 1 to the number of servers, %d", o.replicas, len(o.cluster))
	case o.join && len(o.cluster) != 1:
		return errors.New("-join is for one server: -peers has that one alone")
	}
	return nil
}

// addresses reads a list of addresses, as many as there are defaults.
func addresses(name, list string, defaults []string) ([]string, error) {
	if list == "" {
		return defaults, nil
	}
	given := strings.Split(list, ",")
	if len(given) != len(defaults) {
		return nil, fmt.Errorf("%s %s: the number of addresses must be %d, not %d", name, list, len(defaults), len(given))
	}
	for _, address := range given {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			return nil, fmt.Errorf("%s %s: the other servers find this one there, so it must name a host", name, address)
		}
	}
	return given, nil
}

// parsePeers reads "a=host:port,b=host:port". An ID must also do as the name of a folder.
func parsePeers(peers string) ([]raft.Server, error) {
	var servers []raft.Server
	for peer := range strings.SplitSeq(peers, ",") {
		id, address, found := strings.Cut(peer, "=")
		if !found || !filepath.IsLocal(id) || filepath.Base(id) != id || id == "." {
			return nil, fmt.Errorf("-peers: %q is not id=host:port", peer)
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			return nil, fmt.Errorf("server %s: %w", id, err)
		}
		servers = append(servers, raft.Server{ID: raft.ServerID(id), Address: address})
	}
	return servers, nil
}
