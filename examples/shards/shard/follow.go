package shard

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// auditEvery is how often the leader of a shard compares the members of its group with the table.
const auditEvery = 10 * time.Second

// atOnce bounds how many groups are started or forgotten at a time.
const atOnce = 16

// follow does at this server what the table asks of it, each time that there is another table.
func (h *Host) follow() {
	defer h.endDuties()
	again(h.ctx, h.node.Read)
	h.current.Store(true)
	audit := time.NewTicker(auditEvery)
	defer audit.Stop()
	done := &Table{} // what was done already
	for h.ctx.Err() == nil {
		t, changed := h.table.latest()
		others := t.others(done)
		retry := make(<-chan time.Time)
		if done = t; !h.settle(t, others) {
			done, retry = &Table{}, time.After(retryAfter)
		}
		h.assign(t, others)
		select {
		case <-changed:
		case <-retry:
		case <-audit.C:
			h.audit(t)
			done = &Table{}
		case <-h.ctx.Done():
		}
	}
}

// others returns the shards that are other ones than in a table before this one.
func (t *Table) others(before *Table) (shards []int) {
	for i := range t.Shards {
		if i >= len(before.Shards) {
			shards = append(shards, i)
			continue
		}
		a, b := &t.Shards[i], &before.Shards[i]
		if a.Move != b.Move || a.Founded != b.Founded || &a.Members[0] != &b.Members[0] {
			shards = append(shards, i)
		}
	}
	return shards
}

// settle starts the groups of shards that this server is to have, and forgets the others. It returns false
// if some of that has to be tried again.
func (h *Host) settle(t *Table, shards []int) bool {
	var working sync.WaitGroup
	var failures atomic.Int64
	slots := make(chan struct{}, atOnce)
	for _, i := range shards {
		work := h.workFor(t, i)
		if work == nil || h.ctx.Err() != nil {
			continue
		}
		slots <- struct{}{}
		working.Go(func() {
			defer func() { <-slots }()
			if err := work(h.ctx); err != nil {
				h.options.Logger.Warn("shard: not settled", "node", h.options.Self.ID, "shard", i, "err", err)
				failures.Add(1)
			}
		})
	}
	working.Wait()
	return failures.Load() == 0
}

// workFor returns what is to be done with the group of a shard; nil for nothing.
func (h *Host) workFor(t *Table, shard int) func(context.Context) error {
	s, self := &t.Shards[shard], h.options.Self.ID
	h.mu.Lock()
	stored, started, founding := h.stored[shard], h.machines[shard] != nil, h.founding[shard]
	h.mu.Unlock()
	switch {
	case s.Move != nil && s.Move.To == self && s.Move.Phase == Prepare:
		return func(ctx context.Context) error { return h.prepare(ctx, shard, s.Move.Number) }
	case !s.Has(self):
		if !started && !stored {
			return nil
		}
		return func(ctx context.Context) error { return h.remove(ctx, shard) }
	}
	return func(ctx context.Context) error {
		node, err := h.raft.Group(name(shard))
		if err != nil || s.Founded || founding || !started {
			return err
		}
		// It was started before the table was known, and so without the list of those that found it.
		if err := node.Close(ctx); err != nil {
			return err
		}
		_, err = h.raft.Group(name(shard))
		return err
	}
}

// remove forgets a group. This server isn't a member, and can't become one before it has said that it is
// prepared. That is said by the same goroutine, after this.
func (h *Host) remove(ctx context.Context, shard int) error {
	if err := h.raft.Remove(ctx, name(shard)); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.stored, shard)
	delete(h.machines, shard)
	return nil
}

// prepare starts the group of a shard that is to move here, and says once that this server is prepared. What
// the group may still hold of an earlier time does no harm: it is the log of a member that was away.
//
// A report of an earlier life of this process may still be on its way. It does no harm either: this life
// forgets nothing before it has a table that is as new as any that the earlier one has acted upon.
func (h *Host) prepare(ctx context.Context, shard int, move uint64) error {
	if _, err := h.raft.Group(name(shard)); err != nil {
		return err
	}
	h.mu.Lock()
	told := h.prepared[shard] == move
	h.prepared[shard] = move
	h.mu.Unlock()
	if !told {
		h.tell(ctx, Step{shard, move, Prepare})
	}
	return nil
}

// tell has a step reported.
func (h *Host) tell(ctx context.Context, step Step) {
	select {
	case h.reports <- step:
	case <-ctx.Done():
	}
}

// maxSteps bounds the steps in one command.
const maxSteps = 1000

// report puts steps into the table, many of them at a time. Each is repeated until it was applied: a copy
// that comes late changes nothing.
func (h *Host) report() {
	var waiting []Step
	var applied chan struct{} // closed when the command that is under way was applied; nil for none
	for {
		if applied == nil && len(waiting) > 0 {
			n := min(len(waiting), maxSteps)
			change, done := &Change{Done: waiting[:n:n]}, make(chan struct{})
			waiting, applied = waiting[n:], done
			h.running.Go(func() {
				defer close(done)
				again(h.ctx, func(ctx context.Context) error { return h.change(ctx, change) })
			})
		}
		select {
		case step := <-h.reports:
			waiting = append(waiting, step)
		case <-applied:
			applied = nil
		case <-h.ctx.Done():
			return
		}
	}
}
