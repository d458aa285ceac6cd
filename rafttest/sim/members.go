package sim

import (
	"slices"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A cluster may have servers beyond those that found it (Params.Spares). They wait to be added.
// Clients ask for all kinds of changes, at any server. They also ask for changes that make no
// sense, that name servers that are down, or that name a wrong address. This file has what an
// observer knows of the members, computed in the plainest way.

// A placed is a configuration together with its index in a log.
type placed struct {
	index         raft.Index
	configuration *raft.Configuration
}

// place returns the configuration that an entry holds.
func place(e *raft.Entry) placed {
	configuration, err := wire.DecodeConfiguration(e.Data)
	if err != nil {
		return placed{e.Index, &raft.Configuration{}} // a core doesn't let such an entry into its log
	}
	return placed{e.Index, &configuration}
}

// truncated returns the configurations up to and including index after.
func truncated(list []placed, after raft.Index) []placed {
	for len(list) > 0 && list[len(list)-1].index > after {
		list = list[:len(list)-1]
	}
	return list
}

// diskOf returns the disk that a member names, or nil if there is none.
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

// lost reports whether the disk that a member names is lost: the server has another one now, or the
// disk went back, or is about to be found damaged.
func (w *World) lost(m *raft.Member) bool {
	i := serverOf(m.ID)
	return i >= w.n || m.Incarnation != 0 && w.diskOf(m) != w.servers[i].disk || w.servers[i].rotten || w.servers[i].disk.back || w.servers[i].disk.lost()
}

// majority reports whether has is true for a majority of the voters among members.
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

// quorum reports whether has is true for a majority of each half of a configuration.
func quorum(c *raft.Configuration, has func(*raft.Member) bool) bool {
	return majority(c.Members, has) && (c.Old == nil || majority(c.Old, has))
}

// counts reports whether the last committed configuration names the present disk of a server.
// Before any configuration is committed, the first disk of each founder counts.
func (w *World) counts(i int) bool {
	s := &w.servers[i]
	if len(w.ghost.configurations) == 0 {
		return i < int(w.params.Servers) && len(s.disks) == 1
	}
	m := memberOf(w.ghost.configurations[len(w.ghost.configurations)-1].configuration, s.id)
	return m != nil && w.diskOf(m) == s.disk && s.disk != nil
}

// memberOf returns the member that a configuration has for a server, or nil if there is none.
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

// eachSet calls f with every set of members that may come to count: those of the last committed
// configuration, those of all later configurations in any log, and those that clients have asked
// for.
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

// expendable reports whether a server may lose its disk. Two things must hold without the disk:
// each set that may come to count keeps a majority, and one of the other servers can be elected. A
// cluster that loses more is lost for good.
func (w *World) expendable(i int) bool {
	s := &w.servers[i]
	if len(w.ghost.configurations) == 0 || w.bears(i) || len(s.disks) >= maxDisks || w.params.ChangeTime == 0 && len(s.disks) > 1 {
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

// electable reports whether some server can be elected after another one, without, has lost its
// disk. In the middle of a change there may be none, although each set of members keeps a majority.
// The reason is this: a server that knows of the change may need the vote of a server that becomes
// a voter by it. That one may have entries of a later term. It got them from the server whose disk
// is lost, which knew nothing of the change.
func (w *World) electable(without int) bool {
	for j := 0; j < w.n; j++ {
		d := w.servers[j].disk
		n := len(d.configurations)
		if j == without || n == 0 || w.servers[j].rotten || w.servers[j].disk.back || d.lost() {
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

// maxDisks bounds the number of disks that a server has had.
const maxDisks = 8

// targetOf returns, roughly, the members that a call asks for. It ignores which disk replaces
// another, and whether a server is known: that doesn't matter here. It appends the members to
// target.
func targetOf(target []raft.Member, call *wire.Call, present []raft.Member) []raft.Member {
	if call.Kind == wire.CallSet {
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
	case call.Kind == wire.CallRemove && at >= 0:
		target = slices.Delete(target, at, at+1)
	case call.Kind == wire.CallAdd && at >= 0:
		target[at].Role = subject.Role
	case call.Kind == wire.CallAdd:
		target = append(target, subject)
	case call.Kind == wire.CallReplace && at >= 0:
		target[at].Incarnation = 0
	}
	return target
}

// The data of an event that asks for a change has a byte for the kind of the call, a byte for the
// configuration that it expects, and three bytes for each member: its number, its role, and its
// address.
const (
	expectNothing = iota
	expectPresent // the configuration that the server has
	expectOther
)

const (
	addressKept = iota
	addressPresent
	addressWrong
)

// nowhere is an address at which no server listens.
const nowhere = "nowhere"

// changeCall returns the call that an event makes, or nil if its data make no sense.
func (w *World) changeCall(e *Event, s *server) *wire.Call {
	if len(e.Data) < 2 || len(e.Data)%3 != 2 {
		return nil
	}
	call := &wire.Call{Kind: wire.CallKind(e.Data[0])}
	if call.Kind < wire.CallAdd || call.Kind > wire.CallSet {
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
	if len(call.Members) == 0 && call.Kind != wire.CallSet {
		return nil
	}
	return call
}

// askChange asks for a change of the members. It refuses a change that would end the cluster,
// because the set of members that it asks for has lost a majority already. Nobody would ask for
// that.
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
