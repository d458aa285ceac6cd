package sim

import (
	"errors"
	"slices"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// changeOf returns the number, plus 1, of the operation that a configuration belongs to, or 0 for
// none. Starts are counted from 1 again on each new disk of a server. So before, the configuration
// that precedes c in the log, must tell which disk the origin means.
func (w *World) changeOf(c, before *raft.Configuration) int32 {
	i := serverOf(c.Origin.Server)
	if i >= w.n || c.Number == 0 {
		return 0
	}
	named := memberOf(before, c.Origin.Server)
	if named == nil {
		return 0
	}
	s := &w.servers[i]
	for g, d := range s.disks {
		life := lifeOf(s.starts[g], c.Origin.Start)
		if d.state.Incarnation != named.Incarnation || life == nil {
			continue
		}
		if numbers := life.calls; c.Number < uint64(len(numbers)) && numbers[c.Number] != 0 {
			return numbers[c.Number]
		}
	}
	return 0
}

// commitConfiguration notes that a configuration is committed and checks it.
func (w *World) commitConfiguration(i int, e *raft.Entry) {
	g := &w.ghost
	now := place(e)
	c := now.configuration
	if len(g.configurations) == 0 {
		g.settled = c
	} else {
		before := g.configurations[len(g.configurations)-1]
		w.checkSteps(i, before, now)
		if b := before.configuration; b.Origin != c.Origin || b.Number != c.Number {
			g.change = w.changeOf(c, b)
		}
		if b := before.configuration; b.KeyOutworn && !c.KeyOutworn && b.Settled() {
			w.checkRenewed(i, before, now, g.change) // the change had ended but for the key
		} else if c.Level > before.configuration.Level && slices.Equal(c.Members, before.configuration.Members) && c.Old == nil && c.Next == nil {
			g.settled = c // the configuration raises the level and changes nothing else
		} else {
			w.checkChange(i, now, g.change)
		}
	}
	g.configurations = append(g.configurations, now)
	w.stats.Configurations++
}

// checkSteps checks two neighbouring configurations (§4.3): any majorities by which one of them and
// the other may decide must have a server in common.
func (w *World) checkSteps(i int, before, now placed) {
	b, c := before.configuration, now.configuration
	joint := func(c *raft.Configuration) bool { return c.Old != nil }
	ok := false
	switch {
	case !joint(b) && !joint(c), joint(b) && !joint(c):
		ok = equalVoters(b.Members, c.Members)
	case !joint(b) && joint(c):
		ok = equalVoters(b.Members, c.Old)
	}
	if !ok {
		w.fail(Steps, i, "the configuration at index %d, %s, follows the one at index %d, %s", now.index, describeConfiguration(c),
			before.index, describeConfiguration(b))
	}
}

func equalVoters(a, b []raft.Member) bool {
	voters := func(list []raft.Member) (names []raft.Member) {
		for _, m := range list {
			if m.Role == raft.Voter {
				names = append(names, raft.Member{Server: raft.Server{ID: m.ID}, Incarnation: m.Incarnation})
			}
		}
		return names
	}
	return slices.Equal(voters(a), voters(b))
}

// checkChange checks what a committed configuration means for the call that it belongs to.
func (w *World) checkChange(i int, now placed, number int32) {
	c := now.configuration
	if number == 0 {
		w.fail(ExactlyOnce, i, "index %d holds a configuration that nobody asked for (%s/%d number %d)", now.index, c.Origin.Server,
			c.Origin.Start, c.Number)
		return
	}
	o := &w.ops[number-1]
	if o.index != 0 {
		w.fail(ExactlyOnce, i, "the change at index %d has ended at index %d already", now.index, o.index)
	}
	if c.Old != nil || c.Next != nil {
		return
	}
	if o.index = now.index; c.Refusal != 0 {
		o.refused = true
		if c.Refusal != wire.RefusedHalfway && !equalMembers(c.Members, w.ghost.settled.Members) {
			w.fail(ExactlyOnce, i, "the change that is given up at index %d has changed the members: %s became %s", now.index,
				describeConfiguration(w.ghost.settled), describeConfiguration(c))
		}
	} else {
		if o.outcome == outcomeNotApplied {
			w.fail(ExactlyOnce, i, "the change at index %d was answered with ErrNotApplied", now.index)
		}
		w.checkTarget(i, o, c)
	}
	w.ghost.settled = c
}

func equalMembers(a, b []raft.Member) bool { return slices.Equal(a, b) }

// checkRenewed checks a committed configuration that brings another key and nothing else. The change
// that has made this necessary ends with it, for all but those who have left.
func (w *World) checkRenewed(i int, before, now placed, number int32) {
	c, b := now.configuration, before.configuration
	if !c.Settled() || !equalMembers(c.Members, b.Members) || c.Keys[0] == b.Keys[0] {
		w.fail(Steps, i, "the configuration at index %d, %s, follows one with an outworn key at index %d, %s", now.index,
			describeConfiguration(c), before.index, describeConfiguration(b))
	}
	if number != 0 {
		w.ops[number-1].parted, w.ops[number-1].index = before.index, now.index
	}
	w.ghost.settled = c
}

// checkTarget checks that a configuration is what its call asked for.
func (w *World) checkTarget(i int, o *operation, c *raft.Configuration) {
	ok := true
	switch o.call.Kind {
	case wire.CallSet:
		ok = len(c.Members) == len(o.call.Members)
		for j := range o.call.Members {
			ok = ok && c.Members[j].ID == o.call.Members[j].ID && c.Members[j].Role == o.call.Members[j].Role
		}
	case wire.CallAdd:
		m := memberOf(c, o.call.Members[0].ID)
		ok = m != nil && m.Role == o.call.Members[0].Role
	case wire.CallRemove:
		ok = memberOf(c, o.call.Members[0].ID) == nil
	case wire.CallReplace:
		m := memberOf(c, o.call.Members[0].ID)
		ok = m != nil && w.diskOf(m) != nil
	}
	if !ok {
		w.fail(Steps, i, "%v ends in the configuration %s", o.call, describeConfiguration(c))
	}
}

// checkChanged checks the answer to a call that asked for a change of the members.
func (w *World) checkChanged(i int, o *operation, a *raft.Answer) {
	switch {
	case a.Err == nil:
		o.outcome = outcomeDone
		w.stats.Changed++
		c := w.committedConfiguration(a.Index)
		if c == nil || c.Old != nil || c.Next != nil {
			w.fail(NothingLost, i, "%v is acknowledged at index %d, but no settled configuration is committed there", o.call, a.Index)
			return
		}
		if o.index == a.Index && c.KeyOutworn && memberOf(c, w.servers[i].id) != nil {
			w.fail(KeysStayInside, i, "%v is acknowledged at index %d, before the key is replaced that a server which has left knows", o.call, a.Index)
		}
		if o.index != 0 && a.Index == o.parted && !o.refused {
			return // this server has left, and hears of no later configuration
		}
		if o.index != 0 && (!w.repeated(o.index, a.Index) || o.refused) {
			w.fail(NothingLost, i, "%v is acknowledged at index %d, but ended at index %d (refused: %v)", o.call, a.Index, o.index, o.refused)
		}
		w.checkTarget(i, o, c)
	case errors.Is(a.Err, raft.ErrNotApplied):
		o.outcome = outcomeNotApplied
		w.stats.Unchanged++
		if errors.Is(a.Err, raft.ErrOutcomeUnknown) {
			w.fail(Answers, i, "%v: the error %v names two outcomes", o.call, a.Err)
		}
		if o.index != 0 && !o.refused {
			w.fail(ExactlyOnce, i, "%v is answered with ErrNotApplied, but done at index %d", o.call, o.index)
		}
	case errors.Is(a.Err, raft.ErrOutcomeUnknown):
		o.outcome = outcomeUnknown
	default:
		w.fail(Answers, i, "%v: the error %v names no outcome", o.call, a.Err)
	}
}

// repeated reports whether the configuration at an index is the one that is committed at another, or
// one behind it that raises the level and repeats the rest. A server that gets a snapshot of both
// knows the last one alone.
func (w *World) repeated(index, at raft.Index) bool {
	var first *raft.Configuration
	for _, p := range w.ghost.configurations {
		c := p.configuration
		switch {
		case p.index < index:
			continue
		case p.index == index:
			first = c
		case first == nil || c.Origin != first.Origin || c.Number != first.Number || !equalMembers(c.Members, first.Members):
			return false
		}
		if p.index == at {
			return true
		}
	}
	return false
}

// committedConfiguration returns the configuration that is committed at an index, or nil if there
// is none.
func (w *World) committedConfiguration(index raft.Index) *raft.Configuration {
	for _, p := range w.ghost.configurations {
		if p.index == index {
			return p.configuration
		}
	}
	return nil
}

// checkAppendedConfiguration checks a configuration that a leader appends. The configuration before
// it must be committed, and so must an entry of the leader's own term.
func (w *World) checkAppendedConfiguration(i int, before *placed, now placed) {
	s := &w.servers[i]
	if before == nil || s.status.role != leads {
		return
	}
	if before.index > w.ghost.commit() {
		w.fail(Steps, i, "appends a configuration at index %d, though the one at index %d isn't committed", now.index, before.index)
	}
	if w.ghost.commits[s.status.term] == 0 {
		w.fail(Steps, i, "appends a configuration at index %d, though it has committed nothing in term %d", now.index, s.status.term)
	}
}

// checkConfiguration checks that the configuration that a core uses is the last one in its log.
func (w *World) checkConfiguration(i int) {
	s := &w.servers[i]
	if raft.Index(len(s.view)) != s.status.last {
		return // the core has entries that it hasn't handed to the disk yet
	}
	shown, want := s.core.Status(), raft.Index(0)
	if n := len(s.configurations); n > 0 {
		want = s.configurations[n-1].index
	}
	if shown.ConfigurationIndex != want {
		w.fail(Steps, i, "uses the configuration at index %d, but the last one in its log is at %d", shown.ConfigurationIndex, want)
	}
}

// checkElected checks that a new leader has the votes of a quorum of its configuration. It counts
// the votes of disks, not of servers.
func (w *World) checkElected(i int) {
	s := &w.servers[i]
	shown := s.core.Status()
	voted := func(m *raft.Member) bool {
		j := serverOf(m.ID)
		for g, d := range w.servers[j].disks {
			if d.state.Incarnation != m.Incarnation {
				continue
			}
			own := j == i && d == s.disk && d.state.Term == shown.Term && d.state.Vote == s.id
			return own || *w.ghost.vote(j+MaxServers*g, shown.Term)>>i&1 != 0
		}
		return false
	}
	if shown.Configuration != nil && !quorum(shown.Configuration, voted) {
		w.fail(ElectionSafety, i, "leads term %d without the votes of a quorum of %s", shown.Term, describeConfiguration(shown.Configuration))
	}
}

// describeConfiguration describes a configuration in short: the members, then + and the old
// members, then → and the next ones. A ? follows each server that doesn't vote.
func describeConfiguration(c *raft.Configuration) string {
	list := func(members []raft.Member) string {
		text := ""
		for i := range members {
			text += string(members[i].ID)
			if members[i].Role != raft.Voter {
				text += "?"
			}
		}
		return text
	}
	text := list(c.Members)
	if c.Old != nil {
		text += "+" + list(c.Old)
	}
	if c.Next != nil {
		text += "→" + list(c.Next)
	}
	return text
}

// move lets a server come back at another address.
func (w *World) move(i int) bool {
	s := &w.servers[i]
	if len(s.address) > 4 || w.params.ChangeTime == 0 {
		return false
	}
	if s.up {
		w.crash(i, 0)
	}
	s.address += "'"
	w.stats.Moves++
	return true
}

// viewConfiguration notes that a configuration has appeared in a server's log, and checks it.
func (w *World) viewConfiguration(i int, now placed, term raft.Term) {
	s := &w.servers[i]
	if n := len(s.configurations); n > 0 && term == s.status.term {
		w.checkAppendedConfiguration(i, &s.configurations[n-1], now)
		w.checkGivenUp(i, &s.configurations[n-1], now)
	}
	s.configurations = append(s.configurations, now)
}

// ChangeText says what change of the members an event asks for: the kind of the call and its
// servers. A ? follows a server that isn't to vote, and a ! follows one with a wrong address.
func (e *Event) ChangeText() string {
	data := e.Data
	if len(data) < 2 {
		return "nothing"
	}
	text := wire.CallKind(data[0]).String() + " "
	for rest := data[2:]; len(rest) >= 3; rest = rest[3:] {
		text += string('1' + rune(rest[0]))
		if raft.MemberRole(rest[1]) == raft.Learner {
			text += "?"
		}
		if rest[2] == addressWrong {
			text += "!"
		}
	}
	if data[1] != expectNothing {
		text += " if unchanged"
	}
	return text
}
