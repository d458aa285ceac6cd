package wal_test

import (
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wal"
)

// A node is given its log with raft.Config.Storage. This is what it does with it.
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
		entry := raft.Entry{Index: saved.Last + 1, Term: 1, Kind: raft.EntryCommand, Data: []byte("add 5")}
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
