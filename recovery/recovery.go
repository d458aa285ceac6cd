package recovery

import (
	crand "crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A Report says what a server holds of a cluster that has lost its majority.
type Report struct {
	Server  raft.ServerID
	Cluster raft.ClusterID // the cluster that was lost

	// Configuration is the latest one in the log, and ConfigurationIndex the index of its entry.
	Configuration      raft.Configuration
	ConfigurationIndex raft.Index

	// Snapshot is the index that the current snapshot covers: up to there the log is known to be
	// committed. Last is the index of the log's last entry, and LastTerm the term of that entry.
	//
	// The log holds everything that was committed in terms before LastTerm, and, up to Last,
	// everything that was committed in LastTerm (§3.6.3). What a later leader has committed may be
	// missing, even entries of earlier terms.
	Snapshot, Last raft.Index
	LastTerm       raft.Term
	// SnapshotDamage, when not nil, says that the snapshot is damaged. A cluster of this server
	// alone then starts only if its state machine keeps its own durable state
	// (raft.Config.Durable), or if the whole log is still there. It is better to recover another
	// server.
	SnapshotDamage error

	// Lost are the entries behind the snapshot whose bytes the disk has lost. A server that is alone
	// doesn't start without them: they must come from another survivor, or the log must be cut
	// (RecoverTogether).
	Lost []wire.Range
	// Cut, when not 0, is the index after which the log was cut: the entries behind it, up to Last,
	// are gone.
	Cut raft.Index

	// Record is the index of the entry that makes the server a cluster of its own, and Recovered is
	// the ID of that cluster. Both are zero in a Report of Inspect.
	Record    raft.Index
	Recovered raft.ClusterID
}

// String says in a few lines what the server holds, and what may be lost.
func (r *Report) String() string {
	describe := func(members []raft.Member) string {
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
its log ends at index %d, in term %d; the entries up to index %d are known to be committed
commands are lost that were committed after its end in that term, or in a later term, even if they were acknowledged
commands after index %d count from now on, even if they were answered as not applied
`, r.Server, r.Cluster, r.ConfigurationIndex, members, r.Last, r.LastTerm, r.Snapshot, r.Snapshot)
	if r.SnapshotDamage != nil {
		text += fmt.Sprintf("its snapshot is damaged, so that it may not start alone: %v\n", r.SnapshotDamage)
	}
	for _, lost := range r.Lost {
		text += fmt.Sprintf("the bytes of entries %d to %d are lost, so that it may not start alone\n", lost.First, lost.Last)
	}
	if r.Cut != 0 {
		text += fmt.Sprintf("the log was cut after index %d: entries %d to %d are gone, and so are all commands in them, even if they were acknowledged\n",
			r.Cut, r.Cut+1, r.Last)
	}
	if r.Record != 0 {
		text += fmt.Sprintf("it is cluster %v now, as the entry at index %d says\n", r.Recovered, r.Record)
	}
	return text
}

// Inspect says what a storage holds, and changes nothing. The server that the storage belongs to
// must be stopped, and nobody else may use the storage. Inspect doesn't close it. The error is the
// storage's. Or it wraps raft.ErrCorrupt if a configuration is damaged or raft.Saved.Check finds
// what no start would accept, or raft.ErrNoCluster if the storage holds no configuration.
func Inspect(storage raft.Storage) (Report, error) {
	r, _, err := inspect(storage)
	return r, err
}

// errAlone says why a server with lost entries isn't made a cluster of its own.
var errAlone = errors.New("a server that is alone gets their bytes from nobody")

func inspect(storage raft.Storage) (Report, raft.Saved, error) {
	saved, err := storage.Load()
	if err != nil {
		return Report{}, raft.Saved{}, fmt.Errorf("recovery: load: %w", err)
	}
	r, err := reportOf(&saved)
	return r, saved, err
}

// reportOf says what a server holds.
func reportOf(saved *raft.Saved) (Report, error) {
	configuration, index, err := saved.Configuration()
	if err == nil {
		err = saved.Check()
	}
	if err != nil {
		return Report{}, fmt.Errorf("recovery: %w", err)
	}
	if configuration == nil {
		return Report{}, fmt.Errorf("recovery: %w", raft.ErrNoCluster)
	}
	r := Report{
		Server: saved.State.Server, Cluster: saved.State.Cluster,
		Configuration: *configuration, ConfigurationIndex: index,
		Snapshot: saved.Snapshot.Index, Last: saved.Last, LastTerm: saved.LastTerm(),
		SnapshotDamage: saved.SnapshotDamage,
	}
	for _, lost := range saved.Lost {
		if lost.Last > r.Snapshot {
			r.Lost = append(r.Lost, wire.Range{First: max(lost.First, r.Snapshot+1), Last: lost.Last})
		}
	}
	return r, nil
}

// Recover makes the server that a storage belongs to a cluster of its own. The server is the only
// member, and is reached at the address, which has at most wire.MaxAddress bytes. The documentation
// of the package says when to call Recover, and what else to do. The storage is as for Inspect. The
// errors are those of Inspect, those of a Write, raft.ErrConfig for an address that is too long, and a
// raft.DamagedError for a log that has lost entries behind its snapshot (see RecoverTogether). After an
// error of the Write, load the storage again to see what it holds.
func Recover(storage raft.Storage, address string) (Report, error) {
	r, saved, err := inspect(storage)
	if err != nil {
		return r, err
	}
	if n := len(r.Lost); n > 0 {
		return r, fmt.Errorf("recovery: %w", &raft.DamagedError{Lost: wire.Range{First: r.Lost[0].First, Last: r.Lost[n-1].Last}, Err: errAlone})
	}
	if err := checkNames(&r, address); err != nil {
		return r, err
	}
	return record(storage, r, saved.State, address, 1)
}

// checkNames refuses a server or an address that no configuration can name.
func checkNames(r *Report, address string) error {
	if n := len(r.Server); n == 0 || n > wire.MaxServerID {
		return fmt.Errorf("recovery: %w: a log of a server whose ID has %d bytes", raft.ErrCorrupt, n)
	}
	if n := len(address); n > wire.MaxAddress {
		return fmt.Errorf("recovery: %w: the address has %d bytes, more than %d", raft.ErrConfig, n, wire.MaxAddress)
	}
	return nil
}

// record writes the entry that makes a server a cluster of its own. It takes the place of whatever
// the log holds from there on.
func record(storage raft.Storage, r Report, state raft.DurableState, address string, number raft.WriteNumber) (Report, error) {
	if _, err := crand.Read(r.Recovered[:]); err != nil {
		return r, fmt.Errorf("recovery: %w", err)
	}
	self := raft.Server{ID: r.Server, Address: address}
	configuration := raft.Configuration{
		Cluster: r.Recovered, Recovered: r.Cluster, Level: r.Configuration.Level,
		Members: []raft.Member{{Server: self, Role: raft.Voter, Incarnation: state.Incarnation}},
	}
	if configuration.LevelInForce() >= wire.LevelKeys {
		var key wire.ClusterKey // the lost cluster knows the old ones
		if _, err := crand.Read(key[:]); err != nil {
			return r, fmt.Errorf("recovery: %w", err)
		}
		configuration.Keys = []wire.ClusterKey{key}
	}
	if r.Record = r.Last + 1; r.Cut != 0 {
		r.Record = r.Cut + 1
	}
	state.Cluster = r.Recovered
	state.HardState, state.RolledBack = raft.HardState{Term: state.Term + 1}, false
	err := storage.Write(raft.Write{Number: number, State: state, Entries: []raft.Entry{{
		Index: r.Record, Term: state.Term, Kind: wire.EntryConfiguration,
		Data: wire.AppendConfiguration(nil, &configuration),
	}}})
	if err != nil {
		return r, fmt.Errorf("recovery: write: %w", err)
	}
	return r, nil
}
