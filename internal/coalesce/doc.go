// Package coalesce makes idle groups free. A process that serves many groups sends one heartbeat to
// each other process, and it stands for one ordinary heartbeat in each of the groups in which
// nothing happens. Nobody sleeps, and nothing has to be woken up to be safe: each run of a process
// with a Book is a run of the plain protocol in which some messages came late or were lost.
//
// # Stands
//
// While nothing happens in a group, its leader and each other member know the same of each other: a
// wire.Stand. The leader makes one for each member (raft.Core.Quiet), and a member makes one for its
// leader in the same way. If the two are equal, then a heartbeat of that leader would change
// nothing at that member but its deadlines, and the answer would tell the leader nothing new. So the
// two processes only tell each other which stands they hold:
//
//	leader's process X                                    member's process Y
//	list for Y, version 7: {g1, g2, g3}  ── the changes since Y's version ─▶  the same list
//	                                                      covered: g1, g3   (its own stands are equal)
//	"round 12 answered, up to version 7" ◀──────────────  answers up to version 7, but for g2
//
// The rules (a group here is a group at one process):
//
//	H1  Each change of a list gives it the next version. An entry remembers the version that put it in.
//	H2  A message brings what has changed since the version that Y has answered with, as it is now. A
//	    message of an earlier start or version is dropped, a later start forgets the list, and a message
//	    that begins behind Y's version isn't taken. Each whole message counts as a heartbeat heard, in
//	    each group of the list whose core follows X in that term. A process that hears of a later start of
//	    its own, since its disk was put back or replaced, takes one above that, as if it started again.
//	H3  An answer names the round, a version, and the groups that aren't covered. It counts for the
//	    entries that were put in at or before that version and aren't named. An answer to another
//	    start of X doesn't count.
//	H4  Covering promises: for the length of the lease in the stand, counted from the last round that
//	    was heard, the member neither votes nor campaigns, whatever happens meanwhile. The core is told
//	    of that promise before it is handed anything (Leave).
//	H5  What was promised is told to the leader's core when it takes its next turn, for exactly that
//	    group and term, counted from the sending of the round. The core judges it by the configuration
//	    that it has then.
//	H6  A group leaves all lists before its core is handed anything (Leave). It comes back after the
//	    turn, if it is quiet (Settle). A shard whose turns end no more (Turned) vouches for none
//	    of its groups: they leave the lists.
//	H7  A group whose leader is quiet stays so while a member's process isn't heard. When that process
//	    comes back, the group takes a turn, and the leader looks after that member.
//	    A process that has started anew has an election timeout for that, and another one as long as more of
//	    its groups come: as each of them starts, it speaks for itself, and the rest are looked after then. One
//	    that the transport has lost counts as one that isn't heard.
//	H8  A covered member's core isn't told of heartbeats. When the list lapses, or the entry goes, the
//	    core is told when it last heard its leader, and its own clocks run from there. A leader's core
//	    takes a turn when a member's process stops answering.
//
// # What the driver does
//
// A driver is the shell, a simulator or a model. It owns one Book for each process, and keeps it
// behind one lock. For each group it owns a raft.Coalesced, which joins the group's core and the
// Book, and knows the order. In detail:
//
//   - A turn of a group: Coalesced.Before, then whatever is handed to the core (raft.HandIn), then
//     Core.Drain, then Coalesced.After. The group's next turn is due at Coalesced.Deadline, which is
//     never while the Book looks after the core: a timer that was set before is to be stopped. After
//     says whether the Book's Deadline may have become earlier.
//   - At the end of each turn of a shard, and in each interval even if it has nothing to do:
//     Book.Turned.
//   - A message of the kind wire.KindProcessHeartbeat comes: Book.Receive, then Book.Drain.
//   - Each message that a core sends is given its group, and each other message that arrives goes into
//     the inbox of its group.
//   - The transport has lost the process of a server: Book.Lost, then Book.Drain. The groups' cores
//     aren't told by Core.Lost: those that it led, and those that are handing over to it, take a turn.
//   - At Book.Deadline at the latest: Book.Beat, then Book.Drain. What has arrived is handed in
//     before (Receive), so that a pause of this process doesn't count as silence of the others.
//   - Book.Drain returns messages to be sent, and groups that are to take a turn: Coalesced.Asked, then
//     the turn, which needs nothing in its inbox: Before tells the core what there is to tell. A group
//     that doesn't run here is started first. The turns of a group that is on no list, and was asked for
//     none, don't need the lock.
//   - A group ends, or its core has failed: Coalesced.End. The others hear of it at once.
//   - The room of the process's disk goes to Book.Room whenever it is asked for. When the disk becomes
//     full, or roomy again, each group takes a turn in which Core.Room is told.
//   - A group is founded: Coalesced.Found, before its first turn. The first server of the list, which
//     differs from group to group, campaigns at once, unless this process founds many groups already.
//
// # Loss of a process
//
// When a process hears another one no more, it says so to the others at once (Lost in
// wire.ProcessHeartbeat), also to those with which it has had nothing to talk about: they follow the same
// leader. When it is heard again, it says that. When a majority of a group's voters has lost the process of its leader, one
// of them begins at once: the first in an order that differs from group to group (First). The others
// leave it a quarter of an election timeout, and then keep to their random clocks. So nothing depends on this
// agreement: it hastens, and never forbids.
//
// # Many at once
//
// Ten thousand groups that speak for themselves are more than two processors take. If each of them spoke
// again when its answer is late, they would never be silent again. So a group goes onto the lists with an
// answer to any of the last rounds (raft.Core.Quiet), not to the very last one alone; it has to be heard of again
// as soon as if it had been there since that answer (Quiet.Confirmed). And a process campaigns for so many
// groups at a time that their votes are counted before anybody asks anew (Campaigns, WaitToCampaign): the
// rest wait, and vote for others meanwhile.
package coalesce
