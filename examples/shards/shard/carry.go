package shard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/e17579a5/raft"
)

// A duty is what is to be done for a shard by whoever leads its group. Each server that has the group waits
// for its turn to lead.
type duty struct {
	step   Step
	cancel context.CancelFunc
	ended  chan struct{}
}

// assign begins the duties for shards that the table asks for, and ends those that it doesn't ask for any more.
func (h *Host) assign(t *Table, shards []int) {
	for _, i := range shards {
		step, needed := t.dutyOf(i, h.options.Self.ID)
		before := h.duties[i]
		if needed == (before != nil) && (before == nil || before.step == step) {
			continue
		}
		if before != nil {
			before.cancel()
			delete(h.duties, i)
		}
		if !needed {
			continue
		}
		ctx, cancel := context.WithCancel(h.ctx)
		d := &duty{step, cancel, make(chan struct{})}
		h.duties[i] = d
		h.running.Go(func() {
			defer close(d.ended)
			if before != nil {
				<-before.ended // one after the other
			}
			h.carry(ctx, step)
		})
	}
}

// endDuties ends all duties.
func (h *Host) endDuties() {
	for _, d := range h.duties {
		d.cancel()
	}
}

// dutyOf returns what the leader of a shard is to do for it, if a server has the shard.
func (t *Table) dutyOf(shard int, id raft.ServerID) (step Step, needed bool) {
	s := &t.Shards[shard]
	switch {
	case !s.Has(id):
		return step, false
	case !s.Founded:
		return Step{Shard: shard}, true
	case s.Move == nil || s.Move.Phase == Prepare:
		return step, false
	}
	return Step{shard, s.Move.Number, s.Move.Phase}, true
}

// errOtherTable says that a duty isn't one any more. It is ended soon.
var errOtherTable = errors.New("shard: the table asks for something else by now")

// carry does a duty when this server leads, and reports it.
func (h *Host) carry(ctx context.Context, step Step) {
	again(ctx, func(ctx context.Context) error {
		node, err := h.raft.Group(name(step.Shard))
		if err != nil {
			return err
		}
		err = node.WhileLeader(ctx, func(leading context.Context, _ raft.Term) error { return h.perform(leading, node, step) })
		if err == nil {
			h.tell(ctx, step)
		} else if ctx.Err() == nil && !passes(err) {
			h.options.Logger.Warn("shard: a move waits", "node", h.options.Self.ID, "shard", step.Shard, "phase", step.Phase, "err", err)
		}
		return err
	})
}

// passes says whether an error is one of the usual ones: this server leads no longer or gives up the group, the
// table is another one, or the members are being changed already.
func passes(err error) bool {
	for _, usual := range []error{
		raft.ErrNotLeader, context.Canceled, raft.ErrClosed, raft.ErrRemoved, raft.ErrChangeInProgress, raft.ErrConflict, errOtherTable,
	} {
		if errors.Is(err, usual) {
			return true
		}
	}
	return false
}

// perform does what a shard's leader has to do. It may have been done before, by this server or another.
//
// The configuration is looked at before the table: so the change of the members is refused if another one
// has come after a table by which it is right.
func (h *Host) perform(ctx context.Context, node *raft.Node, step Step) error {
	seen := raft.Expect(node.Status().ConfigurationIndex)
	t, err := h.Fresh(ctx)
	if err != nil {
		return err
	}
	s := &t.Shards[step.Shard]
	switch {
	case step.Move == 0:
		return nil // who leads was elected: the group is founded
	case !s.is(step.Move, step.Phase):
		return errOtherTable
	case step.Phase == Join:
		to := t.Server(s.Move.To)
		if to == nil {
			return fmt.Errorf("shard: there is no server %s", s.Move.To)
		}
		_, err = node.AddServer(ctx, raft.Server{ID: to.ID, Address: to.Address}, seen)
		return err
	}
	_, err = node.RemoveServer(ctx, s.Move.From, seen)
	if errors.Is(err, raft.ErrNotMember) {
		return nil
	}
	return err
}

// auditTime bounds how long one change of an audit takes.
const auditTime = 5 * time.Second

// audit looks whether the members of the groups that this server leads are those of the table. They may
// differ when no move is under way: a server may have stood still after it has looked at the table, and
// have added a server though the move was called off meanwhile.
func (h *Host) audit(t *Table) {
	for group, node := range h.raft.Groups() {
		shard, ok := number(group)
		if !ok || shard >= len(t.Shards) || !t.Shards[shard].free() || node.Leadership().Role != "leader" {
			continue
		}
		status := node.Status()
		if sameMembers(status.Members, t.Shards[shard].Members) {
			continue
		}
		if err := h.correct(node, shard); err != nil {
			h.options.Logger.Warn("shard: other members than in the table", "node", h.options.Self.ID, "shard", shard, "err", err)
		}
	}
}

// correct makes the members of a group those of the table.
func (h *Host) correct(node *raft.Node, shard int) error {
	ctx, cancel := context.WithTimeout(h.ctx, auditTime)
	defer cancel()
	status := node.Status()
	t, err := h.Fresh(ctx)
	if err != nil || !t.Shards[shard].free() || sameMembers(status.Members, t.Shards[shard].Members) {
		return err
	}
	var members []raft.Member
	for _, s := range t.Raft(t.Shards[shard].Members) {
		members = append(members, raft.Member{Server: s})
	}
	_, err = node.SetMembers(ctx, members, raft.Expect(status.ConfigurationIndex))
	return err
}

// sameMembers says whether a group's members are these, and all vote.
func sameMembers(members []raft.Member, ids []raft.ServerID) bool {
	var voters []raft.ServerID
	for _, m := range members {
		if m.Role != raft.Voter {
			return false
		}
		voters = append(voters, m.ID)
	}
	slices.Sort(voters)
	return slices.Equal(voters, ids)
}
