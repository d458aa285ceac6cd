package raft_test

import (
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
)

var updateCodec = flag.Bool("update-codec", false, "write testdata/codec.golden anew")

// Every kind of thing that is encoded, in the encoding that testdata/codec.golden records. A change of
// it is a change of the format: servers of the two versions can't talk, and logs can't be read.
func TestCodecGolden(t *testing.T) {
	var lines []string
	record := func(name string, b []byte) {
		lines = append(lines, name+" "+hex.EncodeToString(b))
	}
	for _, e := range sampleEntries() {
		record("entry "+e.Kind.String(), raft.AppendEntry(nil, &e))
	}
	configuration := sampleConfiguration()
	record("configuration", raft.AppendConfiguration(nil, &configuration))
	for _, m := range sampleMessages() {
		record("message "+m.Kind.String(), raft.AppendMessage(nil, &m))
	}
	got := strings.Join(lines, "\n") + "\n"

	file := filepath.Join("testdata", "codec.golden")
	if *updateCodec {
		require.NoError(t, os.MkdirAll("testdata", 0o777))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o666))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, strings.ReplaceAll(string(want), "\r\n", "\n"), got)
}

func sampleEntries() []raft.Entry {
	return []raft.Entry{
		{Index: 300, Term: 7, Kind: raft.EntryCommand, Origin: raft.Origin{Server: "a", Start: 3}, Number: 130, Data: []byte("add 5")},
		{Index: 301, Term: 7, Kind: raft.EntryNoOp},
		{Index: 1, Term: 1, Kind: raft.EntryConfiguration, Data: []byte{1, 2, 3}},
		{Kind: raft.EntryCommand, Origin: raft.Origin{Server: "b", Start: 1}, Number: 1},
		{Index: 1 << 63, Term: 1<<64 - 1, Kind: 200, Data: []byte("from a later version")},
		{Kind: raft.EntryOpenSession, Data: raft.AppendSessionLimits(nil, raft.SessionLimits{Sessions: 1000, Bytes: 1 << 20})},
		{Kind: raft.EntrySessionCommand, Data: raft.AppendSessionCommand(nil,
			&raft.SessionCommand{Session: raft.SessionID{Term: 7, Index: 302}, Sequence: 130, Lowest: 128}, []byte("add 5"))},
		{Kind: raft.EntryCloseSession, Data: raft.AppendSessionID(nil, raft.SessionID{Term: 7, Index: 302})},
	}
}

func sampleConfiguration() raft.Configuration {
	return raft.Configuration{
		Cluster: raft.ClusterID{0: 1, 15: 2},
		Members: []raft.Member{
			{Server: raft.Server{ID: "a", Address: "a.example:7001"}, Role: raft.Voter, Incarnation: 11},
			{Server: raft.Server{ID: "b", Address: "b.example:7001"}, Role: raft.Learner, Incarnation: 1 << 63},
		},
	}
}

// sampleMessages has every kind once, and every field in one of them.
func sampleMessages() []raft.Message {
	var messages []raft.Message
	for kind := raft.PreVoteRequest; kind <= raft.Fingerprints; kind++ {
		m := raft.Message{
			Kind: kind, From: "a", To: "b", Cluster: raft.ClusterID{0: 1, 15: 2},
			FromIncarnation: 11, ToIncarnation: 1 << 63, Term: 7,
		}
		switch kind {
		case raft.VoteRequest:
			m.Cluster, m.ToIncarnation = raft.ClusterID{}, 0
			m.Index, m.LogTerm, m.Round, m.Transfer = 20, 6, 2, true
			m.Servers = []raft.Server{{ID: "a", Address: "a.example:7001"}, {ID: "b", Address: "b.example:7001"}}
		case raft.VoteResponse:
			m.Round, m.Mismatch = 2, true
		case raft.AppendRequest:
			m.Index, m.LogTerm, m.Commit, m.Entries = 299, 6, 298, sampleEntries()[:2]
		case raft.AppendResponse:
			m.Index, m.LogTerm, m.Hint, m.Granted = 301, 7, 280, true
		case raft.Heartbeat:
			m.Round, m.Commit, m.Lease = 9, 12, 500*raft.Millisecond
		case raft.HeartbeatResponse:
			m.Level = raft.LatestLevel
			m.Round, m.Index, m.Hint, m.Lease, m.Fitness = 9, 12, 13, 500*raft.Millisecond, 4
		case raft.ReadRequest:
			m.Start, m.Number, m.ByLease = 1, 6, true
		case raft.ForwardRequest:
			m.Start, m.Number, m.Entries = 1, 128, sampleEntries()[3:4]
		case raft.ForwardResponse:
			m.Start, m.Numbers = 1, []uint64{1, 128, 1 << 40}
		case raft.CallRequest:
			m.Start, m.Number, m.Numbers, m.Call = 1, 2, []uint64{3}, &raft.Call{Kind: 7, Members: sampleConfiguration().Members, Expected: 9}
		case raft.CallResponse:
			m.Start, m.Number, m.Refusal, m.Servers = 1, 3, raft.RefusedUnknown, []raft.Server{{ID: "b"}}
		case raft.SnapshotRequest:
			m.Index, m.LogTerm, m.Start, m.Number, m.Round, m.Size = 300, 7, 3, 2, 5, 1<<30
		case raft.SnapshotResponse:
			m.Index, m.LogTerm, m.Start, m.Number, m.Round, m.Offset = 300, 7, 3, 2, 5, 1<<20
		case raft.Fingerprints:
			m.Index, m.Numbers = 128, []uint64{1 << 31, 7}
		case raft.SnapshotStream:
			m.Index, m.LogTerm, m.Start, m.Number, m.Round, m.Size, m.Offset = 300, 7, 3, 2, 5, 1<<30, 1<<20
			m.Entries = sampleEntries()[2:3]
		}
		messages = append(messages, m)
	}
	return messages
}

func TestCodecRoundTripOfEntries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b []byte
		want := rapid.SliceOfN(drawEntry(), 0, 10).Draw(t, "entries")
		for i := range want {
			b = raft.AppendEntry(b, &want[i])
		}
		var decoder raft.Decoder
		for i := range want {
			e, rest, err := decoder.DecodeEntry(b)
			require.NoError(t, err)
			require.Equal(t, want[i], e)
			b = rest
		}
		require.Empty(t, b)
	})
}

func TestCodecRoundTripOfMessages(t *testing.T) {
	var decoder raft.Decoder // shared by all, as in a connection
	rapid.Check(t, func(t *rapid.T) {
		m := drawMessage().Draw(t, "message")
		prefix := []byte("before")
		b := raft.AppendMessage(prefix, &m)
		require.Equal(t, prefix, b[:len(prefix)])
		got, err := decoder.DecodeMessage(b[len(prefix):])
		require.NoError(t, err)
		require.Equal(t, m, got)
	})
}

func TestCodecRoundTripOfConfigurations(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfiguration().Draw(t, "configuration")
		got, err := raft.DecodeConfiguration(raft.AppendConfiguration(nil, &c))
		require.NoError(t, err)
		require.Equal(t, c, got)
	})
}

func drawEntry() *rapid.Generator[raft.Entry] {
	return rapid.Custom(func(t *rapid.T) raft.Entry {
		e := raft.Entry{
			Index:  raft.Index(rapid.Uint64().Draw(t, "Index")),
			Term:   raft.Term(rapid.Uint64().Draw(t, "Term")),
			Kind:   raft.EntryKind(rapid.Byte().Draw(t, "Kind")),
			Origin: raft.Origin{Server: drawServerID().Draw(t, "Server"), Start: rapid.Uint64().Draw(t, "Start")},
			Number: rapid.Uint64().Draw(t, "Number"),
			Data:   rapid.SliceOf(rapid.Byte()).Draw(t, "Data"),
		}
		if len(e.Data) == 0 {
			e.Data = nil
		}
		return e
	})
}

func drawServerID() *rapid.Generator[raft.ServerID] {
	return rapid.Custom(func(t *rapid.T) raft.ServerID {
		return raft.ServerID(rapid.StringN(0, -1, raft.MaxServerID).Draw(t, "ID"))
	})
}

func drawServer() *rapid.Generator[raft.Server] {
	return rapid.Custom(func(t *rapid.T) raft.Server {
		return raft.Server{ID: drawServerID().Draw(t, "ID"), Address: rapid.StringN(0, -1, 40).Draw(t, "Address")}
	})
}

func drawMessage() *rapid.Generator[raft.Message] {
	return rapid.Custom(func(t *rapid.T) raft.Message {
		maybe := func(name string) uint64 {
			return rapid.OneOf(rapid.Just(uint64(0)), rapid.Uint64()).Draw(t, name)
		}
		m := raft.Message{
			Kind:            raft.MessageKind(rapid.ByteRange(1, byte(raft.ReadResponse)).Draw(t, "Kind")),
			From:            drawServerID().Draw(t, "From"),
			To:              drawServerID().Draw(t, "To"),
			FromIncarnation: raft.Incarnation(maybe("FromIncarnation")),
			ToIncarnation:   raft.Incarnation(maybe("ToIncarnation")),
			Term:            raft.Term(maybe("Term")),
			Index:           raft.Index(maybe("Index")),
			LogTerm:         raft.Term(maybe("LogTerm")),
			Hint:            raft.Index(maybe("Hint")),
			Commit:          raft.Index(maybe("Commit")),
			Round:           maybe("Round"),
			Start:           maybe("Start"),
			Number:          maybe("Number"),
			Granted:         rapid.Bool().Draw(t, "Granted"),
			Transfer:        rapid.Bool().Draw(t, "Transfer"),
			Mismatch:        rapid.Bool().Draw(t, "Mismatch"),
			ByLease:         rapid.Bool().Draw(t, "ByLease"),
			Lease:           raft.Duration(maybe("Lease") >> 1),
			Fitness:         maybe("Fitness"),
			Entries:         rapid.SliceOfN(drawEntry(), 0, 4).Draw(t, "Entries"),
			Numbers:         rapid.SliceOfN(rapid.Uint64(), 0, 4).Draw(t, "Numbers"),
			Servers:         rapid.SliceOfN(drawServer(), 0, 4).Draw(t, "Servers"),
			Size:            rapid.Uint64().Draw(t, "Size"),
			Offset:          rapid.Uint64().Draw(t, "Offset"),
		}
		copy(m.Cluster[:], rapid.SliceOfN(rapid.Byte(), 0, len(m.Cluster)).Draw(t, "Cluster"))
		if len(m.Entries) == 0 {
			m.Entries = nil
		}
		if len(m.Numbers) == 0 {
			m.Numbers = nil
		}
		if len(m.Servers) == 0 {
			m.Servers = nil
		}
		return m
	})
}

func drawConfiguration() *rapid.Generator[raft.Configuration] {
	return rapid.Custom(func(t *rapid.T) raft.Configuration {
		var c raft.Configuration
		copy(c.Cluster[:], rapid.SliceOfN(rapid.Byte(), 0, len(c.Cluster)).Draw(t, "Cluster"))
		for _, id := range rapid.SliceOfNDistinct(drawServerID(), 0, 9, rapid.ID).Draw(t, "IDs") {
			if id == "" {
				continue
			}
			c.Members = append(c.Members, raft.Member{
				Server:      raft.Server{ID: id, Address: rapid.StringN(0, -1, 40).Draw(t, "Address")},
				Role:        raft.MemberRole(rapid.ByteRange(1, 2).Draw(t, "Role")),
				Incarnation: raft.Incarnation(rapid.Uint64().Draw(t, "Incarnation")),
			})
		}
		slices.SortFunc(c.Members, func(a, b raft.Member) int { return strings.Compare(string(a.ID), string(b.ID)) })
		return c
	})
}

// The entries' data is the frame's memory, and appending to one entry's doesn't reach the next.
func TestDecodedDataAliasesTheBytes(t *testing.T) {
	m := raft.Message{Kind: raft.AppendRequest, Entries: []raft.Entry{{Data: []byte("one")}, {Data: []byte("two")}}}
	b := raft.AppendMessage(nil, &m)
	got, err := raft.DecodeMessage(b)
	require.NoError(t, err)
	got.Entries[0].Data[0] = 'O'
	require.Contains(t, string(b), "One")
	require.Equal(t, len(got.Entries[0].Data), cap(got.Entries[0].Data))
}

func TestDecodeMessageNamesWhatIsWrong(t *testing.T) {
	valid := raft.AppendMessage(nil, &sampleMessages()[raft.AppendRequest-1])
	change := func(at int, b byte) []byte {
		c := slices.Clone(valid)
		c[at] = b
		return c
	}
	long := raft.Message{Kind: raft.Heartbeat, From: raft.ServerID(strings.Repeat("x", raft.MaxServerID+1))}
	many := raft.Message{Kind: raft.VoteRequest, Servers: make([]raft.Server, raft.MaxMembers+1)}
	far := raft.Message{Kind: raft.VoteRequest, Servers: []raft.Server{{Address: strings.Repeat("x", raft.MaxAddress+1)}}}
	for _, test := range []struct {
		want string
		b    []byte
	}{
		{"message: version: cut off", nil},
		{"message: of wire version 2, not 1", change(0, 2)},
		{"message: unknown kind 0", change(1, 0)},
		{"message: unknown kind 99", change(1, 99)},
		{"message: unknown fields 0x2000000", change(5, 2)},
		{"message: fields: 4 bytes, but only 1 are left", valid[:3]},
		{"message: From: a server ID of 256 bytes, more than 255", raft.AppendMessage(nil, &long)},
		{"message: 256 Servers, more than 255", raft.AppendMessage(nil, &many)},
		{"message: Servers: Address: 1025 bytes, more than 1024", raft.AppendMessage(nil, &far)},
		{"message: 1 bytes behind its end", append(slices.Clone(valid), 0)},
		{"message: Cluster is zero, yet present", append([]byte{1, 7, 1, 0, 0, 0, 0, 0}, make([]byte, 16)...)},
		{"message: Term is zero, yet present", []byte{1, 7, 8, 0, 0, 0, 0, 0, 0}},
		{"message: Term: 2 bytes for the number 1", []byte{1, 7, 8, 0, 0, 0, 0, 0, 0x81, 0}},
		{"message: Term: exceeds 64 bits", append([]byte{1, 7, 8, 0, 0, 0, 0, 0}, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"...)},
		{"message: Term: cut off", []byte{1, 7, 8, 0, 0, 0, 0, 0, 0x81}},
		{"message: Entries are none, yet present", []byte{1, 7, 0, 0x40, 0, 0, 0, 0, 0}},
		{"message: Entries: 2 of them in 5 bytes", []byte{1, 7, 0, 0x40, 0, 0, 0, 0, 2, 1, 0, 0, 1, 0}},
		{"message: Numbers: 4294967295 of them in 0 bytes", []byte{1, 7, 0, 0x80, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f}},
		{"entry: unknown fields 0x80", []byte{1, 7, 0, 0x40, 0, 0, 0, 0, 1, 1, 0x80, 0}},
		{"entry: Index and Term are zero, yet present", []byte{1, 7, 0, 0x40, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0}},
		{"entry: Origin and Number are zero, yet present", []byte{1, 7, 0, 0x40, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0}},
		{"entry: Data: 5 bytes, but only 1 are left", []byte{1, 7, 0, 0x40, 0, 0, 0, 0, 1, 1, 0, 5, 0}},
		{"entry: Data of 1073741825 bytes, more than 1073741824", []byte{1, 7, 0, 0x40, 0, 0, 0, 0, 1, 1, 0, 0x81, 0x80, 0x80, 0x80, 4}},
	} {
		_, err := raft.DecodeMessage(test.b)
		require.ErrorIs(t, err, raft.ErrMalformed)
		require.ErrorContains(t, err, test.want)
	}
	for n := range valid {
		_, err := raft.DecodeMessage(valid[:n])
		require.ErrorIs(t, err, raft.ErrMalformed, "cut at %d", n)
	}
}

func TestDecodeConfigurationNamesWhatIsWrong(t *testing.T) {
	encode := func(change func(*raft.Configuration)) []byte {
		c := sampleConfiguration()
		change(&c)
		return raft.AppendConfiguration(nil, &c)
	}
	valid := encode(func(*raft.Configuration) {})
	for _, test := range []struct {
		want string
		b    []byte
	}{
		{"configuration: of version 3, not 1 or 2", append([]byte{3}, valid[1:]...)},
		{"configuration: fields: cut off", append([]byte{2}, valid[1:]...)},
		{"configuration: 1 bytes behind its end", append(slices.Clone(valid), 0)},
		{`configuration: member "a" after "b": not sorted`, encode(func(c *raft.Configuration) { slices.Reverse(c.Members) })},
		{`configuration: member "a" after "a": not sorted`, encode(func(c *raft.Configuration) { c.Members[1].ID = "a" })},
		{"configuration: member 0 has no ID", encode(func(c *raft.Configuration) { c.Members[0].ID = "" })},
		{`configuration: member "b" has the unknown role 4`, encode(func(c *raft.Configuration) { c.Members[1].Role = 4 })},
		{"configuration: Members: 256, more than 255", encode(func(c *raft.Configuration) { c.Members = make([]raft.Member, 256) })},
	} {
		_, err := raft.DecodeConfiguration(test.b)
		require.ErrorIs(t, err, raft.ErrMalformed)
		require.ErrorContains(t, err, test.want)
	}
	for n := range valid {
		_, err := raft.DecodeConfiguration(valid[:n])
		require.ErrorIs(t, err, raft.ErrMalformed, "cut at %d", n)
	}
}

// The costliest message for its bytes is one of many empty entries. What it makes the decoder allocate
// is what the comment of DecodeMessage promises.
func TestDecodeMessageAllocatesInProportion(t *testing.T) {
	m := raft.Message{Kind: raft.AppendRequest, Entries: make([]raft.Entry, 100_000)}
	b := raft.AppendMessage(nil, &m)
	require.Less(t, allocatedBy(func() {
		_, err := raft.DecodeMessage(b)
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

func FuzzDecodeMessage(f *testing.F) {
	for _, m := range sampleMessages() {
		f.Add(raft.AppendMessage(nil, &m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := raft.DecodeMessage(b)
		if err != nil {
			require.ErrorIs(t, err, raft.ErrMalformed)
			require.Zero(t, m)
			return
		}
		require.Equal(t, b, raft.AppendMessage(nil, &m), "a message has one encoding")
	})
}

func FuzzDecodeEntry(f *testing.F) {
	for _, e := range sampleEntries() {
		f.Add(raft.AppendEntry(nil, &e))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, rest, err := raft.DecodeEntry(b)
		if err != nil {
			require.ErrorIs(t, err, raft.ErrMalformed)
			require.Zero(t, e)
			return
		}
		require.Equal(t, b, append(raft.AppendEntry(nil, &e), rest...), "an entry has one encoding")
	})
}

func FuzzDecodeConfiguration(f *testing.F) {
	c := sampleConfiguration()
	f.Add(raft.AppendConfiguration(nil, &c))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := raft.DecodeConfiguration(b)
		if err != nil {
			require.ErrorIs(t, err, raft.ErrMalformed)
			require.Zero(t, c)
			return
		}
		require.Equal(t, b, raft.AppendConfiguration(nil, &c), "a configuration has one encoding")
	})
}

// batch is an append as it travels under load.
func batch(entries int) raft.Message {
	m := sampleMessages()[raft.AppendRequest-1]
	m.Entries = make([]raft.Entry, entries)
	for i := range m.Entries {
		m.Entries[i] = raft.Entry{
			Index: raft.Index(1_000_000 + i), Term: 7, Kind: raft.EntryCommand,
			Origin: raft.Origin{Server: "a", Start: 3}, Number: uint64(1_000_000 + i), Data: make([]byte, 128),
		}
	}
	return m
}

func TestCodecAllocations(t *testing.T) {
	m := batch(64)
	b := raft.AppendMessage(nil, &m)
	require.Zero(t, testing.AllocsPerRun(10, func() { b = raft.AppendMessage(b[:0], &m) }), "encoding")

	var decoder raft.Decoder
	require.Equal(t, 1.0, testing.AllocsPerRun(10, func() {
		if _, err := decoder.DecodeMessage(b); err != nil {
			t.Error(err)
		}
	}), "decoding: the list of entries")

	small := batch(1)
	b = raft.AppendMessage(nil, &small)
	require.Less(t, testing.AllocsPerRun(1000, func() {
		if _, err := decoder.DecodeMessage(b); err != nil {
			t.Error(err)
		}
	}), 1.0, "decoding: the lists of small messages share their room")
}

// Messages that one Decoder has decoded share no entry, though small ones share memory.
func TestDecodedMessagesShareNoEntries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var decoder raft.Decoder
		var got [][]raft.Entry
		sizes := rapid.SliceOfN(rapid.IntRange(1, 20), 1, 40).Draw(t, "entries")
		for k, n := range sizes {
			m := batch(n)
			for i := range m.Entries {
				m.Entries[i].Number = uint64(1000*k + i)
			}
			decoded, err := decoder.DecodeMessage(raft.AppendMessage(nil, &m))
			require.NoError(t, err)
			got = append(got, append(decoded.Entries, raft.Entry{})[:n])
		}
		for k, entries := range got {
			require.Len(t, entries, sizes[k])
			for i := range entries {
				require.EqualValues(t, 1000*k+i, entries[i].Number)
			}
		}
	})
}

func BenchmarkAppendMessage(b *testing.B) {
	for _, m := range []raft.Message{sampleMessages()[raft.HeartbeatResponse-1], batch(64)} {
		b.Run(m.Kind.String(), func(b *testing.B) {
			buffer := raft.AppendMessage(nil, &m)
			b.SetBytes(int64(len(buffer)))
			b.ReportAllocs()
			for b.Loop() {
				buffer = raft.AppendMessage(buffer[:0], &m)
			}
		})
	}
}

func BenchmarkDecodeMessage(b *testing.B) {
	for _, m := range []raft.Message{sampleMessages()[raft.HeartbeatResponse-1], batch(64)} {
		b.Run(m.Kind.String(), func(b *testing.B) {
			buffer := raft.AppendMessage(nil, &m)
			b.SetBytes(int64(len(buffer)))
			b.ReportAllocs()
			var decoder raft.Decoder
			for b.Loop() {
				if _, err := decoder.DecodeMessage(buffer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
