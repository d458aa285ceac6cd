// Package model explores every run of a small cluster within bounds: a model checker whose model is the real
// raft.Core. It finds the shortest run that breaks an invariant, or shows that there is none. cmd/raftmodel
// is its command.
//
//	search, err := model.New(model.Bounds{Commands: 1, Crashes: 1}, model.Options{})
//	result := search.Run(ctx)
//	search.Transcript(os.Stdout) // of the violation, if there is one
//
// # What is explored
//
// A state is made of the servers, each with its core, its disk and what its disk is still to write; the
// messages on the links; what may still happen within the bounds; and what an observer knows who forgets
// nothing (who led which term, what was committed, which callers wait). From each state every step is taken
// that is possible: a message arrives, and is then gone or, as a duplicate, stays; a server crashes and
// starts again; a command is proposed; a read is called; a leader is asked to remove or add a server, or to hand
// over; a write becomes durable; a deadline passes. The
// invariants are those of rafttest/sim, by the same names, with raft.Core.Check. The state machine applies at
// once what it is given, and the log is read at once.
//
// The cluster begins when it is founded: each log holds the first configuration, and nobody leads.
//
// # What makes it fast
//
// The core's state is a plain value with a canonical encoding. A server in one of its states, and a message,
// exist once each under a number; what an event makes of a server is worked out once, however many states of
// the cluster the server is part of in that state. So most steps are two look-ups, and a state is a handful
// of numbers.
//
// # What is left out, and why it may be
//
//   - States that differ only in who is who are one: a cluster doesn't change by renaming its servers. That is
//     why all disks have the same incarnation, and commands the same bytes.
//   - A message is never lost before its link is full: until then a lost message is as good as one that is late.
//     When a link is full, each message on it may be the one that is lost, as often as Bounds.Losses says. Without
//     losses a link holds as many messages that never arrive as it holds messages.
//   - A message that can't make a difference to its receiver any more is lost at once (see outlived and refused).
//   - Of two states that differ in nothing but their messages, the one that has all of the other's is looked at alone
//     (see cover), where messages stay, or may be lost without end. So the widest bounds are the cheapest: with
//     Bounds.Soup, a search knows all runs that any number of messages on a link, losses and duplicates allow.
//   - Where messages stay, followers are never loyal to their leader: a request for votes that loyalty passes over may
//     as well arrive later (see stepper.forsake).
//   - The core prefers nobody by its name, but for one case: of servers that are equally fit, a leader hands over to the
//     first by itself. Of the states that differ in who is who, that case is looked at in one.
//   - States are told apart by a hash of 111 bits. That two of 10⁹ states have the same is as likely as 1 : 10¹⁶.
//   - What waits for a disk is bounded like what is on links (Bounds.Held): while a disk hangs, answers to messages
//     that arrive again and again would pile up without end.
//
// # What is left to the simulator
//
// There is no time. Without Bounds.Timeouts servers campaign because they are told to (TimeoutNow, past
// pre-vote and stickiness), and no deadline passes. With it, any armed deadline passes at any moment, in any
// order. These are more runs than there can be, where the clock would forbid an order: a leader may be
// deposed by its quorum deadline right after all have answered. But what only the clock decides isn't seen:
// how long a leader believes itself to be one after the last round (check-quorum counts from when a round
// left; here the deadline is armed or passed, and that is all), that timeouts differ so that somebody wins,
// that a cluster makes progress at all. Disks that stand still are looked at with Bounds.Stalls alone. Leases, which rest on clocks alone, can't be judged here. Nor are
// founding, replaced disks, fetches that come late, state machines that lag, torn and failing writes, limits
// of bytes, and logs longer than a few entries.
package model
