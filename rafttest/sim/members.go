package sim

import (
	"errors"
	"slices"

	"github.com/e17579a5/raft"
)

// Servers beyond those that found the cluster wait to be added (Params.Spares). Clients ask for all kinds of changes, at any
// server: also for those that make no sense, name servers that are down, or have a wrong address. What an
// observer knows of the members is kept here, and computed in the plainest way.

// A placed configuration is one with its place in a log.
type placed struct {
	index         raft.Index
	configuration *raft.Configuration
}

// place returns the configuration that an entry carries.
func place(e *raft.Entry) placed {
	configuration, err := raft.DecodeConfiguration(e.Data)
	if err != nil {
		return placed{e.Index, &raft.Configuration{}} // the core doesn't let it into a log
	}
	return placed{e.Index, &configuration}
}

// truncated returns the configurations up to an index.
func truncated(list []placed, after raft.Index) []placed {
	for len(list) > 0 && list[len(list)-1].index > after {
		list = list[:len(list)-1]
	}
	return list
}

// diskOf returns the disk that a member names; nil if there is none.
func (w *World) diskOf(m *raft.Member) *disk {
	i := serverOf(m.ID)
	if i >= w.n {
		return nil
	}
	for _, d := range w.servers[i].disks {
		if d.state.Incarnation == m.Incarnation {
			return d
		}
	}
	return nil
}

// lost says whether the disk that a member names is not the one that the server has, or is about to be found damaged.
func (w *World) lost(m *raft.Member) bool {
	i := serverOf(m.ID)
	return i >= w.n || m.Incarnation != 0 && w.diskOf(m) != w.servers[i].disk || w.servers[i].rotten || w.servers[i].disk.lost()
}

// majority says whether a majority of the voters among members has something.
func majority(members []raft.Member, has func(*raft.Member) bool) bool {
	voters, have := 0, 0
	for i := range members {
		if m := &members[i]; m.Role == raft.Voter {
			voters++
			if has(m) {
				have++
			}
		}
	}
	return 2*have > voters
}

// quorum says whether a majority of each half of a configuration has something.
func quorum(c *raft.Configuration, has func(*raft.Member) bool) bool {
	return majority(c.Members, has) && (c.Old == nil || majority(c.Old, has))
}

// counts says whether the present disk of a server is one of the last configuration that is committed. Before there is one, all
// founders count.
func (w *World) counts(i int) bool {
	s := &w.servers[i]
	if len(w.ghost.configurations) == 0 {
		return i < int(w.params.Servers) && len(s.disks) == 1
	}
	m := memberOf(w.ghost.configurations[len(w.ghost.configurations)-1].configuration, s.id)
	return m != nil && w.diskOf(m) == s.disk && s.disk != nil
}

// memberOf returns what a configuration says of a server; nil for nothing.
func memberOf(c *raft.Configuration, id raft.ServerID) *raft.Member {
	for _, half := range [][]raft.Member{c.Members, c.Old} {
		for i := range half {
			if half[i].ID == id {
				return &half[i]
			}
		}
	}
	return nil
}

// eachSet calls f with every set of members that may come to count: those of the last configuration that is committed, of
// all later ones in any log, and those that are asked for.
func (w *World) eachSet(f func([]raft.Member)) {
	committed := w.ghost.configurations
	if len(committed) == 0 {
		return
	}
	last := committed[len(committed)-1].index
	each := func(list []placed) {
		for i := range list {
			c := list[i].configuration
			if list[i].index < last {
				continue
			}
			f(c.Members)
			if c.Old != nil {
				f(c.Old)
			}
			if c.Next != nil {
				f(c.Next)
			}
			for j := range w.changes {
				if o := &w.ops[w.changes[j]]; o.outcome != outcomeDone && o.outcome != outcomeNotApplied {
					w.target = targetOf(w.target[:0], o.call, c.Members)
					f(w.target)
				}
			}
		}
	}
	each(committed[len(committed)-1:])
	for i := 0; i < w.n; i++ {
		s := &w.servers[i]
		each(s.disk.configurations)
		if s.up {
			each(s.configurations)
			if shown := s.core.Status(); shown.Configuration != nil {
				each([]placed{{shown.ConfigurationIndex, shown.Configuration}})
			}
		}
	}
}

// expendable says whether a server's disk may be lost: of no set that may come to count is a majority lost with it, and one of
// the others can be elected. Who loses more has lost his cluster.
func (w *World) expendable(i int) bool {
	s := &w.servers[i]
	if len(w.ghost.configurations) == 0 || len(s.disks) >= maxDisks || w.params.ChangeTime == 0 && len(s.disks) > 1 {
		return false
	}
	may := true
	w.eachSet(func(members []raft.Member) {
		in := false
		survives := majority(members, func(m *raft.Member) bool {
			in = in || m.ID == s.id
			return m.ID != s.id && !w.lost(m)
		})
		may = may && (survives || !in)
	})
	return may && w.electable(i)
}

// electable says whether a server can be elected when another one's disk is lost. In the middle of a change there may be none, though of
// each set a majority is left: one who knows of the step may need the vote of a server that is to be a voter by it, and that one
// may have got entries of a later term from the server which is lost, whom nobody told of the step.
func (w *World) electable(without int) bool {
	for j := 0; j < w.n; j++ {
		d := w.servers[j].disk
		n := len(d.configurations)
		if j == without || n == 0 || w.servers[j].rotten || d.lost() {
			continue
		}
		grants := func(m *raft.Member) bool {
			k := serverOf(m.ID)
			if k == without || w.lost(m) {
				return false
			}
			other := w.servers[k].disk
			mine, its := d.term(d.last()), other.term(other.last())
			return mine > its || mine == its && d.last() >= other.last()
		}
		c := d.configurations[n-1].configuration
		self := raft.Member{Server: raft.Server{ID: w.servers[j].id}, Incarnation: d.state.Incarnation}
		if votesIn(c, &self) && quorum(c, grants) {
			return true
		}
	}
	return false
}

// maxDisks is how many disks a server has had at most.
const maxDisks = 8

// targetOf returns the members that a call comes to, roughly: what replaces a disk and whether a server is known doesn't
// matter here. It appends them to target.
func targetOf(target []raft.Member, call *raft.Call, present []raft.Member) []raft.Member {
	if call.Kind == raft.CallSet {
		target = append(target, call.Members...)
		for i := range target {
			for j := range present {
				if present[j].ID == target[i].ID {
					target[i].Incarnation = present[j].Incarnation
				}
			}
		}
		return target
	}
	target = append(target, present...)
	subject := call.Members[0]
	at := slices.IndexFunc(target, func(m raft.Member) bool { return m.ID == subject.ID })
	switch {
	case call.Kind == raft.CallRemove && at >= 0:
		target = slices.Delete(target, at, at+1)
	case call.Kind == raft.CallAdd && at >= 0:
		target[at].Role = subject.Role
	case call.Kind == raft.CallAdd:
		target = append(target, subject)
	case call.Kind == raft.CallReplace && at >= 0:
		target[at].Incarnation = 0
	}
	return target
}

// Codes in the data of an event that asks for a change: a byte for the kind of the call, one for what is expected, and three for
// each member: its number, its role, and its address.
const (
	expectNothing = iota
	expectPresent // what the server knows
	expectOther
)

const (
	addressKept = iota
	addressPresent
	addressWrong
)

// nowhere is an address at which nobody listens.
const nowhere = "nowhere"

// changeCall returns the call that an event makes; nil for none.
func (w *World) changeCall(e *Event, s *server) *raft.Call {
	if len(e.Data) < 2 || len(e.Data)%3 != 2 {
		return nil
	}
	call := &raft.Call{Kind: raft.CallKind(e.Data[0])}
	if call.Kind < raft.CallAdd || call.Kind > raft.CallSet {
		return nil
	}
	if e.Data[1] != expectNothing {
		if call.Expected = s.core.Status().ConfigurationIndex; e.Data[1] == expectOther {
			call.Expected++
		}
	}
	for data := e.Data[2:]; len(data) > 0; data = data[3:] {
		i := int(data[0])
		if i >= w.n {
			return nil
		}
		m := raft.Member{Server: raft.Server{ID: w.servers[i].id}, Role: raft.MemberRole(data[1])}
		switch data[2] {
		case addressPresent:
			m.Address = w.servers[i].address
		case addressWrong:
			m.Address = nowhere
		}
		call.Members = append(call.Members, m)
	}
	if len(call.Members) == 0 && call.Kind != raft.CallSet {
		return nil
	}
	return call
}

// askChange asks for a change of the members. One that would cost the cluster is no call that anybody makes: of the set that it
// comes to a majority is lost already.
func (w *World) askChange(e *Event, s *server, o *operation) bool {
	call := w.changeCall(e, s)
	if call == nil {
		return false
	}
	sane := true
	var target []raft.Member
	w.eachSet(func(members []raft.Member) {
		target = targetOf(target[:0], call, members)
		sane = sane && majority(target, func(m *raft.Member) bool { return !w.lost(m) })
	})
	if !sane && len(call.Members) > 0 {
		return false
	}
	o.call = call
	w.changes = append(w.changes, int32(e.N))
	w.stats.Changes++
	o.number = s.core.Call(w.local(s), *call)
	return true
}

// changeOf returns the number of the operation that a configuration belongs to, plus 1; 0 for none. Starts are counted anew on each disk, so
// it takes the configuration before it in the log to know whose the name is.
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
		if d.state.Incarnation != named.Incarnation || c.Origin.Start >= uint64(len(s.starts[g])) {
			continue
		}
		if numbers := s.starts[g][c.Origin.Start].calls; c.Number < uint64(len(numbers)) && numbers[c.Number] != 0 {
			return numbers[c.Number]
		}
	}
	return 0
}

// commitConfiguration takes note of a configuration that is committed.
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
		if c.Level > before.configuration.Level && slices.Equal(c.Members, before.configuration.Members) && c.Old == nil && c.Next == nil {
			g.settled = c // it raises the level, and nothing else
		} else {
			w.checkChange(i, now, g.change)
		}
	}
	g.configurations = append(g.configurations, now)
	w.stats.Configurations++
}

// checkSteps checks that any majorities by which two neighbouring configurations may decide have a server in common (§4.3).
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

// checkChange checks what a committed configuration does for the call that it belongs to.
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
		if c.Refusal != raft.RefusedHalfway && !equalMembers(c.Members, w.ghost.settled.Members) {
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

// checkTarget checks that a configuration is what a call asks for.
func (w *World) checkTarget(i int, o *operation, c *raft.Configuration) {
	ok := true
	switch o.call.Kind {
	case raft.CallSet:
		ok = len(c.Members) == len(o.call.Members)
		for j := range o.call.Members {
			ok = ok && c.Members[j].ID == o.call.Members[j].ID && c.Members[j].Role == o.call.Members[j].Role
		}
	case raft.CallAdd:
		m := memberOf(c, o.call.Members[0].ID)
		ok = m != nil && m.Role == o.call.Members[0].Role
	case raft.CallRemove:
		ok = memberOf(c, o.call.Members[0].ID) == nil
	case raft.CallReplace:
		m := memberOf(c, o.call.Members[0].ID)
		ok = m != nil && w.diskOf(m) != nil
	}
	if !ok {
		w.fail(Steps, i, "%v comes to %s", o.call, describeConfiguration(c))
	}
}

// checkChanged checks the answer to a call.
func (w *World) checkChanged(i int, o *operation, a *raft.Answer) {
	switch {
	case a.Err == nil:
		o.outcome = outcomeDone
		w.stats.Changed++
		c := w.committedConfiguration(a.Index)
		if c == nil || c.Old != nil || c.Next != nil {
			w.fail(NothingLost, i, "%v is acknowledged at index %d, where no settled configuration is committed", o.call, a.Index)
			return
		}
		if o.index != 0 && (o.index != a.Index || o.refused) {
			w.fail(NothingLost, i, "%v is acknowledged at index %d, but ended at index %d (refused: %v)", o.call, a.Index, o.index, o.refused)
		}
		w.checkTarget(i, o, c)
	case errors.Is(a.Err, raft.ErrNotApplied):
		o.outcome = outcomeNotApplied
		w.stats.Unchanged++
		if errors.Is(a.Err, raft.ErrOutcomeUnknown) {
			w.fail(Answers, i, "%v: %v is two outcomes", o.call, a.Err)
		}
		if o.index != 0 && !o.refused {
			w.fail(ExactlyOnce, i, "%v is answered with ErrNotApplied, but done at index %d", o.call, o.index)
		}
	case errors.Is(a.Err, raft.ErrOutcomeUnknown):
		o.outcome = outcomeUnknown
	default:
		w.fail(Answers, i, "%v: %v is no outcome", o.call, a.Err)
	}
}

// committedConfiguration returns the configuration that is committed at an index; nil for none.
func (w *World) committedConfiguration(index raft.Index) *raft.Configuration {
	for _, p := range w.ghost.configurations {
		if p.index == index {
			return p.configuration
		}
	}
	return nil
}

// checkAppendedConfiguration checks a configuration that a leader appends: the one before is committed, and an entry of its own
// term is.
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

// checkConfiguration checks that the configuration that a core goes by is the last one in its log.
func (w *World) checkConfiguration(i int) {
	s := &w.servers[i]
	if raft.Index(len(s.view)) != s.status.last {
		return // it has entries that weren't handed to the disk yet
	}
	shown, want := s.core.Status(), raft.Index(0)
	if n := len(s.configurations); n > 0 {
		want = s.configurations[n-1].index
	}
	if shown.ConfigurationIndex != want {
		w.fail(Steps, i, "goes by the configuration at index %d, but the last one in its log is at %d", shown.ConfigurationIndex, want)
	}
}

// checkElected checks that a new leader has the votes of a quorum of its configuration, disk by disk.
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
			return own || int(*w.ghost.vote(j+MaxServers*g, shown.Term)) == i+1
		}
		return false
	}
	if shown.Configuration != nil && !quorum(shown.Configuration, voted) {
		w.fail(ElectionSafety, i, "leads term %d without the votes of a quorum of %s", shown.Term, describeConfiguration(shown.Configuration))
	}
}

// describeConfiguration describes a configuration in short: members + old → next, with ? behind a server that doesn't vote and
// ' behind it for each disk that it has lost.
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

// viewConfiguration takes note of a configuration that appears in a server's log.
func (w *World) viewConfiguration(i int, now placed, term raft.Term) {
	s := &w.servers[i]
	if n := len(s.configurations); n > 0 && term == s.status.term {
		w.checkAppendedConfiguration(i, &s.configurations[n-1], now)
		w.checkGivenUp(i, &s.configurations[n-1], now)
	}
	s.configurations = append(s.configurations, now)
}

// ChangeText says what an event that asks for a change of the members asks for: the kind of the call, and its servers, with ? behind one that isn't to vote and ! behind a
// wrong address.
func (e *Event) ChangeText() string {
	data := e.Data
	if len(data) < 2 {
		return "nothing"
	}
	text := raft.CallKind(data[0]).String() + " "
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
