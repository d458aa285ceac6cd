package kv

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/durable/pebblestate"
	"github.com/e17579a5/raft/examples/durable/state"
)

// A Pebble is a Keyspace in a pebble database. The keys of the database are
//
//	"m"                        the meta, the number of keys, and how many of them expire
//	"o", position, name        an object, in the form that it has in snapshots
//	"q", time, name            nothing: the queue of the keys that expire
//
// where a position is 8 bytes and a time is 8 bytes, big endian, so that the database sorts them. The
// index up to which entries were applied is in the same database, and in the same batch as the changes
// (package pebblestate): a start goes on from there.
//
// What a batch of entries looks at and changes is kept as objects until End, which writes each object
// that has changed once. A hash, set or list is one value of the database: a change of one field writes
// all of it.
type Pebble struct {
	machine *pebblestate.Machine

	// Readers share these under the lock of the Machine.
	meta  Meta
	count counts
	first due // the key that expires first

	// These are in use between Begin and End.
	applying bool
	pending  map[string]*pending
	weight   int          // of the values that pending was read from, in bytes
	stale    bool         // first must be looked up
	low      []byte       // no key of the queue is before this one
	value    bytes.Buffer // that is written next

	reading sync.Mutex // held by who reads what isn't saved: a batch takes one reader at a time
	failing sync.Mutex
	failed  error
}

// counts are the number of keys, and of those that expire.
type counts struct{ keys, expiring int }

// A due is a key that expires; "" and 0 for none.
type due struct {
	key string
	at  int64
}

// A pending is what is known of a key while entries are applied.
type pending struct {
	object  *Object // nil if the key isn't there
	expires int64   // for which the key is counted, since commands change the object before Put
	changed bool    // since it was written
	stored  bool    // the database has the object
	queued  int64   // and this time in its queue; 0 for none
}

// keepPending bounds the values, in bytes, that are kept as objects while entries are applied. Beyond
// it they are written, and read again when they are needed.
const keepPending = 64 << 20

// PebbleOptions are the settings of a Pebble. The zero value is right.
type PebbleOptions struct {
	// CacheBytes is how much of the database is kept in memory (64 MiB).
	CacheBytes int64
	// Pebble and State are for tests.
	Pebble *pebble.Options
	State  state.Options
}

// OpenPebble opens the keys in a folder, or makes an empty one. The node's storage, which has a lock,
// is opened first.
func OpenPebble(dir string, options PebbleOptions) (*Pebble, error) {
	settings := options.Pebble.Clone()
	if settings == nil {
		settings = &pebble.Options{}
	}
	if options.CacheBytes == 0 {
		options.CacheBytes = 64 << 20
	}
	settings.CacheSize = options.CacheBytes
	settings.MemTableSize = 16 << 20
	for i := range settings.Levels {
		settings.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	machine, err := pebblestate.Open(dir, nil, pebblestate.Options{Pebble: settings, State: options.State})
	if err != nil {
		return nil, err
	}
	p := &Pebble{machine: machine}
	if err := p.load(machine.Latest()); err != nil {
		return nil, errors.Join(fmt.Errorf("kv: %s: %w", dir, err), machine.Close())
	}
	return p, nil
}

// load takes over what a database says beside its keys.
func (p *Pebble) load(from pebble.Reader) error {
	meta, count, err := readMeta(from)
	if err != nil {
		return err
	}
	first, err := firstDue(from, []byte(queuePrefix))
	if err != nil {
		return err
	}
	p.meta, p.count, p.first = meta, count, first
	p.pending, p.weight, p.stale, p.low = map[string]*pending{}, 0, false, []byte(queuePrefix)
	return nil
}

// fail keeps the first failure.
func (p *Pebble) fail(err error) {
	p.failing.Lock()
	defer p.failing.Unlock()
	if p.failed == nil {
		p.failed = err
	}
}

// Err implements Keyspace.
func (p *Pebble) Err() error {
	p.failing.Lock()
	defer p.failing.Unlock()
	return p.failed
}

// Durable implements Keyspace.
func (p *Pebble) Durable() *raft.DurableMachine { return p.machine.Durable() }

// Close implements Keyspace.
func (p *Pebble) Close() error { return p.machine.Close() }

// Meta implements Keyspace.
func (p *Pebble) Meta() Meta { return p.meta }

// Len implements Keyspace.
func (p *Pebble) Len() (keys, expiring int) { return p.count.keys, p.count.expiring }

// Begin implements Keyspace.
func (p *Pebble) Begin() { p.applying = true }

// End implements Keyspace.
func (p *Pebble) End(meta Meta) {
	p.forget()
	if p.First(); meta != p.meta || p.machine.Unsaved() {
		p.meta = meta
		p.change(func(batch *pebble.Batch) error {
			return batch.Set([]byte(metaKey), appendMeta(nil, meta, p.count), nil)
		})
	}
	p.applying = false
}

// change changes the database, unless it has failed.
func (p *Pebble) change(change func(*pebble.Batch) error) {
	if p.Err() != nil {
		return
	}
	p.machine.Change(func(batch *pebble.Batch) error {
		if err := change(batch); err != nil {
			p.fail(err)
		}
		return nil // the Machine asks Err
	})
}

// reader returns what shows all changes, and a function to be called when it isn't used any more.
func (p *Pebble) reader() (pebble.Reader, func()) {
	if p.applying || !p.machine.Unsaved() {
		return p.machine.Latest(), func() {}
	}
	p.reading.Lock()
	return p.machine.Latest(), p.reading.Unlock
}

// Find implements Keyspace.
func (p *Pebble) Find(key []byte) *Object {
	if p.applying {
		return p.look(key).object
	}
	o, _ := p.get(key)
	return o
}

// get reads an object from the database, and says how long its value is.
func (p *Pebble) get(key []byte) (*Object, int) {
	from, done := p.reader()
	defer done()
	var room [128]byte
	value, closer, err := from.Get(appendObjectKey(room[:0], Position(key), string(key)))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, 0
	}
	if err != nil {
		p.fail(err)
		return nil, 0
	}
	o, err := decodeObject(value)
	if err = errors.Join(err, closer.Close()); err != nil {
		p.fail(fmt.Errorf("key %.100q: %w", key, err))
		return nil, 0
	}
	return o, len(value)
}

// look returns what is known of a key.
func (p *Pebble) look(key []byte) *pending {
	if found := p.pending[string(key)]; found != nil {
		return found
	}
	if p.weight > keepPending {
		p.forget()
	}
	o, weight := p.get(key)
	found := &pending{object: o, stored: o != nil}
	if o != nil {
		found.expires, found.queued = o.Expires, o.Expires
	}
	p.weight += weight
	p.pending[string(key)] = found
	return found
}

// Edit implements Keyspace.
func (p *Pebble) Edit(key []byte) *Object { return p.look(key).object }

// Put implements Keyspace.
func (p *Pebble) Put(key []byte, o *Object) {
	found := p.look(key)
	if found.object == nil {
		p.count.keys++
	}
	found.object, found.changed = o, true
	p.expires(key, found, o.Expires)
}

// Delete implements Keyspace.
func (p *Pebble) Delete(key []byte) bool {
	found := p.look(key)
	if found.object == nil {
		return false
	}
	p.count.keys--
	found.object, found.changed = nil, true
	p.expires(key, found, 0)
	return true
}

// expires keeps the count of keys that expire, and the first of them, in step with a key.
func (p *Pebble) expires(key []byte, found *pending, at int64) {
	if found.expires != 0 {
		p.count.expiring--
		p.stale = p.stale || p.first.key == string(key)
	}
	if found.expires = at; at == 0 {
		return
	}
	p.count.expiring++
	if is := appendQueueKey(nil, at, string(key)); bytes.Compare(is, p.low) < 0 {
		p.low = is
	}
	// Also a first one that is stale was no later than any other.
	if p.first.at == 0 || at < p.first.at || at == p.first.at && string(key) <= p.first.key {
		p.first, p.stale = due{string(key), at}, false
	}
}

// Clear implements Keyspace.
func (p *Pebble) Clear() {
	p.pending, p.weight = map[string]*pending{}, 0
	p.count, p.first, p.stale, p.low = counts{}, due{}, false, []byte(queuePrefix)
	p.change(func(batch *pebble.Batch) error {
		return errors.Join(batch.DeleteRange([]byte(objectPrefix), after(objectPrefix), nil),
			batch.DeleteRange([]byte(queuePrefix), after(queuePrefix), nil))
	})
}

// write writes what has changed.
func (p *Pebble) write() {
	for key, found := range p.pending {
		if found.changed {
			p.change(func(batch *pebble.Batch) error { return p.writeOne(batch, key, found) })
		}
	}
}

// forget writes what has changed, and lets go of all objects.
func (p *Pebble) forget() {
	if p.write(); len(p.pending) > 1000 {
		p.pending = map[string]*pending{}
	}
	clear(p.pending)
	p.weight = 0
}

func (p *Pebble) writeOne(batch *pebble.Batch, key string, found *pending) (err error) {
	is := appendObjectKey(nil, Position(key), key)
	switch {
	case found.object != nil:
		p.value.Reset()
		encodeObject(&p.value, found.object)
		err = batch.Set(is, p.value.Bytes(), nil)
	case found.stored:
		err = batch.Delete(is, nil)
	}
	if found.queued != found.expires {
		if found.queued != 0 && err == nil {
			err = batch.Delete(appendQueueKey(nil, found.queued, key), nil)
		}
		if found.expires != 0 && err == nil {
			err = batch.Set(appendQueueKey(nil, found.expires, key), nil, nil)
		}
	}
	found.changed, found.stored, found.queued = false, found.object != nil, found.expires
	return err
}

// First implements Keyspace.
func (p *Pebble) First() (key string, expires int64) {
	if p.stale {
		p.write()
		first, err := firstDue(p.machine.Latest(), p.low)
		if err != nil {
			p.fail(err)
		}
		// What is deleted stays in the database for a while: the next search begins behind it.
		p.first, p.stale, p.low = first, false, after(queuePrefix)
		if first.at != 0 {
			p.low = appendQueueKey(nil, first.at, first.key)
		}
	}
	return p.first.key, p.first.at
}

// From implements Keyspace.
func (p *Pebble) From(from uint64) iter.Seq2[string, *Object] {
	return func(yield func(string, *Object) bool) {
		if p.applying {
			p.write()
		}
		reader, done := p.reader()
		defer done()
		if err := eachObject(reader, from, yield); err != nil {
			p.fail(err)
		}
	}
}

// Capture implements Keyspace.
func (p *Pebble) Capture() (Capture, error) {
	captured, err := p.machine.Capture()
	if err != nil {
		return nil, err
	}
	c := &pebbleCapture{from: captured, held: captured, meta: p.meta, len: p.count.keys}
	if p.machine.Unsaved() { // no node asks for that, but a test may
		return p.copied(c)
	}
	return c, nil
}

// copied returns a capture with a copy in memory.
func (p *Pebble) copied(c *pebbleCapture) (Capture, error) {
	copied := &Memory{}
	for key, o := range c.All() {
		copied.Put([]byte(key), o)
	}
	copied.End(c.meta)
	if err := errors.Join(c.Err(), c.Close()); err != nil {
		return nil, err
	}
	return copied.Capture()
}

// A pebbleCapture is the keys of a Pebble at one moment.
type pebbleCapture struct {
	from pebble.Reader
	held io.Closer
	meta Meta
	len  int
	err  error
}

func (c *pebbleCapture) Len() int     { return c.len }
func (c *pebbleCapture) Meta() Meta   { return c.meta }
func (c *pebbleCapture) Err() error   { return c.err }
func (c *pebbleCapture) Close() error { return c.held.Close() }

func (c *pebbleCapture) All() iter.Seq2[string, *Object] {
	return func(yield func(string, *Object) bool) {
		count, more := 0, true
		c.err = eachObject(c.from, 0, func(key string, o *Object) bool {
			count++
			more = yield(key, o)
			return more
		})
		if c.err == nil && more && count != c.len {
			c.err = fmt.Errorf("kv: the database has %d keys, and counts %d", count, c.len)
		}
	}
}
