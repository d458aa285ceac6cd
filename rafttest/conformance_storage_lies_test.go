package rafttest_test

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
)

// TestStorageConvictsOneLie demands that TestStorage convicts storages that keep every rule but
// one, each by the check that is made for it.
func TestStorageConvictsOneLie(t *testing.T) {
	for name, c := range map[string]struct {
		flaw func(f *flawed)
		want string // a regular expression
	}{
		"the base":            {lies(func(s *raft.Saved) { s.Base += 5 }), `storage: empty: the call of Load returned 5 as the base, want 0`},
		"the base's term":     {lies(func(s *raft.Saved) { s.BaseTerm++ }), `the call of Load returned the term 1 of the base at 0, want 0`},
		"the size of the log": {lies(func(s *raft.Saved) { s.LogBytes = 0 }), `the call of Load returned 0 bytes for the entries from 1 to 1`},
		"the size before it":  {lies(func(s *raft.Saved) { s.KeptBytes++ }), `the call of Load returned 1 bytes for the entries from 1 to 0`},
		"the snapshot's term": {lies(func(s *raft.Saved) { s.Snapshot.Term++ }), `the call of Load returned the snapshot \S+Index:0 Term:1`},
		"the last index":      {lies(func(s *raft.Saved) { s.Last++ }), `the call of Load returned 1 as the last index, want 0`},
		"memory of Load":      {givesConfigurationsAgain, `entry 5 .*, which Load had returned, has become entry 5`},
		"memory of Write":     {changesLentData, `lent memory: .*Write has changed the data "one" that it was lent to "pne"`},
		"Entries after Close": {closesApart(func(f *flawed, closed func() bool) { f.entries = answersEntries(f, closed) }), `close: .*Entries returned no error`},
		"Create after Close":  {closesApart(func(f *flawed, closed func() bool) { f.create = answersCreate(f, closed) }), `close: .*CreateSnapshot returned no error`},
		"Open after Close":    {closesApart(func(f *flawed, closed func() bool) { f.open = answersOpen(f, closed) }), `close: .*OpenSnapshot returned no error`},
		"Commit after Close":  {closesApart(commitsAfterClose), `close: .*the Commit of a snapshot that was begun before returned no error`},
		"the base of no log": {lies(func(s *raft.Saved) {
			if s.Base > 0 && s.Base == s.Last {
				s.Base--
			}
		}), `snapshot and log: .*the call of Load returned 8 as the base, want 9`},
		"Close during Write":   {failsBusyClose, `close under load: after \d+ Writes, and Close meanwhile: Close failed: busy`},
		"Entries during Write": {tearsEntries, `concurrency: .*Entries\(\d+, \d+\) returned nothing during Write, want entry`},
		"the compacted log":    {failsCompacted, `Entries\(0, \d, 1024\) of a log with entries 1 to \d failed: EOF`},
		"no snapshot":          {hasNoErrNoSnapshot, `storage: empty: OpenSnapshot returned snapshot 0 and the error EOF, want ErrNoSnapshot`},
		"the meta":             {opens(func(m *raft.SnapshotMeta, _ []byte) { m.Term++ }), `storage: snapshot: after .*OpenSnapshot returned the meta`},
		"the third meta": {opens(func(m *raft.SnapshotMeta, _ []byte) {
			if m.Index == 3 {
				m.Term++
			}
		}), `storage: snapshot reader: after .*OpenSnapshot returned the meta`},
		"the bytes":       {opens(func(_ *raft.SnapshotMeta, b []byte) { b[len(b)/2]++ }), `storage: snapshot: after .*the snapshot reads as`},
		"a short Write":   {writesSnapshots(func(n int, _ bool) int { return n - 1 }), `writing \d+ bytes of the snapshot returned \d+ and no error`},
		"Write after end": {writesSnapshots(func(n int, ended bool) int { return n }), `writing to a snapshot that was ended returned 4 and no error`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := rafttest.TestStorage(with(rafttest.MemoryDisk, c.flaw))
			require.Error(t, err)
			require.Regexp(t, c.want, err.Error())
		})
	}
}

// lies changes what Load returns.
func lies(change func(*raft.Saved)) func(*flawed) {
	return func(f *flawed) {
		f.load = func() (raft.Saved, error) {
			saved, err := f.Storage.Load()
			change(&saved)
			return saved, err
		}
	}
}

// givesConfigurationsAgain changes at each Write the configurations that Load has returned.
func givesConfigurationsAgain(f *flawed) {
	var given []raft.Entry
	f.load = func() (raft.Saved, error) {
		saved, err := f.Storage.Load()
		for i := range saved.Configurations {
			saved.Configurations[i].Data = bytes.Clone(saved.Configurations[i].Data)
		}
		given = saved.Configurations
		return saved, err
	}
	f.write = func(w raft.Write) error {
		for i := range given {
			for j := range given[i].Data {
				given[i].Data[j]++
			}
		}
		return f.Storage.Write(w)
	}
}

// changesLentData changes the data that it is lent, once it has stored a copy of it.
func changesLentData(f *flawed) {
	f.write = func(w raft.Write) error {
		lent := w.Entries
		w.Entries = append([]raft.Entry(nil), lent...)
		for i := range w.Entries {
			w.Entries[i].Data = bytes.Clone(lent[i].Data)
		}
		err := f.Storage.Write(w)
		for i := range lent {
			if string(lent[i].Data) == "one" {
				lent[i].Data[0]++
			}
		}
		return err
	}
}

// closesApart gives a flaw to a storage that shows once it is closed.
func closesApart(flaw func(f *flawed, closed func() bool)) func(*flawed) {
	return func(f *flawed) {
		var mu sync.Mutex
		over := false
		f.close = func() error {
			mu.Lock()
			defer mu.Unlock()
			over = true
			return f.Storage.Close()
		}
		flaw(f, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return over
		})
	}
}

func answersEntries(f *flawed, closed func() bool) func(after, last raft.Index, n int) ([]raft.Entry, error) {
	return func(after, last raft.Index, n int) ([]raft.Entry, error) {
		entries, err := f.Storage.Entries(after, last, n)
		if closed() {
			err = nil
		}
		return entries, err
	}
}

func answersCreate(f *flawed, closed func() bool) func(raft.SnapshotMeta) (raft.SnapshotWriter, error) {
	return func(meta raft.SnapshotMeta) (raft.SnapshotWriter, error) {
		w, err := f.Storage.CreateSnapshot(meta)
		if closed() {
			err = nil
		}
		return w, err
	}
}

func answersOpen(f *flawed, closed func() bool) func() (raft.SnapshotMeta, io.ReadCloser, error) {
	return func() (raft.SnapshotMeta, io.ReadCloser, error) {
		meta, r, err := f.Storage.OpenSnapshot()
		if closed() {
			err = nil
		}
		return meta, r, err
	}
}

func commitsAfterClose(f *flawed, closed func() bool) {
	f.create = func(meta raft.SnapshotMeta) (raft.SnapshotWriter, error) {
		w, err := f.Storage.CreateSnapshot(meta)
		return committer{w, closed}, err
	}
}

type committer struct {
	raft.SnapshotWriter
	closed func() bool
}

func (c committer) Commit() error {
	err := c.SnapshotWriter.Commit()
	if c.closed() {
		return nil
	}
	return err
}

// tearsEntries returns no entry while one is written. The write of the seventeenth command of the
// check of concurrency waits until somebody reads.
func tearsEntries(f *flawed) {
	read := make(chan struct{})
	var once sync.Once
	var mu sync.Mutex
	busy := false
	f.write = func(w raft.Write) error {
		if len(w.Entries) == 1 && string(w.Entries[0].Data) == "17" {
			mu.Lock()
			busy = true
			mu.Unlock()
			<-read
		}
		return f.Storage.Write(w)
	}
	f.entries = func(after, last raft.Index, n int) ([]raft.Entry, error) {
		mu.Lock()
		defer mu.Unlock()
		if busy {
			busy = false
			once.Do(func() { close(read) })
			return nil, nil
		}
		return f.Storage.Entries(after, last, n)
	}
}

// failsBusyClose fails to close while the commands of the check of Close under load are written.
func failsBusyClose(f *flawed) {
	var busy atomic.Bool
	f.write = func(w raft.Write) error {
		if len(w.Entries) == 1 && string(w.Entries[0].Data) == "x" {
			busy.Store(true)
		}
		return f.Storage.Write(w)
	}
	f.close = func() error {
		err := f.Storage.Close()
		if busy.Load() {
			err = errors.New("busy")
		}
		return err
	}
}

// failsCompacted fails with io.EOF where several entries are asked for that were compacted.
func failsCompacted(f *flawed) {
	f.entries = func(after, last raft.Index, n int) ([]raft.Entry, error) {
		entries, err := f.Storage.Entries(after, last, n)
		if err != nil && last-after > 1 {
			err = io.EOF
		}
		return entries, err
	}
}

func hasNoErrNoSnapshot(f *flawed) {
	f.open = func() (raft.SnapshotMeta, io.ReadCloser, error) {
		meta, r, err := f.Storage.OpenSnapshot()
		if err != nil {
			err = io.EOF
		}
		return meta, r, err
	}
}

// opens changes what OpenSnapshot returns.
func opens(change func(*raft.SnapshotMeta, []byte)) func(*flawed) {
	return func(f *flawed) {
		f.open = func() (raft.SnapshotMeta, io.ReadCloser, error) {
			meta, r, err := f.Storage.OpenSnapshot()
			if err != nil {
				return meta, r, err
			}
			b, err := io.ReadAll(r)
			if len(b) > 0 {
				change(&meta, b)
			}
			return meta, io.NopCloser(bytes.NewReader(b)), err
		}
	}
}

// writesSnapshots changes what Write of a snapshot returns, also after its end.
func writesSnapshots(returns func(n int, ended bool) int) func(*flawed) {
	return func(f *flawed) {
		f.create = func(meta raft.SnapshotMeta) (raft.SnapshotWriter, error) {
			w, err := f.Storage.CreateSnapshot(meta)
			return &boldWriter{SnapshotWriter: w, returns: returns}, err
		}
	}
}

type boldWriter struct {
	raft.SnapshotWriter
	returns func(n int, ended bool) int
	ended   bool
}

func (w *boldWriter) Write(b []byte) (int, error) {
	_, err := w.SnapshotWriter.Write(b)
	if w.ended {
		err = nil
	}
	return w.returns(len(b), w.ended), err
}

func (w *boldWriter) Abort() error {
	w.ended = true
	return w.SnapshotWriter.Abort()
}

// forgetsLater drops the first command that is written after a crash within a script.
func forgetsLater(f *flawed) {
	f.write = func(w raft.Write) error {
		if len(w.Entries) == 1 && string(w.Entries[0].Data) == "after the crash" {
			return nil
		}
		return f.Storage.Write(w)
	}
}

// opensOnce returns a disk whose storage can be opened only once.
func opensOnce() rafttest.Disk {
	opened := false
	return hooked(func(call string) error {
		if call == "opening the storage" {
			if opened {
				return errors.New("no key")
			}
			opened = true
		}
		return nil
	})
}

// neverSucceeds returns a disk on which no call succeeds once the power is to fail.
func neverSucceeds() rafttest.Disk {
	disk := simulatedDisks(openWAL)()
	off := disk.PowerOffAfter
	disk.PowerOffAfter = func(int) { off(0) }
	return disk
}
