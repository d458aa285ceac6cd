package recovery_test

import (
	"errors"
	"fmt"
	"log"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/recovery"
	"github.com/e17579a5/raft/wire"
)

// filled returns the disk of a server of a cluster that has three commands in its log.
func filled(id raft.ServerID) (*memory.Storage, error) {
	configuration := raft.Configuration{Cluster: raft.ClusterID{1}, Members: []raft.Member{
		{Server: raft.Server{ID: "a", Address: "a"}, Role: raft.Voter, Incarnation: 1},
		{Server: raft.Server{ID: "b", Address: "b"}, Role: raft.Voter, Incarnation: 2},
	}}
	entries := []raft.Entry{{Index: 1, Term: 1, Kind: wire.EntryConfiguration, Data: wire.AppendConfiguration(nil, &configuration)}}
	for i := range 3 {
		entries = append(entries, raft.Entry{Index: raft.Index(2 + i), Term: 1, Kind: wire.EntryCommand, Data: fmt.Append(nil, i)})
	}
	disk := memory.NewStorage()
	state := raft.DurableState{HardState: raft.HardState{Term: 1}, Server: id, Incarnation: 1, Cluster: raft.ClusterID{1}}
	return disk, disk.Write(raft.Write{State: state, Entries: entries})
}

// Both disks of a cluster are damaged. What only one of them has lost comes from the other one. What
// both have lost is nowhere, so a person has to decide to go on without it, and names the index after
// which the log is cut.
func ExampleRecoverTogether() {
	a, err := filled("a")
	if err != nil {
		log.Fatal(err)
	}
	b, err := filled("b")
	if err != nil {
		log.Fatal(err)
	}
	a.Damage(2, 2)
	a.Damage(4, 4)
	b.Damage(4, 4)

	a, b = a.Reopen(), b.Reopen() // or wal.Open
	_, err = recovery.RecoverTogether(b, "b", 0, a)
	fmt.Println("without a word nothing is cut:", errors.Is(err, recovery.ErrCut))

	a, b = a.Reopen(), b.Reopen()
	report, err := recovery.RecoverTogether(b, "b", 3, a) // the Plan says 3
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s keeps entries up to %d, and entry %d says which cluster it is now\n", report.Server, report.Cut, report.Record)
	// Output:
	// without a word nothing is cut: true
	// b keeps entries up to 3, and entry 4 says which cluster it is now
}
