package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/e17579a5/raft"
)

// A view is what the page shows at one moment.
type view struct {
	At      int64        `json:"at"` // milliseconds since 1970
	Servers []serverView `json:"servers"`
	Lines   []lineView   `json:"lines"`
	Clients clientsView  `json:"clients"`
	Verdict verdict      `json:"verdict"`
	News    []piece      `json:"news"`  // those that the page hasn't got yet
	Spans   []span       `json:"spans"` // likewise, the newest at the end
	Span    int          `json:"span"`  // the number of the newest one
}

// A serverView is a server in a view.
type serverView struct {
	ID       raft.ServerID `json:"id"`
	State    string        `json:"state"`
	For      int64         `json:"for"`    // how long it has been in this state, in milliseconds
	Role     string        `json:"role"`   // as in raft.Status
	Member   string        `json:"member"` // "voter", "learner", "joining"; "" if the cluster doesn't know it
	Term     raft.Term     `json:"term"`
	Leader   raft.ServerID `json:"leader"`
	Snapshot raft.Index    `json:"snapshot"`
	Applied  raft.Index    `json:"applied"`
	Commit   raft.Index    `json:"commit"`
	Stable   raft.Index    `json:"stable"`
	Last     raft.Index    `json:"last"`
	Faults   []string      `json:"faults"`
	Says     []sentence    `json:"says"`
	Room     int64         `json:"room"` // bytes; -1 if it has no end
	Cure     string        `json:"cure"` // the action that helps; "" if none is needed
}

// A sentence is what a server says of itself.
type sentence struct {
	Text string `json:"text"`
	Bad  bool   `json:"bad"` // something is wrong; otherwise it is just as it should be
}

// A lineView is a line in a view.
type lineView struct {
	From raft.ServerID `json:"from"`
	To   raft.ServerID `json:"to"`
	Cut  bool          `json:"cut"`
	Slow bool          `json:"slow"`
	Sent uint64        `json:"sent"` // messages so far
	Seen []string      `json:"seen"` // kinds of some messages since the last view
}

// A clientsView tells of the clients.
type clientsView struct {
	Load    string `json:"load"`
	Clients int    `json:"clients"`
	Stale   bool   `json:"stale"`
	Total   span   `json:"total"`
}

// look makes a view of everything.
func (b *lab) look() *view {
	servers := b.list()
	v := &view{At: time.Now().UnixMilli(), Verdict: b.judge.found(), Servers: make([]serverView, len(servers))}
	statuses := make([]raft.Status, len(servers))
	var asked sync.WaitGroup
	for i, s := range servers {
		asked.Go(func() { v.Servers[i], statuses[i] = b.lookAt(s) })
	}
	asked.Wait()
	roles := membersOf(statuses)
	for i := range v.Servers {
		v.Servers[i].Member = roles[v.Servers[i].ID]
	}
	for _, from := range servers {
		for _, to := range servers {
			if from != to {
				l := b.network.line(from.id, to.id)
				v.Lines = append(v.Lines, lineView{from.id, to.id, l.cut.isShut(), l.slow.Load(), l.sent.Load(), l.look()})
			}
		}
	}
	l := loads[b.clients.load.Load()]
	v.Clients = clientsView{Load: l.name, Clients: l.clients, Stale: b.clients.stale.Load()}
	v.Spans, v.Span, v.Clients.Total = b.tally.past()
	v.News = b.news.after(0)
	return v
}

// lookAt looks at one server. One that stands still, or doesn't run, shows what it knew last.
func (b *lab) lookAt(s *server) (serverView, raft.Status) {
	state, since := s.state()
	node, _ := s.serve()
	s.mu.Lock()
	status, why := s.last, s.why
	s.mu.Unlock()
	if node != nil && state == stateRunning {
		status = node.Status()
		s.mu.Lock()
		s.last = status
		s.mu.Unlock()
	}
	v := serverView{
		ID: s.id, State: state, For: time.Since(since).Milliseconds(), Role: status.Role, Term: status.Term, Leader: status.Leader,
		Snapshot: status.Snapshot, Applied: status.Applied, Commit: status.Commit, Stable: status.Stable, Last: status.Last,
		Faults: s.disk.faults(), Room: -1, Says: []sentence{},
	}
	if b.isolated(s) {
		v.Faults = append(v.Faults, "isolated")
	}
	if status.Room < math.MaxInt64 {
		v.Room = int64(status.Room)
	}
	switch state {
	case stateRunning:
		v.Says, v.Cure = says(&status), cureOf(&status)
	case statePaused:
		v.Faults = append(v.Faults, "paused")
		v.Says = append(v.Says, sentence{"stands still: these are the figures from before", true})
	case stateStarting:
		v.Says = append(v.Says, sentence{"reads what is on its disk", false})
	default:
		v.Says, v.Cure = epitaph(state, why)
	}
	return v, status
}

// epitaph says why no process runs, and what helps.
func epitaph(state string, why error) (says []sentence, cure string) {
	text, cure := "no process runs", "restart"
	if state == stateStopped {
		text = "the node has stopped"
	}
	if why != nil {
		text += ": " + reason(why)
	}
	return []sentence{{text, true}}, cure
}

// membersOf returns the role of each member, as the server knows it that has seen the latest
// configuration.
func membersOf(statuses []raft.Status) map[raft.ServerID]string {
	var latest *raft.Status
	for i := range statuses {
		if latest == nil || statuses[i].ConfigurationIndex > latest.ConfigurationIndex {
			latest = &statuses[i]
		}
	}
	roles := map[raft.ServerID]string{}
	if latest == nil {
		return roles
	}
	for _, m := range slices.Concat(latest.Next, latest.Old, latest.Members) { // the last word counts
		roles[m.ID] = strings.ToLower(fmt.Sprint(m.Role))
	}
	return roles
}
