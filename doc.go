// Package raft is the Raft consensus algorithm as a library. It keeps a state machine of yours the
// same on several servers, and goes on while a majority of them lives. It doesn't defend against
// servers that lie.
//
// # The idea
//
// An event goes in, effects come out, and every effect is already safe to perform.
//
//	clients ─┐          ┌──────────┐         ┌─ disk     Write    ─▶ storage       ─▶ Persisted ─┐
//	peers   ─┤ events   │   Core   │ effects ├─ catch-up Fetch    ─▶ storage       ─▶ Fetched   ─┤
//	clock   ─┼─────────▶│ decides, │────────▶├─ network  Messages ─▶ peers         ─▶ Receive   ─┤
//	reports ─┤one inbox │ does not │         └─ machine  Apply    ─▶ state machine ─▶ Applied   ─┤
//	         │          │   act    │                                                             │
//	         │          └──────────┘                                                             │
//	         └───────────────────────────────────────────────────────────────────────────────────┘
//
// A [Core] decides: it is single-threaded and deterministic, and has no clock, lock or goroutine. A
// [Node] waits: it runs a Core with a disk, a network and a state machine. The simulator of package
// rafttest runs the same Core, by seed.
//
// # What is promised
//
//   - When Propose returns a result, a majority of the disks holds the command, and every state
//     machine applies it at the same place. Every error is [ErrNotApplied], now and for ever, or
//     [ErrOutcomeUnknown]. The command is applied at most once.
//   - A command of a [Session] is applied at most once, however often its client sends it.
//   - When Read returns nil, this state machine shows all that was acknowledged before the call.
//     LeaseRead promises the same while the clocks keep to Config.ClockDrift. Nothing else rests on
//     clocks that agree.
//   - What is proposed within WhileLeader gets into the log before all that a later leader takes,
//     or never.
//   - Nothing leaves a server that rests on what its disk doesn't hold yet.
//   - No panic crosses the API. No goroutine outlives Close, but for one inside a call of yours.
//
// # For services
//
// Package typed is the short way, for commands and results with Go types. Otherwise, or below it:
// implement a [StateMachine], open a storage and a transport (packages wal and tcp; memory has both
// for tests), and [Start] a node with a [Config]. The programs to copy are examples/counter,
// examples/lock, examples/redis and examples/durable. Package httpapi has what services share over
// HTTP, the end in the right order among it, and package admin is for those who operate a cluster
// (docs/operating.md).
//
//   - Commands: [Node.Propose], [Node.ProposeInSession]. Reads: [Node.Read], [Node.LeaseRead],
//     [Node.StaleRead]. The error of a call is a [CallError], which also names the leader.
//   - Leaders: [Node.WhileLeader], [Node.TransferLeadership]. Members: [Node.AddServer],
//     [Node.AddLearner], [Node.RemoveServer], [Node.Replace], [Node.SetMembers].
//   - State: [Node.Snapshot], [Node.ExportSnapshot], [VerifyExport], [DurableMachine].
//   - Looking inside: [Node.Status], [Node.Events], [Trace]. A [Status] says why there is no leader
//     and what calls wait for. The end: [Node.Close], [Node.Done], [Node.Err].
//
// Whoever needs more than one leader takes many groups: [StartHost] runs a Node for each of them in one
// process, over one [SharedStorage] and one [Transport]. [Host.Status] says how all of them are.
//
// # For storages, transports and drivers
//
// [Storage] and [Transport] are contracts, which rafttest.TestStorage and rafttest.TestTransport
// check; [SharedStorage] is that of a storage which keeps several groups on one disk. Package wire specifies the bytes of a [wire.Message] and of an [Entry]. A driver makes a
// [Core] of a [CoreConfig]. The page of Core lists its events and [Effects], and the example there
// is a whole driver.
//
// # Reading order
//
//	the words    doc types errors config machine storage storage_shared transport
//	the heart    raft core_config admission outbox tempo log tail deadlines quorum
//	elections    founding election random
//	replication  replication rounds progress quota fetch applying apply
//	full disks   space weights reclaim
//	commands     proposals intake forwards sessions administration
//	reads        read lease
//	leadership   transfer
//	many groups  quiet core_rest coalesced
//	members      keys strangers refusals membership membership_change membership_catchup rollback inquiry upgrade
//	damage       damage repair questions recovering pull scrub
//	snapshots    snapshot snapshot_bytes snapshot_send snapshot_receive snapshot_turns export
//	views        check core_state core_status standing explain waits fingerprint
//	many groups  host_config node_host node_host_beat node_host_open node_host_disk node_host_memory node_host_places node_host_takes node_host_logs node_host_link node_host_scrub node_host_status node_host_stop
//	the node     node node_shard node_loop core_turn node_turn node_inbox node_backlog node_lanes node_room node_guard node_stop
//	its calls    node_calls node_waiters node_slabs node_sessions node_members node_moved node_leadership
//	its streams  node_snapshots node_streams node_export node_scrub
//	its views    node_status node_watch node_events node_trace node_log
//
// These are all files of the package, each without its .go. Sections (§) are those of Ongaro's
// thesis, "Consensus: Bridging Theory and Practice"; figures are those of the paper, "In Search of
// an Understandable Consensus Algorithm" (extended version). docs/divergence.md says where the code
// leaves them, and docs/design.md why it is built as it is.
package raft
