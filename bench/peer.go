package main

import (
	"context"
	"errors"
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
	disk   Mode = "disk"   // logs in files that are synced, messages over loopback TCP
	memory Mode = "memory" // both stay in memory
)

// servers is the size of the clusters.
const servers = 3

// Limits of a run.
const (
	maxClients = 1 << 16
	minPayload = commandHeader
	maxPayload = 1 << 20
)

// A Peer is a library that can be measured.
type Peer interface {
	// Name is what -peers and the results call it.
	Name() string
	// Modes are the modes it can run in.
	Modes() []Mode
	// Settings says with which versions and settings it runs, and why with these.
	Settings(Mode) string
	// Start starts a cluster of three servers and returns when it has a leader.
	Start(context.Context, Options) (Cluster, error)
}

// Options are what a cluster is made of.
type Options struct {
	Mode     Mode
	Dir      string // an empty directory for the files
	Clients  int    // clients are numbered from 0
	Election time.Duration
	// Machines are the state machines of the three servers. Each applies the commands of one server.
	Machines [servers]*Machine
}

// A Cluster is a running cluster with a leader.
type Cluster interface {
	// Propose proposes a command at the leader and returns the result of its application there.
	// The command is the caller's again when it returns: a library that keeps it is given a copy.
	// Each client calls it from one goroutine.
	Propose(ctx context.Context, client int, command []byte) (uint64, error)
	// Syncs counts the syncs of log files so far over all servers; false when they can't be counted.
	Syncs() (uint64, bool)
	// Close stops the cluster. No command is applied after it has returned.
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

// selectPeers returns the peers that a list names, or all that run in the mode.
func selectPeers(list string, mode Mode) ([]Peer, error) {
	var found []Peer
	if list == "all" {
		for _, p := range allPeers() {
			if slices.Contains(p.Modes(), mode) {
				found = append(found, p)
			}
		}
		return found, nil
	}
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(allPeers(), func(p Peer) bool { return p.Name() == name })
		if i < 0 {
			return nil, fmt.Errorf("no peer %q; there are %s", name, strings.Join(peerNames(), ", "))
		}
		p := allPeers()[i]
		if !slices.Contains(p.Modes(), mode) {
			return nil, fmt.Errorf("%s doesn't run in mode %s", name, mode)
		}
		if slices.ContainsFunc(found, func(f Peer) bool { return f.Name() == name }) {
			return nil, fmt.Errorf("peer %q is named twice", name)
		}
		found = append(found, p)
	}
	return found, nil
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

// errNoLeader says that a cluster didn't elect a leader in time.
var errNoLeader = errors.New("no leader was elected")

// waitForLeader asks every few milliseconds until leader finds one.
func waitForLeader(ctx context.Context, election time.Duration, leader func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second+20*election)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !leader() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", errNoLeader, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}
