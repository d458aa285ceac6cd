package model

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// says returns a message of server 3 to server 1, in term 2.
func says(body interface{ Message() wire.Message }) wire.Message {
	m := body.Message()
	m.From, m.To, m.Term = "3", "1", 2
	return m
}

// writes hands out a write that is right but for the change.
func (s *stepper) writes(change func(*raft.Write)) {
	w := &raft.Write{Number: 1, State: s.node.disk.state}
	change(w)
	s.write(w)
}

// alone has a step for each check of one server by itself, and what the check tells.
var alone = map[string]struct {
	broken string
	step   func(s *stepper)
}{
	"nothing":           {"", func(s *stepper) { s.writes(func(*raft.Write) {}) }},
	"numbers of writes": {"Writes In Order at server 3: write 3 follows write 1", func(s *stepper) { s.twoWrites(3) }},
	"too many writes":   {"Bounded Memory at server 3: 2 writes are handed out at once", func(s *stepper) { s.twoWrites(2) }},
	"term":              {"Writes In Order at server 3: term 1 and ", func(s *stepper) { s.writes(func(w *raft.Write) { w.State.Term = 1 }) }},
	"vote": {`Writes In Order at server 3: term 2 and vote "2" replace term 2 and vote "1"`, func(s *stepper) {
		s.node.disk.state.Vote = "1"
		s.writes(func(w *raft.Write) { w.State.Vote = "2" })
	}},
	"identity": {"Writes In Order at server 3: the identity of the disk changes", func(s *stepper) { s.writes(func(w *raft.Write) { w.State.Cluster[0]++ }) }},
	"gap": {"Writes In Order at server 3: a write of index 9 follows a log of 2 entries", func(s *stepper) {
		s.writes(func(w *raft.Write) { w.Entries = []raft.Entry{{Index: 9, Term: 2}} })
	}},
	"terms of entries": {"Writes In Order at server 3: index 3 in term 1 follows term 2", func(s *stepper) {
		s.writes(func(w *raft.Write) { w.Entries = []raft.Entry{{Index: 3, Term: 1}} })
	}},
	"leader": {"Leader Append-Only at server 3: the leader of term 2 replaces index 2", func(s *stepper) {
		s.node.status.role = leads
		s.writes(func(w *raft.Write) { w.Entries = []raft.Entry{{Index: 2, Term: 2}} })
	}},
	"sender": {`Gate at server 3: Heartbeat from "2" to "1"`, func(s *stepper) {
		m := says(wire.Heartbeat{})
		m.From = "2"
		s.send(&m)
	}},
	"term of a message": {"Gate at server 3: Heartbeat claims term 3, durable is 2", func(s *stepper) {
		m := says(wire.Heartbeat{})
		m.Term = 3
		s.send(&m)
	}},
	"start of a message": {"Gate at server 3: Heartbeat names start 0x9, durable is 0x1", func(s *stepper) {
		m := says(wire.Heartbeat{})
		m.FromStart = 9
		s.send(&m)
	}},
	"start of a command": {"Gate at server 3: ForwardRequest of start 9, durable is 1", func(s *stepper) {
		m := says(wire.ForwardRequest{Start: 9})
		s.send(&m)
	}},
	"acknowledgement": {"Gate at server 3: AppendResponse up to index 3, but 2 entries are durable", func(s *stepper) {
		m := says(wire.AppendResponse{Accepted: true, Index: 3})
		s.send(&m)
	}},
	"acknowledgement behind a lost entry": {
		"Sound Acknowledged at server 3: acknowledges index 2, knows to be committed 0, and has lost index 2",
		func(s *stepper) {
			s.node.disk.lost = 1 << 2
			m := says(wire.AppendResponse{Accepted: true, Index: 2})
			s.send(&m)
		},
	},
	"repair": {"Bytes Kept at server 3: a write repairs index 2 in term 2 with another entry than the log holds", func(s *stepper) {
		s.writes(func(w *raft.Write) { w.Repairs = []raft.Entry{{Index: 2, Term: 2, Data: []byte("other")}} })
	}},
	"acknowledgement of a heartbeat": {"Gate at server 3: HeartbeatResponse up to index 3, but 2 entries are durable", func(s *stepper) {
		m := says(wire.HeartbeatResponse{Durable: 3})
		s.send(&m)
	}},
	"vote for another": {`Gate at server 3: votes for server 1 in term 2, but on disk is a vote for "2"`, func(s *stepper) {
		s.node.disk.state.Vote = "2"
		m := says(wire.VoteResponse{Granted: true})
		s.send(&m)
	}},
	"vote for itself": {`Gate at server 3: votes for server 3 in term 2, but on disk is a vote for ""`, func(s *stepper) {
		m := says(wire.VoteRequest{})
		s.send(&m)
	}},
	"term falls": {"Cursors at server 3: term 9, commit 0, applied 0 fall to 1, 0, 0", func(s *stepper) {
		s.found()
		s.before.term = 9
		s.observe()
	}},
	"stable": {"Stable Is Durable at server 3: stable is 1, but the disk holds 1 entries, or other ones", func(s *stepper) {
		s.found()
		s.node.view = extend(nil, y[:1])
		s.observe()
	}},
}

// TestServersAreJudgedAlone demands that each check of one server by itself fires when what it
// looks for is broken. The server is the third of three, in term 2, with the two entries of x.
func TestServersAreJudgedAlone(t *testing.T) {
	for name, c := range alone {
		t.Run(name, func(t *testing.T) {
			search, err := New(Bounds{}, Options{Workers: 1})
			require.NoError(t, err)
			s := &stepper{tables: search.tables, bounds: &search.bounds, node: *in(2, x)}
			s.node.disk.state.Server = "3"
			c.step(s)
			if c.broken == "" {
				require.Nil(t, s.step.broken)
				return
			}
			require.NotNil(t, s.step.broken)
			require.Contains(t, s.step.broken.Error(), c.broken)
		})
	}
}

// found puts a server in the place of the node that has just started, and whose core runs.
func (s *stepper) found() {
	s.node = node{server: 2, disk: founded(2, founding(3))}
	s.restart(0)
}

// twoWrites hands out two writes, of which the second has the given number.
func (s *stepper) twoWrites(second raft.WriteNumber) {
	s.write(&raft.Write{Number: 1, State: s.node.disk.state})
	s.write(&raft.Write{Number: second, State: s.node.disk.state})
}
