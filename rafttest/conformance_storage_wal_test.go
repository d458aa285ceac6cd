package rafttest_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wal/vfs"
	"github.com/e17579a5/raft/wire"
)

// damagedLogs returns disks of package wal with different seeds, which can lose the bytes of entries,
// and can be filled if the log waits for room.
func damagedLogs(fillable bool, open func(vfs.FS) (raft.Storage, error)) func() rafttest.Disk {
	seed := uint64(0)
	return func() rafttest.Disk {
		seed++
		fs := simfs.New(seed)
		var log *wal.Log
		disk := rafttest.SimDisk(fs, func(fs vfs.FS) (raft.Storage, error) {
			storage, err := open(fs)
			log, _ = storage.(*wal.Log)
			return storage, err
		})
		disk.Damage = func(first, last raft.Index) {
			if err := proves(fs, log); err != nil {
				panic(err)
			}
			spoilEntries(fs, first, last)
		}
		if fillable {
			fills(&disk, fs)
		}
		return disk
	}
}

// proves makes the anchor of an open log durable, as the log does by itself within a second: without it
// damage to the last batch would look like a batch that was torn by a crash.
func proves(fs *simfs.FS, log *wal.Log) error {
	if err := log.Anchor(); err != nil {
		return err
	}
	file, err := fs.Open("/log/ANCHOR")
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// spoilEntries flips a bit of each of some entries, wherever its frame stands intact in a segment.
func spoilEntries(fs *simfs.FS, first, last raft.Index) {
	for index, e := range entriesOn(fs) {
		if index < first || index > last {
			continue
		}
		encoded := wire.AppendEntry(nil, &e)
		frame := binary.LittleEndian.AppendUint32(nil, uint32(len(encoded))) // then comes its CRC
		for _, name := range fs.Names() {
			if !strings.HasSuffix(name, ".wal") {
				continue
			}
			content := fs.Bytes(name)
			for from := 0; ; from++ {
				at := bytes.Index(content[from:], encoded)
				if at < 0 {
					break
				}
				if from += at; from >= 8 && bytes.Equal(content[from-8:from-4], frame) {
					fs.Rot(name, int64(from+len(encoded)-1), 1)
				}
			}
		}
	}
}

// entriesOn returns the entries of a log that can be read, also while it is open.
func entriesOn(fs *simfs.FS) map[raft.Index]raft.Entry {
	fs = fs.Clone()
	fs.Kill()
	entries := map[raft.Index]raft.Entry{}
	_, err := wal.Inspect("/log", wal.Options{FS: fs}, func(r *wal.Record) error {
		if r.First > 0 {
			for index := range entries {
				if index >= r.First {
					delete(entries, index)
				}
			}
		}
		for _, list := range [][]raft.Entry{r.Entries, r.Repairs} {
			for _, e := range list {
				e.Data = bytes.Clone(e.Data)
				entries[e.Index] = e
			}
		}
		return nil
	})
	if err != nil {
		panic(err) // the check that damages the log reports it
	}
	return entries
}
