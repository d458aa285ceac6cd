package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/e17579a5/raft"
)

// A CorruptError says where stored data is damaged. It is raft.ErrCorrupt.
type CorruptError struct {
	File   string // the path of the file
	Offset int64  // of what is damaged, in bytes; -1 when it is the file as a whole
	Reason string
}

// Error says what is damaged, and where.
func (e *CorruptError) Error() string {
	at := ""
	if e.Offset >= 0 {
		at = " at offset " + strconv.FormatInt(e.Offset, 10)
	}
	return fmt.Sprintf("wal: %s is corrupt%s: %s", e.File, at, e.Reason)
}

// Is makes it a raft.ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == raft.ErrCorrupt }

// errClosed is what calls after Close return.
var errClosed = fmt.Errorf("wal: %w", fs.ErrClosed)

// ErrWrite says that a Write can't be: it leaves a gap in the log, names a snapshot that isn't there,
// or is larger than the format can hold.
var ErrWrite = errors.New("impossible write")
