package raft

import (
	"fmt"
)

// shown is what the loop has told others, so that it tells them only what has changed.
type shown struct {
	standing  Standing
	committed Index // the highest one that the trace was told of
	// leaderless is since when no leader is known, while none is. ledSince is since when this
	// server leads, while it does.
	leaderless, ledSince Instant
	// fullSince is since when the disk is full, while it is.
	fullSince Instant
}

// standing returns what the loop compares after each turn to find out what has changed.
func (l *loop) standing() (s Standing) {
	s = l.core.Standing()
	switch {
	case s.Trouble != nil:
	case s.Configuration == nil && len(l.config.Bootstrap) == 0:
		s.Trouble = ErrNoCluster
	case s.Configuration != nil && s.Leader == "":
		s.Trouble = l.elsewhere(s.Configuration)
	}
	return s
}

// elsewhere returns an error if the cluster looks for this server at another address than its own.
// It is the same error each time, as long as the address is.
func (l *loop) elsewhere(c *Configuration) error {
	m := c.Member(l.config.ID)
	if m == nil || l.config.Address == "" || l.moved.of(m.ID, m.Address) == l.config.Address {
		return nil
	}
	if l.misplaced == nil || l.misplaced.known != m.Address {
		l.misplaced = &misplaced{m.Address, because(ErrMoved, fmt.Errorf("%s, not %s", m.Address, l.config.Address))}
	}
	return l.misplaced.err
}

// misplaced is where the cluster looks for this server, if that is wrong, and the error that says
// so.
type misplaced struct {
	known string
	err   error
}

// observe answers the questions for the status, and tells others what has changed.
func (l *loop) observe() {
	for _, q := range l.intake.queries {
		reply(q, l.status())
	}
	l.intake.queries = emptied(l.intake.queries)
	if now := l.standing(); now != l.shown.standing {
		l.changed(now)
	}
}

// changed tells the log and the watchers what has changed.
func (l *loop) changed(now Standing) {
	was := l.shown.standing
	l.shown.standing = now
	if now.Leader == "" && was.Leader != "" {
		l.shown.leaderless = l.read
	}
	if led := was.Role == leaderRole && was.Term == now.Term; now.Role == leaderRole && !led {
		l.shown.ledSince = l.read
	}
	if now.Full && !was.Full {
		l.shown.fullSince = l.read
	}
	news := l.news(was)
	l.board.post(news...)
	l.traceEvents(news)
	l.tellDamage(&was, &now)
	l.logRoom(&was, &now)
	if now.Diverged != was.Diverged {
		l.logger.Error("raft: state machines differ", "peer", now.Diverged.With, "index", now.Diverged.Upto, "err", now.Diverged)
	}
	if now.Trouble != nil && now.Trouble != was.Trouble {
		l.logger.Warn("raft: this server takes no part", "term", now.Term, "err", now.Trouble)
	}
	if now.TroubledPeer != "" && now.TroubledPeer != was.TroubledPeer {
		l.logger.Warn("raft: another server takes no part", "term", now.Term, "peer", now.TroubledPeer, "err", now.PeerTrouble)
	}
	if now.Refused != was.Refused {
		l.logger.Warn("raft: message refused", "term", now.RefusedTerm, "peer", now.RefusedFrom, "err", now.RefusedWhy)
	}
	led := now.Role != was.Role || now.Term != was.Term || now.Leader != was.Leader
	if led && (now.Role != was.Role || now.Leader != "") {
		l.logger.Info("raft: "+now.Role, "term", now.Term, "index", l.core.Status().Last, "peer", now.Leader)
	}
}

// tellDamage logs that entries are lost, and that they aren't any more.
func (l *loop) tellDamage(was, now *Standing) {
	switch {
	case now.LostEntries > was.LostEntries:
		lost := &DamagedError{Lost: now.Lost, Err: l.core.Status().LostWhy}
		l.logger.Warn("raft: entries are lost", "term", now.Term, "index", now.Lost.Last, "entries", now.LostEntries, "err", lost)
	case now.LostEntries == 0 && was.LostEntries > 0:
		l.logger.Info("raft: repaired", "term", now.Term, "index", was.Lost.Last)
	}
}

// logRoom logs that a disk has become full, or that it has room again.
func (l *loop) logRoom(was, now *Standing) {
	switch {
	case now.Full && !was.Full:
		l.logger.Warn("raft: the disk is full", "term", now.Term, "room", l.core.Status().Room)
	case was.Full && !now.Full:
		l.logger.Info("raft: the disk has room again", "term", now.Term, "room", l.core.Status().Room)
	}
	if now.FullPeer != "" && now.FullPeer != was.FullPeer {
		l.logger.Warn("raft: the disk of another server is full", "term", now.Term, "peer", now.FullPeer)
	}
}
