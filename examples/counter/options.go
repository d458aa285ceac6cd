package main

import (
	"cmp"
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
)

// options are the values of the flags.
type options struct {
	cluster []raft.Server // all servers
	run     []raft.Server // those that run in this process
	http    []string      // the HTTP address of each of these
	admin   []string      // where the administration of each of these is served; empty for nowhere
	moved   bool          // the servers are where the flags say, whatever the log says
	listen  string        // where the one server that is run listens for the others; "" for its address
	join    bool          // wait to be added to a cluster, instead of founding one
	data    string        // the folder that has a folder for each server
	from    string        // the file with the exported state to found the cluster with; "" for none
	certs   string        // the folder of the certificates; "" for no TLS
	timeout time.Duration // for one request
	drain   time.Duration // how long requests are taken after the servers have said that they stop
}

// parseOptions reads the command line. It writes problems of the flags to out, and returns them as
// an error too.
func parseOptions(args []string, out io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("counter", flag.ContinueOnError)
	flags.SetOutput(out)
	id := flags.String("id", "", "run only this server, instead of all")
	peers := flags.String("peers", "", "all servers of the cluster, `id=host:port,...` (default: those of -raft)")
	addresses := flags.String("raft", "", "instead of -peers: `host:port,...` of servers a, b and c (default: ports 7001, 7002 and 7003 of 127.0.0.1)")
	flags.BoolVar(&o.join, "join", false, "wait to be added to a cluster, instead of founding one")
	flags.BoolVar(&o.moved, "moved", false, "the servers have moved to the addresses of -peers, whatever the log says (docs/moving.md)")
	web := flags.String("http", "", "an HTTP address for each server that is run, `host:port,...` (default: ports 8080, 8081, ... of 127.0.0.1)")
	administration := flags.String("admin", "", "serve the administration of each server that is run (command raft), at `unix:PATH,...`, at loopback addresses, or with -certs at any (default: nowhere)")
	flags.StringVar(&o.listen, "listen", "", "with -id: the `host:port` at which the server listens for the others (default: the one in -peers, at which they find it)")
	flags.StringVar(&o.data, "data", "", "the `folder` for the data, with one subfolder per server (default: raft-counter in the user's cache folder)")
	flags.StringVar(&o.from, "from", "", "found the cluster with the state in this exported `file` (raft export)")
	flags.StringVar(&o.certs, "certs", "", "speak TLS between servers: the `folder` with ca.pem, and ID.pem and ID-key.pem of each server that is run")
	flags.DurationVar(&o.timeout, "timeout", 3*time.Second, "how long a request may take")
	flags.DurationVar(&o.drain, "drain", 0, "how long a server that stops still takes requests, after it has said that it isn't ready")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	if err := o.check(*id, *peers, *addresses); err != nil {
		return o, err
	}
	if *peers == "" {
		if *peers, err = nameServers(cmp.Or(*addresses, "127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003")); err != nil {
			return o, err
		}
	}
	if o.cluster, err = parsePeers(*peers); err != nil {
		return o, err
	}
	var ports []string
	for i, server := range o.cluster {
		if *id == "" || *id == string(server.ID) {
			o.run = append(o.run, server)
			ports = append(ports, fmt.Sprintf("127.0.0.1:%d", 8080+i))
		}
	}
	if len(o.run) == 0 {
		return o, fmt.Errorf("-id %q is not among -peers %s", *id, *peers)
	}
	if o.http = ports; *web != "" {
		o.http = strings.Split(*web, ",")
	}
	if len(o.http) != len(o.run) {
		return o, fmt.Errorf("-http %s: the number of addresses must be %d, not %d", *web, len(o.run), len(o.http))
	}
	if *administration != "" {
		o.admin = strings.Split(*administration, ",")
	}
	if len(o.admin) > 0 && len(o.admin) != len(o.run) {
		return o, fmt.Errorf("-admin %s: the number of addresses must be %d, not %d", *administration, len(o.run), len(o.admin))
	}
	if o.data == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return o, fmt.Errorf("no default folder for the data, name one with -data: %w", err)
		}
		o.data = filepath.Join(cache, "raft-counter")
	}
	return o, nil
}

// check says which flags make no sense, alone or together.
func (o *options) check(id, peers, addresses string) error {
	if o.timeout <= 0 {
		return fmt.Errorf("-timeout %v: must be positive", o.timeout)
	}
	if o.from != "" && o.join {
		return errors.New("-from and -join exclude each other: who joins gets the state from the others")
	}
	if o.drain < 0 {
		return fmt.Errorf("-drain %v: must not be negative", o.drain)
	}
	if o.listen != "" && id == "" {
		return errors.New("-listen is for one server: name it with -id")
	}
	if peers != "" && addresses != "" {
		return errors.New("-peers and -raft exclude each other")
	}
	return nil
}

// nameServers gives three addresses the names a, b and c, in the form of -peers.
func nameServers(addresses string) (peers string, err error) {
	list := strings.Split(addresses, ",")
	if len(list) != 3 {
		return "", fmt.Errorf("-raft %s: the number of addresses must be 3, not %d", addresses, len(list))
	}
	return fmt.Sprintf("a=%s,b=%s,c=%s", list[0], list[1], list[2]), nil
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
