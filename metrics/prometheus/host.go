package prometheus

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/e17579a5/raft"
)

// InstrumentHost has the groups of a host that is started with the config counted, all of them
// together. It changes config.Group; a Trace that it returns is called first, as before. If the
// Transport says what it does, as that of package tcp, it is asked.
func (m *Metrics) InstrumentHost(config *raft.HostConfig) {
	if t, ok := config.Transport.(statsTeller); ok {
		m.transport.Store(&t)
	}
	groupConfig := config.Group
	config.Group = func(group raft.GroupID) raft.Config {
		c := groupConfig(group)
		before := raft.Trace{}
		if c.Trace != nil {
			before = *c.Trace
		}
		c.Trace = m.trace(before)
		return c
	}
}

// AttachHost has the host asked for its Status whenever the metrics are collected. Until then they are
// those of the traces alone. After the host has stopped they show the end.
func (m *Metrics) AttachHost(host *raft.Host) { m.host.Store(host) }

// hostStatus gives what a host says of itself.
func (c collection) hostStatus(s raft.HostStatus, now time.Time) {
	c.put(failedFamily, oneIf(s.Err != nil))
	c.put(hostGroupsFamily, float64(s.Led), "led")
	c.put(hostGroupsFamily, float64(s.Followed), "followed")
	c.put(hostGroupsFamily, float64(s.Leaderless), "leaderless")
	c.put(hostGroupsFamily, float64(s.Ended), "ended")
	c.put(hostRunningFamily, float64(s.Running))
	c.put(hostQuietFamily, float64(s.Quiet))
	c.groupSums(s.Groups)
	c.put(inboxMessagesFamily, float64(s.Inbox.Messages))
	c.put(inboxBytesFamily, float64(s.Inbox.Bytes))
	c.put(droppedFamily, float64(s.Inbox.Dropped))
	c.put(lanePendingFamily, float64(s.Disk.Pending), "disk")
	c.put(laneBusyFamily, s.Disk.For.Seconds(), "disk")
	c.put(laneWaitsFamily, oneIf(s.Disk.Waits != nil), "disk")
	c.put(storageTroubleFamily, oneIf(s.StorageTrouble != nil))
	c.put(roomFamily, roomValue(s.Room))
	c.put(fullFamily, s.FullFor.Seconds())
	c.put(hostWritesFamily, float64(s.Writes))
	c.put(hostGroupWritesFamily, float64(s.GroupWrites))
	c.put(hostWaitingBytesFamily, float64(s.WaitingBytes))
	c.put(hostLogBytesFamily, float64(s.LogBytes))
	c.put(hostSnapshotsFamily, float64(s.Taking), "taking")
	c.put(hostSnapshotsFamily, float64(s.Sending), "sending")
	c.put(hostSnapshotsFamily, float64(s.Receiving), "receiving")
	c.put(hostSnapshotsFamily, float64(s.ToTake), "to_take")
	c.put(hostSnapshotsFamily, float64(s.ToSend), "to_send")
	c.put(hostSnapshotsFamily, float64(s.ToReceive), "to_receive")
	c.put(hostScrubsFamily, float64(s.Scrubs))
	for i := range s.Processes {
		p := &s.Processes[i]
		id := labelValue(p.ID)
		c.put(hostProcessLeadsFamily, float64(p.Leads), id)
		c.put(hostProcessSilentFamily, p.Silent.Seconds(), id)
		c.put(hostProcessLostFamily, oneIf(p.Lost), id)
		c.put(hostProcessAbsentFamily, float64(p.Absent), id)
	}
	for _, g := range c.top.choose(s.Groups, now) {
		name := labelValue(g.Group)
		c.put(groupAppliedFamily, float64(g.Applied), name)
		c.put(groupLeadsFamily, oneIf(g.Leadership.Role == "leader"), name)
		c.put(groupLeaderlessFamily, g.Leaderless.Seconds(), name)
		c.put(groupPendingFamily, float64(g.Pending), name)
		c.put(groupLagFamily, float64(unapplied(g)), name)
	}
}

// groupSums gives what is counted over all groups.
func (c collection) groupSums(groups []raft.GroupStatus) {
	failed, troubled, pending, lag, leaderless := 0, 0, 0, raft.Index(0), time.Duration(0)
	for i := range groups {
		g := &groups[i]
		if g.Err != nil {
			failed++
		}
		if g.Trouble != nil {
			troubled++
		}
		pending += g.Pending
		if g.Runs() {
			lag = max(lag, unapplied(g))
		}
		if g.Trouble == nil {
			leaderless = max(leaderless, g.Leaderless)
		}
	}
	c.put(hostFailedFamily, float64(failed))
	c.put(hostTroubledFamily, float64(troubled))
	c.put(hostLeaderlessFamily, leaderless.Seconds())
	c.put(hostPendingFamily, float64(pending))
	c.put(hostLagFamily, float64(lag))
}

func unapplied(g *raft.GroupStatus) raft.Index { return g.Commit - min(g.Applied, g.Commit) }

// roomValue returns room as the value of a series.
func roomValue(room uint64) float64 {
	if room == math.MaxUint64 {
		return math.Inf(1)
	}
	return float64(room)
}

// topGroups chooses the groups of a host that have series of their own: those with the most commands,
// and those that are always wanted. A group that has been chosen keeps its place until another one has
// twice as many commands. So in the course of time, too, hardly more groups get series than there are
// places, also if all of them are equally busy.
type topGroups struct {
	places int
	always map[raft.GroupID]bool

	mu     sync.Mutex
	looked time.Time
	rates  map[raft.GroupID]groupRate
	chosen map[raft.GroupID]bool
}

// A groupRate is how many entries a group applies in a second, on average over rateMemory.
type groupRate struct {
	applied raft.Index
	rate    float64
}

const rateMemory = 10 * time.Minute

func (t *topGroups) begin(places int, always []raft.GroupID) {
	t.places, t.always = places, make(map[raft.GroupID]bool, len(always))
	for _, group := range always {
		t.always[group] = true
	}
}

// choose returns the groups that have series of their own, of those that run.
func (t *topGroups) choose(groups []raft.GroupStatus, now time.Time) (chosen []*raft.GroupStatus) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.measure(groups, now)
	var busy []*raft.GroupStatus
	for i := range groups {
		switch g := &groups[i]; {
		case !g.Runs():
		case t.always[g.Group]:
			chosen = append(chosen, g)
		case t.rates[g.Group].rate > 0:
			busy = append(busy, g)
		}
	}
	slices.SortFunc(busy, func(a, b *raft.GroupStatus) int {
		return cmp.Or(cmp.Compare(t.weight(b.Group), t.weight(a.Group)), strings.Compare(string(a.Group), string(b.Group)))
	})
	busy = busy[:min(len(busy), t.places)]
	t.chosen = make(map[raft.GroupID]bool, len(busy))
	for _, g := range busy {
		t.chosen[g.Group] = true
	}
	return append(chosen, busy...)
}

// weight is the rate of a group, twice as much for one that has a place.
func (t *topGroups) weight(group raft.GroupID) float64 {
	rate := t.rates[group].rate
	if t.chosen[group] {
		rate *= 2
	}
	return rate
}

// measure looks how far the groups have come since the last time.
func (t *topGroups) measure(groups []raft.GroupStatus, now time.Time) {
	passed := now.Sub(t.looked)
	if t.rates != nil && passed <= 0 {
		return
	}
	share := 1 - math.Exp(-float64(passed)/float64(rateMemory)) // of the average
	rates := make(map[raft.GroupID]groupRate, len(groups))
	for i := range groups {
		g := &groups[i]
		before, known := t.rates[g.Group]
		next := groupRate{g.Applied, before.rate * (1 - share)}
		if known && g.Applied > before.applied {
			next.rate += share * float64(g.Applied-before.applied) / passed.Seconds()
		}
		if next.rate < 1e-6 { // it has been at rest for long
			next.rate = 0
		}
		rates[g.Group] = next
	}
	t.looked, t.rates = now, rates
}
