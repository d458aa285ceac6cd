package prometheus

import (
	"errors"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
)

// traced gives what the functions of the trace have counted.
func (c collection) traced() {
	c.loop.mu.Lock()
	counts := c.loop.shown
	c.loop.mu.Unlock()
	c.put(turnsFamily, float64(counts.turns))
	c.put(receivedFamily, float64(counts.received))
	c.put(sentFamily, float64(counts.sent))
	c.put(leaderChangesFamily, float64(counts.leaderChanges))
	c.put(campaignsFamily, float64(counts.campaigns))
	c.histogram(turnDurationFamily, &counts.turnTimes)
	c.histogram(stageDurationFamily, &counts.gathered, stageNames[0])
	for i := range counts.stages {
		c.histogram(stageDurationFamily, &counts.stages[i], stageNames[i+1])
	}
	c.calls(&counts)

	c.lanes.mu.Lock()
	defer c.lanes.mu.Unlock()
	l := &c.lanes
	c.histogram(writeDurationFamily, &l.writes)
	c.histogram(syncDurationFamily, &l.syncs)
	c.histogram(applyDurationFamily, &l.applies)
	c.put(writtenEntriesFamily, float64(l.writtenEntries))
	c.put(writtenBytesFamily, float64(l.writtenBytes))
	c.put(repairedFamily, float64(l.repaired))
	c.put(appliedEntriesFamily, float64(l.applied))
	for i, purpose := range purposes {
		c.histogram(fetchDurationFamily, &l.fetches[i], purpose)
	}
	for i, kind := range snapshotKinds {
		c.histogram(snapshotDurationFamily, &l.snapshots[i], kind)
		c.put(snapshotsFamily, float64(l.snapshots[i].count), kind, "ok")
		c.put(snapshotsFamily, float64(l.snapshotsFailed[i]), kind, "failed")
		c.put(snapshotBytesFamily, float64(l.snapshotsBytes[i]), kind)
	}
}

// calls gives how calls have ended.
func (c collection) calls(counts *loopCounts) {
	for i, kind := range callKinds {
		c.histogram(answerDurationFamily, &counts.answers[i], kind)
		c.put(answersFamily, float64(counts.answers[i].count), kind, "ok")
		failed := counts.failed[i][outcomeNotApplied] + c.callers.refused[i].Load()
		if kind != "command" && kind != "call" {
			c.put(answersFamily, float64(failed), kind, "not_served")
			continue
		}
		c.put(answersFamily, float64(failed), kind, "not_applied")
		c.put(answersFamily, float64(counts.failed[i][outcomeUnknown]), kind, "unknown")
	}
	for i := 0; i < len(reasons); {
		name, sum := reasons[i].name, uint64(0)
		for ; i < len(reasons) && reasons[i].name == name; i++ {
			sum += counts.reasons[i] + c.callers.reasons[i].Load()
		}
		c.put(refusalsFamily, float64(sum), name)
	}
}

// The values of labels that come from a Status.
var (
	roles     = []string{"follower", "pre-candidate", "candidate", "leader", "recovering", "stopped"}
	peerModes = []string{"probing", "replicating", "reading", "snapshot"}
	troubles  = []struct {
		name string
		err  error
	}{
		{"bootstrap_mismatch", raft.ErrBootstrapMismatch}, {"other_incarnation", raft.ErrOtherIncarnation},
		{"rolled_back", raft.ErrRolledBack}, {"removed", raft.ErrRemoved}, {"other_cluster", raft.ErrOtherCluster},
		{"outdated", raft.ErrOutdated}, {"moved", raft.ErrMoved}, {"no_cluster", raft.ErrNoCluster},
	}
)

// status gives what the node says of itself.
func (c collection) status(s raft.Status) {
	c.put(stuckFamily, oneIf(s.Stuck != ""))
	c.each(roleFamily, roles, s.Role)
	c.put(termFamily, float64(s.Term))
	for _, trouble := range troubles {
		c.put(troubleFamily, oneIf(errors.Is(s.Trouble, trouble.err)), trouble.name)
	}
	c.members(&s)
	if s.Stuck != "" {
		return // the rest isn't known
	}
	leaderless := time.Duration(0)
	if s.NoLeader != nil {
		leaderless = s.NoLeader.For
	}
	c.put(noLeaderFamily, leaderless.Seconds())
	c.put(handingOverFamily, oneIf(s.HandingOver != ""))
	c.put(leaseFamily, s.Lease.Seconds())
	c.put(levelFamily, float64(s.Level))
	c.put(lastFamily, float64(s.Last))
	c.put(stableFamily, float64(s.Stable))
	c.put(commitFamily, float64(s.Commit))
	c.put(appliedFamily, float64(s.Applied))
	c.put(snapshotIndexFamily, float64(s.Snapshot))
	c.waiting(&s)
	c.put(snapshotSizeFamily, float64(s.SnapshotBytes))
	c.put(snapshotTroubleFamily, oneIf(s.SnapshotTrouble != nil))
	receiving := raft.TransferStatus{}
	if s.Receiving != nil {
		receiving = *s.Receiving
	}
	c.put(receivingFamily, float64(receiving.Done))
	c.put(receivingSizeFamily, float64(receiving.Size))
	c.disk(&s)
	c.put(divergedFamily, oneIf(s.Diverged != nil))
	for i := range s.Peers {
		c.peer(&s.Peers[i], s.Last)
	}
}

// members gives how many members there are.
func (c collection) members(s *raft.Status) {
	count := map[raft.MemberRole]int{}
	for i := range s.Members {
		count[s.Members[i].Role]++
	}
	c.put(membersFamily, float64(count[raft.Voter]), "voter")
	c.put(membersFamily, float64(count[raft.Learner]), "learner")
	c.put(membersFamily, float64(count[raft.Joining]), "joining")
}

// waiting gives what waits in the node.
func (c collection) waiting(s *raft.Status) {
	for _, calls := range []struct {
		kind    string
		pending int
		oldest  *raft.Wait
	}{
		{"command", s.PendingProposals, s.Command}, {"read", s.PendingReads, s.Read}, {"call", s.PendingCalls, s.Call},
	} {
		waited := time.Duration(0)
		if calls.oldest != nil {
			waited = calls.oldest.For
		}
		c.put(pendingFamily, float64(calls.pending), calls.kind)
		c.put(oldestFamily, waited.Seconds(), calls.kind)
	}
	c.put(pendingBytesFamily, float64(s.PendingBytes))
	c.put(uncommittedFamily, float64(s.UncommittedBytes))
	c.put(unappliedFamily, float64(s.UnappliedBytes))
	c.put(inboxMessagesFamily, float64(s.Inbox.Messages))
	c.put(inboxBytesFamily, float64(s.Inbox.Bytes))
	c.put(droppedFamily, float64(s.Inbox.Dropped))
	c.put(refusedFamily, float64(s.RefusedMessages))
	for _, lane := range []struct {
		name   string
		status *raft.LaneStatus
	}{{"disk", &s.Disk}, {"catch_up", &s.CatchUp}, {"machine", &s.Machine}} {
		c.put(lanePendingFamily, float64(lane.status.Pending), lane.name)
		c.put(laneBusyFamily, lane.status.For.Seconds(), lane.name)
		c.put(laneWaitsFamily, oneIf(lane.status.Waits != nil), lane.name)
	}
}

// disk gives what is wrong with the disk, and how much room it has.
func (c collection) disk(s *raft.Status) {
	lost, since := uint64(0), time.Duration(0)
	if s.Damage != nil {
		since = s.Damage.For
		for _, r := range s.Damage.Lost {
			lost += uint64(r.Last-r.First) + 1
		}
	}
	c.put(lostFamily, float64(lost))
	c.put(lostForFamily, since.Seconds())
	c.put(storageTroubleFamily, oneIf(s.StorageTrouble != nil))
	c.put(roomFamily, roomValue(s.Room))
	c.put(fullFamily, s.FullFor.Seconds())
}

// peer gives what a leader knows of another server.
func (c collection) peer(p *raft.PeerStatus, last raft.Index) {
	id := labelValue(p.ID)
	c.put(peerLagFamily, float64(last-min(p.Match, last)), id)
	c.put(peerMatchFamily, float64(p.Match), id)
	c.put(peerInFlightFamily, float64(p.InFlight), id)
	c.put(peerInFlightBytesFamily, float64(p.InFlightBytes), id)
	c.put(peerSilentFamily, p.Silent.Seconds(), id)
	c.each(peerSendingFamily, peerModes, p.Sending, id)
	c.put(peerTroubleFamily, oneIf(p.Trouble != nil), id)
	c.put(peerFullFamily, oneIf(p.Full), id)
}

// transportStats gives what the transport says of itself.
func (c collection) transportStats(s tcp.Stats) {
	c.put(connectionsFamily, float64(s.Connections))
	c.put(guestsFamily, float64(s.Guests))
	for i := range s.Members {
		m := &s.Members[i]
		id := labelValue(m.ID)
		c.put(connectedFamily, oneIf(m.Connected), id)
		c.put(heardFamily, oneIf(m.Heard), id)
		c.put(connectsFamily, float64(m.Connects), id)
		c.put(connectFailuresFamily, float64(m.Failures), id)
		c.put(queuedMessagesFamily, float64(m.QueuedMessages), id)
		c.put(queuedBytesFamily, float64(m.QueuedBytes), id)
		c.put(transportSentFamily, float64(m.SentMessages), id)
		c.put(transportBytesFamily, float64(m.SentBytes), id)
		c.put(transportDroppedFamily, float64(m.Dropped), id)
	}
}
