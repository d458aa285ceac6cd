package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/redis/kv"
	"github.com/e17579a5/raft/examples/shards/shard"
)

// defaultFrame is the largest message of package tcp by default, in bytes.
const defaultFrame = 4 << 20

// options are the values of the flags.
type options struct {
	cluster []raft.Server // all servers
	run     []raft.Server // those that run in this process
	listen  []string      // where clients find each of these
	plain   []string      // where clients find each of these that know nothing of Redis Cluster; empty for nowhere
	admin   []string      // where the administration of each of these is served; empty for nowhere
	dir     string        // the folder that has a folder for each server
	store   string        // one of stores
	cache   int64         // kv.PebbleOptions.CacheBytes
	lease   time.Duration // raft.Config.MaxLease
	limits  limits
	shards  int  // how many shards the keys are in; 0 for one group
	join    bool // wait to be added to a store with shards, instead of founding one
}

// parseOptions reads the command line. It writes problems of the flags to out, and returns them as
// an error too.
func parseOptions(args []string, out io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("redis", flag.ContinueOnError)
	flags.SetOutput(out)
	id := flags.String("id", "", "run only this server, instead of all")
	peers := flags.String("peers", "a=127.0.0.1:7101,b=127.0.0.1:7102,c=127.0.0.1:7103", "all servers of the cluster, `id=host:port,...`")
	listen := flags.String("listen", "", "where clients find each server that is run, `host:port,...` (default: ports 6379, 6380, ... of 127.0.0.1)")
	plain := flags.String("plain", "", "with -shards: where clients that know nothing of Redis Cluster find each server that is run, `host:port,...` (default: ports 6479, 6480, ... of 127.0.0.1; nowhere if -listen is given)")
	administration := flags.String("admin", "", "serve the administration of each server that is run (command raft), at `unix:PATH,...` or at loopback addresses (default: nowhere)")
	flags.StringVar(&o.dir, "dir", "", "the `folder` for the data, with one subfolder per server (default: raft-redis in the user's cache folder)")
	flags.StringVar(&o.store, "store", "memory", "where the keys are kept: memory, or pebble, a database in the folder for the data")
	flags.Int64Var(&o.cache, "cache", 64<<20, "how many `bytes` of the keys are kept in memory with -store pebble")
	flags.DurationVar(&o.lease, "lease", 0, "for how long a leader may answer reads without asking the others, which rests on their clocks; at most 1s, 0 for never")
	flags.IntVar(&o.shards, "shards", 0, "spread the keys over so many shards, and be a Redis Cluster; 0 for one group with all keys")
	flags.BoolVar(&o.join, "join", false, "with -shards: wait to be added to a store, instead of founding one")
	flags.IntVar(&o.limits.clients, "max-clients", 10_000, "how many clients may be connected to a server")
	flags.IntVar(&o.limits.request, "max-request", 8<<20, "how many bytes a command, or a transaction, may have; the same on all servers")
	flags.DurationVar(&o.limits.timeout, "timeout", 3*time.Second, "how long commands may take")
	flags.DurationVar(&o.limits.stale, "max-stale", time.Second, "how old the state may be that a client reads after READONLY")
	flags.DurationVar(&o.limits.idle, "idle", 0, "how long a client may be silent; 0 for ever")
	flags.DurationVar(&o.limits.write, "write-timeout", time.Minute, "how long a client may leave its replies unread")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	if err := o.check(); err != nil {
		return o, err
	}
	if o.cluster, err = parsePeers(*peers); err != nil {
		return o, err
	}
	for i, server := range o.cluster {
		if *id == "" || *id == string(server.ID) {
			o.run = append(o.run, server)
			o.listen = append(o.listen, fmt.Sprintf("127.0.0.1:%d", 6379+i))
		}
	}
	if len(o.run) == 0 {
		return o, fmt.Errorf("-id %q is not among -peers %s", *id, *peers)
	}
	if o.shards > 0 && *listen == "" {
		for i := range o.run {
			o.plain = append(o.plain, fmt.Sprintf("127.0.0.1:%d", 6479+i))
		}
	}
	for _, flag := range []struct {
		name, list string
		into       *[]string
	}{{"-listen", *listen, &o.listen}, {"-admin", *administration, &o.admin}, {"-plain", *plain, &o.plain}} {
		if flag.list != "" {
			*flag.into = strings.Split(flag.list, ",")
		}
		if n := len(*flag.into); n > 0 && n != len(o.run) {
			return o, fmt.Errorf("%s %s: the number of addresses must be %d, not %d", flag.name, flag.list, len(o.run), n)
		}
	}
	if err := o.addressShards(); err != nil {
		return o, err
	}
	if o.dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return o, fmt.Errorf("no default folder for the data, name one with -dir: %w", err)
		}
		o.dir = filepath.Join(cache, "raft-redis")
	}
	return o, nil
}

// check refuses limits that are out of their ranges.
func (o *options) check() error {
	l := &o.limits
	switch {
	case l.clients < 1:
		return fmt.Errorf("-max-clients %d: must be positive", l.clients)
	case l.request < 1<<10 || l.request > kv.MaxValue:
		return fmt.Errorf("-max-request %d: must be from %d to %d", l.request, 1<<10, kv.MaxValue)
	case l.timeout <= 0 || l.write <= 0:
		return errors.New("-timeout and -write-timeout must be positive")
	case l.stale < 0 || l.idle < 0:
		return errors.New("-max-stale and -idle must not be negative")
	case o.lease < 0 || o.lease > time.Second:
		return fmt.Errorf("-lease %v: must be from 0 to 1s", o.lease)
	}
	if err := o.checkShards(); err != nil {
		return err
	}
	if o.store != "memory" && o.store != "pebble" {
		return fmt.Errorf("-store %q: must be memory or pebble", o.store)
	}
	if o.cache < 1<<20 {
		return fmt.Errorf("-cache %d: must be at least %d", o.cache, 1<<20)
	}
	return nil
}

// checkShards refuses what there isn't for a store with shards.
func (o *options) checkShards() error {
	switch {
	case o.shards < 0 || o.shards > shard.MaxShards:
		return fmt.Errorf("-shards %d: must be from 0 to %d", o.shards, shard.MaxShards)
	case o.shards > 0 && (o.store != "memory" || o.lease != 0):
		return errors.New("-shards can't be had with -store pebble or with -lease")
	case o.join && o.shards == 0:
		return errors.New("-join is for a store with -shards")
	}
	return nil
}

// addressShards finds out where the administration of a store with shards is served, and checks where its servers
// are found.
func (o *options) addressShards() error {
	switch {
	case o.shards == 0 && len(o.plain) > 0:
		return errors.New("-plain is for a store with -shards")
	case o.shards == 0:
		return nil
	case len(o.admin) == 0:
		for i := range o.run {
			o.admin = append(o.admin, fmt.Sprintf("127.0.0.1:%d", 9379+i))
		}
	}
	for _, address := range o.admin {
		if host, _, _ := net.SplitHostPort(address); host != "localhost" && !net.ParseIP(host).IsLoopback() {
			return fmt.Errorf("-admin %s: with -shards it must be a loopback address", address)
		}
	}
	for _, address := range o.listen {
		host, _, err := net.SplitHostPort(address)
		if ip := net.ParseIP(host); err != nil || host == "" || ip != nil && ip.IsUnspecified() {
			return fmt.Errorf("-listen %s: with -shards clients are sent there from other servers, so it must name a host", address)
		}
	}
	return nil
}

// keysSuffix comes behind a server's ID in the name of the folder for its keys.
const keysSuffix = ".keys"

// keyspace opens the keys of a server. Its log, which has a lock, is opened before.
func (o *options) keyspace(id raft.ServerID) (kv.Keyspace, error) {
	if o.store == "memory" {
		return &kv.Memory{}, nil
	}
	return kv.OpenPebble(filepath.Join(o.dir, string(id)+keysSuffix), kv.PebbleOptions{CacheBytes: o.cache})
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
		if strings.HasSuffix(id, keysSuffix) {
			return nil, fmt.Errorf("-peers: the id %q ends with %s, as the folders for keys do", id, keysSuffix)
		}
		servers = append(servers, raft.Server{ID: raft.ServerID(id), Address: address})
	}
	return servers, nil
}
