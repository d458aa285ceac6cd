package groups

import (
	"errors"
	"io"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/coalesce"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wire"
)

// A member is one group at one process.
type member struct {
	h       *host
	id      raft.GroupID
	shard   int
	storage *memory.Storage

	core      *raft.Core // nil while it doesn't run
	coalesced *raft.Coalesced
	applier   *raft.Applier
	starts    uint64
	effects   raft.Effects
	inbox     []wire.Message
	reports   []func(now raft.Instant)
	calls     []func(now raft.Instant)
	planned   bool
	timer     uint64
	reads     map[uint64]raft.Index // what must be seen by a read
}

func newMember(h *host, id raft.GroupID, shard int) *member {
	return &member{h: h, id: id, shard: shard, storage: memory.NewStorage()}
}

// start starts the group's core from its disk.
func (m *member) start() {
	w := m.h.w
	m.storage = m.storage.Reopen()
	saved, err := m.storage.Load()
	if err != nil {
		w.fail("%v", err)
		return
	}
	m.starts++
	core, err := raft.NewCore(m.config(saved))
	if err != nil {
		w.fail("%v", err)
		return
	}
	m.core, m.applier = core, raft.NewApplier(mute{}, core.Origin())
	m.inbox, m.reports, m.calls, m.planned = nil, nil, nil, false
	m.reads = map[uint64]raft.Index{}
	m.coalesced = raft.NewCoalesced(core, m.id, m.shard, m.h.book, noLock{})
	m.coalesced.Found()
	m.soon()
}

func (m *member) config(saved raft.Saved) raft.CoreConfig {
	w := m.h.w
	config := raft.CoreConfig{
		ID: m.h.id, Seed: w.Seed + uint64(len(m.id))*31 + uint64(m.id[1]), Incarnation: raft.Incarnation(100*(m.h.at+1) + int(m.id[1])),
		StartLuck: uint32(m.starts), Heartbeat: w.Heartbeat, ElectionTimeout: w.Election, MaxLease: w.Lease,
		ClockDrift: w.Drift, Saved: saved, Now: m.h.now(), Coalesced: true,
	}
	for i := range w.Hosts {
		id := raft.ServerID(rune('a' + i))
		config.Bootstrap = append(config.Bootstrap, raft.Server{ID: id, Address: string(id)})
	}
	return config
}

// stop ends the core, with whatever it was doing.
func (m *member) stop() {
	m.core, m.starts = nil, m.starts+1
}

// fails ends the core in a process that goes on.
func (m *member) fails() {
	if m.core != nil {
		m.stop()
		m.coalesced.End(m.h.now())
		m.h.performBook()
	}
}

// soon plans a turn.
func (m *member) soon() { m.at(time.Duration(m.h.w.random.Int64N(int64(50 * time.Microsecond)))) }

func (m *member) at(d time.Duration) {
	if m.planned || m.core == nil {
		return
	}
	m.planned = true
	starts, start := m.starts, m.h.starts
	m.h.w.after(d, func() {
		m.h.do(start, func() {
			if m.starts == starts {
				m.planned = false
				m.turn()
			}
		})
	})
}

// report hands something to a later turn.
func (m *member) report(after time.Duration, f func(now raft.Instant)) {
	starts, start := m.starts, m.h.starts
	m.h.w.after(after, func() {
		m.h.do(start, func() {
			if m.starts == starts {
				m.reports = append(m.reports, f)
				m.soon()
			}
		})
	})
}

// turn takes a turn of the group.
func (m *member) turn() {
	w := m.h.w
	if m.h.stuck[m.shard] {
		m.at(time.Millisecond)
		return
	}
	w.turns++
	now := m.h.now()
	m.coalesced.Before(now)
	raft.HandIn(now, m)
	m.core.Drain(&m.effects)
	m.perform()
	if m.coalesced.After(now) {
		m.h.setTimer()
	}
	m.h.book.Turned(coalesce.Instant(now), m.shard)
	m.h.performBook()
	m.check()
	if w.random.IntN(4) == 0 {
		m.coalesced.Rest()
		m.check()
	}
	m.setTimer()
}

func (m *member) setTimer() {
	due := m.coalesced.Deadline()
	m.timer++
	if due == 1<<63-1 || m.core == nil {
		return
	}
	timer, starts, start := m.timer, m.starts, m.h.starts
	m.h.until(due, func() {
		m.h.do(start, func() {
			if m.starts == starts && m.timer == timer {
				m.soon()
			}
		})
	})
}

// Reports implements raft.Turn.
func (m *member) Reports(now raft.Instant) {
	reports := m.reports
	m.reports = nil
	for _, f := range reports {
		f(now)
	}
}

// Messages implements raft.Turn.
func (m *member) Messages(now raft.Instant) {
	inbox := m.inbox
	m.inbox = nil
	for i := range inbox {
		m.core.Receive(now, inbox[i])
	}
}

// Calls implements raft.Turn.
func (m *member) Calls(now raft.Instant) {
	calls := m.calls
	m.calls = nil
	for _, f := range calls {
		f(now)
	}
}

// Tick implements raft.Turn.
func (m *member) Tick(now raft.Instant) { m.core.Tick(now) }

// perform sees to what the core wants done.
func (m *member) perform() {
	w, e, core := m.h.w, &m.effects, m.core
	if write := e.Write; write.Number != 0 {
		m.report(w.DiskDelay, func(now raft.Instant) {
			if err := m.storage.Write(write); err != nil {
				w.fail("%v", err)
			}
			core.Persisted(now, write.Number)
		})
	}
	for i := range e.Messages {
		e.Messages[i].Group = m.id
		w.send(e.Messages[i])
	}
	for _, f := range e.Fetches {
		entries, err := m.storage.Entries(f.After, f.Last, f.MaxBytes)
		if err != nil && !errors.Is(err, raft.ErrCompacted) {
			w.fail("%v", err)
		}
		m.report(0, func(now raft.Instant) { core.Fetched(now, f, entries) })
	}
	for _, entries := range e.Apply {
		batch, err := m.applier.Apply(entries)
		if err != nil {
			w.fail("%v", err)
		}
		m.report(0, func(now raft.Instant) { core.Applied(now, batch) })
	}
	for i := range e.Answers {
		m.answered(&e.Answers[i])
	}
}

// mute is a state machine without a state.
type mute struct{}

func (mute) Apply(_ []raft.Entry, results [][]byte) { clear(results) }
func (mute) Snapshot() (io.WriterTo, error)         { return nil, errors.New("this machine has no state") }
func (mute) Restore(io.Reader) error                { return nil }
