package sim

import (
	"bytes"
	"slices"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// Servers that don't belong to the cluster speak to those that do: one that never was a member, one
// of another cluster, and those that were removed, with all that they know. The network tells them
// from members as a transport does that proves keys (raft.Transport). So it marks the messages of
// members too, when a server that lags behind doesn't know their sender yet.

// outsider is the name of a server that never was a member.
const outsider raft.ServerID = "x"

// keysDrawn is the value of Params.Keys with which servers draw keys.
const keysDrawn = 1

// keyLuck returns what a life of a server derives its keys from.
func (w *World) keyLuck(i int) (luck [32]byte) {
	if w.params.Keys != keysDrawn {
		return luck
	}
	for j := range luck {
		luck[j] = byte(w.luck.draw(luckKey, i, j+1, uint64(w.servers[i].life)))
	}
	return luck
}

// keyed is what the transport of a server knows of keys.
type keyed struct {
	keys   []wire.ClusterKey // of the present life, as the core has handed them out
	proved []wire.ClusterKey // the last ones that any life had
	// refused is how many messages the core has refused with a note in this life.
	refused uint64
}

// givenKeys notes the keys that a core hands to its transport.
func (s *server) givenKeys(keys []wire.ClusterKey) {
	if s.keys = keys; len(keys) > 0 {
		s.proved = keys
	}
}

// checkKeys checks whose key a server demands when it has handed its log to the disk: a member that of
// the last configuration that it knows to be committed, or of a later one, and nobody else any. A
// configuration is committed, too, if its log has a later one.
func (w *World) checkKeys(i int) {
	s := &w.servers[i]
	n := len(s.configurations)
	if n == 0 || raft.Index(len(s.view)) != s.status.last {
		return // the core may have entries that it hasn't handed to the disk yet
	}
	latest, final := &s.configurations[n-1], &s.configurations[n-1]
	if n > 1 && latest.index > s.status.commit {
		final = &s.configurations[n-2]
	}
	var demanded []wire.ClusterKey
	if keys := final.configuration.Keys; len(keys) > 0 && final.configuration.Names(s.id, s.core.Status().Incarnation) {
		demanded = append(demanded, keys[0])
		if later := latest.configuration.Keys; len(later) > 0 {
			demanded = append(demanded, later[0])
		}
	}
	switch {
	case len(s.keys) == 0 && len(demanded) > 0:
		w.fail(Strangers, i, "demands no key of others, though the configuration at index %d has one and names it", final.index)
	case len(s.keys) > 0 && !slices.Contains(demanded, s.keys[0]):
		w.fail(Strangers, i, "demands a key of others which isn't that of the configuration at index %d, or of one that names it", final.index)
	}
}

// strange reports whether the transport of a server takes another one for a stranger.
func (w *World) strange(s *server, from raft.ServerID) bool {
	j := serverOf(from)
	if j < w.n && s.known[j] != "" {
		return false
	}
	return len(s.keys) == 0 || j >= w.n || !slices.Contains(w.servers[j].proved, s.keys[0])
}

// marked returns a message as the transport of its receiver hands it over.
func (w *World) marked(s *server, m *wire.Message) wire.Message {
	marked := *m
	if marked.Stranger = w.strange(s, m.From); !marked.Stranger || len(s.keys) == 0 {
		return marked
	}
	// No leader is a stranger to a member of its cluster, unless the member has missed so many
	// changes that its key isn't on the list any more. For a while the member may demand a key that
	// came to nothing. And a leader that doesn't know yet that it has a successor may lack a key that
	// the successor has committed: it is sent none if it was removed.
	from := &w.servers[serverOf(m.From)]
	rightful := from.up && from.status.role == leads && m.Term == from.status.term && len(from.proved) < wire.MaxClusterKeys
	if rightful && w.committedKey(s.keys[0], m.Term) && m.Cluster == s.core.Status().Cluster {
		w.fail(LeadersHeard, w.index(s), "takes %s, which leads term %d, for a stranger", m.From, m.Term)
	}
	return marked
}

// committedKey reports whether a key is that of a configuration that was committed in a term or
// before it, so that the leader of this term has it in its log.
func (w *World) committedKey(key wire.ClusterKey, term raft.Term) bool {
	committed := w.inherited
	for t := raft.Term(0); t <= term && t < raft.Term(len(w.ghost.commits)); t++ {
		committed = max(committed, w.ghost.commits[t])
	}
	return slices.ContainsFunc(w.ghost.configurations, func(p placed) bool {
		return p.index <= committed && slices.Contains(p.configuration.Keys, key)
	})
}

// checkRefused checks that a core refuses no message of a member as one that can't be. What it has
// refused meanwhile of strangers is excused.
func (w *World) checkRefused(i int, excused bool) {
	s := &w.servers[i]
	now := s.core.Standing()
	if now.Refused > s.refused && !excused {
		w.fail(NoContradiction, i, "refuses a message of %s in term %d: %s", now.RefusedFrom, now.RefusedTerm, now.RefusedWhy)
	}
	s.refused = now.Refused
}

// strangerSpeaks delivers a message of a server that the receiver's transport takes for a stranger.
// n is the luck that chooses the sender and what it says. If the receiver has a key, the message
// must change nothing there, and at most an answer may leave that says nothing but what a stranger
// may know.
func (w *World) strangerSpeaks(s *server, n int64) bool {
	h := mix(uint64(n))
	m := w.strangeMessage(s, h)
	if len(s.keys) == 0 || !w.strange(s, m.From) {
		return false
	}
	m.Stranger = true
	i := w.index(s)
	if j := serverOf(m.From); j < w.n {
		s.reached[j] = true
	}
	now := w.local(s)
	heard, spared := s.core.Clone(), s.core.Clone()
	heard.Receive(now, m)
	spared.Lost(now, "") // the same time passes, and nothing happens
	var got, want raft.Effects
	heard.Drain(&got)
	spared.Drain(&want)
	if want.Keys != nil && len(want.Keys) == 0 {
		return false // it has just learned that it was left out, as checkKeys demands: nobody is a stranger to it any more
	}
	name := func(id raft.ServerID) byte { return byte(serverOf(id)) }
	switch {
	case !bytes.Equal(heard.AppendState(nil, name), spared.AppendState(nil, name)):
		w.fail(Strangers, i, "a stranger's %v of term %d changes what the server does", m.Kind(), m.Term)
	case got.Write.Number != want.Write.Number || len(got.Messages) > len(want.Messages)+1:
		w.fail(Strangers, i, "a stranger's %v of term %d has effects", m.Kind(), m.Term)
	case len(got.Messages) > len(want.Messages):
		w.checkTold(i, &m, got.Messages)
	}
	s.core.Receive(now, m)
	w.checkRefused(i, true)
	return true
}

// checkTold checks that a stranger is answered, if at all, with no more than it may know. A server
// that has just joined the cluster answers as a member before that is on its disk: that the cluster
// has left out the stranger is true whatever this disk forgets.
func (w *World) checkTold(i int, m *wire.Message, sent []wire.Message) {
	cluster := w.servers[i].core.Status().Cluster
	for j := range sent {
		told := &sent[j]
		if told.To != m.From {
			continue
		}
		answers := told.Kind() == wire.KindRemoved && m.Cluster == cluster ||
			told.Kind() == wire.KindIdentityResponse && told.IdentityResponse().Level == 0
		if !answers || told.FromIncarnation != 0 || told.FromStart != 0 || told.Term != 0 || told.Cluster != m.Cluster {
			w.fail(Strangers, i, "tells the stranger %s: %v", told.To, told)
		}
	}
}

// strangeMessage makes a message for a server from luck. What it says is as close to the truth as a
// server can know that was a member once, or as far from it as can be.
func (w *World) strangeMessage(s *server, h uint64) wire.Message {
	shown := s.core.Status()
	envelope := wire.Envelope{From: outsider, To: s.id, Cluster: shown.Cluster, FromIncarnation: 1, ToIncarnation: shown.Incarnation}
	if j := int(below(mix(h+1), int64(2*w.n))); j < w.n && j != w.index(s) {
		envelope.From, envelope.FromIncarnation = w.servers[j].id, w.servers[j].disk.state.Incarnation
	}
	switch mix(h+2) % 8 {
	case 0:
		envelope.Cluster = raft.ClusterID{1: 0xff}
	case 1:
		envelope.Cluster = raft.ClusterID{}
	}
	if mix(h+3)%8 == 0 {
		envelope.ToIncarnation = 0
	}
	envelope.Term = shown.Term + raft.Term(pick(mix(h+4), 0, 0, 1, 1, 7, 1<<40, 1<<61))
	envelope.FromStart = uint64(pick(mix(h+5), 0, 1<<32, 1<<63-1))
	last := wire.Place{Index: shown.Last, Term: shown.LastTerm}
	ahead := wire.Place{Index: shown.Last + 9, Term: envelope.Term}
	evil := raft.Entry{Index: last.Index + 1, Term: envelope.Term, Kind: wire.EntryCommand, Data: []byte("evil")}
	command := raft.Entry{Kind: wire.EntryCommand, Data: []byte("evil"), Origin: raft.Origin{Server: envelope.From, Start: 1}, Number: 1}
	call := wire.Call{Kind: wire.CallRemove, Members: []raft.Member{{Server: raft.Server{ID: s.id}}}}
	all := []wire.Message{
		wire.PreVoteRequest{Last: ahead}.Message(), wire.PreVoteResponse{Granted: true}.Message(),
		wire.VoteRequest{Last: ahead, Transfer: mix(h+6)%2 == 0}.Message(), wire.VoteResponse{Granted: true}.Message(),
		wire.AppendRequest{Previous: last, Commit: evil.Index, Entries: []raft.Entry{evil}}.Message(),
		wire.AppendRequest{Previous: wire.Place{Index: shown.Commit / 2, Term: 1}, Commit: last.Index}.Message(),
		wire.AppendResponse{Accepted: true, Index: last.Index}.Message(), wire.AppendResponse{}.Message(),
		wire.Heartbeat{Round: 1, Commit: last.Index, Acknowledged: last}.Message(),
		wire.Heartbeat{Round: 1, Commit: ahead.Index, Acknowledged: ahead}.Message(),
		wire.HeartbeatResponse{Round: 1, Durable: last.Index, Received: last.Index}.Message(),
		wire.TimeoutNow{}.Message(), wire.ForwardRequest{Start: 1, Lowest: 1, Commands: []raft.Entry{command}}.Message(),
		wire.ReadRequest{Start: 1, Number: 1}.Message(), wire.ReadResponse{Number: 1, Index: ahead.Index}.Message(),
		wire.CallRequest{Start: 1, Number: 1, Lowest: 1, Call: &call}.Message(),
		wire.SnapshotRequest{Snapshot: wire.Place{Index: ahead.Index, Term: 1}, Attempt: 1, Start: 1, Serial: 1, Bytes: 9}.Message(),
		wire.SnapshotResponse{Snapshot: last, Attempt: 1}.Message(),
		wire.IdentityRequest{Round: 1}.Message(), wire.IdentityResponse{Round: 1, AskedIn: shown.Term}.Message(),
		wire.Removed{Committed: ahead}.Message(), wire.Started{}.Message(), wire.RolledBack{}.Message(),
		wire.Known{Start: 1<<63 - 1, Back: true}.Message(),
	}
	m := all[below(mix(h+7), int64(len(all)))]
	if mix(h+8)%16 == 0 {
		repairs := []wire.Message{
			wire.RepairRequest{First: max(last.Index, 1), Term: max(last.Term, 1), Last: max(last.Index, 1)}.Message(),
			wire.RepairResponse{Lacks: last, First: last.Index}.Message(),
			wire.RepairResponse{First: evil.Index, Entries: []raft.Entry{evil}}.Message(),
			wire.SnapshotPull{Least: 1}.Message(),
		}
		m = repairs[below(mix(h+9), int64(len(repairs)))]
	}
	if m.Kind() == wire.KindIdentityResponse {
		envelope.From = outsider // it counts if it comes from a server that was asked
	}
	return m.In(envelope)
}

// leaked returns a server that knows the present key of the cluster though the last committed
// configuration doesn't name it with the disk that holds the key, or "" if there is none.
func (w *World) leaked() raft.ServerID {
	committed := w.ghost.configurations
	if w.params.Keys != keysDrawn || len(committed) == 0 {
		return ""
	}
	last := committed[len(committed)-1].configuration
	if len(last.Keys) == 0 || last.KeyOutworn {
		return ""
	}
	for i := 0; i < w.n; i++ {
		for _, d := range w.servers[i].disks {
			if m := memberOf(last, w.servers[i].id); m != nil && m.Incarnation == d.state.Incarnation {
				continue
			}
			lists := [][]placed{d.configurations}
			if d.current != nil {
				lists = append(lists, []placed{{configuration: &d.current.meta.Configuration}})
			}
			for _, list := range lists {
				for j := range list {
					if slices.Contains(list[j].configuration.Keys, last.Keys[0]) {
						return w.servers[i].id
					}
				}
			}
		}
	}
	return ""
}
