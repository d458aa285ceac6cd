package raft_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// ruin starts servers a, b, c, … whose logs hold the first configuration, in term 1, and behind it
// entries of the given terms: "2 3!" is one of term 2, and one of term 3 whose bytes are lost. A
// server whose log begins with "-" stays down.
func ruin(t *testing.T, logs ...string) *cores {
	sound := newCores(t, len(logs))
	sound.elect("a")
	c := &cores{t: t, servers: map[raft.ServerID]*server{}, ids: sound.ids, now: 1e12}
	for i, id := range c.ids {
		was := sound.servers[id]
		s := &server{cut: true, config: was.config, saved: was.saved, log: was.log[:1:1]}
		s.config.Seed = uint64(1 + i)
		s.saved.HardState = raft.HardState{Term: 9}
		c.servers[id] = s
		for _, word := range strings.Fields(strings.TrimPrefix(logs[i], "-")) {
			var term raft.Term
			_, err := fmt.Sscan(strings.TrimSuffix(word, "!"), &term)
			require.NoError(t, err)
			index := raft.Index(len(s.log) + 1)
			s.log = append(s.log, raft.Entry{
				Index: index, Term: term, Kind: wire.EntryCommand, Data: fmt.Appendf(nil, "%d/%d", index, term),
			})
			if strings.HasSuffix(word, "!") {
				c.lose(id, index)
			}
		}
	}
	for i, id := range c.ids {
		c.start(id)
		c.servers[id].cut = strings.HasPrefix(logs[i], "-")
	}
	return c
}

// live lets time pass, at most for so many election timeouts, and says whether all servers that
// aren't cut off have the same log then, with nothing lost and an entry of their leader.
func (c *cores) live(timeouts int) bool {
	for range timeouts {
		c.pass(election)
		for _, st := range c.streams {
			if !st.finished {
				c.bring(st.from, st.send.Header.To, snapshotSize)
			}
		}
		c.pass(heartbeat)
		leader := c.leader()
		if leader == "" {
			continue
		}
		same := c.status(leader).Commit > 1
		for _, id := range c.ids {
			s := c.servers[id]
			same = same && (s.cut || len(s.lostRanges()) == 0 && c.status(id).Commit == c.status(leader).Last)
		}
		if same {
			return true
		}
	}
	return false
}

// What was never committed, and has no sound copy, is in nobody's way: the cluster goes on without
// it, as long as enough voters are there to say that they don't hold it. What may have been
// committed stays, and the servers wait.
func TestRecoveryGivesUpWhatWasNeverCommitted(t *testing.T) {
	for logs, want := range map[string]string{
		"/2!/3!":      "goes on", // every server is in the way of another one
		"/2!":         "goes on", // the other one of two doesn't hold it
		"//2!/2!":     "goes on",
		"-//2!/3":     "goes on",
		"/2!/2!":      "waits", // it is on a majority
		"-/2!/":       "waits", // the one that is down may hold it
		"2!/2!/2!":    "waits",
		"2!/2":        "goes on", // the other one has the bytes
		"2 2!/2! 2/":  "goes on",
		"//2!/3!/4!":  "goes on",
		"-/-//2!/3!":  "waits",
		"2! 3/2 3!/2": "goes on",
	} {
		t.Run(logs, func(t *testing.T) {
			c := ruin(t, strings.Split(logs, "/")...)
			require.Equal(t, want == "goes on", c.live(60))
		})
	}
}

// A recovering leader sends heartbeats and questions, and nothing of its log. If nobody has what it
// lacks, it steps down after an election timeout, and its terms get rarer.
func TestRecoveringLeaderSendsNothing(t *testing.T) {
	c := ruin(t, "2!", "2!", "")
	sent := map[wire.Kind]int{}
	c.lost = func(m *wire.Message) bool {
		if c.status(m.From).Role == "recovering" {
			sent[m.Kind()]++
		}
		require.NotEqual(t, wire.KindAppendRequest, m.Kind())
		return false
	}
	term, roles := raft.Term(9), map[string]int{}
	for range 100 {
		c.pass(election / 2)
		roles[c.status("a").Role]++
		require.Empty(t, c.leader())
		require.EqualValues(t, 2, c.status("a").Last)
	}
	require.Positive(t, sent[wire.KindHeartbeat])
	require.Positive(t, sent[wire.KindRepairRequest])
	require.NotContains(t, sent, wire.KindForwardRequest)
	require.Less(t, c.status("a").Term-term, raft.Term(20), "in 50 election timeouts")
	require.Less(t, roles["recovering"], 30)
	require.Equal(t, []raft.ServerID{"b", "c"}, c.status("a").LostAsked)
}

// A sound server goes first, if it can be elected.
func TestDamagedServerCampaignsLast(t *testing.T) {
	for seed := range uint64(20) {
		c := ruin(t, "2 2", "2 2!", "2! 2")
		for _, id := range c.ids {
			c.servers[id].config.Seed = seed + uint64(id[0])
			c.start(id)
		}
		c.lost = func(m *wire.Message) bool { return m.Kind() == wire.KindRepairResponse }
		c.pass(3 * election)
		require.Equal(t, raft.ServerID("a"), c.leader())
		c.lost = nil
		require.True(t, c.live(60))
	}
}

// A follower acknowledges what lies behind a lost entry when it has the bytes, or knows that the
// entry is committed.
func TestNothingIsAcknowledgedBehindALostEntry(t *testing.T) {
	c := ruin(t, "2 2", "2! 2", "-")
	c.lost = func(m *wire.Message) bool { return m.Kind() == wire.KindRepairResponse }
	c.pass(20 * election)
	require.Equal(t, raft.ServerID("a"), c.leader())
	require.Zero(t, c.status("a").Commit, "the only bytes of index 2 are its own")
	c.lost = nil
	require.True(t, c.live(20))
}

// A server whose log is the longest, and damaged, gets the bytes from a member that has forgotten
// them behind its snapshot, though nobody leads.
func TestSnapshotIsPulledWithoutALeader(t *testing.T) {
	c := ruin(t, "-", "2 2", "2! 2 2")
	c.forget("b", 3)
	require.True(t, c.live(60))
	require.Equal(t, raft.ServerID("c"), c.leader())
	require.Equal(t, []string{"3"}, c.servers["c"].restored)
}

// forget lets a server have a snapshot that covers its log up to an index, and nothing of that log.
func (c *cores) forget(id raft.ServerID, to raft.Index) {
	s := c.servers[id]
	configuration, err := wire.DecodeConfiguration(s.log[0].Data)
	require.NoError(c.t, err)
	s.current = raft.SnapshotMeta{Index: to, Term: s.log[to-1].Term, Configuration: configuration, ConfigurationIndex: 1}
	s.base = to
	c.start(id)
}

// Who installs a snapshot that it has asked for enters its sender's term first. Otherwise a leader
// of a lower term could contradict what the server knows to be committed.
func TestPulledSnapshotComesWithItsTerm(t *testing.T) {
	c := ruin(t, "-", "2 2 8", "2! 3!")
	c.forget("b", 4)
	c.servers["b"].saved.Term = 12
	c.start("b")
	c.lost = func(m *wire.Message) bool {
		return m.Kind() != wire.KindRepairRequest && m.Kind() != wire.KindRepairResponse && m.Kind() != wire.KindSnapshotPull
	}
	for range 20 {
		c.pass(election)
		if len(c.streams) > 0 {
			c.bring("b", "c", snapshotSize)
			break
		}
	}
	c.drain("c")
	require.EqualValues(t, 4, c.status("c").Commit)
	require.EqualValues(t, 12, c.status("c").Term)
}

// A leader that finds damage in its term gets the bytes from others. If nobody has them, it steps
// down; it never gives anything up.
func TestLeaderThatFindsDamage(t *testing.T) {
	c := newCoresWith(t, 3, func(config *raft.CoreConfig) { config.TailBytes = 1 })
	c.elect("a")
	for n := range 4 {
		c.propose("a", fmt.Sprint("command ", n))
	}
	c.pass(heartbeat)
	require.EqualValues(t, 5, c.status("c").Applied)
	for _, id := range c.ids {
		c.restart(id) // nothing is in memory any more
		c.lose(id, 3)
	}
	c.elect("a")
	require.Equal(t, "leader", c.status("a").Role, "it hasn't read them yet")
	c.pass(2 * heartbeat)
	require.Equal(t, []wire.Range{{First: 3, Last: 3}}, c.status("a").Lost)
	c.pass(2 * election)
	require.NotEqual(t, "leader", c.status("a").Role)
	delete(c.servers["b"].gone, 3)
	c.restart("b")
	require.True(t, c.live(60))
	require.Len(t, c.commands("a"), 4)
}

// A joint configuration: the next one may be in the log of its leader, and count the new voters
// alone. So an entry that a majority of the old voters lacks may be committed all the same.
func TestOldVotersAloneGiveNothingUp(t *testing.T) {
	c := ruin(t, "", "", "-2 2", "2 2!", "2")
	joint, err := wire.DecodeConfiguration(c.servers["a"].log[0].Data)
	require.NoError(t, err)
	all := joint.Members
	joint.Members, joint.Old = all[2:5], all[:3]
	before := slices.Clone(all)
	before[3].Role, before[4].Role = raft.Learner, raft.Learner
	for _, id := range c.ids {
		s := c.servers[id]
		data := wire.AppendConfiguration(nil, &joint)
		if len(s.log) == 1 {
			s.log = append(s.log, raft.Entry{Index: 2})
		}
		s.log[0].Data = wire.AppendConfiguration(nil, &raft.Configuration{Cluster: joint.Cluster, Members: before})
		s.log[1] = raft.Entry{Index: 2, Term: 2, Kind: wire.EntryConfiguration, Data: data}
		cut := s.cut
		c.start(id)
		s.cut = cut
	}
	require.False(t, c.live(40), "index 3 may have been committed by c and d alone")
	require.EqualValues(t, 3, c.status("d").Last)
	c.servers["c"].cut = false
	c.pass(10 * election)
	require.Contains(t, c.commands("d"), "3/2")
}

// A server that isn't a member, or not any more, gets nothing, and what it says is nothing.
func TestRepairsAreForMembers(t *testing.T) {
	c := ruin(t, "2 2", "2! 2", "")
	request := wire.RepairRequest{First: 2, Term: 2, Last: 3}.Message().In(wire.Envelope{
		From: "x", To: "a", Cluster: c.status("a").Cluster, FromIncarnation: 7, Term: 9, FromStart: 1 << 32,
	})
	response := wire.RepairResponse{First: 2, Entries: c.servers["a"].log[1:2]}.Message().In(request.Envelope)
	c.deliver(request)
	require.Empty(t, c.take(is(wire.KindRepairResponse)))
	pull := wire.SnapshotPull{Least: 1}.Message().In(request.Envelope)
	c.deliver(pull)
	require.Empty(t, c.streams)
	response.To = "b"
	c.deliver(response)
	require.Equal(t, []wire.Range{{First: 2, Last: 2}}, c.status("b").Lost)
	request.From, response.From = "b", "a"
	request.FromIncarnation = c.status("c").Incarnation
	c.deliver(request)
	require.Empty(t, c.take(is(wire.KindRepairResponse)), "another disk than the member's")
	response.FromIncarnation = c.status("a").Incarnation
	response.FromStart = c.status("a").Start
	c.deliver(response)
	require.Empty(t, c.status("b").Lost)
}

// Bytes that can't be the right ones aren't taken: of another term, of an entry that isn't lost, or
// of a configuration where none is.
func TestWrongRepairsAreRefused(t *testing.T) {
	c := ruin(t, "2 2 2", "2! 2 2!", "")
	envelope := wire.Envelope{
		From: "a", To: "b", Cluster: c.status("a").Cluster, FromIncarnation: c.status("a").Incarnation, FromStart: c.status("a").Start, Term: 9,
	}
	for _, e := range []raft.Entry{
		{Index: 2, Term: 3, Kind: wire.EntryNoOp},
		{Index: 3, Term: 2, Kind: wire.EntryNoOp},
		{Index: 9, Term: 2, Kind: wire.EntryNoOp},
		{Index: 2, Term: 2, Kind: 99},
		{Index: 2, Term: 2, Kind: wire.EntryConfiguration, Data: c.servers["a"].log[0].Data},
	} {
		c.deliver(wire.RepairResponse{First: 2, Entries: []raft.Entry{e}}.Message().In(envelope))
		require.Equal(t, []wire.Range{{First: 2, Last: 2}, {First: 4, Last: 4}}, c.status("b").Lost, "%+v", e)
	}
}

// What a voter says that it doesn't hold counts in the term of the leader that has asked, and is
// said in that term alone.
func TestLacksCountInTheirTermAlone(t *testing.T) {
	c := ruin(t, "", "2!")
	c.lost = func(m *wire.Message) bool { return m.Kind() == wire.KindRepairResponse }
	for n := 0; c.status("b").Role != "recovering"; n++ {
		require.Less(t, n, 200)
		c.pass(heartbeat)
	}
	c.lost = nil
	a, b := c.status("a"), c.status("b")
	require.Equal(t, b.Term, a.Term)
	envelope := wire.Envelope{
		From: "b", To: "a", Cluster: b.Cluster, FromIncarnation: b.Incarnation, FromStart: b.Start, Term: b.Term - 1,
	}
	request := wire.RepairRequest{First: 2, Term: 2, Last: 2}.Message()
	c.deliver(request.In(envelope))
	told := c.take(is(wire.KindRepairResponse))
	require.Zero(t, told[0].RepairResponse().Lacks)
	envelope.Term++
	c.deliver(request.In(envelope))
	told = c.take(is(wire.KindRepairResponse))
	require.Equal(t, wire.Place{Index: 2, Term: 2}, told[0].RepairResponse().Lacks)
	told[0].Term--
	c.deliver(told[0])
	require.Equal(t, "recovering", c.status("b").Role)
	told[0].Term++
	c.deliver(told[0])
	require.Equal(t, "leader", c.status("b").Role)
}

// Before a joint configuration the old voters alone could commit, so they have to lack the entry
// too.
func TestNewVotersAloneGiveNothingUp(t *testing.T) {
	c := ruin(t, "2!", "-2", "2! 2", "", "")
	first, err := wire.DecodeConfiguration(c.servers["a"].log[0].Data)
	require.NoError(t, err)
	all := first.Members
	joint := raft.Configuration{Cluster: first.Cluster, Members: all[2:], Old: all[:3]}
	for _, id := range c.ids {
		s := c.servers[id]
		s.log[0].Data = wire.AppendConfiguration(nil, &raft.Configuration{Cluster: first.Cluster, Members: all[:3]})
		if id == "c" {
			s.log[2] = raft.Entry{Index: 3, Term: 2, Kind: wire.EntryConfiguration, Data: wire.AppendConfiguration(nil, &joint)}
		}
		cut := s.cut
		c.start(id)
		s.cut = cut
	}
	c.pass(40 * election)
	require.EqualValues(t, 3, c.status("c").Last, "index 2 may have been committed by a and b alone")
	c.servers["b"].cut = false
	c.pass(20 * election)
	require.Contains(t, c.commands("c"), "2/2")
}

// A leader that has lost entries, and gets them from nobody, sends a snapshot in their place.
func TestSnapshotIsSentInThePlaceOfLostEntries(t *testing.T) {
	c := newCoresWith(t, 3, func(config *raft.CoreConfig) { config.TailBytes = 1 })
	c.elect("a")
	c.servers["c"].cut = true
	for n := range 4 {
		c.propose("a", fmt.Sprint("command ", n))
	}
	c.pass(heartbeat)
	c.servers["c"].cut = false
	for _, id := range []raft.ServerID{"a", "b"} {
		c.restart(id) // nothing is in memory any more
	}
	c.servers["c"].cut, c.network = true, nil
	c.elect("a")
	c.pass(2 * heartbeat)
	c.lose("a", 3)
	c.lose("b", 3)
	c.servers["c"].cut = false
	for range 30 {
		c.pass(election)
		for _, st := range c.streams {
			if !st.finished {
				c.bring(st.from, st.send.Header.To, snapshotSize)
			}
		}
	}
	require.Equal(t, "leader", c.status("a").Role, "its state machine has them")
	require.Equal(t, c.status("a").Commit, c.status("c").Applied)
	require.NotEmpty(t, c.servers["c"].restored)
}

// A server that lacks bytes isn't handed the leadership, though its log is as long as any.
func TestLeadershipIsNotHandedToDamage(t *testing.T) {
	c := ruin(t, "2 2", "2! 2", "2 2")
	c.servers["b"].config.Priority = 5
	c.start("b")
	c.lost = func(m *wire.Message) bool { return m.Kind() == wire.KindRepairResponse }
	c.pass(5 * election)
	leader := c.leader()
	require.NotEqual(t, raft.ServerID("b"), leader)
	term := c.status(leader).Term
	c.pass(20 * election)
	require.NotEmpty(t, c.status("b").Lost)
	require.Equal(t, leader, c.leader())
	require.Equal(t, term, c.status(leader).Term)
	require.EqualValues(t, c.status(c.leader()).Last, c.status("b").Last)
	c.lost = nil
	c.pass(5 * election)
	require.Equal(t, raft.ServerID("b"), c.leader(), "its priority is the highest")
}

// A leader that has recovered asks for confirmations in rounds of heartbeats, and so it did before
// it led. An answer to a round of that time says nothing about reads that came later.
func TestAnswersFromBeforeRecoveryConfirmNoReads(t *testing.T) {
	c := ruin(t, "", "2!")
	c.lost = func(m *wire.Message) bool { return m.Kind() == wire.KindRepairResponse }
	for n := 0; c.status("b").Role != "recovering"; n++ {
		require.Less(t, n, 200)
		c.pass(heartbeat)
	}
	b := c.servers["b"]
	var late []wire.Message // a's answers to the rounds of b's recovery
	c.lost = func(m *wire.Message) bool {
		if m.Kind() == wire.KindHeartbeatResponse {
			late = append(late, *m)
		}
		return m.Kind() == wire.KindRepairResponse || m.Kind() == wire.KindHeartbeatResponse
	}
	c.pass(election / 2)
	require.Equal(t, "recovering", c.status("b").Role)
	require.Greater(t, len(late), 3)
	c.lost = func(m *wire.Message) bool { return m.Kind() == wire.KindHeartbeat }
	told := wire.RepairResponse{Lacks: wire.Place{Index: 2, Term: 2}, First: 2}.Message()
	c.deliver(told.In(late[0].Envelope))
	c.settle()
	require.Equal(t, "leader", c.status("b").Role)
	require.Equal(t, c.status("b").Last, c.status("b").Commit, "its term has begun")
	number := b.core.Read(c.now)
	c.drain("b")
	c.settle()
	for _, m := range late {
		c.deliver(m)
	}
	c.settle()
	require.False(t, slices.ContainsFunc(b.answers, func(a raft.Answer) bool { return a.Read && a.Number == number }), "%v", b.answers)
	c.lost = nil
	c.pass(2 * heartbeat)
	require.True(t, slices.ContainsFunc(b.answers, func(a raft.Answer) bool { return a.Read && a.Number == number && a.Err == nil }))
}
