package rafttest_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
	"github.com/e17579a5/raft/wire"
)

// TestStorageConvictsOfDamage demands that TestStorage convicts storages that break a rule about
// lost entries.
func TestStorageConvictsOfDamage(t *testing.T) {
	for name, c := range map[string]struct {
		flaw func(f *flawed)
		want string // a regular expression
	}{
		"hides what is lost": {lies(func(s *raft.Saved) { s.Lost = nil }), `damage at Load: .*Load returned \[\] as the lost entries, want \[\{3 4\} \{9 9\}\]`},
		"names what is sound": {lies(func(s *raft.Saved) {
			if n := len(s.Lost); n > 0 {
				s.Lost[n-1].Last = s.Last
			}
		}), `repairs: .*as the lost entries, want`},
		"drops a lost configuration": {lies(func(s *raft.Saved) {
			if len(s.Lost) > 0 && s.Lost[0].First == 1 {
				s.Configurations = nil
			}
		}), `damage at Load: .*Load returned the configurations nothing`},
		"calls all of it corrupt":     {readsDamage(func(*raft.DamagedError) error { return raft.ErrCorrupt }), `damage at Load: .*want a DamagedError: the bytes of entry 3 are lost`},
		"says that it was compacted":  {readsDamage(func(*raft.DamagedError) error { return raft.ErrCompacted }), `damage at Load: .*want a DamagedError`},
		"names another entry":         {readsDamage(func(d *raft.DamagedError) error { d.Lost.First++; d.Lost.Last++; return d }), `DamagedError of Entries\(2, 9\) begins at entry 4, want 3`},
		"names too much on reading":   {readsDamage(func(d *raft.DamagedError) error { d.Lost.Last++; return d }), `DamagedError of Entries\(2, 9\) names entry 5, which isn't lost`},
		"reads on behind a lost one":  {readsOn, `damage at Load: .*Entries\(2, 9\) returned entries 5 to 8 and the error <nil>, want a DamagedError`},
		"ignores repairs":             {ignoresRepairs, `repairs: .*DamagedError of Entries\(1, 9\) names entry 3, which isn't lost`},
		"repairs only what is loaded": {repairsLate, `repairs: .*Load returned .* as the lost entries, want`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := rafttest.TestStorage(with(rafttest.MemoryDisk, c.flaw))
			require.Error(t, err)
			require.Regexp(t, c.want, err.Error())
		})
	}
}

// readsDamage returns a flaw that changes what a storage says of lost entries when they are read.
func readsDamage(change func(*raft.DamagedError) error) func(f *flawed) {
	return func(f *flawed) {
		f.entries = func(after, last raft.Index, maxBytes int) ([]raft.Entry, error) {
			entries, err := f.Storage.Entries(after, last, maxBytes)
			var damage *raft.DamagedError
			if errors.As(err, &damage) {
				err = change(&raft.DamagedError{Lost: damage.Lost, Err: damage.Err})
			}
			return entries, err
		}
	}
}

// readsOn returns the entries behind the lost ones in their place.
func readsOn(f *flawed) {
	f.entries = func(after, last raft.Index, maxBytes int) ([]raft.Entry, error) {
		entries, err := f.Storage.Entries(after, last, maxBytes)
		var damage *raft.DamagedError
		if errors.As(err, &damage) && damage.Lost.Last < last {
			return f.Storage.Entries(damage.Lost.Last, last, maxBytes)
		}
		return entries, err
	}
}

// ignoresRepairs stores no entry once more.
func ignoresRepairs(f *flawed) {
	f.write = func(w raft.Write) error {
		w.Repairs = nil
		return f.Storage.Write(w)
	}
}

// repairsLate goes on to name repaired entries as lost.
func repairsLate(f *flawed) {
	f.load = func() (raft.Saved, error) {
		saved, err := f.Storage.Load()
		if len(saved.Lost) > 0 && saved.Lost[0].First == 4 {
			saved.Lost = append([]wire.Range{{First: 2, Last: 2}}, saved.Lost...)
		}
		return saved, err
	}
}
