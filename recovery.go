package raft

import (
	crand "crypto/rand"
	"fmt"
	"strings"
)

// When a majority of the voters is lost for good, no cluster is left that could decide anything, and nothing that it
// could do by itself would be safe. What can be saved is what one of the survivors holds: RecoverCluster makes it a
// cluster of its own, of which it is the only member. It is a decision for a person to take, with the servers stopped:
//
//   - Look at each survivor (InspectRecovery). The one with the highest LastTerm, and among these with the highest
//     Last, holds the most.
//   - Recover that one, and no other. Start it.
//   - Empty the disks of the other survivors, start them without a Bootstrap list, and add them (Node.AddServer).
//
// What may be lost, or come to count though it didn't, Recovery tells. The log of the new cluster keeps a record: a
// configuration that names the cluster that it goes on from (Configuration.Recovered). Since it is another cluster, whatever
// of the old one comes back is refused.

// A Recovery says what a server holds of a cluster that has lost its majority.
type Recovery struct {
	Server  ServerID
	Cluster ClusterID // that was

	// Configuration is the latest one in the log, at ConfigurationIndex.
	Configuration      Configuration
	ConfigurationIndex Index

	// Snapshot is up to where the log is known to be committed: what the current snapshot covers. Last is the end of
	// the log, with an entry of LastTerm: it holds all that was committed before that term, and in it as far as Last (§3.6.3).
	// What a later leader has committed may be missing, entries of earlier terms among it.
	Snapshot, Last Index
	LastTerm       Term
	// SnapshotDamage says that the snapshot is damaged. A cluster of this server alone then starts only if its state machine keeps
	// its own durable state (Config.Durable), or the whole log is there still: better recover another one.
	SnapshotDamage error

	// Record is the index of the entry that makes the server a cluster of its own, and Recovered the ID of that. Both are
	// zero if nothing was done.
	Record    Index
	Recovered ClusterID
}

// String says in a few lines what is there, and what may be lost.
func (r *Recovery) String() string {
	describe := func(members []Member) string {
		var list []string
		for i := range members {
			m := &members[i]
			list = append(list, fmt.Sprintf("%s at %s, a %v", m.ID, m.Address, m.Role))
		}
		return strings.Join(list, "; ")
	}
	members := describe(r.Configuration.Members)
	if r.Configuration.Old != nil {
		members += "; a majority is needed also of those before: " + describe(r.Configuration.Old)
	}
	if r.Configuration.Next != nil {
		members += "; on the way to: " + describe(r.Configuration.Next)
	}
	text := fmt.Sprintf(`server %s of cluster %v, whose members are, as of index %d: %s
its log ends at index %d, in term %d; up to index %d it is known to be committed
lost is what was committed behind that in this term, or anywhere in a later one, though it may have been acknowledged
and what stands behind index %d counts from now on, though it may have been answered as not applied
`, r.Server, r.Cluster, r.ConfigurationIndex, members, r.Last, r.LastTerm, r.Snapshot, r.Snapshot)
	if r.SnapshotDamage != nil {
		text += fmt.Sprintf("its snapshot is damaged, so that it may not start alone: %v\n", r.SnapshotDamage)
	}
	if r.Record != 0 {
		text += fmt.Sprintf("it is cluster %v now, as the entry at index %d says\n", r.Recovered, r.Record)
	}
	return text
}

// InspectRecovery says what a storage holds, and changes nothing. The storage belongs to a server that is stopped, and is
// used by nobody else; it is not closed. The error is what the storage returned, or ErrNoCluster for one that holds
// none.
func InspectRecovery(storage Storage) (Recovery, error) {
	r, _, err := inspectRecovery(storage)
	return r, err
}

func inspectRecovery(storage Storage) (Recovery, DurableState, error) {
	saved, err := storage.Load()
	if err != nil {
		return Recovery{}, DurableState{}, fmt.Errorf("raft: recover: load: %w", err)
	}
	log, err := newLog(&saved)
	if err != nil {
		return Recovery{}, DurableState{}, fmt.Errorf("raft: recover: %w: %w", ErrCorrupt, err)
	}
	placed := log.placed()
	if placed == nil {
		return Recovery{}, DurableState{}, fmt.Errorf("raft: recover: %w", ErrNoCluster)
	}
	return Recovery{
		Server: saved.State.Server, Cluster: saved.State.Cluster,
		Configuration: *placed.configuration, ConfigurationIndex: placed.index,
		Snapshot: saved.Snapshot.Index, Last: saved.Last, LastTerm: log.lastTerm(), SnapshotDamage: saved.SnapshotDamage,
	}, saved.State, nil
}

// RecoverCluster makes the server whose storage this is a cluster of its own, reached at an address. It is the last resort
// when a majority of the voters is lost for good, as said above; a cluster that still has one must not be recovered. The storage
// is as for InspectRecovery.
func RecoverCluster(storage Storage, address string) (Recovery, error) {
	r, state, err := inspectRecovery(storage)
	if err != nil {
		return r, err
	}
	self := Server{r.Server, address}
	if err := checkServer(self); err != nil {
		return r, err
	}
	if _, err := crand.Read(r.Recovered[:]); err != nil {
		return r, fmt.Errorf("raft: recover: %w", err)
	}
	configuration := Configuration{
		Cluster: r.Recovered, Recovered: r.Cluster, Level: r.Configuration.Level,
		Members: []Member{{Server: self, Role: Voter, Incarnation: state.Incarnation}},
	}
	r.Record = r.Last + 1
	state.Cluster = r.Recovered
	state.HardState = HardState{Term: state.Term + 1}
	err = storage.Write(Write{Number: 1, State: state, Entries: []Entry{{
		Index: r.Record, Term: state.Term, Kind: EntryConfiguration, Data: AppendConfiguration(nil, &configuration),
	}}})
	if err != nil {
		return r, fmt.Errorf("raft: recover: write: %w", err)
	}
	return r, nil
}
