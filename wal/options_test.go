package wal_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
)

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []wal.Options{{Ahead: wal.MaxAhead + 1}} {
		o.FS = simfs.New(1)
		_, err := wal.Open(dir, o)
		require.Error(t, err, "%+v", o)
	}
}
