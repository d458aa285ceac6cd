package raft

import (
	"errors"
	"fmt"
	"io"
)

// A snapshotReader is the current snapshot while the fetch lane reads it piece by piece, for the core,
// which wants to know whether it is sound (scrub.go).
type snapshotReader struct {
	meta   *SnapshotMeta
	reader io.ReadCloser
	offset uint64 // up to here it was read
}

// readSnapshot reads the next piece, and throws it away. The error wraps ErrCorrupt if the snapshot is
// damaged. Whatever else keeps it from being read is no damage: the next pass tries it again.
func (n *Node) readSnapshot(f *Fetch) error {
	if f.Offset == 0 {
		n.closeSnapshot()
		found, reader, err := n.config.Storage.OpenSnapshot()
		if err != nil {
			return err
		}
		n.lanes.snapshot = &snapshotReader{meta: f.Snapshot, reader: reader}
		if found.Index != f.Snapshot.Index || found.Term != f.Snapshot.Term {
			n.closeSnapshot()
			return ErrNoSnapshot
		}
	}
	s := n.lanes.snapshot
	if s == nil || s.meta != f.Snapshot || s.offset != f.Offset {
		n.closeSnapshot()
		return ErrNoSnapshot
	}
	read, err := io.CopyN(io.Discard, s.reader, int64(f.MaxBytes))
	s.offset += uint64(read)
	if errors.Is(err, io.EOF) {
		n.closeSnapshot()
		return nil
	}
	if err != nil {
		n.closeSnapshot()
	}
	return err
}

// closeSnapshot closes what is open. Whatever fails in that says nothing about the snapshot.
func (n *Node) closeSnapshot() {
	if s := n.lanes.snapshot; s != nil {
		n.lanes.snapshot = nil
		_ = s.reader.Close()
	}
}

// fetch performs a fetch and reports it.
func (n *Node) fetch(f Fetch) error {
	start := stopwatchFor(n.trace.Fetched != nil)
	var damage *DamagedError
	if f.Snapshot != nil {
		err := n.readSnapshot(&f)
		if err := n.traceFetch(f, 0, start, err); err != nil {
			return err
		}
		if errors.Is(err, ErrCorrupt) {
			damage = &DamagedError{Err: err}
			n.logger.Error("raft: the snapshot is damaged", "index", f.Snapshot.Index, "err", err)
		}
		n.inbox.fetched(fetched{f, nil, damage})
		return nil
	}
	n.closeSnapshot()
	entries, err := n.config.Storage.Entries(f.After, f.Last, f.MaxBytes)
	if err := n.traceFetch(f, len(entries), start, err); err != nil {
		return err
	}
	if err != nil && !errors.Is(err, ErrCompacted) && !errors.As(err, &damage) {
		return because(fmt.Errorf("raft: read entries after %d", f.After), err)
	}
	n.inbox.fetched(fetched{f, entries, damage})
	return nil
}
