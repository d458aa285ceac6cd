// Package recovery makes one server a cluster of its own, after a majority of its cluster was lost
// for good, or after all copies of an entry were damaged. It is the last resort.
//
// Without a majority of the voters there is no cluster that could decide anything. Nothing that the
// survivors could do by themselves would be safe: the others may still live somewhere, and go on.
// So the decision is a person's. What can be saved is what the survivors hold.
//
// A cluster that still has a majority must not be recovered. Ordinary calls replace the servers
// that it has lost ([raft.Node.Replace], [raft.Node.SetMembers]). There is one exception: the bytes of
// an entry may be lost on all disks, though their servers know that there was an entry
// ([raft.Saved], Lost). It may have been acknowledged, so the cluster waits for it for ever
// (Status.Damage says so). [Survey] says what is lost, and who has it.
//
// # The procedure
//
//  1. Make sure that the lost servers are lost for good. Stop the survivors, and copy their disks.
//  2. Compare the survivors ([NewPlan], or the command raft recover plan with all their directories).
//     The one whose log ends last is to be recovered: in the highest term, and then at the highest
//     index. If its snapshot is damaged, and nobody has another one, the next one is.
//  3. Recover that one, and no other ([RecoverTogether], or raft recover apply). What its disk has lost
//     comes from the others. Start it.
//  4. Empty the disks of the other survivors. Start them without a Bootstrap list, and add them
//     ([raft.Node.AddServer]).
//
// With a single survivor that has lost nothing, [Inspect] and [Recover] do the same.
//
// # When something is nowhere
//
// While a majority is there, start all servers first: they give each other what one of them has, and
// give up by themselves what was never committed.
//
// If there are entries that the server needs, and neither their bytes nor a snapshot that covers them
// is anywhere, its log must be cut before the first of them. All that lies behind is lost with it,
// damaged or not: a state machine can't leave out a command. The Plan says where that is and what is
// lost, and whoever calls RecoverTogether has to name the index. So nothing is cut by accident, nor
// twice: then the server belongs to another cluster.
//
// That holds too if all members are there. It wouldn't do to cut the log of each of them: one that was
// forgotten would still know of the entries that the others have cut, and its log would end later
// than theirs. It would be elected, or keep the others from it, and could put something else where
// they have begun anew. In a cluster with a new ID nobody listens to it. So one server is recovered,
// and the others begin on empty disks.
//
// A state machine that keeps its own durable state ([raft.Config.Durable]) may have applied what is
// cut. Then [raft.Start] refuses it: it has to be put back to what it was before, or emptied.
//
// # What is lost
//
// [Report.String] says it for each survivor. Commands may be lost although they were acknowledged:
// those that were committed in the last term of the survivor's log, but after its end, those
// that were committed in a later term, and those behind a cut. And commands may count although they
// were answered as not applied: those that stand in the survivor's log after its snapshot.
//
// The log of the new cluster keeps a record of the recovery: a configuration that names the old
// cluster ([raft.Configuration.Recovered]). The new cluster has another ID. So if servers of the
// old cluster come back after all, the servers of the new one don't listen to them, and the two
// clusters don't mix.
package recovery
