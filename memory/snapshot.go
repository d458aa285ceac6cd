package memory

import (
	"bytes"
	"errors"
	"io"

	"github.com/e17579a5/raft"
)

// A storedSnapshot is a snapshot that was committed.
type storedSnapshot struct {
	meta  raft.SnapshotMeta
	bytes []byte
}

// CreateSnapshot implements raft.Storage.
func (s *Storage) CreateSnapshot(meta raft.SnapshotMeta) (raft.SnapshotWriter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone() {
		return nil, errStorageClosed
	}
	return &snapshotWriter{storage: s, meta: meta}, nil
}

// OpenSnapshot implements raft.Storage.
func (s *Storage) OpenSnapshot() (raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone() {
		return raft.SnapshotMeta{}, nil, errStorageClosed
	}
	if s.data.snapshot == nil {
		return raft.SnapshotMeta{}, nil, raft.ErrNoSnapshot
	}
	return s.data.snapshot.meta, io.NopCloser(bytes.NewReader(s.data.snapshot.bytes)), nil
}

// snapshotWriter gathers the bytes of a snapshot.
type snapshotWriter struct {
	storage *Storage
	meta    raft.SnapshotMeta
	bytes   []byte
	ended   bool
}

var errSnapshotEnded = errors.New("memory: write to a snapshot that was committed or aborted")

// Write implements io.Writer.
func (w *snapshotWriter) Write(b []byte) (int, error) {
	if w.ended {
		return 0, errSnapshotEnded
	}
	if err := w.storage.fits(len(w.bytes) + len(b)); err != nil {
		return 0, err
	}
	w.bytes = append(w.bytes, b...)
	return len(b), nil
}

// Commit implements raft.SnapshotWriter.
func (w *snapshotWriter) Commit() error {
	if w.ended {
		return nil
	}
	w.ended = true
	w.storage.mu.Lock()
	defer w.storage.mu.Unlock()
	if w.storage.gone() {
		return errStorageClosed
	}
	d := w.storage.data
	snapshot := &storedSnapshot{meta: w.meta, bytes: w.bytes}
	for i, other := range d.written {
		if other.meta.Index == w.meta.Index && other.meta.Term == w.meta.Term {
			d.written[i] = snapshot
			return nil
		}
	}
	d.written = append(d.written, snapshot)
	return nil
}

// Abort implements raft.SnapshotWriter.
func (w *snapshotWriter) Abort() error {
	w.ended, w.bytes = true, nil
	return nil
}
