package rafttest

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/rafttest/sim"
)

// TestProgramsFindEachRule demands that a run finds each flaw, whatever its seed, and names the
// rule that is broken.
func TestProgramsFindEachRule(t *testing.T) {
	for _, flaw := range names() {
		t.Run(flaw, func(t *testing.T) {
			t.Parallel()
			p := property(flaw)
			missed, steps, rules := 0, 0, map[string]int{}
			const runs = 100
			for seed := range uint64(runs) {
				r := drawn(seed)
				if r.fails(&p); r.found == nil {
					missed++
					continue
				}
				rules[r.found.rule]++
				steps = max(steps, len(r.short))
			}
			t.Logf("missed in %d of %d runs; %d steps at most; %v", missed, runs, steps, rules)
			require.LessOrEqual(t, missed, runs*6/10) // of most runs that miss it, the commands are all one and the same
			require.Equal(t, map[string]int{flaws[flaw]: runs - missed}, rules)
			require.LessOrEqual(t, steps, 8)
		})
	}
}

// TestProgramsAcquitTheInnocent demands that neither programs nor clusters blame a machine that
// keeps the rules.
func TestProgramsAcquitTheInnocent(t *testing.T) {
	for _, innocent := range []string{"", "durable ", "durable saves later"} {
		t.Run(innocent, func(t *testing.T) {
			t.Parallel()
			p := property(innocent)
			for seed := range uint64(100) {
				require.Empty(t, drawn(seed).fails(&p), "seed %d", seed)
			}
		})
	}
}

// TestClustersFindRules demands that clusters alone find flaws, too, and under the right name.
func TestClustersFindRules(t *testing.T) {
	for flaw, want := range map[string]string{
		"changes the entry":              sim.LentEntries,
		"keeps the entry":                sim.ReplicasEqual,
		"returns the entry":              sim.ReplicasEqual,
		"forgets the total":              sim.ReplicasEqual,
		"sees what comes later":          sim.ReplicasEqual,
		"durable changes the entry":      sim.LentEntries,
		"durable can't load":             sim.DurableState,
		"durable can't save":             sim.DurableState,
		"durable forgets what is beside": sim.DurableState,
		"durable keeps what is beside":   sim.DurableState,
		"durable goes back":              sim.DurableState,
	} {
		t.Run(flaw, func(t *testing.T) {
			t.Parallel()
			p := property(flaw)
			found := map[string]int{}
			const runs = 40
			for seed := range uint64(runs) {
				r := drawn(seed)
				if v := r.do(sim.NewWorld(r.options(p))).Violation; v != nil {
					found[v.Name]++
				}
			}
			t.Logf("of %d runs %v", runs, found)
			require.Greater(t, found[want], 0)
		})
	}
}

// TestClusterFailureIsTriedAlone demands that a failure for which programs are too short, but which
// takes one copy only, is shown as a program of the commands that a cluster has applied.
func TestClusterFailureIsTriedAlone(t *testing.T) {
	p := property("tires")
	for seed := range uint64(200) {
		r := drawn(seed)
		w := sim.NewWorld(r.options(p))
		if r.do(w).Violation == nil {
			continue
		}
		require.Greater(t, len(w.Commands()), tired)
		require.True(t, r.alone(&p), "seed %d", seed)
		require.Equal(t, ruleBatches, r.found.rule)
		require.Len(t, r.short, 1)
		return
	}
	require.Fail(t, "no cluster has failed")
}

// TestStoresGoBack demands that the disks of a user's durable state machine and of its log go back,
// together and alone, and that a machine that keeps the rules isn't blamed for that.
func TestStoresGoBack(t *testing.T) {
	faults := int64(1 << slices.Index(sim.FaultNames[:], "put-back"))
	var did sim.Stats
	for _, innocent := range []string{"durable ", "durable saves later"} {
		p := property(innocent)
		for seed := range uint64(60) {
			r := drawn(seed)
			w := sim.NewWorld(r.options(p))
			params := sim.Swarm(seed)
			params.Events, params.ClientTime, params.FaultKinds = params.Events/2, params.Election/20, params.FaultKinds|faults
			result := w.RunParams(params)
			require.Nil(t, result.Violation, "seed %d", seed)
			did.Add(&result.Stats)
		}
	}
	t.Logf("logs that went back %d, machines that went back alone %d, starts that were refused %d", did.Backs, did.MachineBacks, did.Refusals)
	require.Positive(t, did.Backs)
	require.Positive(t, did.MachineBacks)
	require.Positive(t, did.Refusals)
}
