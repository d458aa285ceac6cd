package wal

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"time"

	"github.com/e17579a5/raft/wal/vfs"
)

// Defaults and limits of Options.
const (
	DefaultSegmentSize = 64 << 20
	MinSegmentSize     = 4 << 10
	MaxSegmentSize     = 1 << 30
	DefaultMarkAfter   = 100 * time.Millisecond
)

// Options are the settings of a log. The zero value is a good choice.
type Options struct {
	// SegmentSize is the size in bytes to which files are preallocated, from MinSegmentSize to
	// MaxSegmentSize; 0 stands for DefaultSegmentSize. The first files of a new log are smaller. It may
	// differ from one Open to the next.
	SegmentSize int64

	// MarkAfter is for how long nothing is written before the last batch is marked as synced; 0
	// stands for DefaultMarkAfter. Up to then, damage to that batch can't be told from a torn write.
	MarkAfter time.Duration

	// FS is the file system; nil stands for vfs.OS.
	FS vfs.FS

	// Logger is told what is wrong without being an error of any call, such as a disk that has no room to
	// preallocate. With nil, nobody is.
	Logger *slog.Logger

	// Salt tells the records of one log from those of another; 0 stands for a random number. It counts
	// only when the log is created.
	Salt uint64

	// Inline makes the log do without a goroutine and without a clock, so that it is deterministic: what
	// is preallocated and removed in the background otherwise happens within Write, and marks are written
	// by Close and Mark alone.
	Inline bool
}

// withDefaults returns o with its zero values replaced, or an error that names what is wrong.
func (o Options) withDefaults() (Options, error) {
	if o.SegmentSize == 0 {
		o.SegmentSize = DefaultSegmentSize
	}
	if o.SegmentSize < MinSegmentSize || o.SegmentSize > MaxSegmentSize {
		return o, fmt.Errorf("wal: SegmentSize is %d, not from %d to %d", o.SegmentSize, MinSegmentSize, MaxSegmentSize)
	}
	if o.MarkAfter == 0 {
		o.MarkAfter = DefaultMarkAfter
	}
	if o.MarkAfter < 0 {
		return o, fmt.Errorf("wal: MarkAfter is %v", o.MarkAfter)
	}
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
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
