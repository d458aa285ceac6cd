package typed_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/typed"
)

// TestAllocations counts what a command allocates on three servers, with a codec that writes bytes,
// and compares it with the same done by hand. One allocation more would be too many for nobody.
func TestAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("pools forget at random under the race detector")
	}
	synctest.Test(t, func(t *testing.T) { // the clock stands still while a goroutine works: no heartbeats
		byType := leaderOf(t, func(c raft.Config) (*typed.Node[transfer, total], error) {
			return binaryOptions.Start(new(typedBank), c)
		})
		byHand := leaderOf(t, func(c raft.Config) (*raft.Node, error) {
			c.Machine = new(plainBank)
			return raft.Start(c)
		})
		command := transfer{From: 7, To: 300, Amount: 1000}
		typedly := func() {
			if _, err := byType.Propose(t.Context(), command); err != nil {
				t.Error(err)
			}
		}
		plainly := func() {
			b, _ := command.AppendBinary(nil)
			result, err := byHand.Propose(t.Context(), b)
			var sum total
			if err != nil || sum.UnmarshalBinary(result) != nil {
				t.Error(err)
			}
		}
		for range 1000 {
			typedly()
			plainly()
		}
		require.LessOrEqual(t, testing.AllocsPerRun(2000, typedly), testing.AllocsPerRun(2000, plainly)+1)
	})
}
