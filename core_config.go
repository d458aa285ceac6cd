package raft

import (
	"fmt"
	"time"

	"github.com/e17579a5/raft/wire"
)

// A CoreConfig is what a Core is made of. A limit or a duration of zero stands for its default,
// which its comment gives in parentheses. An error of NewCore that wraps ErrConfig names the field
// that is wrong.
type CoreConfig struct {
	// ID names this server. Address is where the other servers reach it.
	ID      ServerID
	Address string

	// Saved is what the storage holds. Incarnation is a random number, not 0. It becomes the name
	// of the disk if the storage holds nothing, and is unused otherwise.
	Saved       Saved
	Incarnation Incarnation
	// StartLuck is a random number, drawn anew for each start (wire.NextStart). By it what this
	// start asks for is told from what another start has asked for, even if the disk has forgotten
	// that one.
	StartLuck uint32
	// KeyLuck is random and secret, drawn anew for each start. From it a leader derives the keys
	// that it draws for its cluster (wire.ClusterKey). The servers of a cluster all have it, or
	// none has: if it is zero, no keys are drawn.
	KeyLuck [32]byte

	// DurableMachine says that the state machine keeps its own durable state. MachineApplied is
	// then the index up to which that state has applied the log, and MachineBeside what is kept
	// beside it (DurableMachine.Load). They must be of this log: the error of another one wraps
	// ErrConfig.
	DurableMachine bool
	MachineApplied Index
	MachineBeside  []byte

	// Bootstrap is the list of the servers that found the cluster together. It is used only while
	// there is no log. A server without a list and without a log waits to be added to a cluster.
	Bootstrap []Server

	// AddedBy are the servers to which this one listens while it belongs to no cluster, beside those
	// of Bootstrap. If it is empty, this server listens to everybody.
	AddedBy []ServerID

	// Seed makes this server's timeouts different from those of other servers and of earlier runs.
	// The founder draws the ClusterID from it.
	Seed uint64

	// Heartbeat is the interval between heartbeats (100 ms). ElectionTimeout (1 s) is at least
	// twice the Heartbeat. A follower that hears nothing campaigns after a random time in [1, 1.5)
	// times the ElectionTimeout (§3.4).
	Heartbeat, ElectionTimeout time.Duration

	// Priority says which server should rather lead (0 to 65536): a leader hands over to a
	// server of higher priority that has caught up. Elections don't look at it.
	Priority int
	// MaxLease is the length of the leases that this server takes as a leader and promises as a
	// follower (0 for none, at most the ElectionTimeout). ClockDrift bounds by how much the clocks
	// of two servers may drift apart in a second (10 ms, at most a second). The leases are safe
	// only if that bound holds (§6.4.1).
	MaxLease, ClockDrift time.Duration

	// MaxUncommittedBytes bounds the log above min(commit, stable). MaxUnappliedBytes bounds the
	// log above applied. A proposal beyond one of them waits. MaxPendingBytes bounds the commands
	// that callers at this server wait for. A proposal beyond it is refused. Each is 64 MiB by
	// default.
	MaxUncommittedBytes, MaxUnappliedBytes, MaxPendingBytes int
	// MaxPending bounds how many commands, and how many reads, callers at this server may wait for
	// (65,536, at most 131,072).
	MaxPending int
	// MaxAppendBytes bounds the entries in one message (256 KiB). The first entry may be larger.
	MaxAppendBytes int
	// LargeAppend is the size of an append in bytes above which heartbeats may overtake it
	// (wire.LargeMessage, which transports go by).
	LargeAppend int
	// WindowMessages and WindowBytes bound the appends that are on their way to a peer (256, 4
	// MiB).
	WindowMessages, WindowBytes int
	// TailBytes bounds the entries in memory (16 MiB). The entries that aren't durable yet are kept
	// in any case.
	TailBytes int
	// SnapshotMinBytes (64 MiB) and SnapshotFactor (4) say when a snapshot is taken. It is taken
	// when the bytes that the state machine was handed since the last one exceed SnapshotMinBytes,
	// and exceed SnapshotFactor times the size of that snapshot. SnapshotRetainBytes (1 GiB) bounds
	// how much of the log is kept for a peer that is being sent a snapshot, or has just been sent
	// one.
	SnapshotMinBytes, SnapshotFactor, SnapshotRetainBytes int
	// ScrubBytesPerSecond bounds how fast the log is read to see whether bytes are lost (0: it isn't).
	// ScrubPause is the time between the end of such a pass and the next one (60 times the
	// ElectionTimeout).
	ScrubBytesPerSecond int
	ScrubPause          time.Duration
	// ReserveBytes is the room on a disk that a leader takes no commands for (8 MiB). It is for
	// terms, votes, the first entries of terms, changes of the members, and whatever else isn't
	// refused when disks are full. It has a meaning only if the storage knows its room (Core.Room).
	ReserveBytes int
	// MaxWrites bounds the writes that are handed out and not yet persisted (1). What is to be
	// written meanwhile gathers in the next one. MaxWriteBytes bounds the entries in one write (2
	// MiB). The first entry may be larger. A disk that is slower than that is given less at a time.
	MaxWrites, MaxWriteBytes int

	// Level is the highest level that this server may know. 0 stands for LatestLevel. A lower level
	// here keeps the whole cluster at that level.
	Level wire.Level

	// CompareResults says that this server compares the fingerprints of its results with those of
	// other servers.
	CompareResults bool

	// SnapshotTurns says that the driver decides when a snapshot that is due is taken
	// (Effects.SnapshotDue, Core.SnapshotTurn).
	SnapshotTurns bool
	// Coalesced says that the driver serves many groups: while nothing happens, its rounds may stand for
	// those of this core (Core.Quiet). The core then reads its log only when it is told to (Core.Scrub).
	Coalesced bool

	// Now is the time of the start.
	Now Instant

	// Share lets a driver of many cores keep one config for all that have the same. Unless it is nil, NewCore
	// calls it with what the core needs of its config after the start, and the core has what Share
	// returns: that config, or one that is equal. Nobody changes either of them.
	Share func(lasting *CoreConfig) *CoreConfig
}

// lasting returns the config without what only a start needs.
func (c *CoreConfig) lasting() *CoreConfig {
	l := *c
	l.Saved, l.Incarnation, l.StartLuck, l.Seed, l.Now, l.Share = Saved{}, 0, 0, 0, 0, nil
	l.MachineApplied, l.MachineBeside = 0, nil
	if c.Share != nil {
		return c.Share(&l)
	}
	return &l
}

// Defaults of CoreConfig.
const (
	defaultHeartbeat       = 100 * time.Millisecond
	defaultElectionTimeout = time.Second
	defaultClockDrift      = 10 * time.Millisecond
	defaultQuotaBytes      = 64 << 20
	defaultMaxPending      = 1 << 16
	defaultMaxAppendBytes  = 256 << 10
	defaultWindowMessages  = 256
	defaultWindowBytes     = 4 << 20
	defaultTailBytes       = 16 << 20
	defaultMaxWrites       = 1
	defaultReserveBytes    = 8 << 20

	defaultSnapshotMinBytes    = 64 << 20
	defaultSnapshotFactor      = 4
	defaultSnapshotRetainBytes = 1 << 30
)

// normalize fills in the defaults, and refuses values that can't be used.
func (c *CoreConfig) normalize() error {
	for _, duration := range []struct {
		value        *time.Duration
		name         string
		defaultValue time.Duration
	}{
		{&c.Heartbeat, "Heartbeat", defaultHeartbeat},
		{&c.ElectionTimeout, "ElectionTimeout", defaultElectionTimeout},
		{&c.MaxLease, "MaxLease", 0},
		{&c.ClockDrift, "ClockDrift", defaultClockDrift},
		{&c.ScrubPause, "ScrubPause", 0},
	} {
		if *duration.value < 0 {
			return fmt.Errorf("%w: %s is negative", ErrConfig, duration.name)
		}
		if *duration.value == 0 {
			*duration.value = duration.defaultValue
		}
	}
	for _, limit := range []struct {
		value        *int
		name         string
		defaultValue int
	}{
		{&c.MaxUncommittedBytes, "MaxUncommittedBytes", defaultQuotaBytes},
		{&c.MaxUnappliedBytes, "MaxUnappliedBytes", defaultQuotaBytes},
		{&c.MaxPendingBytes, "MaxPendingBytes", defaultQuotaBytes},
		{&c.MaxPending, "MaxPending", defaultMaxPending},
		{&c.MaxAppendBytes, "MaxAppendBytes", defaultMaxAppendBytes},
		{&c.LargeAppend, "LargeAppend", wire.LargeMessage},
		{&c.WindowMessages, "WindowMessages", defaultWindowMessages},
		{&c.WindowBytes, "WindowBytes", defaultWindowBytes},
		{&c.TailBytes, "TailBytes", defaultTailBytes},
		{&c.MaxWrites, "MaxWrites", defaultMaxWrites},
		{&c.MaxWriteBytes, "MaxWriteBytes", maxRoom},
		{&c.SnapshotMinBytes, "SnapshotMinBytes", defaultSnapshotMinBytes},
		{&c.SnapshotFactor, "SnapshotFactor", defaultSnapshotFactor},
		{&c.SnapshotRetainBytes, "SnapshotRetainBytes", defaultSnapshotRetainBytes},
		{&c.ScrubBytesPerSecond, "ScrubBytesPerSecond", 0},
		{&c.ReserveBytes, "ReserveBytes", defaultReserveBytes},
	} {
		if *limit.value < 0 {
			return fmt.Errorf("%w: %s is negative", ErrConfig, limit.name)
		}
		if *limit.value == 0 {
			*limit.value = limit.defaultValue
		}
	}
	if c.MaxPending > maxForwarded {
		return fmt.Errorf("%w: MaxPending is %d, more than %d", ErrConfig, c.MaxPending, maxForwarded)
	}
	switch {
	case c.ElectionTimeout < 2*c.Heartbeat:
		return fmt.Errorf("%w: ElectionTimeout is less than twice the Heartbeat", ErrConfig)
	case c.Priority < 0 || c.Priority > maxPriority:
		return fmt.Errorf("%w: Priority is %d, not 0 to %d", ErrConfig, c.Priority, maxPriority)
	case c.MaxLease > c.ElectionTimeout:
		return fmt.Errorf("%w: MaxLease is longer than the ElectionTimeout", ErrConfig)
	case c.ClockDrift > time.Second:
		return fmt.Errorf("%w: ClockDrift is more than one second (per second)", ErrConfig)
	}
	if err := c.checkNames(); err != nil {
		return err
	}
	if err := c.normalizeLevel(); err != nil {
		return err
	}
	return c.normalizeBootstrap()
}

// normalizeLevel fills in the latest level, and refuses a later one.
func (c *CoreConfig) normalizeLevel() error {
	if c.Level == 0 {
		c.Level = wire.LatestLevel
	}
	if c.Level > wire.LatestLevel {
		return fmt.Errorf("%w: Level is %d, and the latest is %d", ErrConfig, c.Level, wire.LatestLevel)
	}
	return nil
}

// normalizeBootstrap sorts the list, because servers compare their lists. It refuses a list that
// names a server twice, or leaves this one out.
func (c *CoreConfig) normalizeBootstrap() error {
	if len(c.Bootstrap) == 0 {
		return nil
	}
	if len(c.Bootstrap) > wire.MaxMembers {
		return fmt.Errorf("%w: Bootstrap has %d servers, more than %d", ErrConfig, len(c.Bootstrap), wire.MaxMembers)
	}
	c.Bootstrap = sortedServers(c.Bootstrap)
	self := false
	for i, server := range c.Bootstrap {
		if err := checkServer(server); err != nil {
			return fmt.Errorf("%w in Bootstrap", err)
		}
		if i > 0 && c.Bootstrap[i-1].ID == server.ID {
			return fmt.Errorf("%w: Bootstrap names server %q twice", ErrConfig, server.ID)
		}
		if other := sharesAddress(c.Bootstrap[:i], server); other != "" {
			return fmt.Errorf("%w: Bootstrap has servers %q and %q at one address, %q", ErrConfig, other, server.ID, server.Address)
		}
		self = self || server.ID == c.ID
	}
	if !self {
		return fmt.Errorf("%w: Bootstrap doesn't name this server, %q", ErrConfig, c.ID)
	}
	return nil
}

// checkNames refuses IDs and addresses that no server has, and a list of too many.
func (c *CoreConfig) checkNames() error {
	if err := checkServer(Server{ID: c.ID, Address: c.Address}); err != nil {
		return err
	}
	if len(c.AddedBy) > wire.MaxMembers {
		return fmt.Errorf("%w: AddedBy has %d servers, more than %d", ErrConfig, len(c.AddedBy), wire.MaxMembers)
	}
	for _, id := range c.AddedBy {
		if err := checkServer(Server{ID: id}); err != nil {
			return fmt.Errorf("%w in AddedBy", err)
		}
	}
	return nil
}

// checkServer refuses an ID or an address that no message could carry.
func checkServer(s Server) error {
	if s.ID == "" || len(s.ID) > wire.MaxServerID {
		return fmt.Errorf("%w: server ID %q has %d bytes, not 1 to %d", ErrConfig, s.ID, len(s.ID), wire.MaxServerID)
	}
	if len(s.Address) > wire.MaxAddress {
		return fmt.Errorf("%w: the address of server %q has %d bytes, more than %d",
			ErrConfig, s.ID, len(s.Address), wire.MaxAddress)
	}
	return nil
}

// checkSaved refuses a state that no storage of this server can hold.
func (c *CoreConfig) checkSaved() error {
	s := &c.Saved
	if s.State.Server != "" && s.State.Server != c.ID {
		return fmt.Errorf("%w: the storage belongs to server %q, not to %q", ErrConfig, s.State.Server, c.ID)
	}
	if s.State.Server == "" && c.Incarnation == 0 {
		return fmt.Errorf("%w: a new storage needs an Incarnation", ErrConfig)
	}
	return s.Check()
}
