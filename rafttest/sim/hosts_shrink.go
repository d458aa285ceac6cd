package sim

import (
	"fmt"
	"strings"
)

// A run of hosts has no schedule whose events could be left out. What can be made smaller is what its
// parameters say: how many groups and servers there are, which faults happen, for how long. Each step is
// kept if the same invariant is broken then, in the run of this seed or of one of a few others.

// shrinkSeeds is with how many seeds a smaller run is tried.
const shrinkSeeds = 4

// Shrink returns parameters with which less happens than in a run that breaks an invariant, and the same
// one is broken. budget bounds the work; its unit is about a microsecond of a processor. It returns the
// parameters of a run that breaks nothing as they are.
func (h *Hosts) Shrink(p Params, groups, budget int) (Params, int) {
	return shrinkHosts(func(p Params, groups int) Result {
		r, _ := h.RunParams(p, groups)
		return r
	}, p, groups, budget)
}

// shrinkHosts is Hosts.Shrink for anything that performs a run.
func shrinkHosts(run func(Params, int) Result, p Params, groups, budget int) (Params, int) {
	first := run(p, groups)
	if first.Violation == nil {
		return p, groups
	}
	k := hostShrinker{run: run, best: p, groups: groups, failure: first.Violation.kind(), budget: budget}
	for smaller := true; smaller && k.budget > 0; {
		smaller = false
		for _, step := range hostSteps() {
			for k.budget > 0 && k.takes(step) {
				smaller = true
			}
		}
	}
	return k.best, k.groups
}

// A hostShrinker is the state of one shrinking.
type hostShrinker struct {
	run     func(Params, int) Result
	best    Params
	groups  int
	failure string // Violation.kind of the failure that is kept
	budget  int
}

// A hostStep makes a run smaller. It reports whether it has changed anything.
type hostStep func(p *Params, groups *int) bool

// hostSteps returns the steps that are tried, those that save most first.
func hostSteps() (steps []hostStep) {
	steps = append(steps, func(_ *Params, groups *int) bool {
		*groups--
		return *groups > 0
	}, func(p *Params, _ *int) bool {
		p.Events /= 2
		return p.Events > 20
	}, func(p *Params, _ *int) bool {
		p.Events -= p.Events / 8
		return p.Events > 20
	}, func(p *Params, _ *int) bool {
		p.Servers--
		return p.Servers > 0
	})
	for bit := range numHostFaults {
		steps = append(steps, without(func(p *Params) *int64 { return &p.HostKinds }, 1<<bit))
	}
	for bit := range numFaults + numHostDiskFaults {
		steps = append(steps, without(func(p *Params) *int64 { return &p.FaultKinds }, 1<<bit))
	}
	for n := range new(Params).extras() {
		steps = append(steps, without(func(p *Params) *int64 { return p.extras()[n] }, -1))
	}
	return steps
}

// without returns a step that clears bits of a parameter.
func without(of func(*Params) *int64, bits int64) hostStep {
	return func(p *Params, _ *int) bool {
		value := of(p)
		before := *value
		*value &^= bits
		return *value != before
	}
}

// extras returns the parameters that a run can do without: each is 0 then.
func (p *Params) extras() []*int64 {
	return []*int64{
		&p.WAL, &p.Spares, &p.ChangeTime, &p.LoseTime, &p.LoseAll, &p.Freeze, &p.Brim, &p.Reserve, &p.Scrub, &p.After, &p.Durable,
		&p.Sessions, &p.Older, &p.Priorities, &p.ShortLeases, &p.MaxLease, &p.LeaseReads, &p.StaleReads, &p.Reads, &p.Fences, &p.Cancels,
		&p.Compare, &p.Keys, &p.Drift, &p.Loss, &p.Slow, &p.Duplicate, &p.Reorder, &p.Hold, &p.Jitter, &p.Merge, &p.Throughput,
		&p.StoreFail, &p.StreamBreak,
	}
}

// takes makes the best run smaller by a step, if the failure stays.
func (k *hostShrinker) takes(step hostStep) bool {
	p, groups := k.best, k.groups
	if !step(&p, &groups) || !p.startable() {
		return false
	}
	for n := range int64(shrinkSeeds) {
		p.Seed = k.best.Seed + n
		r := k.run(p, groups)
		k.budget -= cost(&r, 0)
		if r.Violation != nil && r.Violation.kind() == k.failure {
			k.best, k.groups = p, groups
			return true
		}
		if k.budget <= 0 {
			break
		}
	}
	return false
}

// Changes returns the parameters that differ from others, each as a name and a value like "servers=3", with
// commas between them.
func (p Params) Changes(from Params) string {
	var changes []string
	before := from.all()
	for n, parameter := range p.all() {
		if *parameter.value != *before[n].value {
			changes = append(changes, fmt.Sprintf("%s=%d", parameter.name, *parameter.value))
		}
	}
	return strings.Join(changes, ",")
}
