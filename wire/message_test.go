package wire_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft/wire"
)

func TestMessagesRoundTrip(t *testing.T) {
	var decoder wire.Decoder // shared by all, as in a connection
	rapid.Check(t, func(t *rapid.T) {
		m := drawMessage().Draw(t, "message")
		prefix := []byte("before")
		b := wire.AppendMessage(prefix, &m)
		require.Equal(t, prefix, b[:len(prefix)])
		got, err := decoder.DecodeMessage(b[len(prefix):])
		require.NoError(t, err)
		require.True(t, m.Equal(&got), "%v, not %v", got, m)
	})
}

// The entries' data is the frame's memory. Appending to the data of one entry doesn't reach the
// next entry.
func TestDecodedDataAliasesTheBytes(t *testing.T) {
	m := wire.AppendRequest{Entries: []wire.Entry{{Data: []byte("one")}, {Data: []byte("two")}}}.Message()
	b := wire.AppendMessage(nil, &m)
	got, err := wire.DecodeMessage(b)
	require.NoError(t, err)
	got.Entries()[0].Data[0] = 'O'
	require.Contains(t, string(b), "One")
	require.Equal(t, len(got.Entries()[0].Data), cap(got.Entries()[0].Data))
}

func TestDecodeMessageNamesWhatIsWrong(t *testing.T) {
	valid := wire.AppendMessage(nil, &sampleMessages()[wire.KindAppendRequest-1])
	change := func(at int, b byte) []byte {
		c := slices.Clone(valid)
		c[at] = b
		return c
	}
	long := wire.Heartbeat{}.Message()
	long.From = wire.ServerID(strings.Repeat("x", wire.MaxServerID+1))
	many := wire.VoteRequest{Bootstrap: make([]wire.Server, wire.MaxMembers+1)}.Message()
	far := wire.VoteRequest{Bootstrap: []wire.Server{{Address: strings.Repeat("x", wire.MaxAddress+1)}}}.Message()
	for _, test := range []struct {
		want string
		b    []byte
	}{
		{"message: version: cut off", nil},
		{"message: of wire version 2, not 1", change(0, 2)},
		{"message: unknown kind 0", change(1, 0)},
		{"message: unknown kind 99", change(1, 99)},
		{"message: unknown fields 0x10000000", change(5, 16)},
		{"message: fields: 4 bytes, but only 1 are left", valid[:3]},
		{"message: From: a server ID of 256 bytes, more than 255", wire.AppendMessage(nil, &long)},
		{"message: 256 Servers, more than 255", wire.AppendMessage(nil, &many)},
		{"message: Servers: Address: 1025 bytes, more than 1024", wire.AppendMessage(nil, &far)},
		{"message: Heartbeat has no Number", []byte{1, 7, 0, 4, 0, 0, 0, 0, 1}},
		{"message: TimeoutNow has no Granted", []byte{1, 9, 0, 8, 0, 0, 0, 0}},
		{"message: Lease is negative", append([]byte{1, 7, 0, 0, 8, 0, 0, 0}, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"...)},
		{"message: 1 bytes behind its end", append(slices.Clone(valid), 0)},
		{"message: Cluster is zero, yet present", append([]byte{1, 7, 1, 0, 0, 0, 0, 0}, make([]byte, 16)...)},
		{"message: Term is zero, yet present", []byte{1, 7, 8, 0, 0, 0, 0, 0, 0}},
		{"message: Term: 2 bytes for the number 1", []byte{1, 7, 8, 0, 0, 0, 0, 0, 0x81, 0}},
		{"message: Term: exceeds 64 bits", append([]byte{1, 7, 8, 0, 0, 0, 0, 0}, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"...)},
		{"message: Term: cut off", []byte{1, 7, 8, 0, 0, 0, 0, 0, 0x81}},
		{"message: Group is empty, yet present", []byte{1, 9, 0, 0, 0, 4, 0, 0, 0}},
		{"message: Group: a group ID of 256 bytes, more than 255", append([]byte{1, 9, 0, 0, 0, 4, 0, 0, 0x80, 2}, make([]byte, 256)...)},
		{"message: Process is zero, yet present", append([]byte{1, 29, 0, 0, 0, 8, 0, 0}, make([]byte, 12)...)},
		{"process: Wait is negative", append([]byte{1, 29, 0, 0, 0, 8, 0, 0, 0, 0, 0}, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"...)},
		{"process: Stands: 2 of them in 3 bytes", []byte{1, 29, 0, 0, 0, 8, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0}},
		{"process: Gone: a group ID of 256 bytes, more than 255", append([]byte{1, 29, 0, 0, 0, 8, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x80, 2}, make([]byte, 256)...)},
		{"process: Lost: 9 of them in 0 bytes", []byte{1, 29, 0, 0, 0, 8, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9}},
		{"message: Entries is empty, yet present", []byte{1, 5, 0, 0x40, 0, 0, 0, 0, 0}},
		{"message: Entries: 2 of them in 5 bytes", []byte{1, 5, 0, 0x40, 0, 0, 0, 0, 2, 1, 0, 0, 1, 0}},
		{"message: Numbers: 4294967295 of them in 0 bytes", []byte{1, 11, 0, 0x80, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f}},
		{"entry: unknown fields 0x80", []byte{1, 5, 0, 0x40, 0, 0, 0, 0, 1, 1, 0x80, 0}},
		{"entry: Index and Term are zero, yet present", []byte{1, 5, 0, 0x40, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0}},
		{"entry: Origin and Number are zero, yet present", []byte{1, 5, 0, 0x40, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0}},
		{"entry: Data: 5 bytes, but only 1 are left", []byte{1, 5, 0, 0x40, 0, 0, 0, 0, 1, 1, 0, 5, 0}},
		{"entry: Data of 1073741825 bytes, more than 1073741824", []byte{1, 5, 0, 0x40, 0, 0, 0, 0, 1, 1, 0, 0x81, 0x80, 0x80, 0x80, 4}},
	} {
		_, err := wire.DecodeMessage(test.b)
		require.ErrorIs(t, err, wire.ErrMalformed)
		require.ErrorContains(t, err, test.want)
	}
	for n := range valid {
		_, err := wire.DecodeMessage(valid[:n])
		require.ErrorIs(t, err, wire.ErrMalformed, "cut at %d", n)
	}
}

func FuzzDecodeMessage(f *testing.F) {
	for _, m := range sampleMessages() {
		f.Add(wire.AppendMessage(nil, &m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := wire.DecodeMessage(b)
		if err != nil {
			require.ErrorIs(t, err, wire.ErrMalformed)
			require.Zero(t, m)
			return
		}
		require.Equal(t, b, wire.AppendMessage(nil, &m), "a message has one encoding")
	})
}

func BenchmarkAppendMessage(b *testing.B) {
	for _, m := range []wire.Message{sampleMessages()[wire.KindHeartbeatResponse-1], batch(64)} {
		b.Run(m.Kind().String(), func(b *testing.B) {
			buffer := wire.AppendMessage(nil, &m)
			b.SetBytes(int64(len(buffer)))
			b.ReportAllocs()
			for b.Loop() {
				buffer = wire.AppendMessage(buffer[:0], &m)
			}
		})
	}
}

func BenchmarkDecodeMessage(b *testing.B) {
	for _, m := range []wire.Message{sampleMessages()[wire.KindHeartbeatResponse-1], batch(64)} {
		b.Run(m.Kind().String(), func(b *testing.B) {
			buffer := wire.AppendMessage(nil, &m)
			b.SetBytes(int64(len(buffer)))
			b.ReportAllocs()
			var decoder wire.Decoder
			for b.Loop() {
				if _, err := decoder.DecodeMessage(buffer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
