package kv

import (
	"iter"

	"github.com/e17579a5/raft"
)

// A Kind is what a key holds.
type Kind byte

// The kinds. Their numbers are in snapshots.
const (
	String Kind = 1 + iota
	Hash
	List
	Set
)

// String returns the name that the command TYPE answers.
func (k Kind) String() string {
	switch k {
	case String:
		return "string"
	case Hash:
		return "hash"
	case List:
		return "list"
	case Set:
		return "set"
	}
	return "none"
}

// An Object is what a key holds.
type Object struct {
	Kind Kind
	// Expires is when the key goes, in milliseconds since 1970; 0 for never.
	Expires int64
	// Version is a number that no other state of any key has had. WATCH remembers it.
	Version uint64

	Bytes  []byte  // of a String; the bytes are never changed, but some may be appended
	Fields *Fields // of a Hash, and of a Set, where values are empty
	Items  *Items  // of a List
}

// Clone returns an object of its own.
func (o *Object) Clone() *Object {
	clone := *o
	if o.Fields != nil {
		clone.Fields = o.Fields.clone()
	}
	if o.Items != nil {
		clone.Items = o.Items.clone()
	}
	return &clone
}

// Empty says whether a hash, set or list has nothing in it. No key holds such a one.
func (o *Object) Empty() bool {
	return o.Fields != nil && o.Fields.Len() == 0 || o.Items != nil && o.Items.Len() == 0
}

// Meta is the state of a Machine beside its keys.
type Meta struct {
	// Now is the latest time that an entry has carried, in milliseconds since 1970. It never falls.
	Now int64
	// Version is the highest that an object got.
	Version uint64
}

// A Keyspace holds the keys of a Machine: a Memory, or a Pebble, which keeps them on a disk.
//
// The machine calls Begin, Edit, Put, Delete, Clear, End, Capture, Restore and what Durable returns
// one at a time, and nothing else beside one of them. Edit, Put, Delete and Clear come between Begin
// and End, and meanwhile other goroutines call nothing. Otherwise several may call the other methods
// at a time. A slice that a method is given as a key is valid during the call only.
//
// Most methods return no errors. A Keyspace that fails keeps the first failure for Err, which the machine
// asks after each batch of entries and after each read; what the other methods return from then on
// makes no difference.
type Keyspace interface {
	// Begin says that entries are applied from now on, up to End, which stores the meta.
	Begin()
	End(Meta)

	// Find returns what a key holds, to be read; nil for nothing. It is valid until the machine
	// changes something.
	Find(key []byte) *Object
	// Edit returns the same, to be changed. The change counts when Put is called with it.
	Edit(key []byte) *Object
	// Put lets a key hold an object, which belongs to the Keyspace from then on.
	Put(key []byte, o *Object)
	// Delete removes a key. It says whether the key was there.
	Delete(key []byte) bool
	// Clear removes all keys.
	Clear()
	// Len returns the number of keys, and how many of them expire. Those that have expired and weren't
	// deleted yet are included.
	Len() (keys, expiring int)
	// From returns the keys whose Position is at least from, in the order of Position; keys of the
	// same Position in the order of their bytes.
	From(from uint64) iter.Seq2[string, *Object]
	// First returns the key that expires first. Of several that expire at the same time it is the
	// smallest one by its bytes. It is "" and 0 if no key expires.
	First() (key string, expires int64)

	// Meta returns what End or Restore was last given. A Keyspace on a disk stores it together with
	// the keys.
	Meta() Meta

	// Capture returns the present keys, which later changes must not change.
	Capture() (Capture, error)
	// Restore replaces all keys by those that put is called with, and the meta.
	Restore(meta Meta, all func(put func(key string, o *Object)) error) error

	// Durable returns what raft.Config.Durable needs; nil in memory.
	Durable() *raft.DurableMachine
	// Close is called last, when nothing else is called any more.
	Close() error

	// Err returns the failure after which the Keyspace can't be used any more; nil in memory.
	Err() error
}

// A Capture is the keys of one moment. One goroutine uses it while the machine goes on.
type Capture interface {
	Len() int
	Meta() Meta
	// All returns the keys in the order of From.
	All() iter.Seq2[string, *Object]
	// Err returns why All ended too early; nil if it didn't.
	Err() error
	// Close frees what the capture holds. No other is made before.
	Close() error
}

// PositionBits is how many bits a Position has: as many as the numbers of JavaScript take, since it
// goes through clients as the cursor of SCAN.
const PositionBits = 48

// Position returns the place of a key in the order of SCAN. It is a hash of the key alone, so it is
// the same on every server, and a scan can go on at another server.
func Position[K []byte | string](key K) uint64 {
	h := uint64(14695981039346656037) // FNV-1a, and a last round that mixes the bits
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	h = (h ^ h>>32) * 0x9e3779b97f4a7c15
	return h >> (64 - PositionBits)
}
