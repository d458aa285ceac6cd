// Package raft is the Raft consensus algorithm as a library: it keeps a state machine of yours the same on
// several servers, and goes on while a majority of them lives.
//
// A service embeds it in three steps: implement a StateMachine, Start a Node on a Storage and a Transport
// (packages wal and tcp, or package memory for tests), and call Propose and Read at any server. The
// counter in examples/counter is such a service, to be copied.
//
// # The idea
//
// An event goes in, effects come out, and every effect is already safe to perform.
//
//	clients ──┐                ┌──────────┐            ┌─ disk     Write    ──▶ storage       ──▶ Persisted ─┐
//	peers   ──┤     events     │   Core   │  effects   ├─ catch-up Fetch    ──▶ storage       ──▶ Fetched   ─┤
//	clock   ──┼───────────────▶│ decides, │───────────▶├─ network  Messages ──▶ peers         ──▶ Receive   ─┤
//	reports ──┤   one inbox    │ does not │            └─ machine  Apply    ──▶ state machine ──▶ Applied   ─┤
//	          │                │   act    │                                                                  │
//	          │                └──────────┘                                                                  │
//	          └──────────────────────────────────────────────────────────────────────────────────────────────┘
//
// What decides is deterministic: Core is plain single-threaded code without a clock, a lock or a goroutine.
// What waits is outside: Node runs a Core with a disk, a network and a state machine. The same Core runs in
// the simulator of rafttest, thousands of times faster than real time.
//
// # What is promised
//
//   - A result that Propose returns is that of a command which a majority of the disks holds, and which every
//     state machine applies at the same place.
//   - An error of Propose says which of two it is: ErrNotApplied, the command was not and will never be applied; or
//     ErrOutcomeUnknown. There is no third.
//   - A command is applied at most once, however often it was forwarded, repeated or offered to another leader.
//   - A command of a Session is applied at most once however often its client sends it, at whichever servers.
//   - After Read has returned nil, this server's state machine shows everything that was acknowledged anywhere before
//     Read was called.
//   - After LeaseRead too, as long as the servers' clocks keep to Config.ClockDrift. Nothing else rests on a clock.
//   - What is proposed with the context of WhileLeader is applied in that leadership or never.
//   - Nothing leaves a server that rests on something its disk doesn't hold yet.
//   - No panic crosses the API, and no goroutine is left after Close but one inside a call of yours.
//
// # Looking inside
//
// Node.Leadership says who leads, Node.Events yields whatever changes, Node.Status is all that a node knows now, and
// explains why there is no leader and what calls wait for. The error of a call is a *CallError, which names the
// leader. Config.Trace measures: it is called with every message, write and answer.
//
// Who belongs to a cluster is changed at any member while it works: Node.AddServer, AddLearner, RemoveServer, Replace (of a
// disk that was lost) and SetMembers, each with an outcome that is as honest as that of Propose.
//
// # Leading
//
// WhileLeader runs a function while this server leads. TransferLeadership hands the leadership over; a leader does so by itself
// when it is closed, when a server of higher Priority has caught up, and when its disk or its state machine doesn't keep up.
//
// # What it is not
//
// It doesn't defend against servers that lie, and it can't go on without a majority. It is no
// database: what the state machine keeps is yours.
//
// # Reading order
//
// types.go and message.go for the words; outbox.go for the gate, by which nothing leaves too early;
// log.go for the cursors and tail.go for the entries behind them; raft.go for events, effects and
// the term rule; then election.go, replication.go, quota.go, applying.go, fetch.go, read.go,
// lease.go, transfer.go, proposals.go, forwards.go, sessions.go, snapshot.go, snapshot_send.go,
// snapshot_receive.go, administration.go, membership.go, membership_change.go,
// membership_catchup.go, rollback.go, upgrade.go and fingerprint.go. What drives a core finds its settings, its
// status, its turns and its encoding in core_*.go. The goroutines are listed in node.go. Sections
// (§) are those of Ongaro's thesis, "Consensus: Bridging Theory and Practice", figures those of the
// paper, "In Search of an Understandable Consensus Algorithm" (extended version). Where this
// package leaves them is in docs/divergence.md, and why it is built as it is in docs/design.md.
package raft
