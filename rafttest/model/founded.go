package model

import (
	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// foundingTerm is the term in which the cluster was founded.
const foundingTerm = 1

// incarnation is the incarnation of every disk. Incarnations tell disks apart when a server comes
// back with another disk, which doesn't happen here. All disks have the same one, so that states
// that differ only in the names of servers can count as one.
const incarnation = 1

// clusterID is the name of the cluster.
var clusterID = raft.ClusterID{1}

// founding returns the first entry of every log.
func founding(servers int) raft.Entry {
	configuration := raft.Configuration{Cluster: clusterID, Level: wire.LatestLevel}
	for i := range servers {
		configuration.Members = append(configuration.Members, raft.Member{
			Server: raft.Server{ID: idOf(i)}, Role: raft.Voter, Incarnation: incarnation})
	}
	return raft.Entry{Index: 1, Term: foundingTerm, Kind: wire.EntryConfiguration,
		Data: wire.AppendConfiguration(nil, &configuration)}
}

// founded returns the disk with which a server begins. The founding itself is left to the
// simulator: the first server has another part in it than the rest, and it needs all servers. Here
// every server has the first entry, and none knows that it is committed. No disk holds a vote of
// the founding term. That makes no difference: no server ever asks for votes in a term in which
// there is a log, and so all servers are alike.
func founded(server int, first raft.Entry) disk {
	return disk{
		state: raft.DurableState{
			HardState: raft.HardState{Term: foundingTerm},
			Server:    idOf(server), Incarnation: incarnation, Cluster: clusterID, Start: wire.NextStart(0, 0),
		},
		entries: []raft.Entry{first},
		slots:   extend(nil, []raft.Entry{first}),
	}
}
