package wal_test

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wire"
)

var (
	groupDamages    = flag.Int("group-damages", 1500, "how many logs are damaged in TestDamageToGroupsIsNeverSilent")
	groupDamageSeed = flag.Uint64("group-damage-seed", 1, "the first history in TestDamageToGroupsIsNeverSilent")
)

// groupVerdicts count what became of groups whose log was damaged.
type groupVerdicts struct {
	logs, whole         int // logs that were damaged, and that were refused as a whole
	sound, lossy, alone int // groups of the others: with all, with losses that are named, refused by name
}

// fault lets one fault happen to one segment, and says which. It damages up to most bytes.
func (f *groupWriter) fault(disk *simfs.FS, most int) string {
	var names []string
	for _, name := range disk.Names() {
		if strings.HasSuffix(name, ".wal") {
			names = append(names, name)
		}
	}
	name := names[f.rng.IntN(len(names))]
	content := disk.Bytes(name)
	at := f.rng.IntN(len(content))
	n := min([]int{1, 1, 8, 100, 512, 4096, most, 1 + f.rng.IntN(most)}[f.rng.IntN(8)], len(content)-at)
	switch f.rng.IntN(3) {
	case 0:
		content[at] ^= 1 << f.rng.IntN(8)
		n = 1
	case 1:
		clear(content[at : at+n])
	case 2:
		for i := at; i < at+n; i++ {
			content[i] = byte(f.rng.Uint32())
		}
	}
	disk.Replace(name, content)
	return fmt.Sprintf("%s: %d bytes at %d", name, n, at)
}

// judge opens a log that was damaged, and that must hold what the models say. It returns an error if
// anything is missing of which nobody says so. What can be loaded goes on, and is there after another
// start; what was refused still is. The models are those after what was written then; there are none
// of a log or a group that was refused.
func (f *groupWriter) judge(disk *simfs.FS, models map[raft.GroupID]model, removed []raft.GroupID, v *groupVerdicts) error {
	v.logs++
	log, err := wal.Open(dir, f.options(disk))
	if err != nil {
		v.whole++
		clear(models)
		return mustBeCorrupt(err)
	}
	bad := map[raft.GroupID]bool{}
	if err := judgeGroups(log, models, removed, v, bad); err != nil {
		return err
	}
	for range f.rng.IntN(4) {
		if err := f.goOn(log, models, bad); err != nil {
			return err
		}
	}
	if f.rng.IntN(2) == 0 {
		err = log.Close()
	} else {
		err = log.Anchor()
	}
	if err != nil {
		return err
	}
	disk.Kill()
	disk.Flush()
	if log, err = wal.Open(dir, f.options(disk)); err != nil {
		return fmt.Errorf("after another start: %w", err)
	}
	defer log.Close()
	again := map[raft.GroupID]bool{}
	if err := judgeGroups(log, models, removed, &groupVerdicts{}, again); err != nil {
		return fmt.Errorf("after another start: %w", err)
	}
	for _, id := range groupNames {
		// Where segments are smaller than what a directory looks back to, older ones may have gone meanwhile,
		// and with them the parts that would have to be counted.
		if bad[id] && !again[id] || again[id] && !bad[id] && f.size >= 64<<10 {
			return fmt.Errorf("groups %v were refused, and now %v", bad, again)
		}
		if again[id] {
			delete(models, id)
		}
	}
	if err := log.Close(); err != nil {
		return err
	}
	disk.Kill()
	disk.Flush()
	return nil
}

// goOn appends an entry to some groups.
func (f *groupWriter) goOn(log *wal.Log, models map[raft.GroupID]model, bad map[raft.GroupID]bool) error {
	var writes []raft.GroupWrite
	for _, id := range groupNames {
		m, there := models[id]
		if !there || bad[id] || f.rng.IntN(2) == 0 {
			continue
		}
		w := raft.Write{State: m.state, Entries: []raft.Entry{{Index: m.last() + 1, Term: m.state.Term, Kind: 1, Data: make([]byte, f.rng.IntN(900))}}}
		models[id] = m.after(w, m.bytes)
		writes = append(writes, raft.GroupWrite{Group: id, Write: w})
	}
	refused, err := log.WriteGroups(writes)
	if err == nil && len(refused) > 0 {
		err = fmt.Errorf("groups go on, but %v", refused)
	}
	return err
}

func mustBeCorrupt(err error) error {
	var corrupt *wal.CorruptError
	if errors.As(err, &corrupt) && errors.Is(err, raft.ErrCorrupt) {
		return nil
	}
	return fmt.Errorf("refused, but not by name: %w", err)
}

func judgeGroups(log *wal.Log, models map[raft.GroupID]model, removed []raft.GroupID, v *groupVerdicts, bad map[raft.GroupID]bool) error {
	for _, id := range groupNames {
		m, there := models[id]
		if !there {
			continue
		}
		storage, err := log.Group(id)
		if err != nil {
			v.alone++
			bad[id] = true
			if err := mustBeCorrupt(err); err != nil {
				return err
			}
			continue
		}
		saved, err := storage.Load()
		if err != nil {
			return fmt.Errorf("group %q: %w", id, err)
		}
		if err := m.judged(storage, saved, v); err != nil {
			return fmt.Errorf("group %q: %w", id, err)
		}
	}
	for _, id := range removed {
		storage, err := log.Group(id)
		if err != nil {
			if err := mustBeCorrupt(err); err != nil {
				return err
			}
			continue
		}
		saved, err := storage.Load()
		if err != nil || saved.Last > 0 || saved.State != (raft.DurableState{}) {
			return fmt.Errorf("group %q was removed, and holds %v (%w)", id, saved, err)
		}
	}
	return nil
}

// judged returns an error if a group that was loaded lacks something of which it doesn't say so.
func (m model) judged(storage raft.Storage, saved raft.Saved, v *groupVerdicts) error {
	if err := lossesOf(storage, saved, m); err != nil {
		return err
	}
	if len(saved.Lost) == 0 {
		v.sound++
		return m.differsIn(storage)
	}
	v.lossy++
	write := raft.Write{State: m.state}
	for _, r := range saved.Lost {
		for i := r.First; i <= r.Last; i++ {
			write.Repairs = append(write.Repairs, m.entry(i))
		}
	}
	if err := storage.Write(write); err != nil {
		return err
	}
	return m.differsIn(storage)
}

// One fault in one segment never makes anything vanish in silence that was acknowledged, in any group.
// It costs whole groups only what the documentation says, and the whole log hardly ever.
//
//	go test ./wal -run TestDamageToGroupsIsNeverSilent -group-damages 100000 -v
func TestDamageToGroupsIsNeverSilent(t *testing.T) {
	oneGoroutine(t)
	t.Parallel()
	var v groupVerdicts
	for seed := *groupDamageSeed; v.logs < *groupDamages; seed++ {
		f := newGroupWriter(seed)
		f.size = []int64{4 << 10, 16 << 10, 256 << 10}[seed%3]
		f.open(t)
		for range 10 + f.rng.IntN(100) {
			f.step(t)
		}
		if seed%2 == 0 {
			require.NoError(t, f.log.Anchor())
		} else {
			require.NoError(t, f.log.Close())
		}
		f.fs.Kill()
		f.fs.Flush()
		var removed []raft.GroupID
		for _, id := range groupNames {
			if !slices.Contains(f.stored(), id) {
				removed = append(removed, id)
			}
		}
		for range 30 {
			disk := f.fs.Clone()
			models := map[raft.GroupID]model{}
			for _, id := range f.stored() {
				models[id] = f.groups[id].now
			}
			what := ""
			for range 1 + f.rng.IntN(2) { // one fault, or one more when the log has gone on
				what += f.fault(disk, 64<<10) + "; "
				require.NoError(t, f.judge(disk, models, removed, &v), "seed %d: %s", seed, what)
				if len(models) == 0 {
					break
				}
			}
		}
	}
	t.Logf("%+v", v)
	require.Less(t, 50*v.whole, v.logs)
	require.Positive(t, v.sound)
	require.Positive(t, v.lossy)
	require.Positive(t, v.alone)
}

// A group that was removed stays away if damage hits the record that says so, and the open behind it: the
// next record still names it among those that were touched, as one that has ended.
func TestRemovedGroupStaysAwayBehindDamage(t *testing.T) {
	disk := simfs.New(1)
	options := small(disk)
	options.SegmentSize = 1 << 20
	open := func() *wal.Log {
		log, err := wal.Open(dir, options)
		require.NoError(t, err)
		return log
	}
	write := func(log *wal.Log, id raft.GroupID, index raft.Index, data int) {
		state := raft.DurableState{HardState: raft.HardState{Term: 1}, Server: "server"}
		entries := []raft.Entry{{Index: index, Term: 1, Kind: wire.EntryCommand, Data: make([]byte, data)}}
		refused, err := log.WriteGroups([]raft.GroupWrite{{Group: id, Write: raft.Write{State: state, Entries: entries}}})
		require.NoError(t, err)
		require.Empty(t, refused)
	}
	log := open()
	write(log, "a", 1, 10)
	write(log, "b", 1, 100<<10)
	write(log, "b", 2, 100)
	require.NoError(t, log.RemoveGroup("a"))
	require.NoError(t, log.Close())
	log = open()
	write(log, "b", 3, 100)
	require.NoError(t, log.Close())
	disk.Kill()
	from, end, last := int64(0), int64(0), int64(0)
	_, err := wal.Inspect(dir, options, func(r *wal.Record) error {
		if from > 0 && end == 0 && r.Kind == "part" {
			end = r.Offset
		}
		if r.Ends {
			from = r.Offset
		}
		last = r.Offset
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, last, end, "the open stands between the two")
	require.True(t, disk.Overwrite(dir+"/0000000000000001.wal", from, make([]byte, end-from)))
	log = open()
	groups, err := log.Groups()
	require.NoError(t, err)
	require.Equal(t, []raft.GroupID{"b"}, groups)
	require.NoError(t, log.Close())
}
