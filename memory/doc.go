// Package memory keeps what servers need in memory: a [raft.Storage] for each of them, and a
// network whose transports connect them. It is a peer of packages wal and tcp, for tests and for
// first programs.
//
//	network := memory.NewNetwork(memory.Options{})
//	node, err := raft.Start(raft.Config{
//		ID: "a", Storage: memory.NewStorage(), Transport: network.Join("a"), …
//	})
//
// [Storage] stands for the disk of one server. It keeps the contract of [raft.Storage] to the
// letter, with one exception: what it holds is gone when the process ends. A test closes a server,
// reopens its storage ([Storage.Reopen]), and starts the server again on what its disk would hold.
// The storage checks every Write, so a test on it also shows what a real log would refuse. It is a
// [raft.SharedStorage], too: it has the storages of any number of groups.
//
// [Network] stands for the cables between the servers. Without [Faults] it hands over a message
// before Send returns. So nothing is lost, and nothing waits for a clock. With Faults it loses,
// delays, repeats and reorders messages, and cuts directions. All of that follows from
// [Options].Seed.
//
// Both work in a bubble of testing/synctest, where time passes only while everybody waits.
// rafttest.Cluster puts real nodes on them.
//
// Neither is for a service whose state must survive: a cluster on them loses everything once a
// majority of its processes has ended.
package memory
