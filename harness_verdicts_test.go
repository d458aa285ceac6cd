package raft_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
)

// A logVerdict is what a log says of the damage to its files.
type logVerdict string

const (
	unhurt  logVerdict = "nothing is lost"
	tells   logVerdict = "names what is lost"
	refuses logVerdict = "refuses"
	silent  logVerdict = "holds something else, and doesn't say so"
)

// A look is what can be seen of a log without changing it.
type look struct {
	verdict logVerdict
	saved   raft.Saved
	differs string // how the log differs from what it was, if it is silent
}

func (l *look) String() string {
	s := &l.saved
	return fmt.Sprintf("%s: log (%d, %d], lost %v, snapshot %d (%v)", l.verdict, s.Base, s.Last, s.Lost, s.Snapshot.Index, s.SnapshotDamage)
}

// lookAt compares a server's log with what it was before it was damaged.
func (h *filesHistory) lookAt(t *testing.T, id raft.ServerID, fs *simfs.FS) *look {
	report, err := wal.Inspect(logDir, h.options(id, fs), nil)
	if errors.Is(err, wal.ErrNoLog) {
		return &look{verdict: refuses}
	}
	require.NoError(t, err)
	if report.Err != nil {
		return &look{verdict: refuses}
	}
	l := &look{saved: report.Saved, verdict: unhurt}
	l.differs = differs(&h.base[id].Saved, &l.saved)
	switch {
	case l.differs != "":
		l.verdict = silent
	case len(l.saved.Lost) > 0 || l.saved.SnapshotDamage != nil || l.saved.Snapshot.Index < h.base[id].Saved.Snapshot.Index:
		l.verdict = tells
	}
	return l
}

// differs says how a log has changed beyond what it names as lost. A snapshot may have given way to
// an older one, since the log goes on from there.
func differs(was, is *raft.Saved) string {
	later := func(saved *raft.Saved) []raft.Entry {
		return slices.DeleteFunc(slices.Clone(saved.Configurations), func(e raft.Entry) bool { return e.Index <= was.Snapshot.Index })
	}
	switch {
	case is.State != was.State:
		return fmt.Sprintf("the state is %+v, not %+v", is.State, was.State)
	case is.Last != was.Last || is.Base != was.Base || is.BaseTerm != was.BaseTerm:
		return fmt.Sprintf("the log goes from %d to %d, not from %d to %d", is.Base, is.Last, was.Base, was.Last)
	case !slices.Equal(is.Runs, was.Runs):
		return fmt.Sprintf("the terms are %v, not %v", is.Runs, was.Runs)
	case fmt.Sprint(later(is)) != fmt.Sprint(later(was)):
		return "the configurations are others"
	case is.Snapshot.Index > was.Snapshot.Index || is.Snapshot.Index > 0 && is.Snapshot.Configuration.Cluster != was.Snapshot.Configuration.Cluster:
		return fmt.Sprintf("the snapshot is %+v, not %+v", is.Snapshot, was.Snapshot)
	}
	return ""
}

// byName says whether an error says which file is damaged, or which entries are lost.
func byName(err error) bool {
	var corrupt *wal.CorruptError
	var damaged *raft.DamagedError
	return errors.Is(err, raft.ErrCorrupt) && (errors.As(err, &corrupt) && corrupt.File != "" || errors.As(err, &damaged))
}

// has says whether a log, or its snapshot, holds the bytes of an entry. The term is that of another
// log, or 0 if that one has forgotten it.
func (l *look) has(index raft.Index, term raft.Term) bool {
	return l.saved.SnapshotDamage == nil && index <= l.saved.Snapshot.Index || l.logs(index, term)
}

// logs says so of the log alone.
func (l *look) logs(index raft.Index, term raft.Term) bool {
	s := &l.saved
	return index > s.Base && index <= s.Last && !names(s.Lost, index) && (term == 0 || term == l.term(index))
}

// term returns the term of an entry, or 0 if the log doesn't hold it.
func (l *look) term(index raft.Index) (term raft.Term) {
	if index <= l.saved.Base || index > l.saved.Last {
		return 0
	}
	for _, run := range l.saved.Runs {
		if run.First <= index {
			term = run.Term
		}
	}
	return term
}

// complement says whether some logs of three have together whatever any of them lacks. Otherwise it
// names what is nowhere.
func complement(logs map[raft.ServerID]*look) (bool, string) {
	for id, l := range logs {
		for index := raft.Index(1); index <= l.saved.Last; index++ {
			if !l.has(index, 0) && !givenBy(logs, func(other *look) bool { return other.has(index, l.term(index)) }) {
				return false, fmt.Sprintf("entry %d of %s", index, id)
			}
		}
	}
	if mayWait(logs) {
		return false, "a snapshot that is new enough, and a server that needs no more than one"
	}
	return true, ""
}

// mayWait says whether servers may wait although they miss nothing, as pattern.mayWait does.
func mayWait(logs map[raft.ServerID]*look) bool {
	var leaders []*look
	for _, l := range logs {
		if l.electable(logs) && !l.refusesOlder(logs) {
			leaders = append(leaders, l)
		}
	}
	for _, l := range logs {
		lost := l.saved.SnapshotDamage != nil && l.saved.Base > 0
		behind := slices.ContainsFunc(leaders, func(leader *look) bool { return l.saved.Last < leader.saved.Base })
		if !lost && !behind && !l.refusesOlder(logs) {
			return len(leaders) == 0
		}
	}
	return true
}

func givenBy(logs map[raft.ServerID]*look, has func(other *look) bool) bool {
	for _, other := range logs {
		if has(other) {
			return true
		}
	}
	return false
}

// electable says whether the server of a log would get the votes of a majority of three.
func (l *look) electable(logs map[raft.ServerID]*look) bool {
	votes := 0
	for _, other := range logs {
		one, two := l.saved.LastTerm(), other.saved.LastTerm()
		if one > two || one == two && l.saved.Last >= other.saved.Last {
			votes++
		}
	}
	return votes >= 2
}

// refusesOlder says whether a log, whose own snapshot is damaged, has lost an entry that only older
// snapshots have.
func (l *look) refusesOlder(logs map[raft.ServerID]*look) bool {
	if l.saved.SnapshotDamage == nil {
		return false
	}
	for index := raft.Index(1); index <= l.saved.Last; index++ {
		given := func(other *look) bool {
			older := other.saved.Snapshot.Index < l.saved.Snapshot.Index
			return other.logs(index, l.term(index)) || !older && other.has(index, l.term(index))
		}
		if index > l.saved.Base && !l.has(index, 0) && !givenBy(logs, given) {
			return true
		}
	}
	return false
}
