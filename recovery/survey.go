package recovery

import (
	"fmt"
	"slices"
	"strings"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A Loss is something that a server's disk has lost, and who still has it: the bytes of entries of
// one term, or the server's snapshot.
type Loss struct {
	Server raft.ServerID
	// Range is that of the entries, and Term their term. Covered says that the server's own snapshot
	// covers them: then the server doesn't need them itself.
	wire.Range
	Term    raft.Term
	Covered bool
	// Snapshot says that it is the snapshot that is lost. Range.Last is then the index that it covers,
	// Range.First is 1, and Covered says that the server's whole log is still there.
	Snapshot bool

	// Bytes are the other servers that have the bytes of all these entries.
	Bytes []raft.ServerID
	// Instead are the other servers that have, or can make, a snapshot that covers all of it.
	Instead []raft.ServerID
}

// Nowhere says that no other server has the bytes, nor a snapshot in their place, and that the server
// itself needs them.
func (l *Loss) Nowhere() bool { return !l.Covered && len(l.Bytes)+len(l.Instead) == 0 }

// String says it in a line.
func (l *Loss) String() string {
	list := func(servers []raft.ServerID) string {
		var names []string
		for _, id := range servers {
			names = append(names, string(id))
		}
		return strings.Join(names, ", ")
	}
	what := fmt.Sprintf("what was in entries %d to %d of term %d", l.First, l.Last, l.Term)
	if l.Snapshot {
		what = fmt.Sprintf("the snapshot of index %d", l.Last)
	} else if l.Covered {
		what += ", which its snapshot covers"
	}
	var who []string
	if len(l.Bytes) > 0 {
		who = append(who, list(l.Bytes)+" can give it")
	}
	if len(l.Instead) > 0 {
		who = append(who, list(l.Instead)+" can give a snapshot instead")
	}
	if len(who) == 0 {
		who = []string{"nobody here can give it"}
	}
	return fmt.Sprintf("server %s has lost %s: %s", l.Server, what, strings.Join(who, "; "))
}

// Survey compares what the storages of several servers hold (raft.Storage.Load), and returns all that
// is lost. What it says of who has something holds for these servers alone. The error wraps
// raft.ErrConfig if they aren't servers of one cluster, each given once. It wraps
// raft.ErrCorrupt if one of them is no state that a server can start with (raft.Saved.Check).
func Survey(servers ...raft.Saved) ([]Loss, error) {
	for i := range servers {
		s := &servers[i]
		if err := s.Check(); err != nil {
			return nil, fmt.Errorf("recovery: server %q: %w", s.State.Server, err)
		}
		for j := range servers[:i] {
			switch o := &servers[j]; {
			case o.State.Server == s.State.Server:
				return nil, fmt.Errorf("recovery: %w: two of the logs are server %q's", raft.ErrConfig, s.State.Server)
			case o.State.Cluster != s.State.Cluster:
				return nil, fmt.Errorf("recovery: %w: server %q belongs to cluster %v, and server %q to cluster %v",
					raft.ErrConfig, o.State.Server, o.State.Cluster, s.State.Server, s.State.Cluster)
			}
		}
	}
	var losses []Loss
	for i := range servers {
		losses = append(losses, lossesOf(servers, i)...)
	}
	return losses, nil
}

// lossesOf returns what one of the servers has lost. Each entry range of it is held, or not held, by
// each of the others as a whole.
func lossesOf(servers []raft.Saved, i int) (losses []Loss) {
	s := &servers[i]
	if s.SnapshotDamage != nil {
		loss := Loss{Server: s.State.Server, Range: wire.Range{First: 1, Last: s.Snapshot.Index}, Term: s.Snapshot.Term, Snapshot: true}
		loss.Covered = makes(s, s.Snapshot)
		for j := range servers {
			if j != i && (covers(&servers[j], s.Snapshot.Index) || makes(&servers[j], s.Snapshot)) {
				loss.Instead = append(loss.Instead, servers[j].State.Server)
			}
		}
		losses = append(losses, loss)
	}
	cuts := cutsOf(servers)
	for _, lost := range s.Lost {
		for first := lost.First; first <= lost.Last; {
			last := lost.Last
			if at, _ := slices.BinarySearch(cuts, first+1); at < len(cuts) {
				last = min(last, cuts[at]-1)
			}
			loss := Loss{Server: s.State.Server, Range: wire.Range{First: first, Last: last}, Term: termAt(s, first)}
			loss.Covered = last <= s.Snapshot.Index && s.SnapshotDamage == nil
			for j := range servers {
				if j == i {
					continue
				}
				if o := &servers[j]; hasBytes(o, first, loss.Term) {
					loss.Bytes = append(loss.Bytes, o.State.Server)
				}
				if covers(&servers[j], last) {
					loss.Instead = append(loss.Instead, servers[j].State.Server)
				}
			}
			losses = append(losses, loss)
			first = last + 1
		}
	}
	return losses
}

// cutsOf returns, in order, all indexes at which something begins or has just ended in any log.
func cutsOf(servers []raft.Saved) (cuts []raft.Index) {
	for i := range servers {
		s := &servers[i]
		cuts = append(cuts, s.Base+1, s.Last+1, s.Snapshot.Index+1)
		for _, run := range s.Runs {
			cuts = append(cuts, run.First)
		}
		for _, lost := range s.Lost {
			cuts = append(cuts, lost.First, lost.Last+1)
		}
	}
	slices.Sort(cuts)
	return slices.Compact(cuts)
}

// termAt returns the term of the entry that a log holds at an index, or 0 if it holds none.
func termAt(s *raft.Saved, index raft.Index) (term raft.Term) {
	if index <= s.Base || index > s.Last {
		return 0
	}
	for _, run := range s.Runs {
		if run.First <= index {
			term = run.Term
		}
	}
	return term
}

// isLost says whether an entry is lost.
func isLost(s *raft.Saved, index raft.Index) bool {
	return slices.ContainsFunc(s.Lost, func(r wire.Range) bool { return r.First <= index && index <= r.Last })
}

// hasBytes says whether a log has the bytes of the entry of an index and a term.
func hasBytes(s *raft.Saved, index raft.Index, term raft.Term) bool {
	return term != 0 && termAt(s, index) == term && !isLost(s, index)
}

// covers says whether a server has a sound snapshot that covers an index.
func covers(s *raft.Saved, index raft.Index) bool {
	return s.Snapshot.Index >= index && s.SnapshotDamage == nil
}

// makes says whether a server can come to the state that a snapshot holds: from an earlier one, or
// from the beginning, by its log.
func makes(s *raft.Saved, snapshot raft.SnapshotMeta) bool {
	from := s.Snapshot.Index
	if s.SnapshotDamage != nil || from == 0 {
		if from = 0; s.Base > 0 {
			return false
		}
	}
	lost := slices.ContainsFunc(s.Lost, func(r wire.Range) bool { return r.Last > from && r.First <= snapshot.Index })
	return !lost && termAt(s, snapshot.Index) == snapshot.Term
}
