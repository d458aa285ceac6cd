package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// A Mode says where the logs are kept and how messages travel.
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
	minGroups  = 3 // so that more than one server may lead
	maxGroups  = 1_000_000
)

// A Peer is a library that can be measured.
type Peer interface {
	// Name is the peer's name in -peers and in the results.
	Name() string
	// Modes returns the modes in which the peer can run.
	Modes() []Mode
	// Settings names the versions and settings with which the peer runs, and the reasons for them.
	Settings(Mode) string
	// Lacks returns the reason why the peer hasn't an ability that a cell needs; "" when it has it.
	Lacks(Ability) string
	// New returns a cluster in which no server runs yet.
	New(Options) (Cluster, error)
}

// An Ability is something that a cell needs of a peer beyond proposals at a leader.
type Ability string

// Abilities.
const (
	reads     Ability = "linearizable reads"
	restarts  Ability = "restarts on its files"
	elections Ability = "elections"
	snapshots Ability = "snapshots"
	stalling  Ability = "files whose syncs can be held up"
	hosting   Ability = "many groups in one process"
)

// Options describe a cluster and its surroundings.
type Options struct {
	Mode     Mode
	Dir      string // for the files; a server that finds files of its own there goes on with them
	Clients  int    // the clients of a server have the numbers from 0 to Clients-1
	Election time.Duration
	// Addresses are the addresses at which the servers listen in mode disk. Some of the servers may
	// run in other processes.
	Addresses []string
	// Machines are the state machines: one for each server, which applies its commands to it.
	Machines []*Machine
	// Snapshots says that the run asks servers for snapshots.
	Snapshots bool
	// Compacts says that a library which takes snapshots by itself, and forgets the log before
	// them, may do so as it does by default. If it is false, the library keeps all of the log.
	Compacts bool
	// Stalls has a stall for each server in the cells that hold up syncs; it is nil in the others.
	Stalls []*stall `json:"-"`
}

// servers returns how many servers the cluster has.
func (o Options) servers() int { return len(o.Machines) }

// stall returns the stall of a server, or nil where nothing holds up its syncs.
func (o Options) stall(server int) *stall {
	if o.Stalls == nil {
		return nil
	}
	return o.Stalls[server]
}

// A Cluster is what the servers in this process share.
type Cluster interface {
	// Start starts a server. The servers are started in order, and are stopped before the cluster
	// is closed.
	Start(server int) (Server, error)
	// Syncs returns how many times log files were synced so far, over all servers, and false when
	// that can't be counted.
	Syncs() (uint64, bool)
	// Close releases what the servers shared.
	Close() error
}

// A Server is a running server of a peer.
type Server interface {
	// Leads says whether this server leads, as far as it knows.
	Leads() bool
	// Propose proposes a command at this server, which leads, and returns the result of its
	// application here. The caller may change the command as soon as Propose has returned: a
	// library that keeps the command is given a copy. Each client calls Propose from one goroutine,
	// and makes no other call meanwhile.
	Propose(ctx context.Context, client int, command []byte) (uint64, error)
	// Read returns when the state machine of this server shows everything that was acknowledged
	// before the call.
	Read(ctx context.Context, client int) error
	// Snapshot takes a snapshot that replaces the log before it, and returns when the snapshot is
	// durable. It returns at once when the state machine has applied nothing since the last one.
	Snapshot(ctx context.Context) error
	// HandOver does what the library's users do before they close a leader: as a rule it makes
	// another server the leader.
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

// floorName is the name of the floor: a skeleton that does the same work without Raft. It is a
// bound for the peers, and none of those that are compared.
const floorName = "floor"

// peerNames returns the names of all peers.
func peerNames() []string {
	var names []string
	for _, p := range allPeers() {
		names = append(names, p.Name())
	}
	return names
}

// selectPeers returns the peers that a list names, or all peers.
func selectPeers(list string) ([]Peer, error) {
	if list == "all" {
		return allPeers(), nil
	}
	var found []Peer
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(allPeers(), func(p Peer) bool { return p.Name() == name })
		if i < 0 {
			return nil, fmt.Errorf("no peer %q: the peers are %s", name, strings.Join(peerNames(), ", "))
		}
		if slices.ContainsFunc(found, func(f Peer) bool { return f.Name() == name }) {
			return nil, fmt.Errorf("peer %q is named twice", name)
		}
		found = append(found, allPeers()[i])
	}
	return found, nil
}

// inMode returns the peers that run in a mode.
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
