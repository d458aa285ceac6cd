package recovery

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A Plan says what the survivors of a cluster hold together, and which of them to recover.
type Plan struct {
	// Reports are those of the survivors, in the order in which they were given. Losses are all that
	// their disks have lost.
	Reports []Report
	Losses  []Loss

	// Best is the survivor to recover. Its log ends in the highest term, and among those at the
	// highest index: so the others hold nothing that was committed and that it doesn't know of.
	// What it has lost comes from the others.
	Best raft.ServerID
	// SnapshotOf is the survivor whose snapshot is to take the place of Best's, because Best's is
	// damaged or doesn't cover lost entries; "" for none.
	SnapshotOf raft.ServerID

	// Nowhere is the first range of entries that Best needs, and that no survivor can give; it is
	// zero if there is none. Then the log must be cut: Cut is the last index that stays. Otherwise
	// Cut is 0. Last is where Best's log ends.
	Nowhere   wire.Range
	Cut, Last raft.Index

	best int
}

// NewPlan compares what the storages of all survivors hold (raft.Storage.Load). The errors are those
// of Inspect and of Survey. Or the error wraps raft.ErrCorrupt if none of the survivors can be
// recovered.
func NewPlan(servers ...raft.Saved) (Plan, error) {
	var p Plan
	var err error
	if p.Losses, err = Survey(servers...); err != nil {
		return Plan{}, err
	}
	for i := range servers {
		r, err := reportOf(&servers[i])
		if err != nil {
			return Plan{}, err
		}
		p.Reports = append(p.Reports, r)
	}
	order := make([]int, len(servers))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return compare(&servers[j], &servers[i]) })
	var reasons []string
	for _, i := range order {
		reason := p.choose(servers, i)
		if reason == "" {
			return p, nil
		}
		reasons = append(reasons, fmt.Sprintf("server %s %s", servers[i].State.Server, reason))
	}
	return p, fmt.Errorf("recovery: %w: no server can be recovered: %s", raft.ErrCorrupt, strings.Join(reasons, "; "))
}

// compare says which of two logs ends later (§3.6.1), and of equal ones, which has lost less.
func compare(a, b *raft.Saved) int {
	lost := func(s *raft.Saved) (n raft.Index) {
		for _, r := range s.Lost {
			n += r.Last - r.First + 1
		}
		return n
	}
	damaged := func(s *raft.Saved) int {
		if s.SnapshotDamage != nil {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(a.LastTerm(), b.LastTerm()), cmp.Compare(a.Last, b.Last),
		cmp.Compare(damaged(b), damaged(a)), cmp.Compare(lost(b), lost(a)))
}

// choose plans the recovery of one of the servers. It returns why that can't be recovered, or "".
func (p *Plan) choose(servers []raft.Saved, best int) string {
	s := &servers[best]
	p.best, p.Best, p.Last = best, s.State.Server, s.Last
	p.SnapshotOf, p.Nowhere, p.Cut = "", wire.Range{}, 0
	from := s.Snapshot.Index // where the state begins
	if s.SnapshotDamage != nil {
		switch at := snapshotOf(servers, best, from); {
		case at >= 0:
			from, p.SnapshotOf = servers[at].Snapshot.Index, servers[at].State.Server
		case s.Base == 0:
			from = 0
		default:
			return "has a damaged snapshot, and nobody has one in its place"
		}
	}
	gap := p.gap(from)
	if gap.First > 0 {
		if at := snapshotOf(servers, best, gap.First); at >= 0 {
			from, p.SnapshotOf = servers[at].Snapshot.Index, servers[at].State.Server
			gap = p.gap(from)
		}
	}
	if p.SnapshotOf != "" {
		other := &servers[slices.IndexFunc(servers, func(o raft.Saved) bool { return o.State.Server == p.SnapshotOf })]
		if termAt(s, from) != other.Snapshot.Term {
			return fmt.Sprintf("contradicts the snapshot of index %d that server %s has", from, p.SnapshotOf)
		}
	}
	if p.Nowhere = gap; gap.First > 0 {
		if p.Cut = gap.First - 1; p.Cut == 0 {
			return "has lost the first entry, and nobody has it"
		}
	}
	return ""
}

// gap returns the first entries behind an index that the best server has lost, and of which nobody
// has the bytes.
func (p *Plan) gap(from raft.Index) wire.Range {
	for i := range p.Losses {
		l := &p.Losses[i]
		if l.Server == p.Best && !l.Snapshot && l.Last > from && len(l.Bytes) == 0 {
			return wire.Range{First: max(l.First, from+1), Last: l.Last}
		}
	}
	return wire.Range{}
}

// snapshotOf returns the server, other than best, with the latest sound snapshot that covers an
// index and isn't older than best's. It returns -1 if there is none.
func snapshotOf(servers []raft.Saved, best int, index raft.Index) int {
	found := -1
	for i := range servers {
		if i == best || !covers(&servers[i], max(index, servers[best].Snapshot.Index, 1)) {
			continue
		}
		if found < 0 || servers[i].Snapshot.Index > servers[found].Snapshot.Index {
			found = i
		}
	}
	return found
}

// String says in a few lines what each survivor holds, what is lost, and what to do.
func (p *Plan) String() string {
	var text strings.Builder
	for i := range p.Reports {
		text.WriteString(p.Reports[i].String())
	}
	for i := range p.Losses {
		fmt.Fprintln(&text, p.Losses[i].String())
	}
	fmt.Fprintf(&text, "server %s is the one to recover: its log ends last\n", p.Best)
	if p.SnapshotOf != "" {
		fmt.Fprintf(&text, "the snapshot of server %s takes the place of its own\n", p.SnapshotOf)
	}
	if p.Cut != 0 {
		fmt.Fprintf(&text, `what was in entries %d to %d is nowhere, so its log must be cut after index %d
entries %d to %d are lost by that, and so are all commands in them, even if they were acknowledged
`, p.Nowhere.First, p.Nowhere.Last, p.Cut, p.Cut+1, p.Last)
	}
	return text.String()
}
