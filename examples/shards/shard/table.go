package shard

import (
	"cmp"
	"slices"

	"github.com/e17579a5/raft"
)

// A Table says which servers there are, and which of them have which shard. It is never changed: each
// command makes another one.
type Table struct {
	Servers  []Server `json:"servers"`  // in the order of their IDs
	Replicas int      `json:"replicas"` // how many servers have a shard, but while it moves
	Shards   []Shard  `json:"shards"`   // none before the store is founded
	Moves    uint64   `json:"moves"`    // how many were begun: the number of the latest Move
}

// A Server is one that takes part.
type Server struct {
	ID      raft.ServerID `json:"id"`
	Address string        `json:"address"`           // where the other servers' transports find it
	Client  string        `json:"client"`            // where clients find it, and other servers that forward for them
	Leaving bool          `json:"leaving,omitempty"` // it is to have no shards any more
}

// A Shard is one of the groups.
type Shard struct {
	// Members are the servers that serve the shard, in the order of their IDs.
	Members []raft.ServerID `json:"members"`
	// Founded says that the shard's group exists. Until then its members found it together; from then on
	// nobody ever may again.
	Founded bool  `json:"founded,omitempty"`
	Move    *Move `json:"move,omitempty"`   // nil while none is under way
	Placed  bool  `json:"placed,omitempty"` // by an operator: it stays while its servers do
}

// A Move takes a shard from one server to another.
type Move struct {
	Number uint64        `json:"number"` // of all moves; no two have the same
	From   raft.ServerID `json:"from"`
	To     raft.ServerID `json:"to"` // "" if the move was called off, and From is the server that is not to join
	Phase  Phase         `json:"phase"`
}

// A Phase of a move is what is to be done next.
type Phase string

// The phases, in their order.
const (
	Prepare Phase = "prepare" // To starts the group
	Join    Phase = "join"    // the shard's leader makes To a voter
	Leave   Phase = "leave"   // the shard's leader removes From
)

// Server returns a server; nil if there is none of this name.
func (t *Table) Server(id raft.ServerID) *Server {
	i, found := slices.BinarySearchFunc(t.Servers, id, func(s Server, id raft.ServerID) int { return cmp.Compare(s.ID, id) })
	if !found {
		return nil
	}
	return &t.Servers[i]
}

// Raft returns servers as the library names them.
func (t *Table) Raft(ids []raft.ServerID) (servers []raft.Server) {
	for _, id := range ids {
		if s := t.Server(id); s != nil {
			servers = append(servers, raft.Server{ID: s.ID, Address: s.Address})
		}
	}
	return servers
}

// Staying returns how many servers aren't leaving.
func (t *Table) Staying() (n int) {
	for _, s := range t.Servers {
		if !s.Leaving {
			n++
		}
	}
	return n
}

// Settled says that all shards are founded, that none moves, and that no server is leaving.
func (t *Table) Settled() bool {
	for i := range t.Shards {
		if !t.Shards[i].Founded || t.Shards[i].Move != nil {
			return false
		}
	}
	return len(t.Shards) > 0 && t.Staying() == len(t.Servers)
}

// Has says whether a server is to have the group of a shard: as one of its members, or because the shard
// moves from or to it.
func (s *Shard) Has(id raft.ServerID) bool {
	return slices.Contains(s.Members, id) || s.Move != nil && (s.Move.From == id || s.Move.To == id)
}

// is says whether this move is under way, in this phase.
func (s *Shard) is(number uint64, phase Phase) bool {
	return s.Move != nil && s.Move.Number == number && s.Move.Phase == phase
}

// after returns the members when the shard's move is done.
func (s *Shard) after() []raft.ServerID {
	if s.Move == nil || s.Move.Phase == Leave {
		return s.Members
	}
	members := slices.Clone(s.Members)
	members[slices.Index(members, s.Move.From)] = s.Move.To
	slices.Sort(members)
	return members
}
