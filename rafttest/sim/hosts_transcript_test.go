package sim

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A transcript doesn't change the run, has all groups and processes, and goes on in time.
func TestHostsTranscript(t *testing.T) {
	t.Parallel()
	at := regexp.MustCompile(`(?m)^(g\d|  )\s+(\d+\.\d{3})  `)
	for seed := uint64(1); seed <= 4; seed++ {
		p := HostSwarm(seed)
		if seed%2 == 0 {
			p = p.WithWAL()
		}
		want, _ := NewHosts().RunParams(p, 3)
		var out bytes.Buffer
		h := NewHosts()
		got, _ := h.Transcript(&out, p, 3)
		require.Equal(t, want, got, "seed %d", seed)
		last, groups := 0.0, map[string]int{}
		for _, line := range at.FindAllStringSubmatch(out.String(), -1) {
			now, err := strconv.ParseFloat(line[2], 64)
			require.NoError(t, err)
			require.GreaterOrEqual(t, now, last)
			last = now
			groups[line[1]]++
		}
		require.Len(t, groups, 4)
		for i := range h.n {
			require.Contains(t, out.String(), fmt.Sprintf("process %d starts as ", i+1))
		}
		again, _ := h.RunParams(p, 3)
		require.Equal(t, want, again, "nothing of it is left")
	}
}

// A failure keeps the parameters that it takes, and hardly any others.
func TestHostsShrink(t *testing.T) {
	t.Parallel()
	p := HostSwarm(3)
	p.HostKinds |= 1 << hostCrash
	fails := func(p Params, groups int) Result {
		r := Result{Params: p}
		switch {
		case p.Events < 100 || groups < 2 || p.HostKinds&(1<<hostCrash) == 0:
		case p.Seed%2 == 0 && p.Servers < 3: // other seeds break something else then
			r.Violation = newViolation(Gate, 0, 0, "another one")
		default:
			r.Violation = newViolation(Convergence, 0, 0, "of %d groups", groups)
		}
		return r
	}
	small, groups := shrinkHosts(fails, p, 5, DefaultBudget)
	require.Equal(t, 2, groups)
	require.EqualValues(t, 1<<hostCrash, small.HostKinds)
	require.EqualValues(t, 1, small.Servers)
	require.Less(t, small.Events, int64(120))
	require.Zero(t, small.FaultKinds+small.Loss+small.WAL+small.ChangeTime)
	again := p
	for change := range strings.SplitSeq(small.Changes(p), ",") {
		name, value, _ := strings.Cut(change, "=")
		n, err := strconv.ParseInt(value, 10, 64)
		require.NoError(t, err)
		require.NoError(t, again.Set(name, n))
	}
	require.Equal(t, small, again, "what is printed says all")
	same, groups := NewHosts().Shrink(HostSwarm(1), 3, DefaultBudget)
	require.Equal(t, HostSwarm(1), same, "it breaks nothing")
	require.Equal(t, 3, groups)
}
