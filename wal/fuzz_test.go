package wal

import (
	"errors"
	"hash/crc32"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal/vfs"
	"github.com/e17579a5/raft/wire"
)

const fuzzDir = "/fuzz"

func fuzzOptions(fs vfs.FS) Options {
	return Options{FS: fs, SegmentSize: MinSegmentSize, Salt: 1, Inline: true}
}

// fuzzLog makes a log whose only segment holds these bytes. Its anchor has no place.
func fuzzLog(t *testing.T, segment []byte) *simfs.FS {
	disk := simfs.New(1)
	require.NoError(t, disk.MkdirAll(fuzzDir))
	anchor := anchorState{salt: 1, sequence: 1, highest: 1}
	for name, b := range map[string][]byte{fileName(1, segmentSuffix): segment, anchorName: anchor.append(nil)} {
		file, err := disk.Create(fuzzDir + "/" + name)
		require.NoError(t, err)
		_, err = file.WriteAt(b, 0)
		require.NoError(t, err)
		require.NoError(t, file.Close())
	}
	return disk
}

// openAnything opens a log whose only segment holds these bytes, and reads all of it. Whatever they
// are, nothing panics, Inspect agrees with Open, and a log that opens can be read and written.
func openAnything(t *testing.T, segment []byte) error {
	disk := fuzzLog(t, segment)
	report, unread := Inspect(fuzzDir, fuzzOptions(disk), nil)
	l, err := Open(fuzzDir, fuzzOptions(disk))
	if err != nil {
		require.True(t, unread != nil || report.Err != nil)
		return err
	}
	require.NoError(t, unread)
	require.NoError(t, report.Err)
	saved, err := l.Load()
	require.NoError(t, err)
	require.Equal(t, saved, report.Saved)
	for at := saved.Snapshot.Index; at < saved.Last; {
		entries, err := l.Entries(at, saved.Last, 1000)
		if err != nil {
			require.True(t, errors.Is(err, raft.ErrCorrupt), err)
			require.NotEmpty(t, report.Damage)
			break
		}
		at += raft.Index(len(entries))
	}
	if saved.Last < maxIndex {
		entry := raft.Entry{Index: saved.Last + 1, Term: 1, Kind: wire.EntryNoOp}
		require.NoError(t, l.Write(raft.Write{Entries: []raft.Entry{entry}}))
		got, err := l.Entries(saved.Last, saved.Last+1, 1)
		require.NoError(t, err)
		require.Equal(t, []raft.Entry{entry}, got)
	}
	require.NoError(t, l.Close())
	return nil
}

// sampleSegment returns a segment with a little of everything.
func sampleSegment(t require.TestingT) []byte {
	disk := simfs.New(1)
	l, err := Open(fuzzDir, fuzzOptions(disk))
	require.NoError(t, err)
	entries := []raft.Entry{
		{Index: 1, Term: 1, Kind: wire.EntryConfiguration, Data: wire.AppendConfiguration(nil, &raft.Configuration{})},
		{Index: 2, Term: 2, Kind: wire.EntryNoOp},
		{Index: 3, Term: 2, Kind: wire.EntryCommand, Origin: raft.Origin{Server: "a", Start: 1}, Number: 7, Data: []byte("data")},
	}
	state := raft.DurableState{HardState: raft.HardState{Term: 2, Vote: "a"}, Server: "b", Incarnation: 3, Start: 4}
	require.NoError(t, l.Write(raft.Write{State: state, Entries: entries}))
	require.NoError(t, l.Write(raft.Write{State: state, Entries: entries[1:2]}))
	require.NoError(t, l.Close())
	return disk.Bytes(fuzzDir + "/" + fileName(1, segmentSuffix))
}

// FuzzSegment opens a segment of arbitrary bytes.
func FuzzSegment(f *testing.F) {
	sample := sampleSegment(f)
	f.Add(sample)
	f.Add(sample[:1000])
	f.Add(sample[:50])
	f.Add([]byte{})
	for i := 0; i < 600; i += 7 {
		flipped := append([]byte(nil), sample[:1024]...)
		flipped[i] ^= 1 << (i % 8)
		f.Add(flipped)
	}
	f.Fuzz(func(t *testing.T, segment []byte) {
		if len(segment) <= 1<<20 {
			_ = openAnything(t, segment)
		}
	})
}

// sealed makes a segment of records with these bodies, all of them with the right checksums. data
// is a list of records: one byte each for the kind, the length of the prelude, and the length of the
// prelude and the frames, and then these.
func sealed(data []byte) []byte {
	p := preamble{salt: 1, number: 1}
	b, chain := appendPreamble(nil, p)
	prior := 0
	for len(data) >= 3 {
		kind, prelude, length := data[0], int(data[1]), int(data[2])
		data = data[3:]
		length = min(length, len(data))
		prelude = min(prelude, length)
		at := len(b)
		b = appendDirectory(append(b, zeros[:headerSize]...), data[:prelude])
		h := header{kind: recordKind(kind), entries: uint32(len(b) - at - headerSize), prior: uint32(prior), before: chain}
		b = append(b, data[prelude:length]...)
		chain = seal(b[at:], h, p.key(), uint32(at))
		b = append(b, zeros[:int(next(uint32(len(b))))-len(b)]...)
		data = data[length:]
		prior = at
	}
	return append(b, zeros[:1024]...)
}

// FuzzRecords opens a segment of records with arbitrary bodies and right checksums: a bug could
// have written it, or somebody with bad intentions.
func FuzzRecords(f *testing.F) {
	record := func(kind recordKind, prelude int, body []byte) []byte {
		return append([]byte{byte(kind), byte(prelude), byte(len(body))}, body...)
	}
	empty := checkpoint{opens: 1}
	head := record(kindHead, 255, empty.append(nil))
	var c change
	entries := []raft.Entry{{Index: 1, Term: 1, Kind: wire.EntryNoOp}, {Index: 2, Term: 5, Kind: wire.EntryConfiguration, Data: wire.AppendConfiguration(nil, &raft.Configuration{})}}
	c.setEntries(entries)
	prelude := new(contents).appendWitness(c.append(nil), new(trail), place{})
	body := c.appendFrames(prelude, entries, 1)
	batch := record(kindBatch, len(prelude), body)
	f.Add(head)
	f.Add(append(head[:len(head):len(head)], batch...))
	f.Add(append(append(head[:len(head):len(head)], batch...), batch...))
	f.Add(append(head[:len(head):len(head)], head...))
	opened := checkpoint{opens: 2, last: 9, compacted: 1 << 60}
	f.Add(append(head[:len(head):len(head)], record(kindOpen, 255, opened.append(nil))...))
	full := checkpoint{last: 1<<64 - 1, compacted: 1<<64 - 1}
	f.Add(append(record(kindHead, 255, full.append(nil)), batch...))
	for i := range body {
		wrong := append([]byte(nil), body...)
		wrong[i] ^= 0x81
		f.Add(append(head[:len(head):len(head)], record(kindBatch, len(prelude), wrong)...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) <= 1<<16 {
			_ = openAnything(t, sealed(data))
		}
	})
}

func TestUnknownVersionIsRefused(t *testing.T) {
	require.NoError(t, openAnything(t, sampleSegment(t)))
	for version, says := range map[byte]string{1: "from before the first release can read", 3: "a newer version of this package can read"} {
		b, _ := appendPreamble(nil, preamble{salt: 1, number: 1})
		b[8] = version
		little.PutUint32(b[32:], crc32.Checksum(b[:32], castagnoli))
		err := openAnything(t, append(b, sampleSegment(t)[preambleSize:]...))
		require.ErrorContains(t, err, "has version "+strconv.Itoa(int(version))+" of the format")
		require.ErrorContains(t, err, says)
		require.NotErrorIs(t, err, raft.ErrCorrupt)
	}
}

// A log of version 1 is refused by its name, and left as it is.
func TestVersionOneIsLeftAlone(t *testing.T) {
	disk := fuzzLog(t, nil)
	for _, name := range disk.Names() {
		require.NoError(t, disk.Remove(name))
	}
	b, _ := appendPreamble(nil, preamble{salt: 1, number: 1})
	b[8] = 1
	little.PutUint32(b[32:], crc32.Checksum(b[:32], castagnoli))
	for _, name := range []string{fileName(1, segmentSuffix), fileName(2, segmentSuffix) + temporary} {
		file, err := disk.Create(fuzzDir + "/" + name)
		require.NoError(t, err)
		_, err = file.WriteAt(b, 0)
		require.NoError(t, err)
		require.NoError(t, file.Close())
	}
	before := disk.Names()
	_, err := Inspect(fuzzDir, fuzzOptions(disk), nil)
	require.ErrorContains(t, err, "has version 1 of the format, which versions of this package from before the first release can read")
	_, err = Open(fuzzDir, fuzzOptions(disk))
	require.ErrorContains(t, err, "has version 1 of the format")
	require.NotErrorIs(t, err, raft.ErrCorrupt)
	require.Equal(t, before, disk.Names())
	require.Equal(t, b, disk.Bytes(fuzzDir+"/"+fileName(1, segmentSuffix)))
}
