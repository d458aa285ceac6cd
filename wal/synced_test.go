package wal_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wal/vfs"
)

// slowSyncs is a file system whose files take their time to sync, or fail to.
type slowSyncs struct {
	vfs.FS
	sync func() error
}

type slowFile struct {
	vfs.File
	sync func() error
}

func (f slowSyncs) Create(name string) (vfs.File, error) { return f.slow(f.FS.Create(name)) }
func (f slowSyncs) Open(name string) (vfs.File, error)   { return f.slow(f.FS.Open(name)) }

func (f slowSyncs) slow(file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return slowFile{file, f.sync}, nil
}

func (f slowFile) Sync() error {
	if err := f.sync(); err != nil {
		return err
	}
	return f.File.Sync()
}

// Each write that writes something tells how long its one sync took, and whether that failed.
func TestSyncedIsToldOfEachWrite(t *testing.T) {
	failure := errors.New("the disk is broken")
	var fails atomic.Bool // a spare file may be synced meanwhile
	var told []time.Duration
	var errs []error
	log, err := wal.Open(t.TempDir(), wal.Options{
		FS: slowSyncs{vfs.OS, func() error {
			if fails.Load() {
				return failure
			}
			return nil
		}}, Ahead: -1,
		Synced: func(took time.Duration, err error) { told, errs = append(told, took), append(errs, err) },
	})
	require.NoError(t, err)
	_, err = log.Load()
	require.NoError(t, err)
	require.Empty(t, told, "no write has been made yet")
	state := raft.DurableState{Server: "a", Incarnation: 1, HardState: raft.HardState{Term: 1}}
	require.NoError(t, log.Write(raft.Write{Number: 1, State: state}))
	require.Len(t, told, 1)
	require.NoError(t, errs[0])
	require.Positive(t, told[0])
	require.NoError(t, log.Write(raft.Write{Number: 2, State: state}))
	require.Len(t, told, 1, "nothing was written")
	fails.Store(true)
	state.Term = 2
	require.ErrorIs(t, log.Write(raft.Write{Number: 3, State: state}), failure)
	require.Len(t, told, 2)
	require.ErrorIs(t, errs[1], failure)
	require.NoError(t, log.Close())
}
