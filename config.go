package raft

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/e17579a5/raft/wire"
)

// A Config says what a Node is made of. ID, Machine, Storage and Transport are needed; the zero value of
// everything else is a default that works. All servers of a cluster should have the same durations and
// limits, though nothing breaks when they don't.
type Config struct {
	// ID is this server's name: 1 to MaxServerID bytes, for ever its own.
	ID ServerID
	// Address is where the other servers reach this one, as the Transport understands it. When it is
	// empty, it is what Bootstrap says, or else what the cluster's configuration in the log says.
	Address string

	// Machine is the state that the log drives. It must be empty, unless Durable is set: what was applied in an earlier life is
	// applied again, from the last snapshot on.
	Machine StateMachine
	// Durable is for a Machine that keeps its own durable state; then that needn't be empty. nil is for one in memory.
	Durable *DurableMachine
	// Storage and Transport belong to the node from Start on: Close, or a Start that fails, closes them.
	Storage   Storage
	Transport Transport

	// Bootstrap is the list of the servers that found a cluster together, this one among them, the same
	// on each of them. It is used while there is no state yet, and ignored ever after. For the first
	// start all of them must be up. A server with neither state nor Bootstrap waits to be added. Who starts anew on an
	// empty disk, in a cluster that exists, should have none: if all servers of the list did so, they would found another.
	Bootstrap []Server
	// BootstrapFrom, when not nil, opens an exported snapshot (Node.ExportSnapshot) with whose state the servers of
	// Bootstrap found their cluster. It is a new one, with an ID of its own; nothing else of the old one is known to it,
	// but the indexes and the sessions go on. Like Bootstrap it is used while there is no state yet. All that are given
	// one must be given the same; those that are given none get it from the others.
	BootstrapFrom func() (io.ReadCloser, error)

	// Heartbeat is how often a leader shows that it lives (100 ms). ElectionTimeout is how long the
	// others wait for that before they elect another one: each a random time in [1, 1.5) times this
	// (1 s). It is at least twice the Heartbeat; and well above the time that a write to the disk and a
	// message take, since a leader whose disk or network is silent for so long steps down.
	Heartbeat, ElectionTimeout time.Duration

	// Priority says which server should rather lead (0 to MaxPriority): a leader hands over to a server of higher
	// priority once that has caught up. Elections don't look at it, so any server may lead for a while.
	Priority int

	// MaxLease is the length of leases (§6.4.1), by which a leader serves LeaseRead without asking the other servers: 0 for
	// none, at most the ElectionTimeout. It should be the same on all servers: where it isn't, there are no leases. While a leader
	// holds one, no other can be elected, however sure it is that the leader is gone; and a server that has ever promised one
	// doesn't vote for so long after a start.
	//
	// ClockDrift bounds by how much two servers' monotonic clocks may differ in a second (10 ms, at most a second). Leases
	// rest on it: where a clock stands still, as that of a virtual machine may while it is moved or suspended, LeaseRead may return
	// before the newest state is there. Nothing else does.
	MaxLease, ClockDrift time.Duration

	// MaxCommandBytes is the size of the largest command (1 MiB, at most MaxCommandSize). A larger one
	// is refused with ErrTooLarge.
	MaxCommandBytes int

	// Validate, when not nil, is asked about each command that is proposed at this server, before anything else knows
	// of it: a command for which it returns an error is not applied, and its caller gets that error. It is called by the
	// callers' goroutines, by several at a time and beside Apply, and judges by the command alone: what the state
	// will be when the command is applied, nobody knows yet.
	Validate func(command []byte) error

	// CompareResults makes this server keep a fingerprint of the results of its state machine, tell it to the others when it
	// has taken a snapshot, and compare what others tell: a state machine that went astray is reported, in the log and in
	// Status.Diverged, with the indexes between which it did. Servers that don't have it set neither tell nor compare. One that
	// has it set later than its cluster began compares after the next index that is a multiple of 65,536.
	CompareResults bool

	// MaxSessions is how many sessions the cluster keeps (65,536, at most the constant of that name), and
	// MaxSessionBytes how much room the results take that are kept for them (64 MiB, at most the constant of that
	// name), each with 64 bytes beside its own. Where there would be more, the sessions that were used least recently expire.
	// These limits are in the log with every session: those of the server at which the last one was opened hold for all.
	MaxSessions, MaxSessionBytes int

	// MaxPending bounds how many commands, and how many reads, callers at this server have waiting
	// (65,536), MaxPendingBytes the commands in bytes (64 MiB). MaxUncommittedBytes bounds the log above
	// what is committed and stored here (64 MiB), MaxUnappliedBytes the log above what is applied
	// (64 MiB). What exceeds one of them is refused with ErrOverloaded.
	MaxPending, MaxPendingBytes, MaxUncommittedBytes, MaxUnappliedBytes int

	// MaxInboxMessages and MaxInboxBytes bound the messages from other servers that wait to be looked at
	// (16,384, 64 MiB). Appends and forwards beyond that are dropped, to be sent again; for the rest
	// (votes, heartbeats and answers) there is room for as many messages once more.
	MaxInboxMessages, MaxInboxBytes int

	// MaxAppendBytes bounds the entries in one message, beyond the first (256 KiB). WindowMessages and
	// WindowBytes bound what is on its way to one server and not acknowledged (256, 4 MiB).
	MaxAppendBytes, WindowMessages, WindowBytes int
	// TailBytes bounds the entries kept in memory beyond those that must be (16 MiB). A server that lags
	// further behind is served from the disk.
	TailBytes int
	// SnapshotMinBytes and SnapshotFactor say when a snapshot is taken: when what was applied since the last one exceeds the
	// larger of SnapshotMinBytes (64 MiB) and SnapshotFactor (4) times its size, in bytes. The log is then forgotten up to
	// the snapshot before: so the disk holds about two snapshots and twice that much log. SnapshotRetainBytes (1 GiB)
	// bounds how much of the log is kept for another server that is sent a snapshot and will need what comes after it.
	SnapshotMinBytes, SnapshotFactor, SnapshotRetainBytes int
	// SnapshotBytesPerSecond bounds how fast a snapshot is sent to another server. 0 is as fast as it goes.
	SnapshotBytesPerSecond int
	// MaxWrites bounds the writes that the storage is given at a time (1). What gathers meanwhile
	// becomes the next one, so that a larger number rarely helps.
	MaxWrites int

	// Level is the highest level that this server knows; 0 stands for LatestLevel. Entries and behaviour of a later version
	// are used once every server knows their level. A lower one than the latest keeps the cluster at that, so that this
	// server can go back to the version that it had before.
	Level Level

	// Seed makes the timeouts of this server, which are random, repeatable. With 0 one is drawn from the
	// operating system; no two servers may have the same.
	Seed uint64

	// Trace, when not nil, has functions that the node calls while it works.
	Trace *Trace

	// Logger is told about changes of the role, failures and slow lanes, with the keys node, term, index
	// and peer. nil stands for slog.Default().
	Logger *slog.Logger
}

// Defaults of what the core doesn't know.
const (
	defaultMaxCommandBytes  = 1 << 20
	defaultMaxInboxMessages = 16 << 10
	defaultMaxInboxBytes    = 64 << 20
	defaultMaxSessions      = 1 << 16
	defaultMaxSessionBytes  = 64 << 20
)

// normalize fills in the defaults, but for those that must be drawn or asked for, and returns the core's share of the config.
// It refuses what can't be used.
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
	for _, limit := range []struct {
		value        *int
		name         string
		defaultValue int
	}{
		{&c.MaxCommandBytes, "MaxCommandBytes", defaultMaxCommandBytes},
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
	if c.MaxSessions > wire.MaxSessions || c.MaxSessionBytes > wire.MaxSessionBytes {
		return CoreConfig{}, fmt.Errorf("%w: MaxSessions is %d and MaxSessionBytes %d, more than %d and %d", ErrConfig,
			c.MaxSessions, c.MaxSessionBytes, wire.MaxSessions, wire.MaxSessionBytes)
	}
	core := CoreConfig{
		ID: c.ID, Address: c.Address, Bootstrap: c.Bootstrap, Seed: c.Seed,
		Heartbeat: c.Heartbeat, ElectionTimeout: c.ElectionTimeout,
		Priority: c.Priority, MaxLease: c.MaxLease, ClockDrift: c.ClockDrift,
		MaxPending: c.MaxPending, MaxPendingBytes: c.MaxPendingBytes,
		MaxUncommittedBytes: c.MaxUncommittedBytes, MaxUnappliedBytes: c.MaxUnappliedBytes,
		MaxAppendBytes: c.MaxAppendBytes, WindowMessages: c.WindowMessages, WindowBytes: c.WindowBytes,
		TailBytes: c.TailBytes, MaxWrites: c.MaxWrites, Level: c.Level, CompareResults: c.CompareResults,
		SnapshotMinBytes: c.SnapshotMinBytes, SnapshotFactor: c.SnapshotFactor, SnapshotRetainBytes: c.SnapshotRetainBytes,
	}
	if err := core.normalize(); err != nil {
		return CoreConfig{}, err
	}
	c.MaxPending, c.MaxPendingBytes = core.MaxPending, core.MaxPendingBytes
	return core, nil
}

// ownAddress returns where others reach this server: from the config, or else from the newest
// configuration in the storage that names it.
func (c *Config) ownAddress(saved *Saved) (string, error) {
	if c.Address != "" {
		return c.Address, nil
	}
	for _, server := range c.Bootstrap {
		if server.ID == c.ID {
			return server.Address, nil
		}
	}
	configurations := []Configuration{saved.Snapshot.Configuration}
	for i := range saved.Configurations {
		configuration, err := wire.DecodeConfiguration(saved.Configurations[i].Data)
		if err != nil {
			return "", fmt.Errorf("%w: configuration at %d: %w", ErrCorrupt, saved.Configurations[i].Index, err)
		}
		configurations = append(configurations, configuration)
	}
	for i := len(configurations) - 1; i >= 0; i-- {
		for _, member := range configurations[i].Members {
			if member.ID == c.ID {
				return member.Address, nil
			}
		}
	}
	return "", nil
}
