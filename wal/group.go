package wal

import (
	"github.com/e17579a5/raft"
)

// A group is what the log knows of one group of servers. Log.mu guards it, as it does the fields of
// the log behind it.
type group struct {
	log       *Log
	id        raft.GroupID
	contents  contents
	snapshots snapshots
	damage    error // the first damage that was found
}
