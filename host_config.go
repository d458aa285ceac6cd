package raft

import (
	"cmp"
	"fmt"
	"log/slog"
	"time"
)

// A HostConfig says what a Host is made of. ID, Storage, Transport and Group are needed. Every other
// field may be left at its zero value: that stands for a default, which the field names in
// parentheses. A field that is out of its range makes StartHost fail with ErrConfig.
type HostConfig struct {
	// ID and Address are this server's, in all groups (Config.ID, Config.Address).
	ID      ServerID
	Address string

	// Storage and Transport belong to the host from StartHost on. Close closes them, and so does a
	// StartHost that fails.
	Storage   SharedStorage
	Transport Transport

	// Group says what a group is made of: its Machine, its Bootstrap list, its limits, and whatever
	// else is the group's own. What a HostConfig has, too, is the host's, and left out there. The host
	// asks for each group that the storage holds, when it starts; for each group that Host.Group
	// names; and for each group that another server speaks of and that doesn't run here. A Config
	// without a Machine says that there is no such group here. Several goroutines may call Group at
	// the same time, but not for one group.
	Group func(group GroupID) Config

	// Heartbeat, ElectionTimeout, MaxLease and ClockDrift are those of all groups, and Moved is, too
	// (Config).
	Heartbeat, ElectionTimeout time.Duration
	MaxLease, ClockDrift       time.Duration
	Moved                      []Server

	// MaxBytes bounds the commands that callers at this server wait for, and the messages of other servers
	// that wait, in bytes, of all groups together (256 MiB). The limits of each group hold beside it
	// (Config.MaxPendingBytes, Config.MaxInboxBytes). Half of it is for commands, and half for messages. Of
	// each, half is shared out evenly: so much a group has whatever happens to others. The other half is
	// lent to whoever needs more. Beyond that a command is refused with ErrOverloaded, and a message is
	// dropped, which its sender sends again. One command or message that is larger than a quarter of
	// MaxBytes is taken only while nothing else of its kind is lent.
	MaxBytes int

	// TailBytes bounds the entries of all groups that are kept in memory, in bytes, in the same way (256
	// MiB), beyond those that must be (Config.TailBytes).
	TailBytes int

	// LogBytes bounds the logs of all groups together on the disk, in bytes (2 GiB). When they take more,
	// and more than twice SnapshotFactor times the snapshots of all groups, the group whose log exceeds
	// that the most takes a snapshot though its own SnapshotMinBytes isn't reached, or forgets what it
	// keeps of the log before its snapshot, once that was read and is sound. A few groups do so at a time.
	// A group that is alone keeps to its own limits.
	LogBytes int

	// ReserveBytes is the room on the disk for which no commands are taken (Config.ReserveBytes).
	ReserveBytes int

	// ScrubBytesPerSecond bounds how fast the logs and snapshots of all groups are read to find out
	// whether bytes are lost, one group after the other (Config.ScrubBytesPerSecond).
	ScrubBytesPerSecond int

	// Logger is told what the Loggers of nodes are told, with the key group (slog.Default()).
	Logger *slog.Logger
}

// groupConfig returns what a group is made of. It returns an error if the group has a setting of its
// own that is the host's.
func (c *HostConfig) groupConfig(of Config) (Config, error) {
	for _, field := range []struct {
		name string
		set  bool
	}{
		{"ID", of.ID != "" && of.ID != c.ID},
		{"Address", of.Address != "" && of.Address != c.Address},
		{"Storage", of.Storage != nil},
		{"Transport", of.Transport != nil},
		{"Heartbeat", of.Heartbeat != 0 && of.Heartbeat != c.Heartbeat},
		{"ElectionTimeout", of.ElectionTimeout != 0 && of.ElectionTimeout != c.ElectionTimeout},
		{"MaxLease", of.MaxLease != 0 && of.MaxLease != c.MaxLease},
		{"ClockDrift", of.ClockDrift != 0 && of.ClockDrift != c.ClockDrift},
		{"Moved", of.Moved != nil},
		{"ReserveBytes", of.ReserveBytes != 0 && of.ReserveBytes != c.ReserveBytes},
		{"ScrubBytesPerSecond", of.ScrubBytesPerSecond != 0 && of.ScrubBytesPerSecond != c.ScrubBytesPerSecond},
		{"Logger", of.Logger != nil && of.Logger != c.Logger},
	} {
		if field.set {
			return Config{}, fmt.Errorf("%w: a group has %s of its own, which is the host's", ErrConfig, field.name)
		}
	}
	of.ID, of.Address, of.Moved, of.Logger, of.ReserveBytes = c.ID, c.Address, c.Moved, c.Logger, c.ReserveBytes
	of.Heartbeat, of.ElectionTimeout, of.MaxLease, of.ClockDrift = c.Heartbeat, c.ElectionTimeout, c.MaxLease, c.ClockDrift
	of.ScrubBytesPerSecond = c.ScrubBytesPerSecond
	return of, nil
}

// settings returns what the cores of all groups have in common.
func (c *HostConfig) settings() (CoreConfig, error) {
	core := CoreConfig{
		ID: c.ID, Address: c.Address, Heartbeat: c.Heartbeat, ElectionTimeout: c.ElectionTimeout,
		MaxLease: c.MaxLease, ClockDrift: c.ClockDrift, ReserveBytes: c.ReserveBytes,
		ScrubBytesPerSecond: scrubRate(c.ScrubBytesPerSecond),
	}
	return core, core.normalize()
}

// defaultHostBytes is the default of MaxBytes and of TailBytes.
const defaultHostBytes = 256 << 20

// defaultLogBytes is the default of LogBytes, where an int has room for it.
const defaultLogBytes = 2 << 30

// check fills in defaults, and refuses a config that can't be used for any group.
func (c *HostConfig) check() error {
	switch {
	case c.ID == "":
		return fmt.Errorf("%w: no ID", ErrConfig)
	case c.Storage == nil:
		return fmt.Errorf("%w: no Storage", ErrConfig)
	case c.Transport == nil:
		return fmt.Errorf("%w: no Transport", ErrConfig)
	case c.Group == nil:
		return fmt.Errorf("%w: no Group", ErrConfig)
	case c.MaxBytes < 0:
		return fmt.Errorf("%w: MaxBytes is negative", ErrConfig)
	case c.TailBytes < 0:
		return fmt.Errorf("%w: TailBytes is negative", ErrConfig)
	case c.LogBytes < 0:
		return fmt.Errorf("%w: LogBytes is negative", ErrConfig)
	}
	c.MaxBytes, c.TailBytes = cmp.Or(c.MaxBytes, defaultHostBytes), cmp.Or(c.TailBytes, defaultHostBytes)
	c.LogBytes = cmp.Or(c.LogBytes, int(min(uint64(defaultLogBytes), uint64(maxInt))))
	return nil
}
