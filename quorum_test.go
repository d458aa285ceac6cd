package raft

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// §4.3: a majority of the voters of each half has reached what a joint configuration has reached,
// and nothing higher.
func TestQuorumByProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := map[Incarnation]uint64{}
		draw := func(label string) []Member {
			var members []Member
			for i := range rapid.IntRange(0, 5).Draw(t, label) {
				m := Member{Server: Server{ID: ServerID(rune('a' + i))}}
				m.Role = rapid.SampledFrom([]MemberRole{Voter, Voter, Learner, Joining}).Draw(t, "role")
				m.Incarnation = Incarnation(10*i + rapid.IntRange(1, 2).Draw(t, "disk"))
				if _, known := values[m.Incarnation]; !known {
					values[m.Incarnation] = rapid.Uint64Range(0, 4).Draw(t, "value")
				}
				members = append(members, m)
			}
			return members
		}
		c := Configuration{Members: draw("members")}
		if rapid.Bool().Draw(t, "joint") {
			c.Old = draw("old")
		}
		reached := func(members []Member, v uint64) bool {
			voters, have := 0, 0
			for _, m := range members {
				if m.Role == Voter {
					voters++
					if values[m.Incarnation] >= v {
						have++
					}
				}
			}
			return 2*have > voters
		}
		want := uint64(0)
		for v := uint64(1); v <= 4; v++ {
			if reached(c.Members, v) && (c.Old == nil || reached(c.Old, v)) {
				want = v
			}
		}
		require.Equal(t, want, quorum(&c, func(m *Member) uint64 { return values[m.Incarnation] }))
	})
}
