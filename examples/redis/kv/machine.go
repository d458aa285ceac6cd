// Package kv is the state of a Redis-like store, as a state machine of package raft: keys with
// strings, hashes, lists and sets, and the commands on them. A Machine runs the commands, on a
// Keyspace, which is in memory (Memory) or on a disk (Pebble).
//
// The machine has no clock. Each entry carries the time at which it was made, and the state's time
// is the highest so far: it never falls, whatever the clocks of the servers say.
package kv

import (
	"fmt"
	"iter"
	"sync"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/redis/resp"
)

// Limits that are the same on all servers, since results depend on them.
const (
	// MaxValue bounds a string, in bytes. Commands such as APPEND make no longer ones.
	MaxValue = 32 << 20
	// MaxReplies bounds the replies to one entry together, or to one read, in bytes.
	MaxReplies = 64 << 20
	// expireEach is how many expired keys an entry deletes at most. The others count as gone, and
	// are deleted by the entries that follow.
	expireEach = 256
)

// A Machine is a raft.StateMachine. Its methods can be called by several goroutines.
type Machine struct {
	mu    sync.RWMutex // reads look at the keys while entries are applied
	keys  Keyspace
	meta  Meta
	reply resp.Writer // to a batch of entries, in memory that is used again
	// applied is the number of entries since the machine was made.
	applied int64
	items   []item   // of the entry that is applied
	args    [][]byte // of its commands
	call    call
}

// New returns a machine on a keyspace.
func New(keys Keyspace) *Machine { return &Machine{keys: keys, meta: keys.Meta()} }

// Apply runs the commands of entries. A result is the replies to the commands of an entry, one after
// the other. An entry that is malformed changes nothing, and its result is one error.
//
// It panics, which stops the node, if the keyspace has failed, or if an entry is of a later version
// of this program: what such an entry does, this version can't do.
func (m *Machine) Apply(entries []raft.Entry, results [][]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if cap(m.reply.Buf) > 1<<20 {
		m.reply.Buf = nil
	}
	m.reply.Buf = m.reply.Buf[:0]
	m.keys.Begin()
	for i := range entries {
		from := len(m.reply.Buf)
		m.apply(entries[i].Data)
		results[i] = m.reply.Buf[from:len(m.reply.Buf):len(m.reply.Buf)]
	}
	m.keys.End(m.meta)
	m.applied += int64(len(entries))
	if err := m.keys.Err(); err != nil {
		panic(fmt.Sprintf("kv: the keyspace has failed: %v", err))
	}
}

// Durable returns what goes into raft.Config.Durable: nil for keys in memory. While it saves, no
// Reader reads.
func (m *Machine) Durable() *raft.DurableMachine {
	inner := m.keys.Durable()
	if inner == nil {
		return nil
	}
	return &raft.DurableMachine{Load: inner.Load, Save: func(applied raft.Index, beside []byte) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		return inner.Save(applied, beside)
	}}
}

// Close closes the keyspace. It is called when the node is closed and nobody reads any more.
func (m *Machine) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.keys.Close()
}

// apply runs the commands of one entry.
func (m *Machine) apply(entry []byte) {
	m.reply.Full, m.reply.Limit = false, len(m.reply.Buf)+MaxReplies
	entry, whole := unseal(entry)
	d := decoder{rest: entry}
	format, protocol, now := d.byte(), d.byte(), d.number()
	if format > entryFormat {
		panic(fmt.Sprintf("kv: an entry has format %d, and this version of the program knows none above %d", format, entryFormat))
	}
	m.reply.Proto = int(protocol)
	if !whole || format == 0 || d.err != nil || now > 1<<62 || !m.parse(d) {
		m.reply.Error("ERR " + errEntry.Error())
		return
	}
	m.meta.Now = max(m.meta.Now, int64(now))
	m.expire()
	m.call = call{keys: m.keys, meta: &m.meta, now: m.meta.Now, Writer: &m.reply}
	args, skipped := m.args, 0
	for i := range m.items {
		next := &m.items[i]
		if next.command == nil {
			if !m.begin(next) {
				skipped = next.commands
			}
			continue
		}
		m.call.args, args = args[:next.args:next.args], args[next.args:]
		if skipped > 0 {
			skipped--
			continue
		}
		m.call.run(next.command)
	}
}

// An item is a part of an entry that was parsed: a command, or the beginning of a transaction.
type item struct {
	command *Command // nil for a transaction
	args    int      // how many arguments it has, its name included
	// watches are those of a transaction, each a key and a version, to be decoded once more.
	watches  decoder
	count    int // of the watches
	commands int // how many items that follow are in the transaction
}

// These bound what a Machine keeps of the memory in which it parses entries.
const (
	keepArgs  = 1 << 14
	keepItems = 1 << 12
)

// parse looks through an entry before anything of it is done. It puts what is in it into items, with
// the arguments of all commands in args.
func (m *Machine) parse(d decoder) bool {
	m.items, m.args = kept(m.items, keepItems), kept(m.args, keepArgs)
	for len(d.rest) > 0 && d.err == nil {
		number := d.number()
		if number != 0 {
			m.parseCommand(&d, number)
			continue
		}
		t := item{count: d.count()}
		t.watches = d
		for range t.count {
			d.bytes()
			d.number()
		}
		t.commands = d.count()
		m.items = append(m.items, t)
		for range t.commands {
			if m.parseCommand(&d, d.number()); d.err != nil {
				break
			}
		}
	}
	return d.err == nil
}

// parseCommand parses a command, which may be one that only a later version knows.
func (m *Machine) parseCommand(d *decoder, number uint64) {
	from := len(m.args)
	var command *Command
	command, m.args = d.command(number, m.args)
	if command == nil && number != 0 && numbered(number) == nil && d.err != errEntry {
		panic("kv: " + d.err.Error())
	}
	m.items = append(m.items, item{command: command, args: len(m.args) - from})
}

// kept returns memory to be used again, unless there is unusually much of it.
func kept[T any](memory []T, most int) []T {
	if cap(memory) > most {
		return nil
	}
	return memory[:0]
}

// begin begins a transaction, and says whether its commands are to be carried out.
func (m *Machine) begin(t *item) bool {
	held := true
	for range t.count {
		held = m.unchanged(t.watches.bytes(), t.watches.number()) && held
	}
	if held {
		m.reply.Array(t.commands)
	} else {
		m.reply.NullArray()
	}
	return held
}

// unchanged says whether a key is in the state that had a version.
func (m *Machine) unchanged(key []byte, version uint64) bool {
	return m.versionOf(key, m.meta.Now) == version
}

func (m *Machine) versionOf(key []byte, now int64) uint64 {
	if o := m.keys.Find(key); o != nil && !gone(o, now) {
		return o.Version
	}
	return 0
}

// gone says whether an object has expired.
func gone(o *Object, now int64) bool { return o.Expires != 0 && o.Expires <= now }

// expire deletes keys that have expired, in an order that is the same on all servers.
func (m *Machine) expire() {
	for range expireEach {
		key, at := m.keys.First()
		if at == 0 || at > m.meta.Now {
			return
		}
		m.keys.Delete([]byte(key))
	}
}

// A Reader reads the state of a Machine at one moment, in View.
type Reader struct {
	call call
	m    *Machine
	wall int64
}

// View calls f with a Reader. Meanwhile nothing is applied. wall is the time by this server's clock,
// in milliseconds since 1970: keys that have expired by then aren't shown. early says that some key
// wasn't shown though by the state's time it hasn't expired yet: another server, whose clock is
// behind, may still show it. Once an entry has carried the time wall, none does.
func (m *Machine) View(wall int64, f func(*Reader)) (early bool, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	r := Reader{m: m, wall: wall}
	f(&r)
	return r.call.early, m.keys.Err()
}

// Run runs a command that only reads, and appends the reply to out.
func (r *Reader) Run(command *Command, args [][]byte, out *resp.Writer) {
	early := r.call.early
	r.call = call{args: args, keys: r.m.keys, meta: &r.m.meta, now: max(r.m.meta.Now, r.wall), Writer: out, early: early}
	out.Limit, out.Full = len(out.Buf)+MaxReplies, false
	r.call.run(command)
	out.Limit, out.Full = 0, false
}

// Watch returns the version of a key, for a transaction.
func (r *Reader) Watch(key []byte) Watch {
	return Watch{string(key), r.m.versionOf(key, r.m.meta.Now)}
}

// Keys returns the keys that are there, in the order of their positions.
func (r *Reader) Keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		c := call{meta: &r.m.meta, now: max(r.m.meta.Now, r.wall)}
		for key, o := range r.m.keys.From(0) {
			if c.living(o) != nil && !yield(key) {
				break
			}
		}
		r.call.early = r.call.early || c.early
	}
}

// A Summary says what a machine holds.
type Summary struct {
	Keys     int   // those that have expired and aren't deleted yet included
	Expiring int   // how many of them expire
	Expires  int64 // when the next key expires, in milliseconds since 1970; 0 for never
	Now      int64 // the state's time
	Applied  int64 // how many entries this machine has applied since the program was started
}

// Summary returns what the machine holds.
func (m *Machine) Summary() Summary {
	m.mu.RLock()
	defer m.mu.RUnlock()
	_, at := m.keys.First()
	keys, expiring := m.keys.Len()
	return Summary{keys, expiring, at, m.meta.Now, m.applied}
}

// RunLocal runs a command that looks at no key, such as PING.
func RunLocal(command *Command, args [][]byte, out *resp.Writer) {
	c := call{args: args, Writer: out}
	c.run(command)
}
