package rafttest_test

import (
	"cmp"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
)

// A holding storage keeps the groups of another one as if in one log, whose end goes only when nobody needs anything
// there. It has what it knows of the log from what is written. flaw changes what Holders returns.
type holding struct {
	raft.SharedStorage
	flaw    func(h *holding, held []raft.Holder) []raft.Holder
	writing atomic.Int32
	asked   atomic.Int64 // how often Holders was called
	patient atomic.Bool  // a write lets a call of Holders come meanwhile, if there is one
	closed  atomic.Bool

	mu    sync.Mutex
	log   []heldEntry
	first []raft.Holder // what Holders has returned first, and not nil
	ever  map[raft.GroupID]bool
}

// A heldEntry is an entry in the log.
type heldEntry struct {
	group raft.GroupID
	index raft.Index
	bytes uint64
}

const (
	heldEnd  = 30_000  // how many bytes at the end of the log go together
	heldMost = 100_000 // how much more than what is needed the log may take
)

// wrote follows a write.
func (h *holding) wrote(group raft.GroupID, w raft.Write) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ever[group] = true
	least, most := w.Compact, raft.Index(1<<60)
	if w.Snapshot != nil {
		least = max(least, w.Snapshot.Index)
	}
	if len(w.Entries) > 0 {
		most = w.Entries[0].Index - 1
	}
	h.drop(func(e heldEntry) bool { return e.group == group && (e.index <= least || e.index > most) })
	for _, e := range w.Entries {
		h.log = append(h.log, heldEntry{group, e.Index, uint64(len(e.Data))})
	}
}

// drop has entries needed no more. They go with the end of the log.
func (h *holding) drop(which func(heldEntry) bool) {
	for i, e := range h.log {
		if e.index > 0 && which(e) {
			h.log[i].index = 0
		}
	}
	needed := slices.IndexFunc(h.log, func(e heldEntry) bool { return e.index > 0 })
	if needed < 0 {
		needed = len(h.log)
	}
	h.log = h.log[needed:]
}

func (h *holding) Holders() []raft.Holder {
	h.asked.Add(1)
	h.mu.Lock()
	defer h.mu.Unlock()
	var used, needed uint64
	held := map[raft.GroupID]raft.Holder{}
	for _, e := range h.log {
		if used += e.bytes; e.index > 0 {
			needed += e.bytes
		}
	}
	end := uint64(0)
	for _, e := range h.log {
		if end += e.bytes; e.index > 0 && end < heldEnd {
			held[e.group] = raft.Holder{Group: e.group, Bytes: held[e.group].Bytes + e.bytes, Live: needed}
		}
	}
	var all []raft.Holder
	if used > 2*needed+heldMost {
		all = slices.SortedFunc(maps.Values(held), func(a, b raft.Holder) int {
			return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Group, b.Group))
		})
	}
	if h.flaw != nil {
		all = h.flaw(h, all)
	}
	return all
}

func (h *holding) WriteGroups(writes []raft.GroupWrite) (map[raft.GroupID]error, error) {
	h.writing.Add(1)
	defer h.writing.Add(-1)
	if asked := h.asked.Load(); h.patient.Load() && writes[0].Group == "writes" {
		for i := 0; i < 10_000 && h.asked.Load() == asked; i++ {
			runtime.Gosched()
		}
	}
	refused, err := h.SharedStorage.WriteGroups(writes)
	for _, w := range writes {
		if err == nil && refused[w.Group] == nil {
			h.wrote(w.Group, w.Write)
		}
	}
	return refused, err
}

func (h *holding) Group(group raft.GroupID) (raft.Storage, error) {
	storage, err := h.SharedStorage.Group(group)
	if err != nil {
		return storage, err
	}
	return &flawed{Storage: storage, write: func(w raft.Write) error {
		err := storage.Write(w)
		if err == nil {
			h.wrote(group, w)
		}
		return err
	}}, nil
}

func (h *holding) RemoveGroup(group raft.GroupID) error {
	err := h.SharedStorage.RemoveGroup(group)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(func(e heldEntry) bool { return e.group == group })
	return err
}

func (h *holding) Close() error {
	h.closed.Store(true)
	return h.SharedStorage.Close()
}

// testHolding holds a holding storage to the contract.
func testHolding(flaw func(*holding, []raft.Holder) []raft.Holder) error {
	return rafttest.TestSharedStorage(func() rafttest.SharedDisk {
		disk := rafttest.MemorySharedDisk()
		open, h := disk.Open, &holding{flaw: flaw, ever: map[raft.GroupID]bool{}}
		disk.Open = func() (storage raft.SharedStorage, err error) {
			h.SharedStorage, err = open()
			h.closed.Store(false)
			return h, err
		}
		disk.Crash = nil
		return disk
	})
}

// falseHolders are what Holders may do wrong, with the rule that says so.
var falseHolders = map[string]struct {
	rule, says string
	flaw       func(*holding, []raft.Holder) []raft.Holder
}{
	"none": {},
	"an unknown group": {"holders: ", `"nobody", of which nothing is stored`, func(_ *holding, held []raft.Holder) []raft.Holder {
		if len(held) > 0 {
			held = append(held, raft.Holder{Group: "nobody"})
		}
		return held
	}},
	"a removed group": {"removed holders: ", `of which nothing is stored`, func(h *holding, held []raft.Holder) []raft.Holder {
		for _, group := range slices.Sorted(maps.Keys(h.ever)) {
			if group != "large" && !slices.ContainsFunc(held, func(h raft.Holder) bool { return h.Group == group }) {
				held = append(held, raft.Holder{Group: group})
			}
		}
		return held
	}},
	"a group twice": {"holders: ", ` twice`, func(_ *holding, held []raft.Holder) []raft.Holder {
		return append(held, held[max(0, len(held)-1):]...)
	}},
	"the least first": {"holders: ", `behind group`, func(_ *holding, held []raft.Holder) []raft.Holder {
		if len(held) > 0 {
			held = []raft.Holder{{Group: "small 1"}, held[0]}
		}
		return held
	}},
	"more than there is": {"holders: ", `which needs no more than`, func(_ *holding, held []raft.Holder) []raft.Holder {
		for i := range held {
			held[i].Bytes += 1 << 20
		}
		return held
	}},
	"damage": {"holders: ", `is damaged, which can be loaded`, func(_ *holding, held []raft.Holder) []raft.Holder {
		for i := range held {
			held[i].Damaged = true
		}
		return held
	}},
	"what a group needed once": {"holders: ", `which needs no more than 0`, func(h *holding, held []raft.Holder) []raft.Holder {
		if h.first == nil {
			h.first = held
		}
		return h.first
	}},
	"a group for ever": {"holders: ", `and 1600000 bytes were written since; Holders still names group "small 0" with 0 bytes`, func(h *holding, held []raft.Holder) []raft.Holder {
		if h.first == nil && len(held) > 0 {
			h.first = []raft.Holder{{Group: "small 0"}}
		}
		if len(held) == 0 {
			held = h.first
		}
		return held
	}},
	"nothing while it is written": {"holders at the same time: ", `panic: it is written`, func(h *holding, held []raft.Holder) []raft.Holder {
		if h.patient.Store(true); h.writing.Load() > 0 {
			panic("it is written")
		}
		return held
	}},
	"nothing after Close": {"holders at the same time: ", `panic: it is closed`, func(h *holding, held []raft.Holder) []raft.Holder {
		if h.closed.Load() {
			panic("it is closed")
		}
		return held
	}},
}

// TestSharedStorageRejectsFalseHolders breaks each rule about Holders on purpose.
func TestSharedStorageRejectsFalseHolders(t *testing.T) {
	for name, test := range falseHolders {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := testHolding(test.flaw)
			if test.flaw == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "rafttest: shared storage: "+test.rule)
			require.ErrorContains(t, err, test.says)
		})
	}
}
