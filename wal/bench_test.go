package wal_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wal/vfs"
	"github.com/e17579a5/raft/wire"
)

// commands returns n commands with size bytes of data each, from the index first on.
func commands(first raft.Index, n, size int) []raft.Entry {
	entries := make([]raft.Entry, n)
	data := bytes.Repeat([]byte{'x'}, size)
	for i := range entries {
		entries[i] = raft.Entry{
			Index: first + raft.Index(i), Term: 1, Kind: wire.EntryCommand,
			Origin: raft.Origin{Server: "server-1", Start: 1}, Number: uint64(first) + uint64(i), Data: data,
		}
	}
	return entries
}

// renumber gives entries the indexes that follow after.
func renumber(entries []raft.Entry, after raft.Index) {
	for i := range entries {
		entries[i].Index = after + 1 + raft.Index(i)
		entries[i].Number = uint64(entries[i].Index)
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, n := range []int{1, 64, 256, 1024} {
		for name, fs := range map[string]vfs.FS{"synced": vfs.OS, "unsynced": noSync{vfs.OS}} {
			b.Run(fmt.Sprintf("entries=%d/%s", n, name), func(b *testing.B) {
				l, err := wal.Open(b.TempDir(), wal.Options{FS: fs})
				require.NoError(b, err)
				entries := commands(1, n, 128)
				last := raft.Index(0)
				b.SetBytes(int64(n) * 128)
				b.ReportAllocs()
				for b.Loop() {
					renumber(entries, last)
					require.NoError(b, l.Write(raft.Write{Entries: entries}))
					last += raft.Index(n)
				}
				b.StopTimer()
				require.NoError(b, l.Close())
			})
		}
	}
}

// noSync is a file system that doesn't sync: the time that is left is the work of the log.
type noSync struct{ vfs.FS }

type noSyncFile struct{ vfs.File }

func (f noSync) Open(name string) (vfs.File, error) {
	file, err := f.FS.Open(name)
	return noSyncFile{file}, err
}

func (f noSync) Create(name string) (vfs.File, error) {
	file, err := f.FS.Create(name)
	return noSyncFile{file}, err
}

func (noSyncFile) Sync() error { return nil }

// fillLog writes a million entries of 128 bytes, in batches of n.
func fillLog(b *testing.B, dir string, n int) {
	l, err := wal.Open(dir, wal.Options{FS: noSync{vfs.OS}})
	require.NoError(b, err)
	entries := commands(1, n, 128)
	for last := raft.Index(0); last < 1_000_000; last += raft.Index(n) {
		renumber(entries, last)
		require.NoError(b, l.Write(raft.Write{Entries: entries}))
	}
	require.NoError(b, l.Close())
}

func BenchmarkOpenMillion(b *testing.B) {
	for _, n := range []int{1, 200} {
		b.Run(fmt.Sprintf("batch=%d", n), func(b *testing.B) {
			dir := b.TempDir()
			fillLog(b, dir, n)
			b.ReportAllocs()
			for b.Loop() {
				l, err := wal.Open(dir, wal.Options{})
				require.NoError(b, err)
				saved, err := l.Load()
				require.NoError(b, err)
				require.EqualValues(b, 1_000_000, saved.Last)
				require.NoError(b, l.Close())
			}
		})
	}
}

func BenchmarkEntries(b *testing.B) {
	dir := b.TempDir()
	fillLog(b, dir, 200)
	l, err := wal.Open(dir, wal.Options{})
	require.NoError(b, err)
	b.ReportAllocs()
	read := 0
	for b.Loop() {
		read = 0
		for at := raft.Index(0); at < 1_000_000; {
			entries, err := l.Entries(at, 1_000_000, 256<<10)
			require.NoError(b, err)
			at += raft.Index(len(entries))
			read += len(entries)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(read), "ns/entry")
	require.NoError(b, l.Close())
}
