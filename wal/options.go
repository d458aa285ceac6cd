package wal

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"time"

	"github.com/e17579a5/raft/wal/vfs"
)

// Defaults and limits of Options. Sizes are in bytes.
const (
	DefaultSegmentSize = 64 << 20
	MinSegmentSize     = 4 << 10
	MaxSegmentSize     = 1 << 30
	DefaultAhead       = 128 << 20
)

// Options are the settings of a log. The zero value is a good choice.
type Options struct {
	// SegmentSize is the size in bytes to which files are preallocated, from MinSegmentSize to
	// MaxSegmentSize; 0 stands for DefaultSegmentSize. The first files of a new log are smaller. Those of
	// a log with very many groups are larger, if what the log repeats of each group in each file would
	// take more than a quarter of them otherwise. A log may be opened with another SegmentSize than before.
	SegmentSize int64

	// Ahead is how many bytes a log keeps ready for what will be written: in old segments, or in up
	// to eight files no larger than a segment, which it fills with zeros while the disk is at rest.
	// So a new log that nobody has written to takes that much room on the disk, a moment after Open,
	// and is as fast as one that has been in use. When the disk is full, the log removes these files
	// first. 0 stands for DefaultAhead, and a negative number for none. It is at most MaxAhead, which
	// all logs of the process on the same FS share.
	Ahead int64

	// FS is the file system; nil stands for vfs.OS.
	FS vfs.FS

	// Logger gets problems that aren't errors of a call: for example, that the disk has no room to
	// preallocate. One that repeats gets one line a minute. nil stands for slog.Default(). The
	// Logger is called in a goroutine of its own: one that blocks or panics holds up and ends
	// nothing. Close waits for it up to a second.
	Logger *slog.Logger

	// Synced, if not nil, is called within each Write that writes something, with how long the sync
	// took that made it durable, and with its error. It must not block, and must not call the log. A
	// panic is one of Write. With Inline it isn't called, since there is no clock.
	Synced func(took time.Duration, err error)

	// Salt tells the records of one log from those of another; 0 stands for a random number. It
	// counts only when the log is created.
	Salt uint64

	// Inline makes the log work without a goroutine and without a clock, so that it is
	// deterministic. The work that is otherwise done in the background, preallocating and removing
	// files, is then done within Write. The anchor is written by Open, Close and Anchor, and before
	// a file is first used. Nothing is logged. A Write that finds no file descriptor or no room for
	// the next file fails then, while otherwise it waits.
	Inline bool
}

// withDefaults returns o with its zero values replaced, or an error that names the option that is
// wrong.
func (o Options) withDefaults() (Options, error) {
	if o.SegmentSize == 0 {
		o.SegmentSize = DefaultSegmentSize
	}
	if o.SegmentSize < MinSegmentSize || o.SegmentSize > MaxSegmentSize {
		return o, fmt.Errorf("wal: SegmentSize is %d, not from %d to %d", o.SegmentSize, MinSegmentSize, MaxSegmentSize)
	}
	if o.Ahead > MaxAhead {
		return o, fmt.Errorf("wal: Ahead is %d, more than %d", o.Ahead, int64(MaxAhead))
	}
	if o.Ahead == 0 {
		o.Ahead = DefaultAhead
	}
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	for o.Salt == 0 {
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return o, fmt.Errorf("wal: draw a salt: %w", err)
		}
		o.Salt = binary.LittleEndian.Uint64(b[:])
	}
	return o, nil
}
