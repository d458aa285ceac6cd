package model

import (
	"sync"
	"sync/atomic"

	"github.com/e17579a5/raft/wire"
)

// A cluster has many states, but they are made of few nodes and messages. So each node and each
// message exists once, under a number. What an event makes of a node is worked out once, when it
// happens for the first time in any state of the cluster. And a state is a handful of numbers.

// A tables holds everything that exists once.
type tables struct {
	namings  []naming
	nodes    table[node]
	messages table[message]
	ghosts   table[ghost]
	canon    map[sum]uint32 // of messages; guarded by the lock of their table
	steps    [shards]steps
}

// shards is the number of parts of a table in which all workers look things up.
const shards = 64

type steps struct {
	mu    sync.RWMutex
	known map[uint64]*step
}

// A table numbers values from 0 on, in the order in which they are added. Its values can be read
// while others are added.
type table[T any] struct {
	mu    sync.Mutex
	known map[sum]uint32
	pages [1 << 13]atomic.Pointer[page[T]]
}

const pageSize = 1 << 12

type page[T any] [pageSize]*T

// get returns the value with a number.
func (t *table[T]) get(id uint32) *T { return t.pages[id/pageSize].Load()[id%pageSize] }

// add returns the value that is known under a hash, or adds one. The value must not be changed
// afterwards.
func (t *table[T]) add(h sum, build func(id uint32) *T) *T {
	t.mu.Lock()
	defer t.mu.Unlock()
	if id, ok := t.known[h]; ok {
		return t.get(id)
	}
	id := uint32(len(t.known))
	p := t.pages[id/pageSize].Load()
	if p == nil {
		p = new(page[T])
		t.pages[id/pageSize].Store(p)
	}
	value := build(id)
	p[id%pageSize] = value
	t.known[h] = id
	return value
}

// size returns the number of values.
func (t *table[T]) size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.known)
}

func newTables(namings []naming) *tables {
	t := &tables{namings: namings, canon: map[sum]uint32{}}
	t.nodes.known, t.messages.known, t.ghosts.known = map[sum]uint32{}, map[sum]uint32{}, map[sum]uint32{}
	for i := range t.steps {
		t.steps[i].known = map[uint64]*step{}
	}
	return t
}

func (t *tables) message(id uint32) *message { return t.messages.get(id) }

// hashes returns the hashes of an encoding, one for each naming.
func (t *tables) hashes(what uint64, buffer *[]byte, encode func(b []byte, naming *naming) []byte) []sum {
	all := make([]sum, len(t.namings))
	for i := range t.namings {
		*buffer = encode((*buffer)[:0], &t.namings[i])
		all[i] = hashOf(what, *buffer)
	}
	return all
}

// addNode returns the node that is like n. The first naming gives each server its own number, so it
// tells nodes apart.
func (t *tables) addNode(n *node, buffer *[]byte) *node {
	*buffer = n.encode((*buffer)[:0], &t.namings[0])
	return t.nodes.add(hashOf(hashNode, *buffer), func(id uint32) *node {
		added := *n
		added.id = id
		added.core = n.core.Clone() // without the buffers in which effects were handed out
		added.standing = stand(&n.status, &n.disk.state)
		added.armed = added.core.Armed(nil)
		added.findVoters()
		added.hashes = t.hashes(hashNode, buffer, n.encode)
		added.bare = t.hashes(hashNode, buffer, n.encodeBare)
		added.core.Held(func(m *wire.Message, writes int) {
			added.held = append(added.held, parcel{t.addMessage(m, buffer), writes})
		})
		return &added
	})
}

// addMessage returns the message that is like m.
func (t *tables) addMessage(m *wire.Message, buffer *[]byte) *message {
	encode := func(b []byte, naming *naming) []byte { return wire.Naming(naming.of).AppendMessage(b, m) }
	*buffer = encode((*buffer)[:0], &t.namings[0])
	return t.messages.add(hashOf(hashMessage, *buffer), func(id uint32) *message {
		added := &message{id: id, from: serverOf(m.From), to: serverOf(m.To), content: *m,
			hashes: t.hashes(hashMessage, buffer, encode)}
		for _, h := range added.hashes {
			number, known := t.canon[h]
			if !known {
				number = uint32(len(t.canon))
				t.canon[h] = number
			}
			added.canon = append(added.canon, number)
		}
		return added
	})
}

// addGhost returns the ghost that is like g.
func (t *tables) addGhost(g *ghost, buffer *[]byte) *ghost {
	*buffer = g.encode((*buffer)[:0], &t.namings[0])
	return t.ghosts.add(hashOf(hashGhost, *buffer), func(id uint32) *ghost {
		added := *g
		added.id = id
		added.hashes = t.hashes(hashGhost, buffer, g.encode)
		return &added
	})
}

// step returns what an event makes of a node.
func (t *tables) step(s *stepper, n *node, e event) *step {
	key := uint64(n.id)<<32 | uint64(e)
	part := &t.steps[mix(key)%shards]
	part.mu.RLock()
	known := part.known[key]
	part.mu.RUnlock()
	if known != nil {
		return known
	}
	known = s.do(n, e)
	part.mu.Lock()
	part.known[key] = known
	part.mu.Unlock()
	return known
}
