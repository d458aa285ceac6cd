package raft

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/e17579a5/raft/wire"
)

// A Config says what a Node is made of, and within which limits it works. ID, Machine, Storage and
// Transport are needed. Every other field may be left at its zero value: that stands for a default,
// which the field names in parentheses. A field that is out of its range makes Start fail with
// ErrConfig.
//
// All servers of a cluster should have the same durations and limits, but nothing breaks if they
// differ.
type Config struct {
	// ID is this server's name: 1 to wire.MaxServerID (255) bytes. No other server of the cluster
	// may ever have it.
	ID ServerID
	// Address is where the other servers reach this one, in the form that the Transport
	// understands: at most wire.MaxAddress (1,024) bytes. It isn't where this one listens, which may
	// be every address of the host (0.0.0.0). If it is empty, the address is the one that Moved
	// gives this server, or Bootstrap, or else the newest configuration that the storage holds.
	Address string

	// Machine is the state machine that the log drives. It must be empty at the start, unless
	// Durable is set: the node restores the last snapshot into it, and then applies again what the
	// log holds after that.
	Machine StateMachine
	// Durable is for a Machine that keeps its state on a disk of its own, and goes on from there.
	// It is nil for a Machine in memory.
	Durable *DurableMachine
	// Storage and Transport belong to the node from Start on. Close closes them, and so does a
	// Start that fails.
	Storage   Storage
	Transport Transport

	// Bootstrap is the list of the servers that found a cluster together. This server is among
	// them, and the list is the same on each of them: at most wire.MaxMembers (255) servers, in any
	// order. All of them must be up for the first start. The list is used while the storage is
	// empty, and ignored ever after.
	//
	// A server that has neither state nor a Bootstrap list waits to be added to a cluster. A server
	// that starts anew on an empty disk, and whose cluster exists, should have no list: if all
	// servers of the list started on empty disks, they would found another cluster.
	Bootstrap []Server
	// AddedBy names the servers that may take this one into their cluster: the members that may lead
	// when it is added (everybody). Whoever is not on this list, nor on that of Bootstrap, is not
	// heard while this server belongs to no cluster. The list is at most wire.MaxMembers (255) long.
	// It is worth as much as the names are: without TLS a server may call itself as it likes.
	AddedBy []ServerID
	// BootstrapFrom, when not nil, opens an exported snapshot (Node.ExportSnapshot). The servers of
	// Bootstrap then found their cluster with the state in it. The cluster is a new one with an ID
	// of its own. It takes over the state, the sessions, and the index of the snapshot, at which
	// its own log begins. It knows nothing else of the old cluster.
	//
	// Like Bootstrap it is used while the storage is empty, and ignored ever after. Some servers of
	// the list may have no BootstrapFrom: they get the snapshot from the others. All those that
	// have one must open the same snapshot.
	BootstrapFrom func() (io.ReadCloser, error)

	// Moved is for servers that have moved to other addresses in such a number that they elect no
	// leader: all of them, for instance. It names each of them with its new Address, and is the same
	// on all servers of the cluster. This server then looks for them there. The leader that is
	// elected asks each of them, and puts the new addresses into the log; Status.Members shows them.
	// From then on the list has no effect, and it should go before a server is moved once more.
	//
	// A single server that moves needs no list: it is started with its new Address, and AddServer is
	// called with that at any member.
	Moved []Server

	// Heartbeat is how often a leader tells the others that it lives (100 ms). ElectionTimeout is
	// how long a server waits for that before it campaigns: each time a random duration in [1, 1.5)
	// times this (1 s; §3.4). ElectionTimeout is at least twice the Heartbeat.
	//
	// A short ElectionTimeout replaces a dead leader soon. But it must be well above the time that
	// a write to the disk and a message take: a leader whose disk, or whose network, is silent for
	// an ElectionTimeout steps down.
	Heartbeat, ElectionTimeout time.Duration

	// Priority says which server should rather lead: 0 to 65536, where a higher number is
	// preferred (0). A leader hands over to a server of higher priority once that server has caught
	// up. Elections don't look at priorities, so any server may lead for a while.
	Priority int

	// MaxLease is the length of the leases (§6.4.1) by which a leader serves LeaseRead without
	// asking the other servers: at most the ElectionTimeout. The default, 0, stands for no leases.
	// It should be the same on all servers: a server promises no lease that is longer than its own
	// MaxLease.
	//
	// Leases make such reads fast, and the end of a leader slower to mend. While a leader holds a
	// lease, no other leader can be elected, even if everybody is sure that the first one is gone.
	// And a server that has ever promised a lease doesn't vote for that long after each start.
	//
	// ClockDrift bounds how much two servers' monotonic clocks may differ for each second that
	// passes (10 ms, at most a second). Leases rest on it. A clock may stand still, as that of a
	// virtual machine does while it is moved or suspended: then LeaseRead may return before the
	// newest state is there. Nothing else rests on clocks.
	MaxLease, ClockDrift time.Duration

	// MaxCommandBytes is the size of the largest command, in bytes (1 MiB, at most
	// wire.MaxCommandSize, which is 1 GiB). A larger command is refused with ErrTooLarge. While a
	// large command is on its way, smaller ones wait behind it, but heartbeats don't (package tcp;
	// with other transports that depends on them). It is at most what the Transport
	// carries in a message (its method MaxMessage) and what the Storage takes in a Write
	// (MaxWrite), where 4 KiB are for the rest. The default is less than 1 MiB if one of them
	// demands it.
	MaxCommandBytes int

	// Validate, when not nil, is asked about each command that is proposed at this server, before
	// anything else knows of the command. If it returns an error, the command is not applied, and
	// its caller gets that error. The goroutines of the callers call it, several at a time and
	// beside Apply. It judges by the command alone: nobody knows yet what the state will be when
	// the command is applied.
	Validate func(command []byte) error

	// CompareResults makes this server look for a state machine that went astray. The server keeps
	// a fingerprint of the results of its state machine, tells it to the others when it has taken a
	// snapshot, and compares what the others tell. It reports a difference in the log and in
	// Status.Diverged, with the indexes between which it arose. It costs a checksum of each result.
	//
	// Servers without CompareResults neither tell nor compare. If a server first has it set after
	// its cluster began, it compares after the next index that is a multiple of 65,536.
	CompareResults bool

	// MaxSessions is how many sessions the cluster keeps at most (65,536, at most wire.MaxSessions,
	// which is 1,048,576). MaxSessionBytes is how many bytes the results may take that are kept for
	// them, where each result counts for 64 bytes beside its own (64 MiB, at most
	// wire.MaxSessionBytes, which is 256 MiB). When one of them is exceeded, the sessions expire
	// that were used least recently.
	//
	// The entry that opens a session carries these limits in the log. So the limits that hold for
	// all servers are those of the server at which the last session was opened.
	MaxSessions, MaxSessionBytes int

	// MaxPending bounds how many commands, and how many reads, of callers at this server may wait
	// (65,536, at most 131,072). MaxPendingBytes bounds the size of those commands in bytes (64
	// MiB). What would exceed one of the two is refused with ErrOverloaded, which names it.
	//
	// MaxUncommittedBytes bounds what a leader's log holds, in bytes, above what is committed and
	// on its own disk (64 MiB). MaxUnappliedBytes bounds what it holds above what its state machine
	// has applied (64 MiB). A command that would exceed one of these two waits. It also waits while
	// the leader's disk, or its state machine, has more to do than it does in about two Heartbeats.
	// Larger limits bear a longer burst, and cost memory.
	MaxPending, MaxPendingBytes, MaxUncommittedBytes, MaxUnappliedBytes int

	// MaxInboxMessages and MaxInboxBytes bound the messages from other servers that wait for the
	// node to look at them (16,384 and 64 MiB). Appends, forwards and calls beyond that are
	// dropped, and their senders send them again. For all other messages (votes, heartbeats and
	// answers) there is room for MaxInboxMessages more.
	MaxInboxMessages, MaxInboxBytes int

	// MaxAppendBytes bounds the entries in one message, in bytes, beyond the first entry (256 KiB).
	// WindowMessages and WindowBytes bound the appends that are on their way to one server and that
	// it hasn't acknowledged (256 and 4 MiB). A distant server needs a window that is as large as
	// its bandwidth times its round-trip time.
	MaxAppendBytes, WindowMessages, WindowBytes int
	// TailBytes bounds the log's entries that are kept in memory, in bytes, beyond those that must
	// be (16 MiB). A server that lags further behind gets its entries from the leader's disk.
	TailBytes int
	// SnapshotMinBytes and SnapshotFactor say when a snapshot is taken (§5.1.2): when the entries
	// that were applied since the last one take more than the larger of SnapshotMinBytes (64 MiB)
	// and SnapshotFactor (4) times the size of the last one. The log is then forgotten up to the
	// snapshot before the new one. So the disk holds about two snapshots and twice that much log.
	// Lower values save room on the disk and shorten a restart. Higher values write fewer
	// snapshots. A host bounds the logs of all its groups together, too (HostConfig.LogBytes).
	//
	// SnapshotRetainBytes bounds how much of the log, in bytes, is kept for the sake of a server
	// that is sent a snapshot and will need the entries after it (1 GiB).
	SnapshotMinBytes, SnapshotFactor, SnapshotRetainBytes int
	// SnapshotBytesPerSecond bounds how fast a snapshot is sent to another server. The default, 0,
	// stands for no bound.
	SnapshotBytesPerSecond int
	// ScrubBytesPerSecond bounds how fast the node reads its log from the Storage, from the beginning
	// to the end and then its snapshot, and so on, to find out whether bytes are lost while other
	// servers still have them (1 MiB; -1 for not at all). Status.Damage and the event Damage tell what
	// it has found; in the place of a damaged snapshot it takes another one. It reads one piece at a time, at most 1 MiB in a Heartbeat, lets writes and other reads
	// go first, and pauses between two passes for 60 times the ElectionTimeout. What the operating
	// system has in its cache may be read from there.
	ScrubBytesPerSecond int
	// ReserveBytes is the room on each disk for which no commands are taken (8 MiB), if the storage
	// says how much room it has (Storage). Out of it a server goes on to vote, to change members and
	// to free room when its disk is full. Of commands no quorum has room for, callers hear ErrFull.
	ReserveBytes int
	// MaxWrites bounds how many writes the storage is given before it has finished the first of
	// them (1). What gathers in the meantime becomes the next write, so a larger number rarely
	// helps.
	MaxWrites int

	// Level is the highest level that this server is to know. The default, 0, stands for
	// wire.LatestLevel. Once every server knows a level it is put in force, and from then on the
	// cluster uses the entries and the behaviour of that level. A lower Level keeps the whole
	// cluster from that, so that this server can go back to its earlier version.
	Level wire.Level

	// Seed is the source of this server's random timeouts, and of the ClusterID if it founds a
	// cluster. A fixed seed makes them repeatable, for tests. The default, 0, stands for a seed
	// that the operating system draws. No two servers may have the same seed.
	Seed uint64

	// Trace, when not nil, has functions that the node calls while it works.
	Trace *Trace

	// Logger is told about changes of the role, failures and slow lanes, with the keys node, term,
	// index and peer; docs/logging.md lists all messages. A failure that repeats gets one line a
	// minute (left_out says how many are missing). nil stands for slog.Default(). The Logger is
	// called in a goroutine of its own: it may block, panic or call the node, and holds up nobody.
	// Close waits for it up to a second.
	Logger *slog.Logger
}

// Defaults of the settings that CoreConfig doesn't have.
const (
	defaultMaxCommandBytes  = 1 << 20
	defaultMaxInboxMessages = 16 << 10
	defaultMaxInboxBytes    = 64 << 20
	defaultMaxSessions      = 1 << 16
	defaultMaxSessionBytes  = 64 << 20
	defaultScrubRate        = 1 << 20
)

// normalize fills in the defaults, except those that must be drawn or asked for. It returns the
// core's share of the config, and refuses a config that can't be used.
func (c *Config) normalize() (CoreConfig, error) {
	switch {
	case c.Machine == nil:
		return CoreConfig{}, fmt.Errorf("%w: no Machine", ErrConfig)
	case c.Storage == nil:
		return CoreConfig{}, fmt.Errorf("%w: no Storage", ErrConfig)
	case c.Durable != nil && (c.Durable.Load == nil || c.Durable.Save == nil):
		return CoreConfig{}, fmt.Errorf("%w: Durable without Load or without Save", ErrConfig)
	case c.Transport == nil:
		return CoreConfig{}, fmt.Errorf("%w: no Transport", ErrConfig)
	}
	outside := c.outsideLimits()
	for _, limit := range []struct {
		value        *int
		name         string
		defaultValue int
	}{
		{&c.MaxCommandBytes, "MaxCommandBytes", max(min(defaultMaxCommandBytes, outside.message-besideCommand, outside.write-besideCommand), 1)},
		{&c.MaxInboxMessages, "MaxInboxMessages", defaultMaxInboxMessages},
		{&c.MaxInboxBytes, "MaxInboxBytes", defaultMaxInboxBytes},
		{&c.SnapshotBytesPerSecond, "SnapshotBytesPerSecond", 0},
		{&c.MaxSessions, "MaxSessions", defaultMaxSessions},
		{&c.MaxSessionBytes, "MaxSessionBytes", defaultMaxSessionBytes},
	} {
		if *limit.value < 0 {
			return CoreConfig{}, fmt.Errorf("%w: %s is negative", ErrConfig, limit.name)
		}
		if *limit.value == 0 {
			*limit.value = limit.defaultValue
		}
	}
	if c.MaxCommandBytes > wire.MaxCommandSize {
		return CoreConfig{}, fmt.Errorf("%w: MaxCommandBytes is %d, more than %d", ErrConfig, c.MaxCommandBytes, wire.MaxCommandSize)
	}
	if err := outside.hold(c.MaxCommandBytes); err != nil {
		return CoreConfig{}, err
	}
	if c.MaxSessions > wire.MaxSessions || c.MaxSessionBytes > wire.MaxSessionBytes {
		return CoreConfig{}, fmt.Errorf("%w: MaxSessions is %d and MaxSessionBytes %d, more than %d and %d", ErrConfig,
			c.MaxSessions, c.MaxSessionBytes, wire.MaxSessions, wire.MaxSessionBytes)
	}
	core := CoreConfig{
		ID: c.ID, Address: c.Address, Bootstrap: c.Bootstrap, AddedBy: c.AddedBy, Seed: c.Seed,
		Heartbeat: c.Heartbeat, ElectionTimeout: c.ElectionTimeout,
		Priority: c.Priority, MaxLease: c.MaxLease, ClockDrift: c.ClockDrift,
		MaxPending: c.MaxPending, MaxPendingBytes: c.MaxPendingBytes,
		MaxUncommittedBytes: c.MaxUncommittedBytes, MaxUnappliedBytes: c.MaxUnappliedBytes,
		MaxAppendBytes: c.MaxAppendBytes, WindowMessages: c.WindowMessages, WindowBytes: c.WindowBytes,
		TailBytes: c.TailBytes, MaxWrites: c.MaxWrites, Level: c.Level, CompareResults: c.CompareResults,
		SnapshotMinBytes: c.SnapshotMinBytes, SnapshotFactor: c.SnapshotFactor, SnapshotRetainBytes: c.SnapshotRetainBytes,
		ScrubBytesPerSecond: scrubRate(c.ScrubBytesPerSecond),
		ReserveBytes:        c.ReserveBytes,
	}
	if err := core.normalize(); err != nil {
		return CoreConfig{}, err
	}
	if err := c.checkMoved(); err != nil {
		return CoreConfig{}, err
	}
	outside.bound(&core)
	c.MaxPending, c.MaxPendingBytes = core.MaxPending, core.MaxPendingBytes
	return core, nil
}

// scrubRate returns the rate that a setting stands for: -1 is none, and 0 the default.
func scrubRate(setting int) int {
	if setting == -1 {
		return 0
	}
	return cmp.Or(setting, defaultScrubRate)
}

// outsideLimits are what the transport carries in one message, and what the storage takes in one
// write, in bytes.
type outsideLimits struct{ message, write int }

const (
	// besideCommand is more than what a message, or a write, takes beside its only command: the
	// envelope, the origin and the session.
	besideCommand = 4 << 10
	// mostPerByte is how many bytes an encoded entry, or the entry of a write, takes at most for
	// each that Entry.Size counts.
	mostPerByte = 6
)

// outsideLimits asks the transport and the storage. What says nothing has no limit.
func (c *Config) outsideLimits() outsideLimits {
	o := outsideLimits{message: maxInt, write: maxInt}
	if t, ok := c.Transport.(messageLimiter); ok {
		o.message = t.MaxMessage()
	}
	if s, ok := c.Storage.(writeLimiter); ok {
		o.write = s.MaxWrite()
	}
	return o
}

// hold returns an error if a command of so many bytes could get into the log, and then no further.
func (o *outsideLimits) hold(command int) error {
	if command > o.message-besideCommand {
		return fmt.Errorf("%w: MaxCommandBytes is %d, and the Transport's MaxMessage is %d: it must be larger by %d",
			ErrConfig, command, o.message, besideCommand)
	}
	if command > o.write-besideCommand {
		return fmt.Errorf("%w: MaxCommandBytes is %d, and the Storage's MaxWrite is %d: it must be larger by %d",
			ErrConfig, command, o.write, besideCommand)
	}
	return nil
}

// bound bounds what a core puts into one message, and into one write.
func (o *outsideLimits) bound(core *CoreConfig) {
	core.MaxAppendBytes = max(min(core.MaxAppendBytes, (o.message-besideCommand)/mostPerByte), 1)
	core.MaxWriteBytes = max(min(core.MaxWriteBytes, o.write/mostPerByte), 1)
}

// checkAddresses refuses addresses at which the transport finds nobody.
func (c *Config) checkAddresses() error {
	checker, ok := c.Transport.(addressChecker)
	if !ok {
		return nil
	}
	servers := slices.Concat(c.Bootstrap, c.Moved)
	if c.Address != "" {
		servers = append([]Server{{ID: c.ID, Address: c.Address}}, servers...)
	}
	for _, s := range servers {
		if err := checker.CheckAddress(s.Address); err != nil {
			return because(ErrConfig, fmt.Errorf("the address of server %q: %w", s.ID, err))
		}
	}
	return nil
}

// ownAddress returns the address at which others reach this server. It is in the config, or else in
// the newest configuration in the storage that names this server.
func (c *Config) ownAddress(saved *Saved) (string, error) {
	if c.Address != "" {
		return c.Address, nil
	}
	for _, server := range slices.Concat(c.Moved, c.Bootstrap) {
		if server.ID == c.ID {
			return server.Address, nil
		}
	}
	configurations, err := storedConfigurations(saved)
	if err != nil {
		return "", err
	}
	for i := len(configurations) - 1; i >= 0; i-- {
		if member := configurations[i].Member(c.ID); member != nil {
			return member.Address, nil
		}
	}
	return "", nil
}

// storedConfigurations returns the configurations that the storage holds, the newest last. There is
// at least one, which may be zero.
func storedConfigurations(saved *Saved) ([]Configuration, error) {
	configurations := []Configuration{saved.Snapshot.Configuration}
	for i := range saved.Configurations {
		configuration, err := wire.DecodeConfiguration(saved.Configurations[i].Data)
		if err != nil {
			return nil, fmt.Errorf("%w: configuration at %d: %w", ErrCorrupt, saved.Configurations[i].Index, err)
		}
		configurations = append(configurations, configuration)
	}
	return configurations, nil
}

// checkMoved refuses a list of moved servers that names one twice, puts two at one address, or
// contradicts Address.
func (c *Config) checkMoved() error {
	for i, s := range c.Moved {
		if err := checkServer(s); err != nil {
			return fmt.Errorf("%w in Moved", err)
		}
		if slices.ContainsFunc(c.Moved[:i], func(o Server) bool { return o.ID == s.ID }) {
			return fmt.Errorf("%w: Moved names server %q twice", ErrConfig, s.ID)
		}
		if other := sharesAddress(c.Moved[:i], s); other != "" {
			return fmt.Errorf("%w: Moved has servers %q and %q at one address, %q", ErrConfig, other, s.ID, s.Address)
		}
		if s.ID == c.ID && c.Address != "" && c.Address != s.Address {
			return fmt.Errorf("%w: Address is %q, and Moved has this server at %q", ErrConfig, c.Address, s.Address)
		}
	}
	return nil
}
