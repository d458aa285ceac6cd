package wal

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// An entry that isn't what its record says, with right checksums, can only be the work of a bug.
// Open doesn't look at it; reading finds it. Inspect finds it before that.
func TestInspectLooksAtEachEntry(t *testing.T) {
	entries := []raft.Entry{{Index: 1, Term: 1, Kind: wire.EntryNoOp}, {Index: 2, Term: 5, Kind: wire.EntryNoOp}}
	log := func(harm func(frames []byte)) error {
		empty := checkpoint{opens: 1}
		head := empty.append(nil)
		var c change
		c.setEntries(entries)
		prelude := new(contents).appendWitness(c.append(nil), new(trail), place{})
		body := c.appendFrames(prelude, entries, 1)
		at := len(prelude)
		harm(body[at:])
		data := append([]byte{byte(kindHead), 255, byte(len(head))}, head...)
		data = append(append(data, byte(kindBatch), byte(at), byte(len(body))), body...)

		disk := fuzzLog(t, sealed(data))
		report, err := Inspect(fuzzDir, fuzzOptions(disk), nil)
		require.NoError(t, err)
		require.NoError(t, report.Err)
		require.Len(t, report.Segments, 1)
		require.Equal(t, 2, report.Segments[0].Records)
		return errors.Join(report.Damage...)
	}
	require.NoError(t, log(func([]byte) {}))
	first := frameSize + len(wire.AppendEntry(nil, &entries[0]))
	require.ErrorContains(t, log(func(frames []byte) { frames[len(frames)-1] ^= 1 }), "entry 2: its checksum is wrong")
	require.ErrorContains(t, log(func(frames []byte) {
		copy(frames[first:], frames[:first])
	}), "entry 1 of term 1 in the place of 2 of term 5")
	require.ErrorContains(t, log(func(frames []byte) {
		frames[first+frameSize+1] = 0xff
		little.PutUint32(frames[first+4:], frameCRC(frames[first:], 1))
	}), "entry 2: ")
}
