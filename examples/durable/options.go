package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/durable/kv"
)

// options are the values of the flags.
type options struct {
	cluster       []raft.Server // all servers
	run           []raft.Server // those that run in this process
	http          []string      // the HTTP address of each of these
	store         string        // the kind of the database
	data          string        // the folder that has a folder for each server
	snapshotBytes int           // of log, between two snapshots; 0 for the library's default
	timeout       time.Duration // for one request
}

// parseOptions reads the command line. It writes problems of the flags to out, and returns them as
// an error too.
func parseOptions(args []string, out io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("durable", flag.ContinueOnError)
	flags.SetOutput(out)
	id := flags.String("id", "", "run only this server, instead of all")
	peers := flags.String("peers", "a=127.0.0.1:7001,b=127.0.0.1:7002,c=127.0.0.1:7003", "all servers of the cluster, `id=host:port,...`")
	web := flags.String("http", "", "an HTTP address for each server that is run, `host:port,...` (default: ports 8080, 8081, ... of 127.0.0.1)")
	flags.StringVar(&o.store, "store", "pebble", "the `kind` of the database: "+strings.Join(kv.Kinds, ", "))
	flags.StringVar(&o.data, "data", "", "the `folder` for the data, with one subfolder per server (default: raft-durable in the user's cache folder)")
	flags.IntVar(&o.snapshotBytes, "snapshot", 0, "take a snapshot after so many `bytes` of log, or four times the size of the last one (default 64 MiB)")
	flags.DurationVar(&o.timeout, "timeout", 3*time.Second, "how long a request may take")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unknown argument %q", flags.Arg(0))
	case o.timeout <= 0:
		return o, fmt.Errorf("-timeout %v: must be positive", o.timeout)
	case o.snapshotBytes < 0:
		return o, fmt.Errorf("-snapshot %d: must not be negative", o.snapshotBytes)
	case !slices.Contains(kv.Kinds, o.store):
		return o, fmt.Errorf("-store %q: must be one of %s", o.store, strings.Join(kv.Kinds, ", "))
	}
	if o.cluster, err = parsePeers(*peers); err != nil {
		return o, err
	}
	for i, server := range o.cluster {
		if *id == "" || *id == string(server.ID) {
			o.run = append(o.run, server)
			o.http = append(o.http, fmt.Sprintf("127.0.0.1:%d", 8080+i))
		}
	}
	if len(o.run) == 0 {
		return o, fmt.Errorf("-id %q is not among -peers %s", *id, *peers)
	}
	if *web != "" {
		o.http = strings.Split(*web, ",")
	}
	if len(o.http) != len(o.run) {
		return o, fmt.Errorf("-http %s: the number of addresses must be %d, not %d", *web, len(o.run), len(o.http))
	}
	if o.data == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return o, errors.Join(errors.New("no default folder for the data, name one with -data"), err)
		}
		o.data = filepath.Join(cache, "raft-durable")
	}
	return o, nil
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
