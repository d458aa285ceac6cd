package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// A Mode says where the logs and the messages go.
type Mode string

// Modes of a run.
const (
	onDisk   Mode = "disk"   // logs in files that are synced, messages over loopback TCP
	inMemory Mode = "memory" // both stay in memory
)

// Limits of a run.
const (
	maxClients = 1 << 16
	minPayload = commandHeader
	maxPayload = 1 << 20
	maxServers = 7
)

// A Peer is a library that can be measured.
type Peer interface {
	// Name is what -peers and the results call it.
	Name() string
	// Modes are the modes it can run in.
	Modes() []Mode
	// Settings says with which versions and settings it runs, and why with these.
	Settings(Mode) string
	// Lacks says why it can't do something that a cell needs; "" when it can.
	Lacks(Ability) string
	// New returns a cluster none of whose servers runs yet.
	New(Options) (Cluster, error)
}

// An Ability is what a cell needs of a peer beyond proposals at a leader.
type Ability string

// Abilities.
const (
	reads     Ability = "linearizable reads"
	restarts  Ability = "restarts on its files"
	elections Ability = "elections"
	snapshots Ability = "snapshots"
	stalling  Ability = "files whose syncs can be held up"
)

// Options are what a cluster is made of.
type Options struct {
	Mode     Mode
	Dir      string // for the files; a server that finds its own there goes on with them
	Clients  int    // clients are numbered from 0, at each server
	Election time.Duration
	// Addresses are where the servers listen, in mode disk. Not all of them need run in this process.
	Addresses []string
	// Machines are the state machines of the servers. Each applies the commands of one server.
	Machines []*Machine
	// Snapshots says that servers are asked for snapshots.
	Snapshots bool
	// Compacts says that a library which takes snapshots by itself, and forgets the log before them, may do so as it does by
	// default. Otherwise it keeps all of the log.
	Compacts bool
	// Stalls hold up the syncs of each server, in the cells that do so; nil in the others.
	Stalls []*stall `json:"-"`
}

// servers is how many servers the cluster has.
func (o Options) servers() int { return len(o.Machines) }

// stall is what holds up the syncs of a server; nil for nothing.
func (o Options) stall(server int) *stall {
	if o.Stalls == nil {
		return nil
	}
	return o.Stalls[server]
}

// A Cluster is what the servers of this process share.
type Cluster interface {
	// Start starts a server. The servers are started in order, and stopped before the cluster is closed.
	Start(server int) (Server, error)
	// Syncs counts the syncs of log files so far over all servers; false when they can't be counted.
	Syncs() (uint64, bool)
	// Close ends what belongs to no server.
	Close() error
}

// A Server is a server that runs.
type Server interface {
	// Leads says whether it leads, as far as it knows.
	Leads() bool
	// Propose proposes a command at this server, which leads, and returns the result of its application here.
	// The command is the caller's again when it returns: a library that keeps it is given a copy.
	// Each client calls it from one goroutine, and makes no other call meanwhile.
	Propose(ctx context.Context, client int, command []byte) (uint64, error)
	// Read returns when the state machine here shows all that was acknowledged before the call.
	Read(ctx context.Context, client int) error
	// Snapshot takes a snapshot, keeps it in place of the log, and returns when that is durable; or at once when there is nothing new
	// in the state machine.
	Snapshot(ctx context.Context) error
	// HandOver is what is done before a leader is closed: as a rule it makes another server the leader.
	HandOver(ctx context.Context) error
	// Close stops the server. No command is applied after it has returned.
	Close() error
}

// allPeers are the peers in the order of the tables.
func allPeers() []Peer {
	return []Peer{
		raftPeer{},
		hashicorpBolt,
		hashicorpWAL,
		hashicorpMemory,
		etcdYielding,
		etcdPlain,
		dragonboatPebble,
		dragonboatTan,
		floorPeer{},
	}
}

// floorName names the skeleton that does the work without Raft. It is a bound, and no peer to be compared with.
const floorName = "floor"

// peerNames returns the names of all peers.
func peerNames() []string {
	var names []string
	for _, p := range allPeers() {
		names = append(names, p.Name())
	}
	return names
}

// selectPeers returns the peers that a list names, or all.
func selectPeers(list string) ([]Peer, error) {
	if list == "all" {
		return allPeers(), nil
	}
	var found []Peer
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(allPeers(), func(p Peer) bool { return p.Name() == name })
		if i < 0 {
			return nil, fmt.Errorf("no peer %q; there are %s", name, strings.Join(peerNames(), ", "))
		}
		if slices.ContainsFunc(found, func(f Peer) bool { return f.Name() == name }) {
			return nil, fmt.Errorf("peer %q is named twice", name)
		}
		found = append(found, allPeers()[i])
	}
	return found, nil
}

// inMode returns those of the peers that run in a mode.
func inMode(peers []Peer, mode Mode) []Peer {
	return slices.DeleteFunc(slices.Clone(peers), func(p Peer) bool { return !slices.Contains(p.Modes(), mode) })
}

// describe prints the settings of the peers.
func describe(w io.Writer, peers []Peer, mode Mode) error {
	for _, p := range peers {
		if _, err := fmt.Fprintf(w, "%s (%s)\n    %s\n", p.Name(), mode, strings.ReplaceAll(p.Settings(mode), "\n", "\n    ")); err != nil {
			return err
		}
	}
	return nil
}
