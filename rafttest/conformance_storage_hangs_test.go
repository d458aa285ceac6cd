package rafttest_test

import (
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
)

// A hook is called by each method of a storage, and by the storage's disk, with what is called. An
// error that it returns is that of the call.
type hook func(call string) error

// hooked returns a disk in memory whose storage calls the hook.
func hooked(h hook) rafttest.Disk {
	disk := with(rafttest.MemoryDisk, h.flaw)()
	open := disk.Open
	disk.Open = func() (raft.Storage, error) {
		if err := h("opening the storage"); err != nil {
			return nil, err
		}
		return open()
	}
	return disk
}

func (h hook) flaw(f *flawed) {
	f.load = func() (raft.Saved, error) {
		if err := h("Load"); err != nil {
			return raft.Saved{}, err
		}
		return f.Storage.Load()
	}
	f.write = func(w raft.Write) error {
		if err := h("Write"); err != nil {
			return err
		}
		return f.Storage.Write(w)
	}
	f.entries = func(after, last raft.Index, n int) ([]raft.Entry, error) {
		if err := h("Entries"); err != nil {
			return nil, err
		}
		return f.Storage.Entries(after, last, n)
	}
	f.create = func(meta raft.SnapshotMeta) (raft.SnapshotWriter, error) {
		if err := h("CreateSnapshot"); err != nil {
			return nil, err
		}
		w, err := f.Storage.CreateSnapshot(meta)
		return hookedWriter{w, h}, err
	}
	f.open = func() (raft.SnapshotMeta, io.ReadCloser, error) {
		if err := h("OpenSnapshot"); err != nil {
			return raft.SnapshotMeta{}, nil, err
		}
		meta, r, err := f.Storage.OpenSnapshot()
		return meta, hookedReader{r, h}, err
	}
	f.close = func() error {
		if err := h("Close"); err != nil {
			return err
		}
		return f.Storage.Close()
	}
}

type hookedWriter struct {
	raft.SnapshotWriter
	h hook
}

func (w hookedWriter) Write(b []byte) (int, error) {
	if err := w.h("Write of a snapshot"); err != nil {
		return 0, err
	}
	return w.SnapshotWriter.Write(b)
}

func (w hookedWriter) Commit() error {
	if err := w.h("Commit of a snapshot"); err != nil {
		return err
	}
	return w.SnapshotWriter.Commit()
}

func (w hookedWriter) Abort() error {
	if err := w.h("Abort of a snapshot"); err != nil {
		return err
	}
	return w.SnapshotWriter.Abort()
}

type hookedReader struct {
	io.ReadCloser
	h hook
}

func (r hookedReader) Read(b []byte) (int, error) {
	if err := r.h("Read of a snapshot"); err != nil {
		return 0, err
	}
	return r.ReadCloser.Read(b)
}

func (r hookedReader) Close() error {
	if err := r.h("Close of a snapshot's reader"); err != nil {
		return err
	}
	return r.ReadCloser.Close()
}

// TestStorageConvictsHangs demands that TestStorage names a method that hangs, after a minute, and
// calls nothing after that, even when the method returns at last.
func TestStorageConvictsHangs(t *testing.T) {
	for _, method := range []string{
		"opening the storage", "Load", "Write", "Entries", "CreateSnapshot", "OpenSnapshot", "Close",
		"Write of a snapshot", "Commit of a snapshot", "Abort of a snapshot", "Read of a snapshot", "Close of a snapshot's reader",
	} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ended, began := make(chan struct{}), time.Now()
				var calls atomic.Int64
				err := rafttest.TestStorage(func() rafttest.Disk {
					return hooked(func(call string) error {
						calls.Add(1)
						if call == method {
							<-ended
						}
						return nil
					})
				})
				require.ErrorContains(t, err, method+" hasn't returned within 1m0s")
				require.Equal(t, 1, strings.Count(err.Error(), "the rule: "))
				require.Equal(t, time.Minute, time.Since(began))
				before := calls.Load()
				close(ended)
				synctest.Wait()
				require.Equal(t, before, calls.Load())
			})
		})
	}
	t.Run("patience", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ended := make(chan struct{})
			err := rafttest.TestStorage(func() rafttest.Disk {
				disk := hooked(func(string) error { <-ended; return nil })
				disk.Patience = time.Second
				return disk
			})
			close(ended)
			require.ErrorContains(t, err, "opening the storage hasn't returned within 1s")
		})
	})
}

// TestStorageConvictsFailuresDuringWrite demands that TestStorage convicts a storage in which a
// method fails while a Write is under way.
func TestStorageConvictsFailuresDuringWrite(t *testing.T) {
	for _, method := range []string{
		"Entries", "CreateSnapshot", "OpenSnapshot", "Write of a snapshot", "Abort of a snapshot", "Read of a snapshot",
		"Close of a snapshot's reader",
	} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			err := rafttest.TestStorage(with(rafttest.MemoryDisk, func(f *flawed) {
				writing, failed := make(chan struct{}), make(chan struct{})
				fail := sync.OnceFunc(func() { close(failed) })
				hook(func(call string) error {
					select {
					case <-writing:
						if call == method {
							fail()
							return errors.New("busy")
						}
					default:
					}
					return nil
				}).flaw(f)
				f.write = func(w raft.Write) error { // one command of the check of concurrency waits for the failure
					if len(w.Entries) == 1 && string(w.Entries[0].Data) == "17" {
						close(writing)
						<-failed
					}
					return f.Storage.Write(w)
				}
			}))
			require.Error(t, err)
			require.Regexp(t, `^rafttest: storage: concurrency: .* failed: busy\n`, err.Error())
		})
	}
}

// TestStorageConvictsAPanic demands that TestStorage reports a panic of a storage.
func TestStorageConvictsAPanic(t *testing.T) {
	err := rafttest.TestStorage(func() rafttest.Disk {
		return hooked(func(call string) error {
			if call == "Commit of a snapshot" {
				panic("no ink")
			}
			return nil
		})
	})
	require.ErrorContains(t, err, "storage: snapshot: after Write entries 1 to 3 of term 1, store snapshot 1 of term 1: panic: no ink")
	require.ErrorContains(t, err, "conformance_storage_hangs_test.go", "the stack")
}

// TestOthersHaveATurnDuringTheWrites demands that a storage is read, and its snapshots are used,
// between the first and the last of many writes, however slow that is.
func TestOthersHaveATurnDuringTheWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		checked := false
		err := rafttest.TestStorage(func() rafttest.Disk {
			writes, begun, read, used := 0, false, false, false
			var mu sync.Mutex
			return hooked(func(call string) error {
				mu.Lock()
				defer mu.Unlock()
				switch call {
				case "Write":
					if writes++; begun && writes == 190 { // of 201
						checked = true
						require.True(t, read && used, "read %v, snapshots used %v", read, used)
					}
				case "CreateSnapshot":
					begun = begun || writes == 1 // no other check that begins like this writes as often
				case "Entries", "OpenSnapshot":
					during := writes >= 2 // the first one follows the first command and its snapshot
					mu.Unlock()
					time.Sleep(time.Millisecond) // it ends when the writer waits, and no sooner
					mu.Lock()
					read, used = read || during && call == "Entries", used || during && call == "OpenSnapshot"
				}
				return nil
			})
		})
		require.NoError(t, err)
		require.True(t, checked)
	})
}
