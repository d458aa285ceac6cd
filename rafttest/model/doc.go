// Package model is a model checker. It explores every run of a small cluster within bounds, and its
// model is the real raft.Core. It finds the shortest run that breaks an invariant, or shows that
// there is none. Its command is cmd/raftmodel.
//
//	search, err := model.New(model.Bounds{Commands: 1, Crashes: 1}, model.Options{})
//	result := search.Run(ctx)
//	search.Transcript(os.Stdout) // of the violation, if there is one
//
// # What is explored
//
// A state consists of these parts:
//
//   - the servers, each with its core, its disk, and what its disk is still to write;
//   - the messages on the links;
//   - what may still happen within the bounds;
//   - what an observer knows that forgets nothing: who led which term, what was committed, which
//     callers wait.
//
// From each state every possible step is taken. A message arrives, and is then gone or, as a
// duplicate, stays. A server crashes and starts again. A command is proposed. A read is called. A
// leader is asked to remove or add a server, or to hand over. A write becomes durable. A deadline
// passes. The invariants are those of rafttest/sim, under the same names, and raft.Core.Check. The
// state machine applies at once what it is given, and the log is read at once.
//
// The cluster begins just after it was founded: each log holds the first configuration, and no
// server leads.
//
// # Processes with several groups
//
// NewHosts makes a search of another world: of a few processes, each with the cores of some groups and
// a Book of package coalesce (see Hosts). Its tests are TestHosts, whose searches are whole,
// TestHostWalks, and TestWideHosts:
//
//	go test ./rafttest/model -run TestWideHosts -v -hosts wide -hosts-states 5000000
//
// # What makes it fast
//
// The core's state is a plain value with a canonical encoding. Each state of a server exists once,
// under a number, and so does each message. What an event makes of a server is worked out once,
// however many states of the cluster have the server in that state. So most steps are two look-ups,
// and a state is a handful of numbers.
//
// # What is left out, and why it may be
//
//   - States that differ only in the names of the servers count as one: renaming its servers doesn't
//     change a cluster. That is why all disks have the same incarnation, and all commands the same
//     bytes.
//   - A message is never lost before its link is full: until then a lost message is as good as one
//     that is late. When a link is full, any message on it may be lost, as often as Bounds.Losses
//     says. Without losses, messages that never arrive may fill a link.
//   - A message that can't make a difference to its receiver any more is lost at once (see outlived
//     and refused).
//   - Of two states that differ only in their messages, only the one that has all messages of the
//     other is looked at (see cover). This holds where messages stay, or may be lost without end. So
//     the widest bounds are the cheapest: with Bounds.Soup, one search covers all runs that any
//     number of messages on a link, of losses and of duplicates allow.
//   - Where messages stay, followers are never loyal to their leader: a request for votes that
//     loyalty would ignore may as well arrive later (see stepper.forsake).
//   - The core prefers no server by its name, with one exception: when a leader hands over by itself
//     and several servers are equally fit, it chooses the first. Of the states that differ only in
//     the names of the servers, only one is looked at in that case.
//   - With Bounds.Damages, a server asks the others for lost bytes in the order of their names. Where
//     messages stay, it asks all of them at once: a question may arrive late, or never (see
//     stepper.askAll). Otherwise all namings are looked at.
//   - A server with damage lets several deadlines pass before it campaigns. Without Bounds.Timeouts
//     they pass at once.
//   - States are told apart by a hash of 111 bits. The probability that two of 10⁹ states have the
//     same hash is about 1 in 10¹⁶.
//   - No disk goes back to an older state, so no server learns the later starts of others: messages
//     don't name the start of their sender, and none announces it. What the core does when a disk
//     went back is for the simulator.
//   - What waits for a disk is bounded like what is on links (Bounds.Held): while a disk hangs,
//     answers to messages that arrive again and again would pile up without end.
//
// # What is left to the simulator
//
// There is no time. Without Bounds.Timeouts servers campaign because they are told to (TimeoutNow,
// past pre-vote and stickiness), and no deadline passes. With it, any armed deadline passes at any
// moment, in any order. This allows more runs than there can be, because a clock would forbid some
// orders: a leader may be deposed by its quorum deadline right after all servers have answered. But
// whatever only the clock decides isn't seen. One such thing is how long a leader believes that it
// leads after its last round: check-quorum counts from when a round left, but here the deadline is
// just armed or passed. Others are that timeouts differ, so that some server wins, and that a
// cluster makes progress at all.
//
// Disks that stand still are looked at only with Bounds.Stalls. Leases rest on clocks alone and
// can't be judged here. The simulator also has to look at founding, replaced disks, fetches that
// come late, state machines that lag, torn and failing writes, limits of bytes, and logs longer
// than a few entries.
package model
