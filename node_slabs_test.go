package raft

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestCommandsAreCopiedApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var slabs slabPool
		sizes := rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 100, 2000, 5000}), 40, 100).Draw(t, "sizes")
		var copies [][]byte
		for i, size := range sizes {
			command := bytes.Repeat([]byte{byte(i)}, size)
			copied := slabs.copy(nil, command)
			require.Equal(t, len(copied), cap(copied), "nobody appends into a neighbour")
			clear(command)
			copies = append(copies, copied)
		}
		for i, size := range sizes {
			require.True(t, bytes.Equal(bytes.Repeat([]byte{byte(i)}, size), copies[i]), "command %d is another", i)
		}
	})
}
