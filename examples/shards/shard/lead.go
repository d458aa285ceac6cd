package shard

import (
	"context"
	"errors"
	"time"

	"github.com/e17579a5/raft"
)

// leadShards decides about shards while this server leads the table's group.
func (h *Host) leadShards() {
	again(h.ctx, func(ctx context.Context) error { return h.node.WhileLeader(ctx, h.decide) })
}

// decide makes the changes that the table lacks, one after the other. It ends with ctx, or with a change
// that fails.
func (h *Host) decide(ctx context.Context, _ raft.Term) error {
	for {
		t, changed := h.table.latest()
		if c := h.lacks(t); c != nil {
			err := h.change(ctx, c)
			refusal := new(Refusal)
			if err == nil {
				continue
			} else if !errors.As(err, &refusal) {
				return err
			}
			h.options.Logger.Error("shard: refused", "node", h.options.Self.ID, "err", err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// lacks returns the next change that the table lacks; nil for none.
func (h *Host) lacks(t *Table) *Change {
	if len(t.Shards) == 0 {
		for _, s := range h.options.Founders {
			if t.Server(s.ID) == nil {
				return nil
			}
		}
		return &Change{Found: &Founding{h.options.Shards, min(h.options.Replicas, t.Staying())}}
	}
	if shards, moves := t.plan(h.options.Moves); len(moves) > 0 {
		return &Change{Begin: moves, Shards: shards}
	}
	return nil
}

// leadServers makes every server a member of the table's group while this server leads it.
func (h *Host) leadServers() {
	again(h.ctx, func(ctx context.Context) error {
		return h.node.WhileLeader(ctx, func(ctx context.Context, _ raft.Term) error {
			for {
				t, changed := h.table.latest()
				retry := make(<-chan time.Time)
				if err := h.admit(ctx, t); err != nil && ctx.Err() == nil {
					h.options.Logger.Warn("shard: the members of the table's group", "node", h.options.Self.ID, "err", err)
					retry = time.After(retryAfter)
				}
				select {
				case <-changed:
				case <-retry:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		})
	})
}

// admit makes the members of the table's group what they should be: every server is one, and as many of those
// that stay have a vote as a shard has members, at least. A server that was leaving, and has no shard any
// more, is removed and then forgotten, in this order: it is told so, and can't register anew.
func (h *Host) admit(ctx context.Context, t *Table) (failed error) {
	roles := map[raft.ServerID]raft.MemberRole{}
	for _, m := range h.node.Status().Members {
		roles[m.ID] = m.Role
		if t.Server(m.ID) == nil && len(t.Shards) > 0 {
			_, err := h.node.RemoveServer(ctx, m.ID)
			failed = errors.Join(failed, err)
		}
	}
	votes := 0
	for _, s := range t.Servers {
		if roles[s.ID] == raft.Voter && !s.Leaving {
			votes++
		}
	}
	for _, s := range t.Servers {
		server, err := raft.Server{ID: s.ID, Address: s.Address}, error(nil)
		switch role, member := roles[s.ID]; {
		case s.Leaving && !t.has(s.ID):
			err = h.dismiss(ctx, s.ID, member)
		case !s.Leaving && role != raft.Voter && votes < t.Replicas:
			if _, err = h.node.AddServer(ctx, server); err == nil {
				votes++
			}
		case !member:
			_, err = h.node.AddLearner(ctx, server)
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// dismiss removes a server from the table's group, and then from the table.
func (h *Host) dismiss(ctx context.Context, id raft.ServerID, member bool) error {
	if member {
		if _, err := h.node.RemoveServer(ctx, id); err != nil && !errors.Is(err, raft.ErrNotMember) {
			return err
		}
	}
	return h.change(ctx, &Change{Forget: id})
}

// has says whether a server has a shard.
func (t *Table) has(id raft.ServerID) bool {
	for i := range t.Shards {
		if t.Shards[i].Has(id) {
			return true
		}
	}
	return false
}
