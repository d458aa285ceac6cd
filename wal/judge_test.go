package wal_test

import (
	"errors"
	"fmt"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wire"
)

// A verdict is what became of a log that was damaged.
type verdict string

const (
	sound   verdict = "everything is there"
	lossy   verdict = "entries are lost, and named"
	refused verdict = "refused"
	spoiled verdict = "the snapshot is damaged, and named"
)

// errSilent says that something that was acknowledged has vanished, and nobody says so.
var errSilent = errors.New("lost in silence")

// judge opens a log that was damaged, of which a model knows what it must hold. It returns an error
// that is errSilent if anything is missing of which the log doesn't say so. What is lost is stored
// again, and must be there then, also after another start.
func judge(fs *simfs.FS, want model) (verdict, error) {
	l, err := wal.Open(dir, small(fs))
	if err != nil {
		var corrupt *wal.CorruptError
		if !errors.As(err, &corrupt) || !errors.Is(err, raft.ErrCorrupt) {
			return refused, fmt.Errorf("refused, but not by name: %w", err)
		}
		return refused, nil
	}
	defer l.Close()
	saved, err := l.Load()
	if err != nil {
		return refused, err
	}
	if saved.SnapshotDamage != nil || saved.Snapshot.Index < want.snapshot.Index && saved.Snapshot.Index > 0 {
		// All but the snapshot must be there.
		if saved.State != want.state || saved.Last != want.last() || saved.Base != want.before {
			return spoiled, fmt.Errorf("%w: with a damaged snapshot: %v\nnot\n%v", errSilent, saved, want.saved())
		}
		return spoiled, readable(l, saved, want)
	}
	lost := saved.Lost
	if err := lossesOf(l, saved, want); err != nil {
		return sound, err
	}
	if len(lost) == 0 {
		return sound, want.differsIn(l)
	}
	write := raft.Write{State: want.state}
	for _, r := range lost {
		for i := r.First; i <= r.Last; i++ {
			write.Repairs = append(write.Repairs, want.entry(i))
		}
	}
	if err := l.Write(write); err != nil {
		return lossy, err
	}
	if err := want.differsIn(l); err != nil {
		return lossy, fmt.Errorf("after the repair of %v: %w", lost, err)
	}
	if err := l.Close(); err != nil {
		return lossy, err
	}
	if l, err = wal.Open(dir, small(fs)); err != nil {
		return lossy, fmt.Errorf("after the repair of %v: %w", lost, err)
	}
	defer l.Close()
	if saved, err = l.Load(); err == nil {
		err = want.differs(l, saved)
	}
	if err != nil {
		return lossy, fmt.Errorf("after the repair of %v, and another start: %w", lost, err)
	}
	return lossy, nil
}

// lossesOf returns an error if a log that was opened differs from the model, but for the entries
// that it names as lost.
func lossesOf(l raft.Storage, saved raft.Saved, want model) error {
	if err := saved.Check(); err != nil && want.state.Server != "" && want.state.Cluster != (raft.ClusterID{}) {
		return err
	}
	lost := saved.Lost
	saved.LogBytes, saved.KeptBytes, saved.Lost = 0, 0, nil
	if should := want.saved(); fmt.Sprint(should) != fmt.Sprint(saved) {
		return fmt.Errorf("%w: loaded\n%v, not\n%v", errSilent, saved, should)
	}
	saved.Lost = lost
	return readable(l, saved, want)
}

// readable returns an error if an entry can't be read that isn't lost, or isn't what it was.
func readable(l raft.Storage, saved raft.Saved, want model) error {
	for i := saved.Base + 1; i <= saved.Last; i++ {
		named := slices.ContainsFunc(saved.Lost, func(r wire.Range) bool { return r.First <= i && i <= r.Last })
		entries, err := l.Entries(i-1, i, 1)
		var damaged *raft.DamagedError
		switch {
		case named && errors.As(err, &damaged) && damaged.Lost.First == i && errors.Is(err, raft.ErrCorrupt):
		case named:
			return fmt.Errorf("entry %d is lost, and reading it returns %v, %w", i, entries, err)
		case err != nil:
			return fmt.Errorf("entry %d isn't lost, and can't be read: %w", i, err)
		case !sameEntry(entries[0], want.entry(i)):
			return fmt.Errorf("%w: entry %v in the place of %v", errSilent, entries[0], want.entry(i))
		}
	}
	return nil
}

// requireHonest requires that a log that was damaged says what it has lost.
func requireHonest(t require.TestingT, fs *simfs.FS, want model, about ...any) verdict {
	v, err := judge(fs, want)
	require.NoError(t, err, about...)
	return v
}
