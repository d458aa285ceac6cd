package rafttest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/e17579a5/raft"
)

// A holdingStorage is a shared storage that says which groups hold up its log.
type holdingStorage interface{ Holders() []raft.Holder }

const (
	// entryOverhead is how many bytes an entry may count for beside its own in Holder.Bytes, which is about
	// how many there are.
	entryOverhead = 128
	// largestHeld is how many entries of largeEntry bytes are written to have the log held up.
	largestHeld = 100
	largeEntry  = 20_000
	// freeWithin is after how many writes of freeEntry bytes nothing may be held up any more, when all groups
	// have shortened their logs.
	freeWithin = 400
	freeEntry  = 4_000
)

// hasHolders says whether the storage has the method Holders.
func (s *sharedSession) hasHolders() bool {
	_, has := s.storage.(holdingStorage)
	return has
}

// holders calls Holders, and compares what it returns to the models.
func (s *sharedSession) holders() (held []raft.Holder) {
	storage, has := s.storage.(holdingStorage)
	if !has {
		return nil
	}
	s.within("Holders", func() { held = storage.Holders() })
	seen := map[raft.GroupID]bool{}
	for i, h := range held {
		model, known := s.models[h.Group]
		needed := uint64(0)
		for _, e := range model.entries {
			if e.Index > model.compacted {
				needed += uint64(len(e.Data)) + entryOverhead
			}
		}
		switch {
		case !known:
			convict("Holders names group %q, of which nothing is stored", h.Group)
		case seen[h.Group]:
			convict("Holders names group %q twice", h.Group)
		case i > 0 && h.Bytes > held[i-1].Bytes:
			convict("Holders names group %q, with %d bytes, behind group %q, with %d", h.Group, h.Bytes, held[i-1].Group, held[i-1].Bytes)
		case h.Damaged:
			convict("Holders says that group %q is damaged, which can be loaded", h.Group)
		case h.Bytes > needed:
			convict("Holders says that %d bytes of group %q hold up the log, which needs no more than %d", h.Bytes, h.Group, needed)
		}
		seen[h.Group] = true
	}
	return held
}

// shorten has a group need no entries any more.
func (s *sharedSession) shorten(group raft.GroupID) {
	model := s.models[group]
	last := model.last()
	term, _ := model.term(last)
	meta := raft.SnapshotMeta{Index: last, Term: term}
	s.group(group).store(meta, snapshotBytes(meta))
	s.write(raft.GroupWrite{Group: group, Write: raft.Write{State: model.state, Snapshot: &meta, Compact: last}})
}

// smallGroups is how many groups have little in a log that is held up.
const smallGroups = 10

func smallGroup(i int) raft.GroupID { return raft.GroupID(fmt.Sprint("small ", i%smallGroups)) }

// held has groups with little hold up a log in which a large group was. It returns those that hold it up, or nil if
// none does.
func (s *sharedSession) held() []raft.Holder {
	s.holders() // it knows no groups yet
	for i := range smallGroups {
		s.write(appends(smallGroup(i), 1, 0, strings.Repeat("x", 20*i)))
	}
	for i := range raft.Index(largestHeld) {
		small := smallGroup(int(i))
		s.write(appends("large", 1, i, strings.Repeat("x", largeEntry)), appends(small, 1, s.last(small), fmt.Sprint("entry ", i)))
		s.holders()
	}
	s.remove("large")
	return s.holders()
}

// checkHolders has groups hold up the log, and shortens those that are named, until none is.
func checkHolders(s *sharedSession) {
	if !s.hasHolders() {
		return
	}
	held := s.held()
	if len(held) == 0 {
		s.skips(fmt.Sprintf("a log that is held up after %d bytes", largestHeld*largeEntry))
		return
	}
	s.recover()
	s.holders()
	for i := range raft.Index(freeWithin) {
		for _, h := range s.holders() {
			if h.Bytes > 0 {
				s.shorten(h.Group)
			}
		}
		if held = s.holders(); len(held) == 0 {
			s.all()
			return
		}
		s.write(appends("writes", 1, i, strings.Repeat("x", freeEntry)))
		if i%20 == 19 {
			s.shorten("writes")
		}
	}
	convict("all groups that hold up the log have shortened theirs, and %d bytes were written since; Holders still names %s", freeWithin*freeEntry, describeHolders(held))
}

// checkRemovedHolders has groups hold up the log, and removes them. Then nobody does.
func checkRemovedHolders(s *sharedSession) {
	if !s.hasHolders() {
		return
	}
	s.held()
	for _, group := range slices.Sorted(maps.Keys(s.models)) {
		s.remove(group)
		s.holders()
	}
	s.recover()
	if held := s.holders(); len(held) > 0 {
		convict("Holders names %s, and all groups are removed", describeHolders(held))
	}
}

// checkHoldersAtOnce calls Holders while groups are written, opened and removed, and after Close.
func checkHoldersAtOnce(s *sharedSession) {
	if !s.hasHolders() {
		return
	}
	s.held()
	ever := []raft.GroupID{"large", "writes"}
	for group := range s.models {
		ever = append(ever, group)
	}
	storage, stop := s.storage.(holdingStorage), make(chan struct{})
	together(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			for _, h := range storage.Holders() {
				if !slices.Contains(ever, h.Group) {
					convict("Holders names group %q, of which nothing was ever stored", h.Group)
				}
			}
		}
	}, func() {
		defer close(stop)
		for i := range raft.Index(50) {
			small := smallGroup(int(i))
			s.write(appends("writes", 1, i, strings.Repeat("x", freeEntry)), appends(small, 1, s.last(small), "more"))
			switch i % 7 {
			case 1:
				s.shorten(small)
			case 3:
				s.remove(small)
			case 5:
				s.all()
			}
		}
	})
	s.holders()
	s.end()
	s.within("Holders after Close", func() { _ = storage.Holders() })
	s.open()
	s.all()
}

func describeHolders(held []raft.Holder) string {
	var names []string
	for _, h := range held {
		names = append(names, fmt.Sprintf("group %q with %d bytes", h.Group, h.Bytes))
	}
	return strings.Join(names, ", ")
}
