// Package shard spreads a store over many Raft groups, and moves them between servers while they are
// used. It is the part of a sharded service that doesn't depend on what is stored:
//
//	host, err := shard.Start(shard.Options{Self: self, Founders: servers, Storage: disk, Transport: net, Group: machineOf})
//	node, machine := host.Local(host.Of(key)) // or another server has this shard: host.Members
//
// # Keys
//
// A key has one of 16,384 slots, as in Redis Cluster (Slot), and each shard has a run of slots (Of). The
// number of shards is fixed when the store is founded. What moves is a shard as a whole, from server to
// server: so no key ever changes its group, and no command has to be sent after a key that has left.
//
// # The table
//
// One more group, of which every server is a member, holds the Table: the servers, and for each shard
// its members and the Move that is under way. It is replicated state, changed by commands alone. Each
// server does what the table asks of it, in three roles:
//
//   - Every server follows the table (follow.go). It starts the groups that it is to have, and forgets
//     those that it is not to have any more.
//   - The leader of a shard carries out the shard's move (carry.go), since it changes the members.
//   - The leader of the table's group decides which shards move (lead.go), a bounded number at a time.
//
// # A move
//
// A move takes a shard from one server to another in three phases, and the table says in which one it is:
//
//	prepare   the new server starts the shard's group, and says that it won't forget it any more
//	join      the shard's leader adds the new server: it catches up and becomes a voter
//	leave     clients are sent to the new server from here on; the leader removes the old one
//
// Then the old server forgets the group. Each phase can be done any number of times, by whoever leads, and
// the one report that ends it is a command that names the move and the phase. So a server that carries a
// move out may end at any moment: another one looks at the table and goes on.
//
// Why does the new server speak first? It may have had the shard before, and may be about to forget it, by
// an older table. If the leader could add it at that moment, a voter would lose its log. So the first phase
// is ended by the server itself, by the goroutine that also forgets groups: none is being forgotten then.
package shard
