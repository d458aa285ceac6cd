package prometheus

import "github.com/prometheus/client_golang/prometheus"

// A family is all series of one name.
type family struct {
	name, help string
	kind       prometheus.ValueType // of a family that is no histogram
	histogram  bool
	labels     []string
}

const counter = prometheus.CounterValue

// The families, in the order of the README. Each is a constant that indexes families.
const (
	roleFamily = iota
	termFamily
	noLeaderFamily
	leaderChangesFamily
	campaignsFamily
	handingOverFamily
	leaseFamily
	troubleFamily
	stuckFamily
	failedFamily
	membersFamily
	levelFamily

	lastFamily
	stableFamily
	commitFamily
	appliedFamily
	snapshotIndexFamily

	answersFamily
	answerDurationFamily
	stageDurationFamily
	refusalsFamily
	pendingFamily
	oldestFamily
	pendingBytesFamily
	uncommittedFamily
	unappliedFamily

	turnsFamily
	turnDurationFamily
	inboxMessagesFamily
	inboxBytesFamily
	receivedFamily
	sentFamily
	droppedFamily
	refusedFamily

	lanePendingFamily
	laneBusyFamily
	laneWaitsFamily
	writeDurationFamily
	syncDurationFamily
	writtenEntriesFamily
	writtenBytesFamily
	fetchDurationFamily
	applyDurationFamily
	appliedEntriesFamily

	snapshotsFamily
	snapshotDurationFamily
	snapshotBytesFamily
	snapshotSizeFamily
	snapshotTroubleFamily
	receivingFamily
	receivingSizeFamily

	lostFamily
	lostForFamily
	repairedFamily
	storageTroubleFamily
	divergedFamily
	roomFamily
	fullFamily

	peerLagFamily
	peerMatchFamily
	peerInFlightFamily
	peerInFlightBytesFamily
	peerSilentFamily
	peerSendingFamily
	peerTroubleFamily
	peerFullFamily

	connectionsFamily
	guestsFamily
	connectedFamily
	heardFamily
	connectsFamily
	connectFailuresFamily
	queuedMessagesFamily
	queuedBytesFamily
	transportSentFamily
	transportBytesFamily
	transportDroppedFamily

	hostGroupsFamily
	hostRunningFamily
	hostQuietFamily
	hostFailedFamily
	hostTroubledFamily
	hostLeaderlessFamily
	hostPendingFamily
	hostLagFamily
	hostWritesFamily
	hostGroupWritesFamily
	hostWaitingBytesFamily
	hostLogBytesFamily
	hostSnapshotsFamily
	hostScrubsFamily
	hostProcessLeadsFamily
	hostProcessSilentFamily
	hostProcessLostFamily
	hostProcessAbsentFamily
	groupAppliedFamily
	groupLeadsFamily
	groupLeaderlessFamily
	groupPendingFamily
	groupLagFamily

	numFamilies
)

var families = [numFamilies]family{
	roleFamily:          {name: "raft_role", help: "1 for the role of this server, 0 for the others.", labels: []string{"role"}},
	termFamily:          {name: "raft_term", help: "The term of this server."},
	noLeaderFamily:      {name: "raft_no_leader_seconds", help: "How long this server has known no leader; 0 while it knows one."},
	leaderChangesFamily: {name: "raft_leader_changes_total", kind: counter, help: "How often this server has learnt of a leader: another one, or the same one in another term."},
	campaignsFamily:     {name: "raft_campaigns_total", kind: counter, help: "How often this server has begun to ask for votes, or whether it would get them."},
	handingOverFamily:   {name: "raft_handing_over", help: "1 while this server, as the leader, hands over to another one."},
	leaseFamily:         {name: "raft_lease_seconds", help: "How long the lease of this leader runs unless it is renewed; 0 without a lease."},
	troubleFamily:       {name: "raft_trouble", help: "1 for the reason why this server takes no part in its cluster, 0 for the others.", labels: []string{"reason"}},
	stuckFamily:         {name: "raft_stuck", help: "1 while a function of the user's holds up the whole node. Most other series then show nothing."},
	failedFamily:        {name: "raft_failed", help: "1 if a failure has stopped the node."},
	membersFamily:       {name: "raft_members", help: "How many members the cluster has, by the latest configuration in this server's log.", labels: []string{"role"}},
	levelFamily:         {name: "raft_level", help: "The level that is in force."},

	lastFamily:          {name: "raft_last_index", help: "The last entry in this server's log."},
	stableFamily:        {name: "raft_stable_index", help: "The last entry that is on this server's disk."},
	commitFamily:        {name: "raft_commit_index", help: "The last entry that this server knows to be committed."},
	appliedFamily:       {name: "raft_applied_index", help: "The last entry that the state machine has applied."},
	snapshotIndexFamily: {name: "raft_snapshot_index", help: "The last entry that the current snapshot covers."},

	answersFamily:        {name: "raft_answers_total", kind: counter, help: "Calls at this server that have ended, by their kind and outcome: ok, not_applied or unknown; for reads ok or not_served.", labels: []string{"kind", "outcome"}},
	answerDurationFamily: {name: "raft_answer_duration_seconds", histogram: true, help: "How long calls at this server took that ended well, from the moment that the node took them.", labels: []string{"kind"}},
	stageDurationFamily:  {name: "raft_stage_duration_seconds", histogram: true, help: "How long commands took for a stage. gathered: until the node took the oldest call of a turn, at any server. The rest is of a leader, from the moment that an entry was in its log: written, on its own disk; quorum, committed; applied, by its state machine.", labels: []string{"stage"}},
	refusalsFamily:       {name: "raft_refusals_total", kind: counter, help: "Calls at this server that ended with an error, by its reason.", labels: []string{"reason"}},
	pendingFamily:        {name: "raft_pending", help: "Calls at this server that wait for an answer.", labels: []string{"kind"}},
	oldestFamily:         {name: "raft_oldest_pending_seconds", help: "How long the oldest call has waited; 0 if none waits.", labels: []string{"kind"}},
	pendingBytesFamily:   {name: "raft_pending_bytes", help: "The size of the commands at this server that wait for an answer."},
	uncommittedFamily:    {name: "raft_uncommitted_bytes", help: "What this leader has taken in that isn't committed and on its own disk (MaxUncommittedBytes)."},
	unappliedFamily:      {name: "raft_unapplied_bytes", help: "What this leader has taken in that its state machine hasn't applied (MaxUnappliedBytes)."},

	turnsFamily:         {name: "raft_turns_total", kind: counter, help: "Turns of the node's loop."},
	turnDurationFamily:  {name: "raft_turn_duration_seconds", histogram: true, help: "How long the turns of the node's loop took."},
	inboxMessagesFamily: {name: "raft_inbox_messages", help: "Messages that had gathered for the node when it was asked for this."},
	inboxBytesFamily:    {name: "raft_inbox_bytes", help: "The size of the appends, forwards and calls among them."},
	receivedFamily:      {name: "raft_messages_received_total", kind: counter, help: "Messages from other servers that the node took."},
	sentFamily:          {name: "raft_messages_sent_total", kind: counter, help: "Messages that the node gave to the transport."},
	droppedFamily:       {name: "raft_inbox_dropped_total", kind: counter, help: "Messages from other servers for which there was no room in the inbox."},
	refusedFamily:       {name: "raft_messages_refused_total", kind: counter, help: "Messages that contradict what this server knows, or whose sender is no member. At most one in an election timeout is counted."},

	lanePendingFamily:    {name: "raft_lane_pending", help: "What the disk, the catch-up lane and the state machine were given and haven't finished.", labels: []string{"lane"}},
	laneBusyFamily:       {name: "raft_lane_busy_seconds", help: "How long ago the lane has finished something, or was given the first; 0 if it has nothing to do.", labels: []string{"lane"}},
	laneWaitsFamily:      {name: "raft_lane_waiting", help: "1 while the lane waits for room or for a file descriptor.", labels: []string{"lane"}},
	writeDurationFamily:  {name: "raft_write_duration_seconds", histogram: true, help: "How long writes to the storage took, with their syncs."},
	syncDurationFamily:   {name: "raft_sync_duration_seconds", histogram: true, help: "How long the syncs of the log's files took that writes waited for (wal.Options.Synced)."},
	writtenEntriesFamily: {name: "raft_written_entries_total", kind: counter, help: "Entries that were written to the storage."},
	writtenBytesFamily:   {name: "raft_written_bytes_total", kind: counter, help: "The size of their commands and configurations."},
	fetchDurationFamily:  {name: "raft_fetch_duration_seconds", histogram: true, help: "How long reads of the log took: for another server, for the state machine, to give lost entries to another server, and to see whether bytes are lost.", labels: []string{"purpose"}},
	applyDurationFamily:  {name: "raft_apply_duration_seconds", histogram: true, help: "How long the state machine took for a batch."},
	appliedEntriesFamily: {name: "raft_applied_entries_total", kind: counter, help: "Entries that were applied."},

	snapshotsFamily:        {name: "raft_snapshots_total", kind: counter, help: "Snapshots that were taken, sent, received and restored, and those of which that failed.", labels: []string{"kind", "outcome"}},
	snapshotDurationFamily: {name: "raft_snapshot_duration_seconds", histogram: true, help: "How long that took, if it went well.", labels: []string{"kind"}},
	snapshotBytesFamily:    {name: "raft_snapshot_bytes_total", kind: counter, help: "Bytes of snapshots that were written or sent.", labels: []string{"kind"}},
	snapshotSizeFamily:     {name: "raft_snapshot_size_bytes", help: "The size of the current snapshot, as far as it was seen since the start."},
	snapshotTroubleFamily:  {name: "raft_snapshot_trouble", help: "1 while something is wrong with this server's snapshots."},
	receivingFamily:        {name: "raft_snapshot_receiving_bytes", help: "How much of a snapshot has come that this server is being sent; 0 if it is sent none."},
	receivingSizeFamily:    {name: "raft_snapshot_receiving_size_bytes", help: "The size of that snapshot."},

	lostFamily:           {name: "raft_lost_entries", help: "Entries whose bytes this server's disk has lost."},
	lostForFamily:        {name: "raft_lost_seconds", help: "How long ago the first of them was found to be lost; 0 if nothing is."},
	repairedFamily:       {name: "raft_repaired_entries_total", kind: counter, help: "Lost entries that were written once more."},
	storageTroubleFamily: {name: "raft_storage_trouble", help: "1 while the storage says that something is wrong with it."},
	divergedFamily:       {name: "raft_diverged", help: "1 if the state machine of another server gave other results than this one's."},
	roomFamily:           {name: "raft_room_bytes", help: "For how many bytes of entries the disk has room; +Inf if the storage doesn't say."},
	fullFamily:           {name: "raft_disk_full_seconds", help: "How long the disk has been full; 0 while it isn't."},

	peerLagFamily:           {name: "raft_peer_lag_entries", help: "How many entries of this leader's log the other server hasn't on its disk.", labels: []string{"peer"}},
	peerMatchFamily:         {name: "raft_peer_match_index", help: "The last entry of this leader's log that the other server has on its disk.", labels: []string{"peer"}},
	peerInFlightFamily:      {name: "raft_peer_in_flight_appends", help: "Appends to the other server that aren't acknowledged.", labels: []string{"peer"}},
	peerInFlightBytesFamily: {name: "raft_peer_in_flight_bytes", help: "The size of their entries.", labels: []string{"peer"}},
	peerSilentFamily:        {name: "raft_peer_silent_seconds", help: "How long this leader has heard nothing from the other server.", labels: []string{"peer"}},
	peerSendingFamily:       {name: "raft_peer_sending", help: "1 for the way in which the other server is sent entries, 0 for the others.", labels: []string{"peer", "mode"}},
	peerTroubleFamily:       {name: "raft_peer_trouble", help: "1 if this leader knows that the other server takes no part.", labels: []string{"peer"}},
	peerFullFamily:          {name: "raft_peer_disk_full", help: "1 if this leader knows that the disk of the other server is full.", labels: []string{"peer"}},

	connectionsFamily:      {name: "raft_connections", help: "Connections that the transport has open, those of newcomers and streams included."},
	guestsFamily:           {name: "raft_guests", help: "Servers that are known to the transport and are no members."},
	connectedFamily:        {name: "raft_connected", help: "1 while this server has a connection for what it sends to the other member.", labels: []string{"peer"}},
	heardFamily:            {name: "raft_connected_from", help: "1 while the other member has a connection for what it sends to this server.", labels: []string{"peer"}},
	connectsFamily:         {name: "raft_connects_total", kind: counter, help: "Connections to the other member that were made.", labels: []string{"peer"}},
	connectFailuresFamily:  {name: "raft_connect_failures_total", kind: counter, help: "Attempts to connect to the other member that failed.", labels: []string{"peer"}},
	queuedMessagesFamily:   {name: "raft_queued_messages", help: "Messages to the other member that wait to be sent.", labels: []string{"peer"}},
	queuedBytesFamily:      {name: "raft_queued_bytes", help: "The size of those messages.", labels: []string{"peer"}},
	transportSentFamily:    {name: "raft_transport_messages_total", kind: counter, help: "Messages to the other member that were handed to a connection.", labels: []string{"peer"}},
	transportBytesFamily:   {name: "raft_transport_bytes_total", kind: counter, help: "The size of those messages.", labels: []string{"peer"}},
	transportDroppedFamily: {name: "raft_transport_dropped_total", kind: counter, help: "Messages to the other member that were dropped.", labels: []string{"peer"}},

	hostGroupsFamily:        {name: "raft_host_groups", help: "How many groups of this host are in a state: led by this server, following another one, without a leader, or ended here.", labels: []string{"state"}},
	hostRunningFamily:       {name: "raft_host_running_groups", help: "How many groups run here."},
	hostQuietFamily:         {name: "raft_host_quiet_groups", help: "In how many groups nothing happens, so that the heartbeats of the process stand for theirs."},
	hostFailedFamily:        {name: "raft_host_failed_groups", help: "How many groups a failure has ended here, or couldn't be started."},
	hostTroubledFamily:      {name: "raft_host_troubled_groups", help: "In how many groups this server takes no part."},
	hostLeaderlessFamily:    {name: "raft_host_leaderless_seconds", help: "How long a group of this host has known no leader, the longest of those in which this server takes part; 0 while each knows one."},
	hostPendingFamily:       {name: "raft_host_pending", help: "Calls at this server that wait for an answer, in all groups."},
	hostLagFamily:           {name: "raft_host_unapplied_entries", help: "How many committed entries a group of this host has to apply, of all of them the most."},
	hostWritesFamily:        {name: "raft_host_writes_total", kind: counter, help: "Writes to the shared storage, each for all groups that had something to write."},
	hostGroupWritesFamily:   {name: "raft_host_group_writes_total", kind: counter, help: "Writes of groups that were done by them."},
	hostWaitingBytesFamily:  {name: "raft_host_waiting_bytes", help: "The size of the entries that wait to be written, of all groups."},
	hostLogBytesFamily:      {name: "raft_host_log_bytes", help: "About how many bytes the logs of all groups take on the disk, as HostConfig.LogBytes bounds it."},
	hostSnapshotsFamily:     {name: "raft_host_snapshots", help: "How many snapshots groups of this host take, send or receive, and how many wait for their turn to be taken, sent or received.", labels: []string{"state"}},
	hostScrubsFamily:        {name: "raft_host_scrubs_total", kind: counter, help: "How often all groups have read what they have, to find out whether bytes are lost."},
	hostProcessLeadsFamily:  {name: "raft_host_process_leads", help: "In how many groups of this host the other process leads.", labels: []string{"peer"}},
	hostProcessSilentFamily: {name: "raft_host_process_silent_seconds", help: "How long nothing has come from the other process. Two processes of which neither leads a group of the other one say nothing.", labels: []string{"peer"}},
	hostProcessLostFamily:   {name: "raft_host_process_lost", help: "1 while the other process led groups here and was given up.", labels: []string{"peer"}},
	hostProcessAbsentFamily: {name: "raft_host_process_absent_groups", help: "In how many groups that this server leads the other process takes no part.", labels: []string{"peer"}},
	groupAppliedFamily:      {name: "raft_group_applied_entries_total", kind: counter, help: "The last entry of the group that was applied here. Only for the groups with the most commands, and those of Options.Groups.", labels: []string{"group"}},
	groupLeadsFamily:        {name: "raft_group_leads", help: "1 if this server leads the group.", labels: []string{"group"}},
	groupLeaderlessFamily:   {name: "raft_group_leaderless_seconds", help: "How long the group has known no leader; 0 while it knows one.", labels: []string{"group"}},
	groupPendingFamily:      {name: "raft_group_pending", help: "Calls of the group at this server that wait for an answer.", labels: []string{"group"}},
	groupLagFamily:          {name: "raft_group_unapplied_entries", help: "How many committed entries of the group are to be applied here.", labels: []string{"group"}},
}
