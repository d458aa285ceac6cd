package shard

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/e17579a5/raft"
)

// A Change is a command for the table: one of its fields is set.
type Change struct {
	Register *Server       `json:"register,omitempty"` // a server is here, or has another Client
	Leave    raft.ServerID `json:"leave,omitempty"`    // a server is to have no shards any more
	Forget   raft.ServerID `json:"forget,omitempty"`   // a server that was leaving is gone
	Found    *Founding     `json:"found,omitempty"`    // the shards are to be founded
	Begin    []Move        `json:"begin,omitempty"`    // moves are to begin; one for each of Shards
	Shards   []int         `json:"shards,omitempty"`   // of Begin
	Place    *Placing      `json:"place,omitempty"`    // an operator says where a shard is to be
	Done     []Step        `json:"done,omitempty"`     // what was to be done for shards is done
}

// A Founding says how the shards are founded: on the servers that have registered.
type Founding struct {
	Shards   int `json:"shards"`
	Replicas int `json:"replicas"`
}

// A Placing moves a shard from one server to another by hand. From then on the shard isn't moved so that servers
// have about as many, until another Placing, without a To, lets it. A server that is to leave still gives it up.
type Placing struct {
	Shard int           `json:"shard"`
	From  raft.ServerID `json:"from,omitempty"`
	To    raft.ServerID `json:"to,omitempty"`
}

// A Step is a phase of a shard's move that is done. Move 0 is its founding.
type Step struct {
	Shard int    `json:"shard"`
	Move  uint64 `json:"move,omitempty"`
	Phase Phase  `json:"phase,omitempty"`
}

// A Refusal says why a change was refused. It is a result like any other: all servers come to it.
type Refusal struct {
	Code string `json:"code"` // for programs
	Text string `json:"text"`
}

func (r *Refusal) Error() string { return r.Text }

func refuse(code, format string, args ...any) *Refusal {
	return &Refusal{code, fmt.Sprintf(format, args...)}
}

// apply changes a table that nobody else sees yet. Members and moves of shards are replaced, never
// changed: other tables share them.
func (t *Table) apply(c *Change) *Refusal {
	switch {
	case c.Register != nil:
		return t.register(*c.Register)
	case c.Leave != "":
		return t.leave(c.Leave)
	case c.Forget != "":
		return t.forget(c.Forget)
	case c.Found != nil:
		return t.found(c.Found)
	case len(c.Begin) > 0 && len(c.Begin) == len(c.Shards):
		for i := range c.Begin {
			t.begin(c.Shards[i], c.Begin[i])
		}
		return nil
	case c.Place != nil:
		return t.place(c.Place)
	case len(c.Done) > 0:
		for _, step := range c.Done {
			t.done(step)
		}
		return nil
	}
	return refuse("bad_change", "the change says nothing")
}

func (t *Table) register(s Server) *Refusal {
	known := t.Server(s.ID)
	switch {
	case s.ID == "" || s.Address == "" || s.Client == "":
		return refuse("bad_server", "a server has an ID and two addresses")
	case known == nil && len(t.Servers) == maxServers:
		return refuse("too_many_servers", "there are %d servers already", maxServers)
	case known == nil:
		s.Leaving = false
		t.Servers = append(slices.Clone(t.Servers), s)
		slices.SortFunc(t.Servers, func(a, b Server) int { return cmp.Compare(a.ID, b.ID) })
	case known.Address != s.Address:
		return refuse("other_address", "server %s is at %s, not at %s", s.ID, known.Address, s.Address)
	case known.Client != s.Client:
		t.Servers = slices.Clone(t.Servers)
		t.Server(s.ID).Client = s.Client
	}
	return nil
}

// leave begins to take a server out. A move to it that has begun is called off: if the server may be a
// member of the group already, it is removed from there.
func (t *Table) leave(id raft.ServerID) *Refusal {
	known := t.Server(id)
	switch {
	case known == nil:
		return refuse("no_such_server", "there is no server %s", id)
	case known.Leaving:
		return nil
	case t.Staying() <= max(t.Replicas, 1):
		return refuse("too_few_servers", "%d servers would stay, and a shard has %d: let another one join first", t.Staying()-1, t.Replicas)
	}
	t.Servers = slices.Clone(t.Servers)
	t.Server(id).Leaving = true
	for i := range t.Shards {
		s := &t.Shards[i]
		switch {
		case s.Move == nil || s.Move.To != id:
		case s.Move.Phase == Prepare:
			s.Move = nil
		case s.Move.Phase == Join:
			t.Moves++
			s.Move = &Move{Number: t.Moves, From: id, Phase: Leave}
		}
	}
	return nil
}

func (t *Table) forget(id raft.ServerID) *Refusal {
	known := t.Server(id)
	switch {
	case known == nil:
		return nil
	case !known.Leaving:
		return refuse("not_leaving", "server %s isn't leaving", id)
	case slices.ContainsFunc(t.Shards, func(s Shard) bool { return s.Has(id) }):
		return refuse("has_shards", "server %s still has shards", id)
	}
	t.Servers = slices.DeleteFunc(slices.Clone(t.Servers), func(s Server) bool { return s.ID == id })
	return nil
}

// found gives each shard its members, in turn.
func (t *Table) found(f *Founding) *Refusal {
	switch {
	case len(t.Shards) > 0:
		return refuse("founded", "there are %d shards already", len(t.Shards))
	case f.Shards < 1 || f.Shards > MaxShards:
		return refuse("bad_founding", "%d shards, not from 1 to %d", f.Shards, MaxShards)
	case f.Replicas < 1 || f.Replicas > t.Staying():
		return refuse("bad_founding", "%d replicas on %d servers", f.Replicas, t.Staying())
	}
	var staying []raft.ServerID
	for _, s := range t.Servers {
		if !s.Leaving {
			staying = append(staying, s.ID)
		}
	}
	t.Replicas, t.Shards = f.Replicas, make([]Shard, f.Shards)
	for i := range t.Shards {
		for k := range f.Replicas {
			t.Shards[i].Members = append(t.Shards[i].Members, staying[(i+k)%len(staying)])
		}
		slices.Sort(t.Shards[i].Members)
	}
	return nil
}

// begin begins a move, if the shard is as whoever has planned it has seen it.
func (t *Table) begin(shard int, m Move) {
	if shard < 0 || shard >= len(t.Shards) {
		return
	}
	s, to := &t.Shards[shard], t.Server(m.To)
	if s.Founded && s.Move == nil && slices.Contains(s.Members, m.From) && to != nil && !to.Leaving && !slices.Contains(s.Members, m.To) {
		t.Moves++
		s.Move = &Move{Number: t.Moves, From: m.From, To: m.To, Phase: Prepare}
	}
}

// place begins the move that an operator asks for. If it is done already, or will be by the move
// that is under way, no other one begins.
func (t *Table) place(p *Placing) *Refusal {
	if p.Shard < 0 || p.Shard >= len(t.Shards) {
		return refuse("no_such_shard", "there are %d shards", len(t.Shards))
	}
	s, to := &t.Shards[p.Shard], t.Server(p.To)
	if p.To == "" {
		s.Placed = false
		return nil
	}
	has := func(id raft.ServerID) bool { return slices.Contains(s.Members, id) }
	will := func(id raft.ServerID) bool { return slices.Contains(s.after(), id) }
	switch {
	case to == nil || t.Server(p.From) == nil:
		return refuse("no_such_server", "there is no server %q, or no server %q", p.From, p.To)
	case p.From != p.To && will(p.To) && !will(p.From):
		s.Placed = true
		return nil
	case to.Leaving:
		return refuse("leaving", "server %s is leaving", p.To)
	case !s.free():
		return refuse("moving", "shard %d moves already, or isn't founded yet", p.Shard)
	case !has(p.From) || has(p.To):
		return refuse("not_there", "shard %d is at %v: it can't move from %s to %s", p.Shard, s.Members, p.From, p.To)
	}
	t.begin(p.Shard, Move{From: p.From, To: p.To})
	s.Placed = true
	return nil
}

// done ends a phase. If it isn't the one that the shard is in, the report is a late one, and nothing
// happens.
func (t *Table) done(step Step) {
	if step.Shard < 0 || step.Shard >= len(t.Shards) {
		return
	}
	s := &t.Shards[step.Shard]
	switch {
	case step.Move == 0:
		s.Founded = true
	case !s.is(step.Move, step.Phase):
	case step.Phase == Prepare:
		next := *s.Move
		next.Phase = Join
		s.Move = &next
	case step.Phase == Join:
		next := *s.Move
		next.Phase = Leave
		s.Members, s.Move = s.after(), &next
	case step.Phase == Leave:
		s.Move = nil
	}
}
