package sim

import (
	"errors"

	"github.com/e17579a5/raft"
)

// checkOutcome checks the answer to a proposal.
func (w *World) checkOutcome(i int, o *operation, a *raft.Answer) {
	g := &w.ghost
	defer w.sessionAnswered(i, o, a)
	switch {
	case errors.Is(a.Err, raft.ErrSessionExpired) || errors.Is(a.Err, raft.ErrSessionAnswered):
		o.outcome = outcomeUnknown
		if errors.Is(a.Err, raft.ErrNotApplied) {
			o.outcome = outcomeNotApplied
		}
		w.checkRefusal(i, o, a)
	case a.Err == nil:
		o.outcome = outcomeDone
		w.stats.Answered++
		w.checkOwn(i, o, a)
		w.checkInTime(i, o, a)
		w.stats.Slowest = max(w.stats.Slowest, w.now-o.begun)
		if o.index == 0 || o.index > g.commit() || g.verdicts[o.index-1].index != a.Index {
			w.fail(NothingLost, i, "command %d is acknowledged at index %d, but committed at index %d (0: nowhere)", a.Number, a.Index, o.index)
			return
		}
		if hashBytes(a.Result) != g.results[o.index-1] {
			w.fail(ReplicasEqual, i, "command %d is answered with %x, which isn't the result of index %d", a.Number, a.Result, a.Index)
		}
		w.answer(a.Index)
	case errors.Is(a.Err, raft.ErrNotApplied):
		o.outcome = outcomeNotApplied
		w.stats.Refused++
		w.checkRefusedFull(i, o, a.Err)
		if errors.Is(a.Err, raft.ErrOutcomeUnknown) {
			w.fail(Answers, i, "command %d: the error %v names two outcomes", a.Number, a.Err)
		}
		if o.index != 0 {
			w.fail(ExactlyOnce, i, "command %d is answered with ErrNotApplied, but committed at index %d", a.Number, o.index)
		}
	case errors.Is(a.Err, raft.ErrOutcomeUnknown):
		o.outcome = outcomeUnknown
		w.stats.Unknown++
	default:
		w.fail(Answers, i, "command %d: the error %v names no outcome", a.Number, a.Err)
	}
}
