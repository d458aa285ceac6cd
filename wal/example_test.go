package wal_test

import (
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wire"
)

// A node gets its log as raft.Config.Storage. This is what the node does with it.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	for range 2 {
		storage, err := wal.Open(dir, wal.Options{})
		if errors.Is(err, raft.ErrLocked) {
			log.Fatal("another process uses the directory: ", err)
		}
		if err != nil {
			log.Fatal(err) // with raft.ErrCorrupt, it names the file and the offset
		}
		saved, err := storage.Load()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("last entry:", saved.Last)

		state := saved.State
		state.Start++
		entry := raft.Entry{Index: saved.Last + 1, Term: 1, Kind: wire.EntryCommand, Data: []byte("add 5")}
		if err := storage.Write(raft.Write{State: state, Entries: []raft.Entry{entry}}); err != nil {
			log.Fatal(err) // nothing more can be written
		}
		if err := storage.Close(); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// last entry: 0
	// last entry: 1
}

// Inspect looks at a log that no server has open, and changes nothing.
func ExampleInspect() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	storage, err := wal.Open(dir, wal.Options{})
	if err != nil {
		log.Fatal(err)
	}
	entry := raft.Entry{Index: 1, Term: 1, Kind: wire.EntryCommand, Data: []byte("add 5")}
	if err := storage.Write(raft.Write{Entries: []raft.Entry{entry}}); err != nil {
		log.Fatal(err)
	}
	if _, err := wal.Inspect(dir, wal.Options{}, nil); errors.Is(err, raft.ErrLocked) {
		fmt.Println("it is in use")
	}
	if err := storage.Close(); err != nil {
		log.Fatal(err)
	}

	report, err := wal.Inspect(dir, wal.Options{}, func(record *wal.Record) error {
		for _, e := range record.Entries {
			fmt.Printf("entry %d: %s\n", e.Index, e.Data)
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, damage := range report.Damage {
		fmt.Println(damage)
	}
	fmt.Println("the log ends at", report.Saved.Last, "and is", report.Tail.State)
	// Output:
	// it is in use
	// entry 1: add 5
	// the log ends at 1 and is closed
}

// Several groups write to one log, with one sync. Each has a storage of its own.
func ExampleLog_WriteGroups() {
	log, err := wal.Open("/data", wal.Options{FS: simfs.New(1)})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer log.Close()
	write := func(group raft.GroupID, command string) raft.GroupWrite {
		return raft.GroupWrite{Group: group, Write: raft.Write{
			State:   raft.DurableState{HardState: raft.HardState{Term: 1}, Server: "a"},
			Entries: []raft.Entry{{Index: 1, Term: 1, Kind: wire.EntryCommand, Data: []byte(command)}},
		}}
	}
	refused, err := log.WriteGroups([]raft.GroupWrite{write("accounts", "open"), write("orders", "buy")})
	fmt.Println(len(refused), err)
	groups, err := log.Groups()
	fmt.Println(groups, err)
	orders, err := log.Group("orders")
	if err != nil {
		fmt.Println(err)
		return
	}
	entries, err := orders.Entries(0, 1, 1<<10)
	fmt.Printf("%s %v\n", entries[0].Data, err)
	// Output:
	// 0 <nil>
	// [accounts orders] <nil>
	// buy <nil>
}
