package raft_test

import (
	"fmt"
	"sync/atomic"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
)

// A countingStorage counts the entries that are written. It stands for a storage of your own, which
// implements all methods of raft.Storage.
type countingStorage struct {
	raft.Storage
	entries *atomic.Int64
}

func (s countingStorage) Write(w raft.Write) error {
	s.entries.Add(int64(len(w.Entries)))
	return s.Storage.Write(w)
}

// rafttest checks a storage against the contract of raft.Storage, and says which rules it breaks.
// If the Disk can crash (rafttest.SimDisk), it also checks what survives a power cut.
func ExampleStorage() {
	var entries atomic.Int64
	err := rafttest.TestStorage(func() rafttest.Disk {
		disk := rafttest.MemoryDisk()
		open := disk.Open
		disk.Open = func() (raft.Storage, error) {
			storage, err := open()
			return countingStorage{storage, &entries}, err
		}
		return disk
	})
	fmt.Println("broken rules:", err)
	fmt.Println("entries were written:", entries.Load() > 0)
	// Output:
	// broken rules: <nil>
	// entries were written: true
}
