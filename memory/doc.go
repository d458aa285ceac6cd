// Package memory keeps servers in memory: a [raft.Storage] for each of them, and a network whose
// transports connect them. It is a peer of packages wal and tcp, for tests and for first programs.
//
//	network := memory.NewNetwork(memory.Options{})
//	node, err := raft.Start(raft.Config{
//		ID: "a", Storage: memory.NewStorage(), Transport: network.Join("a"), …
//	})
//
// [Storage] stands for the disk of one server. It keeps the contract of [raft.Storage] to the
// letter, with the one exception that its contents go with the process. A test closes a server,
// reopens its storage ([Storage.Reopen]), and starts the server again on what its disk would hold.
// Since it checks every Write, a test on it also tells what a real log would refuse.
//
// [Network] stands for the cables between the servers. Without Faults it hands over a message
// before Send returns: so nothing is lost, and nothing waits for a clock. With [Faults] it loses,
// delays, repeats and reorders messages, and cuts directions. All of that follows from
// [Options].Seed. Both work in a bubble of testing/synctest, where time passes only while everybody
// waits. rafttest.Cluster puts real nodes on them.
//
// Neither is for a service that must survive: a cluster on it loses everything when a
// majority of its processes has ended.
package memory
