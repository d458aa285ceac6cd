// Package recovery makes one server a cluster of its own, after a majority of its cluster was lost
// for good. It is the last resort.
//
// Without a majority of the voters there is no cluster that could decide anything. Nothing that the
// survivors could do by themselves would be safe: the others may still live somewhere, and go on.
// So the decision is a person's. What can be saved is what one of the survivors holds.
//
// A cluster that still has a majority must not be recovered. Ordinary calls replace the servers
// that it has lost ([raft.Node.Replace], [raft.Node.SetMembers]).
//
// # The procedure
//
//  1. Make sure that the lost servers are lost for good. Stop the survivors, and copy their disks.
//  2. Look at each survivor ([Inspect], or the command raftrecover). Of the survivors with the
//     highest LastTerm, the one with the highest Last holds the most. If its snapshot is damaged,
//     it may not start alone ([Report.SnapshotDamage]): then another survivor is the better choice.
//  3. Recover that one, and no other ([Recover], or raftrecover with its flags). Start it.
//  4. Empty the disks of the other survivors. Start them without a Bootstrap list, and add them
//     ([raft.Node.AddServer]).
//
// # What is lost
//
// [Report.String] says it for each survivor. Commands may be lost although they were acknowledged:
// those that were committed in the last term of the survivor's log, but after its end, and those
// that were committed in a later term. And commands may count although they were answered as not
// applied: those that stand in the survivor's log after its snapshot.
//
// The log of the new cluster keeps a record of the recovery: a configuration that names the old
// cluster ([raft.Configuration.Recovered]). The new cluster has another ID. So if servers of the
// old cluster come back after all, the servers of the new one don't listen to them, and the two
// clusters don't mix.
package recovery
