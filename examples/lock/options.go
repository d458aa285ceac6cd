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
	store   string        // the HTTP address of the store; "" for no store
	join    bool          // wait to be added to a cluster, instead of founding one
	data    string        // the folder that has a folder for each server, and one for the store
	certs   string        // the folder of the certificates; "" for no TLS
	timeout time.Duration // for a request that doesn't wait for a lock

	acquire string        // the lock to hold while a command runs; "" to run servers
	command []string      // the command
	servers []string      // the HTTP addresses of the servers to ask
	owner   string        // "" for one that nobody else has
	lease   time.Duration // of the lock
	wait    time.Duration // for how long to wait for the lock; 0 for ever
	grace   time.Duration // for how long the command may run on when the lease may be over
}

// defaultServers are the HTTP addresses of the servers that run without flags.
const defaultServers = "127.0.0.1:8180,127.0.0.1:8181,127.0.0.1:8182"

// parseOptions reads the command line. It writes problems of the flags to out, and returns them as
// an error too.
func parseOptions(args []string, out io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("lock", flag.ContinueOnError)
	flags.SetOutput(out)
	id := flags.String("id", "", "run only this server, instead of all")
	peers := flags.String("peers", "", "all servers of the cluster, `id=host:port,...` (default: those of -raft)")
	addresses := flags.String("raft", "", "instead of -peers: `host:port,...` of servers a, b and c (default: ports 7101, 7102 and 7103 of 127.0.0.1)")
	flags.BoolVar(&o.join, "join", false, "wait to be added to a cluster, instead of founding one")
	web := flags.String("http", "", "an HTTP address for each server that is run, `host:port,...` (default: ports 8180, 8181, ... of 127.0.0.1)")
	flags.StringVar(&o.store, "store", "", "run the guarded store too, at this HTTP address, `host:port` (default: 127.0.0.1:8190 if all servers are run)")
	administration := flags.String("admin", "", "serve the administration of each server that is run (command raft), at `unix:PATH,...`, at loopback addresses, or with -certs at any (default: nowhere)")
	flags.StringVar(&o.data, "data", "", "the `folder` for the data, with one subfolder per server (default: raft-lock in the user's cache folder)")
	flags.StringVar(&o.certs, "certs", "", "speak TLS between servers: the `folder` with ca.pem, and ID.pem and ID-key.pem of each server that is run")
	flags.DurationVar(&o.timeout, "timeout", 3*time.Second, "how long a request may take that doesn't wait for a lock")
	flags.StringVar(&o.acquire, "acquire", "", "run no server, but a command while this lock is held: -acquire `name` -- command arguments")
	servers := flags.String("servers", defaultServers, "with -acquire: the HTTP addresses of the servers, `host:port,...`")
	flags.StringVar(&o.owner, "owner", "", "with -acquire: how others see who holds the lock; something is added that makes it unique (default: the names of host and command)")
	flags.DurationVar(&o.lease, "lease", defaultLease, "with -acquire: the lease of the lock")
	flags.DurationVar(&o.wait, "wait", 0, "with -acquire: for how long to wait for the lock (0: for ever)")
	flags.DurationVar(&o.grace, "grace", 2*time.Second, "with -acquire: how long the command has to end when the lease may be over, before it is killed")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.acquire != "" {
		o.command, o.servers = flags.Args(), strings.Split(*servers, ",")
		return o, o.checkCommand()
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	if o.timeout <= 0 {
		return o, fmt.Errorf("-timeout %v: must be positive", o.timeout)
	}
	if *peers != "" && *addresses != "" {
		return o, errors.New("-peers and -raft exclude each other")
	}
	if *peers == "" {
		if *peers, err = nameServers(cmp.Or(*addresses, "127.0.0.1:7101,127.0.0.1:7102,127.0.0.1:7103")); err != nil {
			return o, err
		}
	}
	if o.cluster, err = parsePeers(*peers); err != nil {
		return o, err
	}
	if *administration != "" {
		o.admin = strings.Split(*administration, ",")
	}
	return o, o.choose(*id, *peers, *web)
}

// checkCommand says what is wrong with the flags that belong to -acquire.
func (o *options) checkCommand() error {
	switch {
	case len(o.command) == 0:
		return errors.New("-acquire: no command, as in: -acquire name -- command arguments")
	case o.lease < minLease || o.lease > maxLease:
		return fmt.Errorf("-lease %v: must be from %v to %v", o.lease, minLease, maxLease)
	case o.wait < 0:
		return fmt.Errorf("-wait %v: must not be negative", o.wait)
	case o.grace < 0:
		return fmt.Errorf("-grace %v: must not be negative", o.grace)
	}
	return checkName("-acquire: the name of the lock", o.acquire)
}

// choose decides which servers run in this process, and where they answer requests and keep their
// data.
func (o *options) choose(id, peers, web string) (err error) {
	var ports []string
	for i, server := range o.cluster {
		if id == "" || id == string(server.ID) {
			o.run = append(o.run, server)
			ports = append(ports, fmt.Sprintf("127.0.0.1:%d", 8180+i))
		}
	}
	if len(o.run) == 0 {
		return fmt.Errorf("-id %q is not among -peers %s", id, peers)
	}
	if o.http = ports; web != "" {
		o.http = strings.Split(web, ",")
	}
	if len(o.http) != len(o.run) {
		return fmt.Errorf("-http %s: the number of addresses must be %d, not %d", web, len(o.run), len(o.http))
	}
	if len(o.admin) > 0 && len(o.admin) != len(o.run) {
		return fmt.Errorf("-admin %s: the number of addresses must be %d, not %d", strings.Join(o.admin, ","), len(o.run), len(o.admin))
	}
	if id == "" && !o.join {
		o.store = cmp.Or(o.store, "127.0.0.1:8190")
	}
	if o.data == "" {
		o.data, err = defaultData()
	}
	return err
}

// defaultData returns the folder for the data if the flags name none.
func defaultData() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no default folder for the data, name one with -data: %w", err)
	}
	return filepath.Join(cache, "raft-lock"), nil
}

// nameServers gives three addresses the names a, b and c, in the form of -peers.
func nameServers(addresses string) (peers string, err error) {
	list := strings.Split(addresses, ",")
	if len(list) != 3 {
		return "", fmt.Errorf("-raft %s: the number of addresses must be 3, not %d", addresses, len(list))
	}
	return fmt.Sprintf("a=%s,b=%s,c=%s", list[0], list[1], list[2]), nil
}

// parsePeers reads "a=host:port,b=host:port". An ID must also do as the name of a folder, and not as
// that of the store's.
func parsePeers(peers string) ([]raft.Server, error) {
	var servers []raft.Server
	for peer := range strings.SplitSeq(peers, ",") {
		id, address, found := strings.Cut(peer, "=")
		if !found || !filepath.IsLocal(id) || filepath.Base(id) != id || id == "." || id == "store" {
			return nil, fmt.Errorf("-peers: %q is not id=host:port", peer)
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			return nil, fmt.Errorf("server %s: %w", id, err)
		}
		servers = append(servers, raft.Server{ID: raft.ServerID(id), Address: address})
	}
	return servers, nil
}
