package wal

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The kind of a record takes four bytes, and all of them count: a record of a kind that is to come
// isn't taken for one that is known.
func TestKindOfARecordIsReadWhole(t *testing.T) {
	for _, kind := range []recordKind{kindHead, kindBatch, kindBatch + 1, 1<<8 | kindBatch, 1<<31 | kindOpen} {
		record := make([]byte, headerSize)
		seal(record, header{kind: kind}, 7, preambleSize)
		h, ok := parseHeader(record, 7, preambleSize)
		require.True(t, ok)
		require.Equal(t, kind, h.kind)
	}
}
