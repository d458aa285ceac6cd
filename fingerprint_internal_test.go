package raft

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/wire"
)

// A snapshot that is restored leaves a gap, and what lies before the gap isn't told: the sums of a
// message belong to neighbouring indexes.
func TestFingerprintsAreToldUpToAGap(t *testing.T) {
	c, err := NewCore(CoreConfig{ID: "a", Incarnation: 1, CompareResults: true})
	require.NoError(t, err)
	members := []Member{{Server: Server{ID: "a"}}, {Server: Server{ID: "b"}}}
	c.log.configurations = []placedConfiguration{{1, &Configuration{Members: members}}}
	c.fingerprints.own = []wire.Fingerprint{{Index: 64, Sum: 1}, {Index: 128, Sum: 2}, {Index: 1024, Sum: 3}, {Index: 1088, Sum: 4}}
	c.tellFingerprints()
	require.Len(t, c.out.held, 1)
	told := c.out.held[0].message
	require.Equal(t, wire.KindFingerprints, told.Kind())
	require.Equal(t, ServerID("b"), told.To)
	require.Equal(t, Index(1088), told.Fingerprints().Index)
	require.Equal(t, []uint64{3, 4}, told.Fingerprints().Sums)
}
