package kv

import (
	"bytes"
	"cmp"
	"container/heap"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/e17579a5/raft"
)

// shardBits says in how many shards a Memory keeps its keys. A shard is what SCAN sorts and what is
// copied at a time when a key is changed while a snapshot is written.
const (
	shardBits = 12
	shards    = 1 << shardBits
)

// A Memory is a Keyspace in memory. Its zero value is empty and ready.
//
// A capture is a copy of the table of shards, which takes no time. While it is being written, a
// change copies the shard that it is in, and the object that it changes, unless that was done since
// the capture.
type Memory struct {
	shards [shards]*shard
	len    int
	meta   Meta
	expire expirations

	epoch     uint64      // the number of captures so far
	capturing atomic.Bool // the latest of them isn't closed

	// edited is the slot that Edit has found last, and editedKey is its key: Put mostly follows with
	// the same. It is nil if the slot may be gone.
	edited    *slot
	editedKey []byte
}

// A shard is the keys of a stretch of positions.
type shard struct {
	keys  map[string]*slot
	epoch uint64 // in which the map was made
}

// A slot is what a Memory keeps for a key.
type slot struct {
	object *Object
	due    *expiration // nil if the key doesn't expire
	epoch  uint64      // in which the slot and its object were made
}

func shardOf(position uint64) int { return int(position >> (PositionBits - shardBits)) }

// Find implements Keyspace.
func (m *Memory) Find(key []byte) *Object {
	if s := m.shards[shardOf(Position(key))]; s != nil {
		if slot := s.keys[string(key)]; slot != nil {
			return slot.object
		}
	}
	return nil
}

// own returns the shard of a key in a form that may be changed.
func (m *Memory) own(key []byte) *shard {
	at := &m.shards[shardOf(Position(key))]
	if *at == nil {
		*at = &shard{keys: map[string]*slot{}, epoch: m.epoch}
	} else if (*at).epoch < m.epoch && m.capturing.Load() {
		*at = &shard{keys: maps.Clone((*at).keys), epoch: m.epoch}
	}
	return *at
}

// Edit implements Keyspace.
func (m *Memory) Edit(key []byte) *Object {
	s := m.own(key)
	found := s.keys[string(key)]
	if found == nil {
		m.edited = nil
		return nil
	}
	if found.epoch < m.epoch && m.capturing.Load() {
		found = &slot{object: found.object.Clone(), due: found.due, epoch: m.epoch}
		s.keys[string(key)] = found
	}
	m.edited, m.editedKey = found, append(m.editedKey[:0], key...)
	return found.object
}

// Put implements Keyspace.
func (m *Memory) Put(key []byte, o *Object) {
	if m.edited != nil && bytes.Equal(m.editedKey, key) {
		m.edited.object = o
		m.schedule(key, m.edited)
		return
	}
	s := m.own(key)
	found := s.keys[string(key)]
	switch {
	case found == nil:
		found = &slot{epoch: m.epoch}
		s.keys[string(key)] = found
		m.len++
	case found.epoch < m.epoch && m.capturing.Load():
		found = &slot{due: found.due, epoch: m.epoch}
		s.keys[string(key)] = found
	}
	found.object = o
	m.schedule(key, found)
}

// schedule keeps the queue of keys that expire in step with a slot.
func (m *Memory) schedule(key []byte, s *slot) {
	switch {
	case s.due == nil && s.object.Expires != 0:
		s.due = &expiration{key: string(key), at: s.object.Expires}
		heap.Push(&m.expire, s.due)
	case s.due != nil && s.object.Expires == 0:
		heap.Remove(&m.expire, s.due.place)
		s.due = nil
	case s.due != nil && s.due.at != s.object.Expires:
		s.due.at = s.object.Expires
		heap.Fix(&m.expire, s.due.place)
	}
}

// Delete implements Keyspace.
func (m *Memory) Delete(key []byte) bool {
	m.edited = nil
	s := m.own(key)
	found := s.keys[string(key)]
	if found == nil {
		return false
	}
	if found.due != nil {
		heap.Remove(&m.expire, found.due.place)
	}
	delete(s.keys, string(key))
	m.len--
	return true
}

// Clear implements Keyspace.
func (m *Memory) Clear() {
	m.shards, m.len, m.expire, m.edited = [shards]*shard{}, 0, nil, nil
}

// Len implements Keyspace.
func (m *Memory) Len() (keys, expiring int) { return m.len, len(m.expire) }

// From implements Keyspace.
func (m *Memory) From(from uint64) iter.Seq2[string, *Object] { return keysFrom(&m.shards, from) }

// keysFrom returns the keys of a table from a position on.
func keysFrom(table *[shards]*shard, from uint64) iter.Seq2[string, *Object] {
	type place struct {
		position uint64
		key      string
	}
	return func(yield func(string, *Object) bool) {
		if from >= 1<<PositionBits {
			return
		}
		var places []place
		for _, s := range table[shardOf(from):] {
			if s == nil {
				continue
			}
			places = places[:0]
			for key := range s.keys {
				if position := Position(key); position >= from {
					places = append(places, place{position, key})
				}
			}
			slices.SortFunc(places, func(a, b place) int {
				return cmp.Or(cmp.Compare(a.position, b.position), strings.Compare(a.key, b.key))
			})
			for _, p := range places {
				if !yield(p.key, s.keys[p.key].object) {
					return
				}
			}
		}
	}
}

// First implements Keyspace.
func (m *Memory) First() (key string, expires int64) {
	if len(m.expire) == 0 {
		return "", 0
	}
	return m.expire[0].key, m.expire[0].at
}

// Meta implements Keyspace.
func (m *Memory) Meta() Meta { return m.meta }

// Begin implements Keyspace.
func (m *Memory) Begin() { m.edited = nil }

// End implements Keyspace.
func (m *Memory) End(meta Meta) { m.meta = meta }

// Durable implements Keyspace.
func (m *Memory) Durable() *raft.DurableMachine { return nil }

// Close implements Keyspace.
func (m *Memory) Close() error { return nil }

// Err implements Keyspace.
func (m *Memory) Err() error { return nil }

// Restore implements Keyspace. If it fails, the keys are as before.
func (m *Memory) Restore(meta Meta, all func(put func(string, *Object)) error) error {
	fresh := &Memory{}
	if err := all(func(key string, o *Object) { fresh.Put([]byte(key), o) }); err != nil {
		return err
	}
	m.shards, m.len, m.expire, m.meta = fresh.shards, fresh.len, fresh.expire, meta
	m.epoch = 0 // that of the new slots
	m.capturing.Store(false)
	return nil
}

// Capture implements Keyspace.
func (m *Memory) Capture() (Capture, error) {
	m.epoch++
	m.capturing.Store(true)
	return &capture{shards: m.shards, len: m.len, meta: m.meta, closed: func() { m.capturing.Store(false) }}, nil
}

// A capture is the keys of a Memory at one moment.
type capture struct {
	shards [shards]*shard
	len    int
	meta   Meta
	closed func()
}

func (c *capture) Len() int                        { return c.len }
func (c *capture) Meta() Meta                      { return c.meta }
func (c *capture) All() iter.Seq2[string, *Object] { return keysFrom(&c.shards, 0) }
func (c *capture) Err() error                      { return nil }

func (c *capture) Close() error {
	c.closed()
	return nil
}

// An expiration is a key that expires. It is the place of a slot in the queue.
type expiration struct {
	key   string
	at    int64
	place int
}

// expirations is a heap of keys, the next one to expire first.
type expirations []*expiration

func (e expirations) Len() int { return len(e) }

func (e expirations) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].key < e[j].key
}

func (e expirations) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].place, e[j].place = i, j
}

// Push implements heap.Interface.
func (e *expirations) Push(x any) {
	added := x.(*expiration)
	added.place = len(*e)
	*e = append(*e, added)
}

// Pop implements heap.Interface.
func (e *expirations) Pop() any {
	last := len(*e) - 1
	popped := (*e)[last]
	(*e)[last] = nil
	*e = (*e)[:last]
	return popped
}
