package wal

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/e17579a5/raft/wal/vfs"
)

// Names of files.
const (
	lockName       = "LOCK"
	segmentSuffix  = ".wal"
	snapshotSuffix = ".snapshot"
	temporary      = ".tmp"
	numberDigits   = 16
)

// fileName returns the name of a numbered file.
func fileName(number uint64, suffix string) string {
	return fmt.Sprintf("%0*x%s", numberDigits, number, suffix)
}

// fileNumber returns the number in a name with this suffix.
func fileNumber(name, suffix string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != numberDigits || strings.ToLower(digits) != digits {
		return 0, false
	}
	number, err := strconv.ParseUint(digits, 16, 64)
	return number, err == nil && number > 0
}

// A segment is one file of the log, from when it has its head on.
type segment struct {
	number uint64
	name   string // path
	key    uint64
	file   vfs.File
	size   int64 // up to where it is filled

	// Changed by who holds Log.busy; end also under Log.mu.
	end    uint32 // where the next record begins
	chain  uint32 // at end
	synced uint32 // up to where a sync that succeeded has covered it: end, but for a new head and while opening
	marked bool   // a mark stands at end

	readers int // under Log.mu
}

// fits says whether a record of this length can be appended, with a mark behind it.
func (s *segment) fits(length int) bool {
	return int64(s.end)+int64(length)+recordAlign+headerSize <= s.size
}

func (l *Log) path(name string) string { return filepath.Join(l.dir, name) }

// pageSize is that of the page cache. A write that covers whole pages up to its end spares the kernel
// reading, for the rest of its last page, what the file held there before.
const pageSize = 4096

// pad appends zeros to the bytes that will be written at the offset at, up to the end of their page, or of
// the segment.
func pad(b []byte, at uint32, size int64) []byte {
	end := int64(at) + int64(len(b))
	n := min((end+pageSize-1)&^(pageSize-1), max(size, end)) - end
	return append(b, zeros[:n]...)
}

// zeros are what segments are filled with.
var zeros [256 << 10]byte
