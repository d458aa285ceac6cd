package rafttest

import (
	"io"

	"github.com/e17579a5/raft"
)

// A watchedStorage convicts the storage within it of a call that hangs.
type watchedStorage struct {
	raft.Storage
	session *storageSession
}

func (s *storageSession) within(call string, f func()) {
	s.watch.within(s.disk.patience(), call, f)
}

func (w watchedStorage) Load() (saved raft.Saved, err error) {
	w.session.within("Load", func() { saved, err = w.Storage.Load() })
	return saved, err
}

func (w watchedStorage) Write(write raft.Write) (err error) {
	w.session.within("Write", func() { err = w.Storage.Write(write) })
	return err
}

func (w watchedStorage) Entries(after, last raft.Index, maxBytes int) (entries []raft.Entry, err error) {
	w.session.within("Entries", func() { entries, err = w.Storage.Entries(after, last, maxBytes) })
	return entries, err
}

func (w watchedStorage) CreateSnapshot(meta raft.SnapshotMeta) (writer raft.SnapshotWriter, err error) {
	w.session.within("CreateSnapshot", func() { writer, err = w.Storage.CreateSnapshot(meta) })
	return watchedWriter{writer, w.session}, err
}

func (w watchedStorage) OpenSnapshot() (meta raft.SnapshotMeta, reader io.ReadCloser, err error) {
	w.session.within("OpenSnapshot", func() { meta, reader, err = w.Storage.OpenSnapshot() })
	return meta, watchedReader{reader, w.session}, err
}

func (w watchedStorage) Close() (err error) {
	w.session.within("Close", func() { err = w.Storage.Close() })
	return err
}

type watchedWriter struct {
	raft.SnapshotWriter
	session *storageSession
}

func (w watchedWriter) Write(b []byte) (n int, err error) {
	w.session.within("Write of a snapshot", func() { n, err = w.SnapshotWriter.Write(b) })
	return n, err
}

func (w watchedWriter) Commit() (err error) {
	w.session.within("Commit of a snapshot", func() { err = w.SnapshotWriter.Commit() })
	return err
}

func (w watchedWriter) Abort() (err error) {
	w.session.within("Abort of a snapshot", func() { err = w.SnapshotWriter.Abort() })
	return err
}

type watchedReader struct {
	io.ReadCloser
	session *storageSession
}

func (r watchedReader) Read(b []byte) (n int, err error) {
	r.session.within("Read of a snapshot", func() { n, err = r.ReadCloser.Read(b) })
	return n, err
}

func (r watchedReader) Close() (err error) {
	r.session.within("Close of a snapshot's reader", func() { err = r.ReadCloser.Close() })
	return err
}
