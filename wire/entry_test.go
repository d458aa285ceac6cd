package wire_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft/wire"
)

func TestEntriesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b []byte
		want := rapid.SliceOfN(drawEntry(), 0, 10).Draw(t, "entries")
		for i := range want {
			b = wire.AppendEntry(b, &want[i])
		}
		var decoder wire.Decoder
		for i := range want {
			e, rest, err := decoder.DecodeEntry(b)
			require.NoError(t, err)
			require.Equal(t, want[i], e)
			b = rest
		}
		require.Empty(t, b)
	})
}

func FuzzDecodeEntry(f *testing.F) {
	for _, e := range sampleEntries() {
		f.Add(wire.AppendEntry(nil, &e))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, rest, err := wire.DecodeEntry(b)
		if err != nil {
			require.ErrorIs(t, err, wire.ErrMalformed)
			require.Zero(t, e)
			return
		}
		require.Equal(t, b, append(wire.AppendEntry(nil, &e), rest...), "an entry has one encoding")
	})
}
