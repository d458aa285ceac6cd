package typed

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"sync/atomic"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/codec"
	"github.com/e17579a5/raft/wire"
)

// A Level is a number that grows with the versions of a service that have new kinds of commands: at
// most MaxLevel. While servers of two versions share one log, what one of them doesn't know must not
// get into it.
//
// Each server tells the others the level that it knows, by a command when it starts. A level is put
// in force by the first command that needs it, once all members know it, and never falls. A server
// that doesn't know the level in force stops with an *UnknownCommandError that wraps
// raft.ErrOutdated.
type Level uint32

// MaxLevel is the highest level that there can be.
const MaxLevel Level = math.MaxUint32 - 1

// noLevel stands for what isn't a command of the user's, but one for the levels.
const noLevel Level = math.MaxUint32

// levels is the part of the replicated state that is about levels.
type levels struct {
	own     Level // that this server knows
	inForce atomic.Uint32
	known   map[raft.ServerID]Level // that the servers have told; 0 is left out
	changed bool                    // since it was last written beside a durable state
}

// These are the commands for the levels, by their first byte.
const (
	tellsLevel  = 1
	raisesLevel = 2
)

// splitLevel returns the level of a command, and the bytes behind it.
func splitLevel(data []byte) (Level, []byte, error) {
	if len(data) > 0 && data[0] < 0x80 { // which nearly all are
		return Level(data[0]) - 1, data[1:], nil // noLevel for 0
	}
	head, n := binary.Uvarint(data)
	if n <= 0 || head > uint64(MaxLevel)+1 {
		return 0, nil, fmt.Errorf("%w: no level", codec.ErrMalformed)
	}
	return Level(head) - 1, data[n:], nil
}

// tell returns the command by which a server tells the level that it knows.
func tell(server raft.ServerID, level Level) []byte {
	return codec.AppendUvarint(codec.AppendString([]byte{0, tellsLevel}, string(server)), uint64(level))
}

// raise returns the command that puts a level in force if the servers know it.
func raise(level Level, servers []raft.ServerID) []byte {
	b := codec.AppendUvarint([]byte{0, raisesLevel}, uint64(level))
	b = codec.AppendUvarint(b, uint64(len(servers)))
	for _, server := range servers {
		b = codec.AppendString(b, string(server))
	}
	return b
}

// apply applies a command for the levels, and appends the level in force and the servers that don't
// know the one that was asked for. An error says that the command is unknown.
func (l *levels) apply(data, result []byte) ([]byte, error) {
	r := codec.NewReader(data)
	var lacking []raft.ServerID
	switch what := r.Byte("kind"); what {
	case tellsLevel:
		server, level := readName(&r), readLevel(&r)
		if r.End("the level of a server"); r.Err() == nil {
			l.tell(server, level)
		}
	case raisesLevel:
		level := readLevel(&r)
		var servers []raft.ServerID
		for range r.Count(1, "servers") {
			servers = append(servers, readName(&r))
		}
		if r.End("a level"); r.Err() == nil {
			lacking = l.raise(level, servers)
		}
	default:
		r.Fail("a command of the kind %d", what)
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	if inForce := l.force(); inForce > l.own {
		return nil, l.outdated(inForce)
	}
	result = codec.AppendUvarint(codec.AppendUvarint(result, uint64(l.force())), uint64(len(lacking)))
	for _, server := range lacking {
		result = codec.AppendString(result, string(server))
	}
	return result, nil
}

func (l *levels) force() Level { return Level(l.inForce.Load()) }

func (l *levels) outdated(inForce Level) error {
	return fmt.Errorf("%w: level %d of its commands is in force, and the server knows level %d", raft.ErrOutdated, inForce, l.own)
}

func (l *levels) tell(server raft.ServerID, level Level) {
	if l.changed = true; level == 0 {
		delete(l.known, server)
		return
	}
	if l.known == nil {
		l.known = map[raft.ServerID]Level{}
	}
	l.known[server] = level
}

// raise puts a level in force unless one of the servers doesn't know it. It forgets what others have
// told: they are no members any more, and tell again if they come back.
func (l *levels) raise(level Level, servers []raft.ServerID) (lacking []raft.ServerID) {
	for _, server := range servers {
		if l.known[server] < level {
			lacking = append(lacking, server)
		}
	}
	if len(lacking) > 0 || level <= l.force() {
		return lacking
	}
	l.changed = true
	maps.DeleteFunc(l.known, func(server raft.ServerID, _ Level) bool { return !slices.Contains(servers, server) })
	l.inForce.Store(uint32(level))
	return nil
}

// readRaised reads the result of raise.
func readRaised(b []byte) (lacking []raft.ServerID, err error) {
	r := codec.NewReader(b)
	if what := r.Byte("kind"); what != isLevels {
		r.Fail("a result of the kind %d", what)
	}
	readLevel(&r)
	for range r.Count(1, "servers") {
		lacking = append(lacking, readName(&r))
	}
	return lacking, r.Err()
}

func readName(r *codec.Reader) raft.ServerID {
	return raft.ServerID(r.String(wire.MaxServerID, "the name of a server"))
}

func readLevel(r *codec.Reader) Level {
	level := r.Uvarint("level")
	if level > uint64(MaxLevel) {
		r.Fail("level %d, more than %d", level, MaxLevel)
		return 0
	}
	return Level(level)
}

// append appends the levels as they are in snapshots.
func (l *levels) append(b []byte) []byte {
	b = codec.AppendUvarint(codec.AppendUvarint(b, uint64(l.force())), uint64(len(l.known)))
	for _, server := range slices.Sorted(maps.Keys(l.known)) {
		b = codec.AppendUvarint(codec.AppendString(b, string(server)), uint64(l.known[server]))
	}
	return b
}

// A toldLevels is what append has written.
type toldLevels struct {
	inForce Level
	known   map[raft.ServerID]Level
}

// read reads a version and what append has written behind it.
func (l *levels) read(r *bufio.Reader) (*toldLevels, error) {
	version, err := r.ReadByte()
	if err != nil {
		return nil, fmt.Errorf("%w: a snapshot without its beginning: %w", codec.ErrMalformed, err)
	}
	if version != snapshotVersion {
		return nil, &UnknownCommandError{Err: fmt.Errorf("version %d of the format, not %d", version, snapshotVersion)}
	}
	var failed error
	number := func(limit uint64) uint64 {
		n, err := binary.ReadUvarint(r)
		if err == nil && n > limit {
			err = fmt.Errorf("%d, more than %d", n, limit)
		}
		if err != nil && failed == nil {
			failed = fmt.Errorf("%w: levels: %w", codec.ErrMalformed, err)
		}
		if failed != nil {
			return 0
		}
		return n
	}
	told := &toldLevels{inForce: Level(number(uint64(MaxLevel))), known: map[raft.ServerID]Level{}}
	for n := number(math.MaxUint32); n > 0 && failed == nil; n-- {
		var name [wire.MaxServerID]byte
		length := number(wire.MaxServerID)
		if _, err := io.ReadFull(r, name[:length]); err != nil && failed == nil {
			failed = fmt.Errorf("%w: levels: %w", codec.ErrMalformed, err)
		}
		told.known[raft.ServerID(name[:length])] = Level(number(uint64(MaxLevel)))
	}
	if failed == nil && told.inForce > l.own {
		return nil, &UnknownCommandError{Err: l.outdated(told.inForce)}
	}
	return told, failed
}

// become takes over what was read.
func (l *levels) become(told *toldLevels) {
	l.inForce.Store(uint32(told.inForce))
	l.known, l.changed = told.known, true
}
