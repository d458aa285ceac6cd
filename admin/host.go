package admin

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/httpapi"
)

// A HostQuery says what to tell of the groups of a host.
type HostQuery struct {
	// Over is the time over which rates are measured, which the answer takes: from 0, which stands for a
	// second, to MaxOver.
	Over time.Duration
	// Most is how many groups each list has at most: from 0, which stands for 20, to 1,000.
	Most int
}

// MaxOver bounds HostQuery.Over.
const MaxOver = 10 * time.Second

// What else a HostQuery says at most, and what it stands for if it says nothing.
const (
	defaultOver          = time.Second
	maxMost, defaultMost = 1000, 20
)

// text returns the query of a request.
func (q *HostQuery) text() string {
	values := url.Values{}
	if q.Over != 0 {
		values.Set("over_ms", strconv.FormatInt(q.Over.Milliseconds(), 10))
	}
	if q.Most != 0 {
		values.Set("most", strconv.Itoa(q.Most))
	}
	return "?" + values.Encode()
}

// hostQuery reads the query of a request.
func hostQuery(r *http.Request) (q HostQuery, err error) {
	number := func(name string, most int64) (n int64) {
		text := r.URL.Query().Get(name)
		if text == "" || err != nil {
			return 0
		}
		if n, err = strconv.ParseInt(text, 10, 64); err != nil || n < 0 || n > most {
			err = httpapi.BadRequest("%s is %q: must be from 0 to %d", name, text, most)
		}
		return n
	}
	over, most := number("over_ms", MaxOver.Milliseconds()), number("most", maxMost)
	return HostQuery{cmp.Or(time.Duration(over)*time.Millisecond, defaultOver), cmp.Or(int(most), defaultMost)}, err
}

// A Host is how a server with many groups is: raft.HostStatus as JSON, with rates. All times are in
// milliseconds. Rates are of a second, measured over the last OverMS.
type Host struct {
	ID      raft.ServerID `json:"id"`
	Address string        `json:"address,omitempty"`
	OverMS  int64         `json:"over_ms"`

	// Running counts the groups that run: those that this server leads, those that follow another one,
	// and those without a leader. Quiet are those in which nothing happens. Ended don't run any more.
	Running    int `json:"running"`
	Led        int `json:"led"`
	Followed   int `json:"followed"`
	Leaderless int `json:"leaderless"`
	Quiet      int `json:"quiet"`
	Ended      int `json:"ended"`

	// Pending is how many callers at this server wait. Entries and Writes are how many entries were
	// applied, and how often the disk was written to, for all groups, in a second.
	Pending int     `json:"pending"`
	Entries float64 `json:"entries"`
	Writes  float64 `json:"writes"`

	// Busiest are the groups in which the most entries are applied. NoLeader are the groups that have
	// been without a leader for the longest, Behind those that have the most to apply, Troubled those in
	// which this server takes no part, and Stopped those that have ended. Each list is cut off
	// (HostQuery.Most).
	Busiest  []Group `json:"busiest,omitempty"`
	NoLeader []Group `json:"no_leader,omitempty"`
	Behind   []Group `json:"behind,omitempty"`
	Troubled []Group `json:"troubled,omitempty"`
	Stopped  []Group `json:"stopped,omitempty"`

	Processes []Process `json:"processes,omitempty"`
	Disk      Lane      `json:"disk"`
	// WaitingBytes are the size of the entries that wait to be written. RoomBytes is for how many bytes
	// of entries the disk has room; nil if nobody knows, or if it has no end.
	WaitingBytes int     `json:"waiting_bytes"`
	RoomBytes    *uint64 `json:"room_bytes,omitempty"`
	// LogBytes is about how many bytes the logs of all groups take.
	LogBytes  uint64        `json:"log_bytes"`
	Snapshots HostSnapshots `json:"snapshots"`
	// Scrubbing is the group that reads what it has, ToScrub how many come after it, and Scrubs how many
	// passes are done.
	Scrubbing raft.GroupID `json:"scrubbing,omitempty"`
	ToScrub   int          `json:"to_scrub"`
	Scrubs    uint64       `json:"scrubs"`

	// Problems are what isn't well with the host itself. They are texts for people.
	Problems []string `json:"problems,omitempty"`
}

// HostSnapshots are how many snapshots the groups of a host take, send and receive, and how many wait until
// some of these are done.
type HostSnapshots struct {
	Taking    int `json:"taking"`
	Sending   int `json:"sending"`
	Receiving int `json:"receiving"`
	ToTake    int `json:"to_take"`
	ToSend    int `json:"to_send"`
	ToReceive int `json:"to_receive"`
}

// A Group is one group of a host.
type Group struct {
	Group        raft.GroupID  `json:"group"`
	Role         string        `json:"role"`
	Term         raft.Term     `json:"term"`
	Leader       raft.ServerID `json:"leader"` // "" while the server knows none
	LeaderlessMS int64         `json:"leaderless_ms,omitempty"`
	Commit       raft.Index    `json:"commit"`
	Applied      raft.Index    `json:"applied"`
	Entries      float64       `json:"entries"` // applied in a second
	Pending      int           `json:"pending"`
	Quiet        bool          `json:"quiet"`
	Trouble      string        `json:"trouble,omitempty"`
	Error        string        `json:"error,omitempty"` // why it has ended, or couldn't be started
}

// A Process is another server, as a host knows it.
type Process struct {
	ID       raft.ServerID `json:"id"`
	Address  string        `json:"address"`
	Leads    int           `json:"leads"`
	Absent   int           `json:"absent"`
	SilentMS int64         `json:"silent_ms"`
	Lost     bool          `json:"lost"`
}

// hostStatus answers how all groups of this server are. It looks twice, to measure rates.
func (h *handler) hostStatus(r *http.Request) (any, error) {
	query, err := hostQuery(r)
	switch {
	case err != nil:
		return nil, err
	case h.host == nil:
		err := fmt.Errorf("this server has one group only")
		return nil, &httpapi.Error{Status: http.StatusNotFound, Code: "no_host", Outcome: httpapi.NotApplied, Message: err.Error(), Err: err}
	}
	before, from := h.host.Status(), time.Now()
	wait := time.NewTimer(query.Over)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-h.host.Done(): // it will not change any more
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	now := h.host.Status()
	return hostOf(&before, &now, time.Since(from), query.Most), nil
}

// hostOf returns a status for people and programs. Two of the host's tell the rates.
func hostOf(before, is *raft.HostStatus, passed time.Duration, most int) Host {
	h := Host{
		ID: is.ID, Address: is.Address, OverMS: passed.Milliseconds(), Running: is.Running, Led: is.Led, Followed: is.Followed,
		Leaderless: is.Leaderless, Quiet: is.Quiet, Ended: is.Ended, Disk: laneOf(is.Disk), WaitingBytes: is.WaitingBytes,
		LogBytes: is.LogBytes, Snapshots: HostSnapshots{is.Taking, is.Sending, is.Receiving, is.ToTake, is.ToSend, is.ToReceive},
		Scrubbing: is.Scrubbing, ToScrub: is.ToScrub, Scrubs: is.Scrubs, Problems: hostProblems(is),
		Writes: perSecond(is.Writes-before.Writes, passed),
	}
	was := make(map[raft.GroupID]raft.Index, len(before.Groups))
	for i := range before.Groups {
		was[before.Groups[i].Group] = before.Groups[i].Applied
	}
	groups := make([]Group, 0, len(is.Groups))
	for i := range is.Groups {
		g := groupOf(&is.Groups[i])
		if from, known := was[g.Group]; known && g.Applied > from {
			g.Entries = perSecond(uint64(g.Applied-from), passed)
		}
		h.Entries += g.Entries
		h.Pending += g.Pending
		groups = append(groups, g)
	}
	behind := func(g *Group) float64 { return float64(g.Commit - min(g.Commit, g.Applied)) }
	h.Busiest = pick(groups, most, func(g *Group) float64 { return g.Entries })
	h.NoLeader = pick(groups, most, func(g *Group) float64 { return float64(g.LeaderlessMS) })
	h.Behind = pick(groups, most, behind)
	h.Troubled = pick(groups, most, func(g *Group) float64 { return oneIf(g.Trouble != "") })
	h.Stopped = pick(groups, most, func(g *Group) float64 { return oneIf(g.Role == "stopped") })
	for i := range is.Processes {
		p := &is.Processes[i]
		h.Processes = append(h.Processes, Process{p.ID, p.Address, p.Leads, p.Absent, p.Silent.Milliseconds(), p.Lost})
	}
	if is.Room != math.MaxUint64 {
		h.RoomBytes = &is.Room
	}
	return h
}

func groupOf(is *raft.GroupStatus) Group {
	leaderless := is.Leaderless.Milliseconds()
	if is.Leaderless > 0 {
		leaderless = max(leaderless, 1)
	}
	return Group{
		Group: is.Group, Role: is.Leadership.Role, Term: is.Leadership.Term, Leader: is.Leadership.Leader, LeaderlessMS: leaderless,
		Commit: is.Commit, Applied: is.Applied, Pending: is.Pending, Quiet: is.Quiet, Trouble: text(is.Trouble), Error: text(is.Err),
	}
}

// pick returns the groups with the highest weights above 0, up to a number of them.
func pick(groups []Group, most int, weight func(*Group) float64) (picked []Group) {
	for i := range groups {
		if weight(&groups[i]) > 0 {
			picked = append(picked, groups[i])
		}
	}
	slices.SortStableFunc(picked, func(a, b Group) int { return cmp.Compare(weight(&b), weight(&a)) })
	return picked[:min(len(picked), most)]
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func perSecond(n uint64, passed time.Duration) float64 {
	return float64(n) / max(passed, time.Millisecond).Seconds()
}

// hostProblems says what isn't well with a host itself.
func hostProblems(s *raft.HostStatus) (problems []string) {
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	switch {
	case s.Err != nil:
		add("stopped: %v", s.Err)
	case s.Stopped:
		add("stopped")
	}
	if s.StorageTrouble != nil {
		add("storage: %v", s.StorageTrouble)
	}
	if s.Disk.For >= slowWrite {
		add("a write has taken %v so far", s.Disk.For.Round(time.Millisecond))
	}
	if s.Disk.Waits != nil {
		add("the disk waits: %v", s.Disk.Waits)
	}
	if s.FullFor > 0 {
		add("the disk has been full for %v", s.FullFor.Round(time.Second))
	}
	for i := range s.Processes {
		if p := &s.Processes[i]; p.Absent > 0 {
			add("%s takes no part in %d groups that this server leads", p.ID, p.Absent)
		}
	}
	return problems
}

// slowWrite is from when on a write is a problem.
const slowWrite = time.Second
