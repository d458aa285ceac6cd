package sim

import (
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
