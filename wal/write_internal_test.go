package wal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wire"
)

func TestLimitsOfARecord(t *testing.T) {
	if strconv.IntSize < 64 {
		t.Skip("two such entries don't fit into memory")
	}
	large := make([]raft.Entry, 2)
	data := make([]byte, wire.MaxCommandSize+1) // never touched
	for i := range large {
		large[i] = raft.Entry{Index: raft.Index(i + 1), Term: 1, Kind: wire.EntryCommand, Data: data[:wire.MaxCommandSize]}
	}
	require.NoError(t, checkEntries(large[:1], 1, 0))
	require.ErrorIs(t, checkEntries(large, 1, 0), ErrWrite)
	large[0].Data = data
	require.ErrorIs(t, checkEntries(large[:1], 1, 0), ErrWrite)
}

// An entry is never longer than the limit of a record assumes.
func TestOverheadOfAnEntry(t *testing.T) {
	const most = 1<<64 - 1
	id := raft.ServerID(fmt.Sprintf("%0*d", wire.MaxServerID, 1))
	e := raft.Entry{Index: most, Term: most, Kind: wire.EntryCommand, Origin: raft.Origin{Server: id, Start: most}, Number: most}
	for _, kind := range []wire.EntryKind{wire.EntryCommand, wire.EntryConfiguration} {
		e.Kind = kind
		var c change
		c.setEntries([]raft.Entry{e, e})
		b := c.appendFrames(c.append(nil), []raft.Entry{e, e}, 1)
		most := 2 * maxEntryOverhead
		if kind == wire.EntryConfiguration {
			most *= 2
		}
		require.LessOrEqual(t, len(b), most+100)
	}
}

// A record of version 2 takes at most 40 bytes more than one of version 1 did, as a rule: 32 bytes of
// header, a byte of flags, the index, the count, and the term in a list of one.
func TestRecordsTakeLittleMore(t *testing.T) {
	disk := simfs.New(1)
	options := fuzzOptions(disk)
	options.SegmentSize = 4 << 20
	l, err := Open(fuzzDir, options)
	require.NoError(t, err)
	const term = 1000
	most := 0
	for i := raft.Index(1); i <= 9000; i++ {
		e := raft.Entry{Index: i, Term: term, Kind: wire.EntryCommand, Origin: raft.Origin{Server: "server-1", Start: 1 << 40}, Data: make([]byte, 128)}
		before := l.active.end
		require.NoError(t, l.Write(raft.Write{Entries: []raft.Entry{e}}))
		if l.active.end < before {
			continue // a segment began
		}
		frame := frameSize + len(wire.AppendEntry(nil, &e))
		one := 32 + 1 + len(binary.AppendUvarint(nil, uint64(i))) + 1 + 2 + len(binary.AppendUvarint(nil, term)) + 1 + frame
		most = max(most, int(l.active.end-before)-int(next(uint32(one))))
	}
	require.LessOrEqual(t, most, 40)
	require.NoError(t, l.Close())
}

// What a client has written into a command can't pass for an entry, when damage to a length makes a
// reader look for one there.
func TestFramesOfAClientAreNone(t *testing.T) {
	fake := raft.Entry{Index: 2, Term: 1, Kind: wire.EntryCommand, Data: []byte("fake")}
	for _, seed := range []uint32{0, 7} {
		entries := []raft.Entry{
			{Index: 1, Term: 1, Kind: wire.EntryCommand, Data: append(make([]byte, 20), appendFrame(nil, &fake, 0)...)},
			{Index: 2, Term: 1, Kind: wire.EntryCommand, Data: []byte("true")},
		}
		var c change
		c.setEntries(entries)
		record := c.appendFrames(make([]byte, headerSize), entries, seed)
		at := bytes.Index(record, appendFrame(nil, &fake, 0))
		little.PutUint32(record[headerSize:], uint32(at-headerSize-frameSize))
		c.points = nil
		c.searchFrames(record, headerSize, seed)
		want := []wire.Range{{First: 1, Last: 2}}
		if seed == 0 {
			want[0].Last = 1 // that is what the seed is for
		}
		require.Equal(t, want, c.lost)
	}
}
