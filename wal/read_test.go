package wal_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
)

func TestReadingBesideWriting(t *testing.T) {
	disk := simfs.New(1)
	options := small(disk)
	options.Inline = false
	l, err := wal.Open(dir, options)
	require.NoError(t, err)
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for at := raft.Index(0); ; {
				select {
				case <-stop:
					return
				default:
				}
				entries, err := l.Entries(at, at+50, 2000)
				if errors.Is(err, raft.ErrCompacted) {
					_, r, err := l.OpenSnapshot()
					if errors.Is(err, raft.ErrNoSnapshot) {
						continue
					}
					if err != nil || r.Close() != nil {
						t.Error("snapshot", err)
						return
					}
					if at += 7; at > 4000 {
						at = 0
					}
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				for i, e := range entries {
					if e.Index != at+1+raft.Index(i) || len(e.Data) != 100 {
						t.Errorf("entry %d in the place of %d", e.Index, at+1+raft.Index(i))
						return
					}
				}
				at += raft.Index(len(entries))
			}
		})
	}
	for index := raft.Index(1); index < 4000; index += 10 {
		require.NoError(t, l.Write(raft.Write{Entries: commands(index, 20, 100)})) // ten again
		if index%100 == 1 {
			meta := raft.SnapshotMeta{Index: index + 5, Term: 1}
			adopt(t, l, meta, []byte("snapshot"))
			require.NoError(t, l.Write(raft.Write{Compact: max(index, 300) - 299}))
		}
	}
	close(stop)
	readers.Wait()
	require.NoError(t, l.Close())
}

func TestDamagedEntryIsFoundWhenRead(t *testing.T) {
	log := writeLog(t, 1)
	l, err := wal.Open(dir, small(log.fs))
	require.NoError(t, err)
	from, to := log.changed()
	require.True(t, log.fs.Rot(log.segment, (from+to)/2, 1), "after it was opened")
	_, err = l.Entries(log.before.last(), log.after.last(), 1<<20)
	require.ErrorIs(t, err, raft.ErrCorrupt)
	require.NoError(t, l.Close())
}

// Whatever bit of a batch is damaged after the log was opened, a reader gets the entries as they were
// written, or an error.
func TestEveryDamagedBitIsFoundWhenRead(t *testing.T) {
	oneGoroutine(t)
	log := writeLog(t, 1)
	read := func(l *wal.Log) ([]raft.Entry, error) {
		return l.Entries(log.before.last(), log.after.last(), 1<<20)
	}
	l, err := wal.Open(dir, small(log.fs))
	require.NoError(t, err)
	want, err := read(l)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	found := 0
	from, to := log.changed()
	for at := from; at < to; at++ {
		for bit := range 8 {
			fs := log.fs.Clone() // what is found to be lost once stays so
			fs.Kill()
			l, err := wal.Open(dir, small(fs))
			require.NoError(t, err)
			require.True(t, fs.Rot(log.segment, at, 1<<bit))
			got, err := read(l)
			if err == nil && len(got) == len(want) {
				require.Equal(t, want, got, "bit %d of byte %d", bit, at)
				continue
			}
			if err == nil { // those before the one that is damaged
				require.Equal(t, want[:len(got)], got, "bit %d of byte %d", bit, at)
				_, err = l.Entries(log.before.last()+raft.Index(len(got)), log.after.last(), 1<<20)
			}
			require.ErrorIs(t, err, raft.ErrCorrupt, "bit %d of byte %d", bit, at)
			found++
		}
	}
	require.Greater(t, found, 100)
}
