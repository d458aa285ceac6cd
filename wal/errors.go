package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/e17579a5/raft"
)

// A CorruptError says where stored data is damaged, and how. errors.Is reports that it is
// raft.ErrCorrupt.
type CorruptError struct {
	File   string // the path of the file
	Offset int64  // where the damage is, in bytes; -1 when it concerns the file as a whole
	Reason string // what is wrong there
}

// Error says what is damaged, and where.
func (e *CorruptError) Error() string {
	at := ""
	if e.Offset >= 0 {
		at = " at offset " + strconv.FormatInt(e.Offset, 10)
	}
	return fmt.Sprintf("wal: %s is corrupt%s: %s", e.File, at, e.Reason)
}

// Is makes the error a raft.ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == raft.ErrCorrupt }

// errClosed is the error of every call after Close.
var errClosed = fmt.Errorf("wal: %w", fs.ErrClosed)

// ErrWrite says that a Write is impossible: its entries leave a gap or begin before the log does,
// its snapshot isn't stored or is older than the current one, it compacts past the snapshot, or it
// is larger than the format allows. As after any other error of Write, every later Write fails.
var ErrWrite = errors.New("impossible write")
