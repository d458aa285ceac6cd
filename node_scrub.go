package raft

import (
	"errors"
	"fmt"
	"io"
)

// A snapshotReader reads the current snapshot piece by piece, for the core, which wants to know
// whether it is sound (scrub.go). The fetch lane owns it.
type snapshotReader struct {
	storage Storage
	meta    *SnapshotMeta // of the snapshot that is open; nil for none
	reader  io.ReadCloser
	offset  uint64 // up to here it was read
}

// read reads the next piece, and throws it away. The error wraps ErrCorrupt if the snapshot is
// damaged. Whatever else keeps it from being read is no damage: the next pass tries it again.
func (s *snapshotReader) read(f *Fetch) error {
	if f.Offset == 0 {
		s.close()
		found, reader, err := s.storage.OpenSnapshot()
		if err != nil {
			return err
		}
		s.meta, s.reader, s.offset = f.Snapshot, reader, 0
		if found.Index != f.Snapshot.Index || found.Term != f.Snapshot.Term {
			s.close()
			return ErrNoSnapshot
		}
	}
	if s.meta != f.Snapshot || s.offset != f.Offset {
		s.close()
		return ErrNoSnapshot
	}
	n, err := io.CopyN(io.Discard, s.reader, int64(f.MaxBytes))
	s.offset += uint64(n)
	if errors.Is(err, io.EOF) {
		s.close()
		return nil
	}
	if err != nil {
		s.close()
	}
	return err
}

// close closes what is open. Whatever fails in that says nothing about the snapshot.
func (s *snapshotReader) close() {
	if s.reader != nil {
		_ = s.reader.Close()
	}
	s.meta, s.reader = nil, nil
}

// fetch performs a fetch and reports it.
func (n *Node) fetch(f Fetch, snapshot *snapshotReader) error {
	start := stopwatchFor(n.trace.Fetched != nil)
	var damage *DamagedError
	if f.Snapshot != nil {
		err := snapshot.read(&f)
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
	snapshot.close()
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
