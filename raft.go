package raft

// A CoreConfig is what a Core is made of. The zero values of the limits and durations stand for the
// defaults, which each of them names.
type CoreConfig struct {
	ID      ServerID
	Address string

	// Saved is what the storage holds. Incarnation is used when it holds nothing: a random number, not 0.
	Saved       Saved
	Incarnation Incarnation

	// Bootstrap is the list of the servers that found the cluster together. It is used only while
	// there is no log. Without it, a server without state waits to be added.
	Bootstrap []Server

	// Seed makes this server's timeouts different from those of others and of earlier runs, and is the
	// source of the ClusterID.
	Seed uint64

	// Heartbeat is the interval between heartbeats (100 ms). ElectionTimeout is how long a follower hears nothing
	// before it campaigns: a random time in [1, 1.5) times this (1 s). It is at least twice the Heartbeat.
	Heartbeat, ElectionTimeout Duration

	// MaxUncommittedBytes bounds the log above min(commit, stable), MaxUnappliedBytes that above applied, and
	// MaxPendingBytes what callers at this server have waiting (64 MiB each). Beyond, proposals are refused.
	MaxUncommittedBytes, MaxUnappliedBytes, MaxPendingBytes int
	// MaxPending bounds how many commands, and how many reads, callers at this server have waiting (65,536).
	MaxPending int
	// MaxAppendBytes bounds the entries in one message, beyond the first (256 KiB).
	MaxAppendBytes int
	// WindowMessages and WindowBytes bound what is on its way to a peer (256, 4 MiB).
	WindowMessages, WindowBytes int
	// TailBytes bounds the entries kept in memory beyond those that must be (16 MiB).
	TailBytes int
	// MaxWrites bounds the writes handed out and not yet persisted (1). What gathers meanwhile becomes
	// the next one.
	MaxWrites int

	// Now is the time of the start.
	Now Instant
}

// Effects are what a Core wants done. Every one of them is safe to perform at once, in any order, and
// beside each other; only writes are performed in the order of their numbers.
type Effects struct {
	// Write is to be stored, and then reported by Core.Persisted; nil when there is nothing to store.
	Write *Write
	// Messages are to be sent.
	Messages []Message
	// Apply are batches of entries to be applied in order, and then reported by Core.Applied. They share
	// memory with the log.
	Apply [][]Entry
	// Fetches are to be read from the storage and reported by Core.Fetched.
	Fetches []Fetch
	// Answers are to be given to callers.
	Answers []Answer
	// Servers, when not nil, is the new list of servers that messages may go to.
	Servers []Server
}

// A Fetch asks for the entries of (After, Last], or as many of the first of them as fit into MaxBytes
// (Storage.Entries).
type Fetch struct {
	For         ServerID // the peer that needs them, or "" when they are to be applied here
	After, Last Index
	MaxBytes    int
}

// An Answer ends a call of Core.Propose or Core.Read.
type Answer struct {
	Number uint64
	Read   bool  // whether it answers a Read or a Propose
	Index  Index // where the command was applied, or up to where the reader's state was
	Result []byte
	Err    error // nil, or an error that is ErrNotApplied or ErrOutcomeUnknown; a read has other reasons
}

// A Core is one server's part in the protocol: it decides, and does nothing else. Events go in by its
// methods, effects come out of Drain. It is single-threaded and deterministic: the same config and the
// same events give the same effects. It never blocks, and reads no clock: every event comes with the
// current time, which never goes back.
//
// Several events may come between two calls of Drain; what they cause is then done together.
type Core struct{}

// NewCore returns a core that has started from what the storage holds. Its first write records the start.
func NewCore(config CoreConfig) (*Core, error) { return nil, ErrConfig }

// Receive takes a message from another server.
func (c *Core) Receive(now Instant, m Message) {}

// Propose takes a command from a caller and returns the number by which an Answer will name it. The core
// offers it to one leader after the other until it is applied here, refused for good, or canceled, and
// never lets it be applied twice. The data is kept and must not be changed.
func (c *Core) Propose(now Instant, data []byte) uint64 { return 0 }

// Cancel ends a Propose: it is answered, with ErrNotApplied if the command never left this server
// and isn't in its log, and with ErrOutcomeUnknown otherwise. It does nothing if the call was answered already.
func (c *Core) Cancel(number uint64, reason error) {}

// Read takes a linearizable read (§6.4) and returns the number by which an Answer will name it: when
// that comes, the state machine is at least as new as the call.
func (c *Core) Read(now Instant) uint64 { return 0 }

// CancelRead ends a Read. It is not answered.
func (c *Core) CancelRead(number uint64) {}

// Persisted reports that every write up to number n is durable.
func (c *Core) Persisted(now Instant, n WriteNumber) {}

// Fetched reports what Storage.Entries returned for a fetch.
func (c *Core) Fetched(now Instant, f Fetch, entries []Entry, err error) {}

// Applied reports that the state machine has applied a batch, with what Applier.Apply returned. Batches
// are reported in order.
func (c *Core) Applied(now Instant, batch Batch) {}

// Lost reports that the process of a server seems to be gone. It is a hint.
func (c *Core) Lost(now Instant, server ServerID) {}

// Tick tells the time. It is due at Deadline at the latest; events that happened before are handed in first.
func (c *Core) Tick(now Instant) {}

// Deadline returns when Tick is due next.
func (c *Core) Deadline() Instant { return 0 }

// Drain fills e with everything that the events since the last call want done. The slices of e are
// used again; what they point to is not.
func (c *Core) Drain(e *Effects) {}

// Clone returns an independent copy.
func (c *Core) Clone() *Core { return c }

// AppendState appends an encoding of everything that decides the core's further behaviour, except the
// luck of its timeouts: deadlines show only as armed or passed, counters only relative to each other. Two
// cores with equal encodings behave alike. name gives each server's name in the encoding,
// so that servers can be permuted.
func (c *Core) AppendState(b []byte, name func(ServerID) byte) []byte { return b }

// Check verifies the invariants of the state that are too dear to assert at each change. It returns the
// first that doesn't hold, by its name.
func (c *Core) Check() error { return nil }
