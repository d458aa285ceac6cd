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
	reserveName    = "RESERVE"
	ballastName    = "BALLAST"
	segmentSuffix  = ".wal"
	readySuffix    = ".ready"
	snapshotSuffix = ".snapshot"
	temporary      = ".tmp"
	numberDigits   = 16
)

// fileName returns the name of a numbered file.
func fileName(number uint64, suffix string) string {
	return fmt.Sprintf("%0*x%s", numberDigits, number, suffix)
}

// fileNumber returns the number in a name with this suffix, and whether the name is of that form.
func fileNumber(name, suffix string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != numberDigits || strings.ToLower(digits) != digits {
		return 0, false
	}
	number, err := strconv.ParseUint(digits, 16, 64)
	return number, err == nil && number > 0
}

// A segment is one file of the log, once it has its head.
type segment struct {
	number uint64
	name   string // its path
	key    uint64 // see preamble.key
	file   vfs.File
	size   int64 // how far the file is filled, in bytes, at the latest with its first batch

	// Only the goroutine that holds Log.busy changes these fields. To change end, it also holds
	// Log.mu.
	end   uint32 // where the next record begins
	last  uint32 // where the last record begins
	chain uint32 // the chain of the records before end
	// synced is how far a sync that succeeded has covered the segment. It equals end, except in a
	// segment whose head is new and while the log is opened.
	synced uint32

	readers int // how many read it; under Log.mu

	// holders are the groups, but "", that need this segment and no older one. touched are those that
	// have a part in it; once the next segment has begun, its head says so.
	holders []*group
	touched []mark
}

// fits says whether a record of this length can be appended.
func (s *segment) fits(length int) bool { return int64(s.end)+int64(length) <= s.size }

func (l *Log) path(name string) string { return filepath.Join(l.dir, name) }

// pageSize is the size in bytes of a page of the page cache. Before a write that ends within a
// page, the kernel reads the rest of that page from the file. A write of whole pages doesn't need
// that.
const pageSize = 4096

// pad appends zeros to b, which will be written at the offset at: up to the end of the page in
// which b ends, or to the end of the segment.
func pad(b []byte, at uint32, size int64) []byte {
	end := int64(at) + int64(len(b))
	n := min((end+pageSize-1)&^(pageSize-1), max(size, end)) - end
	return append(b, zeros[:n]...)
}

// zeros are the bytes that segments are filled with.
var zeros [256 << 10]byte
