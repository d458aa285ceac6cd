package main

import (
	"bytes"
	"errors"
	"math"
	"math/big"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// apply applies commands as one batch and returns their results.
func apply(c *counter, commands ...[]byte) [][]byte {
	entries := make([]raft.Entry, len(commands))
	for i, command := range commands {
		entries[i] = raft.Entry{Kind: wire.EntryCommand, Data: command}
	}
	results := make([][]byte, len(commands))
	c.Apply(entries, results)
	return results
}

// TestCounterAgreesWithBigIntegers: the counter adds as integers without bounds do while the sum is
// an int64, and changes nothing otherwise.
func TestCounterAgreesWithBigIntegers(t *testing.T) {
	limits := rapid.SampledFrom([]int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, math.MaxInt64 - 1, math.MaxInt64})
	rapid.Check(t, func(t *rapid.T) {
		c, want := &counter{}, new(big.Int)
		for range rapid.IntRange(1, 20).Draw(t, "batches") {
			amounts := rapid.SliceOfN(rapid.OneOf(limits, rapid.Int64()), 1, 5).Draw(t, "amounts")
			var commands [][]byte
			for _, amount := range amounts {
				commands = append(commands, encode(amount))
			}
			for i, result := range apply(c, commands...) {
				sum := new(big.Int).Add(want, big.NewInt(amounts[i]))
				if !sum.IsInt64() {
					require.Empty(t, result, "%v + %d is refused", want, amounts[i])
					continue
				}
				want = sum
				got, err := decode(result)
				require.NoError(t, err)
				require.Equal(t, want.Int64(), got)
			}
			require.Equal(t, want.Int64(), c.Value())
		}
	})
}

func TestCounterRefusesOtherCommands(t *testing.T) {
	c := &counter{value: 7}
	for _, result := range apply(c, nil, []byte("1234567"), []byte("123456789")) {
		require.Empty(t, result)
	}
	require.EqualValues(t, 7, c.Value())
}

func TestCounterSnapshots(t *testing.T) {
	c := &counter{value: -3}
	captured, err := c.Snapshot()
	require.NoError(t, err)
	apply(c, encode(10)) // this comes after the snapshot, and so isn't in it
	var snapshot bytes.Buffer
	_, err = captured.WriteTo(&snapshot)
	require.NoError(t, err)

	restored := &counter{value: 100}
	require.NoError(t, restored.Restore(bytes.NewReader(snapshot.Bytes())))
	require.EqualValues(t, -3, restored.Value())

	broken := errors.New("broken disk")
	require.ErrorIs(t, restored.Restore(iotest.ErrReader(broken)), broken)
	require.ErrorContains(t, restored.Restore(bytes.NewReader(make([]byte, 7))), "8 bytes, not 7")
	require.ErrorContains(t, restored.Restore(bytes.NewReader(make([]byte, 1000))), "8 bytes, not 9")
	require.EqualValues(t, -3, restored.Value(), "a snapshot that can't be read changes nothing")
}
