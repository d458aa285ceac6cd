package wal_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wal/vfs"
)

// Whenever the power fails while files are filled, become segments, or are removed, the log opens
// with all that was acknowledged.
func TestPowerCutWhileFilesAreFilled(t *testing.T) {
	options := wal.Options{SegmentSize: 16 << 10, Salt: 1, Logger: slog.New(slog.DiscardHandler)}
	history := func(disk *simfs.FS) (acknowledged raft.Index) {
		options := options
		options.FS = disk
		l, err := wal.Open(dir, options)
		if err != nil {
			return 0
		}
		time.Sleep(time.Second)
		for i := range raft.Index(100) {
			if l.Write(raft.Write{Entries: commands(i+1, 1, 900)}) != nil {
				break
			}
			acknowledged = i + 1
			if i%10 == 0 {
				time.Sleep(time.Second)
			}
		}
		_ = l.Close()
		return acknowledged
	}
	calls := 0
	synctest.Test(t, func(t *testing.T) {
		whole := simfs.New(1)
		require.EqualValues(t, 100, history(whole))
		calls = whole.Calls()
	})
	for n := range calls {
		synctest.Test(t, func(t *testing.T) {
			disk := simfs.New(uint64(n))
			disk.PowerOffAfter(n)
			last := history(disk)
			disk.Cut()
			l, saved := load(t, disk)
			require.GreaterOrEqual(t, saved.Last, last, "power cut after call %d", n)
			for i := raft.Index(0); i < last; i++ {
				entries, err := l.Entries(i, i+1, 1<<20)
				require.NoError(t, err)
				require.True(t, bytes.Equal(commands(i+1, 1, 900)[0].Data, entries[0].Data))
			}
			require.NoError(t, l.Close())
		})
	}
}

// lateSyncs is a file system each of whose syncs takes a millisecond, and takes effect at its end.
type lateSyncs struct{ vfs.FS }

type lateFile struct{ vfs.File }

func (s lateSyncs) Create(name string) (vfs.File, error) {
	file, err := s.FS.Create(name)
	return lateFile{file}, err
}

func (s lateSyncs) Open(name string) (vfs.File, error) {
	file, err := s.FS.Open(name)
	return lateFile{file}, err
}

func (f lateFile) Sync() error {
	time.Sleep(time.Millisecond)
	return f.File.Sync()
}

// While the head of a segment isn't durable, a power cut may leave its file without one. So there is
// no file for the segment behind it yet: two without a head would be damage.
func TestNoSpareBeforeTheHeadIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := simfs.New(1)
		l, err := wal.Open(dir, wal.Options{FS: lateSyncs{disk}, SegmentSize: 16 << 10, Salt: 1, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		time.Sleep(time.Second)
		heads, early, files := 0, []string(nil), 0
		undurable := "" // the segment whose head is written
		disk.OnCall(func(c simfs.Call) error {
			switch {
			case c.Op == simfs.OpWrite && c.Offset == 0 && strings.HasSuffix(c.Name, ".wal"):
				undurable, heads = c.Name, heads+1
			case c.Op == simfs.OpSync && c.Name == undurable:
				undurable = ""
			case (c.Op == simfs.OpRename || c.Op == simfs.OpCreate) && strings.HasSuffix(c.Name+c.To, ".wal"):
				if files++; undurable != "" {
					early = append(early, c.String())
				}
			}
			return nil
		})
		for i := range raft.Index(100) {
			require.NoError(t, l.Write(raft.Write{Entries: commands(i+1, 1, 900)}))
		}
		disk.OnCall(nil)
		require.Empty(t, early)
		require.Greater(t, heads, 5)
		require.Greater(t, files, 5)
		require.NoError(t, l.Close())
	})
}
