package sim

import (
	"flag"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	hostRuns  = flag.Int("hostruns", 40, "how many runs of hosts")
	hostStart = flag.Int("hoststart", 1, "the first seed of hosts")
)

// hostGroups returns how many groups the hosts of a seed serve.
func hostGroups(seed uint64) int { return 3 + int(seed%6) }

// Whatever happens to processes, their disks, networks, shards and groups, all invariants hold in every
// group, and in the end all groups make progress and cost nothing.
func TestHosts(t *testing.T) {
	t.Parallel()
	h := NewHosts()
	var total HostStats
	var all Stats
	for seed := uint64(*hostStart); seed < uint64(*hostStart+*hostRuns); seed++ {
		r, stats := h.Run(seed, hostGroups(seed))
		require.Nil(t, r.Violation, "go run ./cmd/raftsim -groups %d -seed %d", hostGroups(seed), seed)
		total.Add(&stats)
		all.Add(&r.Stats)
	}
	t.Logf("%+v", total)
	t.Logf("%+v", all)
}
