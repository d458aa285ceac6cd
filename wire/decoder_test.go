package wire_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft/wire"
)

// The costliest message for its bytes has many empty entries. What it makes the decoder allocate is
// what the comment of DecodeMessage promises.
func TestDecodeMessageAllocatesInProportion(t *testing.T) {
	m := wire.AppendRequest{Entries: make([]wire.Entry, 100_000)}.Message()
	b := wire.AppendMessage(nil, &m)
	require.Less(t, allocatedBy(func() {
		_, err := wire.DecodeMessage(b)
		require.NoError(t, err)
	}), uint64(32*len(b)))
}

// allocatedBy returns how many bytes f allocates, together with whatever else runs.
func allocatedBy(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// batch is an append as it travels under load.
func batch(size int) wire.Message {
	entries := make([]wire.Entry, size)
	for i := range entries {
		entries[i] = wire.Entry{
			Index: wire.Index(1_000_000 + i), Term: 7, Kind: wire.EntryCommand,
			Origin: wire.Origin{Server: "a", Start: 3}, Number: uint64(1_000_000 + i), Data: make([]byte, 128),
		}
	}
	m := wire.AppendRequest{Previous: wire.Place{Index: 999_999, Term: 7}, Commit: 999_900, Entries: entries}.Message()
	m.From, m.To, m.Cluster, m.Term = "a", "b", wire.ClusterID{0: 1, 15: 2}, 7
	m.FromIncarnation, m.ToIncarnation = 11, 1<<63
	return m
}

func TestDecoderAllocations(t *testing.T) {
	m := batch(64)
	b := wire.AppendMessage(nil, &m)
	require.Zero(t, testing.AllocsPerRun(10, func() { b = wire.AppendMessage(b[:0], &m) }), "encoding")

	var decoder wire.Decoder
	require.Equal(t, 1.0, testing.AllocsPerRun(10, func() {
		if _, err := decoder.DecodeMessage(b); err != nil {
			t.Error(err)
		}
	}), "decoding: the list of entries")

	small := batch(1)
	b = wire.AppendMessage(nil, &small)
	require.Less(t, testing.AllocsPerRun(1000, func() {
		if _, err := decoder.DecodeMessage(b); err != nil {
			t.Error(err)
		}
	}), 1.0, "decoding: the lists of small messages share their room")

	heartbeat := wire.Heartbeat{Round: 7}.Message().In(wire.Envelope{From: "a", To: "b", Term: 7, Group: "shards/1"})
	b = wire.AppendMessage(nil, &heartbeat)
	require.Zero(t, testing.AllocsPerRun(10, func() {
		if _, err := decoder.DecodeMessage(b); err != nil {
			t.Error(err)
		}
	}), "decoding: a group that was met before")
}

// Messages that one Decoder has decoded share no entry, though small ones share memory.
func TestDecodedMessagesShareNoEntries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var decoder wire.Decoder
		var got [][]wire.Entry
		sizes := rapid.SliceOfN(rapid.IntRange(1, 20), 1, 40).Draw(t, "entries")
		for k, n := range sizes {
			m := batch(n)
			for i := range m.Entries() {
				m.Entries()[i].Number = uint64(1000*k + i)
			}
			decoded, err := decoder.DecodeMessage(wire.AppendMessage(nil, &m))
			require.NoError(t, err)
			got = append(got, append(decoded.Entries(), wire.Entry{})[:n])
		}
		for k, entries := range got {
			require.Len(t, entries, sizes[k])
			for i := range entries {
				require.EqualValues(t, 1000*k+i, entries[i].Number)
			}
		}
	})
}

// TestBodiesCostNoAllocation: it allocates nothing to make a message of a kind that travels with
// every command, or to take its body out again.
func TestBodiesCostNoAllocation(t *testing.T) {
	entries := make([]wire.Entry, 1)
	var m wire.Message
	require.Zero(t, testing.AllocsPerRun(100, func() {
		m = wire.AppendRequest{Commit: 7, Entries: entries}.Message()
		if len(m.AppendRequest().Entries) != 1 {
			t.Error("no entries")
		}
		m = wire.AppendResponse{Accepted: true, Index: 7}.Message()
		m = wire.Heartbeat{Round: m.Heartbeat().Round + 1}.Message()
		m = wire.HeartbeatResponse{Durable: 7, Round: m.Heartbeat().Round}.Message()
		m = wire.ReadResponse{Index: m.HeartbeatResponse().Durable}.Message()
		m = wire.ForwardRequest{Start: 1, Lowest: uint64(m.ReadResponse().Index), Commands: entries}.Message()
	}))
}
