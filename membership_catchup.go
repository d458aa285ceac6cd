package raft

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/e17579a5/raft/wire"
)

// Servers that are to vote catch up first (§4.2.1), in rounds. A round ends when all of them hold
// what the leader's log held when the round began. They have caught up when a round took less than
// an election timeout.
//
// Catching up may take long while it moves on, and it always ends. What can move it on is bounded:
//
//	in a round           entries up to its goal, and the bytes of one snapshot; each byte counts once,
//	                     however often a stream breaks
//	until a round        the snapshots of other groups, for which those of this one wait (sending.waits)
//	from round to round  another goal, or another snapshot to begin anew with; at most
//	                     maxCatchUpRounds of them
//
// So a change is given up when the servers have got nothing for maxCatchUpStalls election timeouts,
// or after too many rounds that took longer than one election timeout. It isn't given up because
// the first round has to bring a large snapshot.
type catchUp struct {
	since  Index // the configuration to which it belongs
	goal   Index // where the round ends
	rounds int   // how many were begun
	slow   bool  // the round takes longer than an election timeout
	// stalls is the number of election timeouts in a row that have brought nothing. held and
	// snapshot were taken down at the last look. held adds up how far each server held the log, up
	// to goal. snapshot is the newest one that any of them was being sent.
	stalls   int
	held     Index
	snapshot *storedSnapshot
}

func (u *catchUp) encode(s *stateEncoder) {
	s.numbers(uint64(u.since), uint64(u.goal), uint64(u.rounds), flag(u.slow), uint64(u.stalls), uint64(u.held))
	u.snapshot.encode(s)
}

// check: catching up ends, whatever comes.
func (u *catchUp) check(last Index) error {
	if u.rounds > maxCatchUpRounds || u.stalls > maxCatchUpStalls || u.goal > last {
		return broken("Catching Up Ends", "round %d, up to %d, last %d, stalls %d", u.rounds, u.goal, last, u.stalls)
	}
	return nil
}

// The limits after which a change is given up: the number of rounds, as the thesis proposes, and
// the number of election timeouts in which the servers have got nothing.
const maxCatchUpRounds, maxCatchUpStalls = 10, 10

// laggards returns the peers that are to be voters and aren't yet. A server that isn't among the
// peers is this one.
func (c *Core) laggards(l *leader, configuration *Configuration) []*progress {
	var behind []*progress
	for i := range configuration.Next {
		m := &configuration.Next[i]
		if m.Role == Voter && !configuration.Counts(m.ID, m.Incarnation) {
			if p := l.progressOf(m); p != nil {
				behind = append(behind, p)
			}
		}
	}
	return behind
}

// driveCatchUp looks how far the servers have caught up, and takes the next step when they have.
func (c *Core) driveCatchUp(l *leader, placed *placedConfiguration) {
	configuration := placed.configuration
	laggards := c.laggards(l, configuration)
	u := &l.catchUp
	if u.since != placed.index {
		*u = catchUp{since: placed.index, goal: c.log.last, rounds: 1}
		c.arm(changeDeadline, c.config.ElectionTimeout)
	}
	for _, p := range laggards {
		if p.replaced {
			c.giveUp(configuration, wire.RefusedOtherDisk, p.id)
			return
		}
	}
	for _, p := range laggards {
		if p.match < u.goal {
			return
		}
	}
	if u.slow && len(laggards) > 0 {
		c.nextRound(l, configuration)
		return
	}
	if c.reachable(l, configuration.Next) {
		c.disarm(changeDeadline)
		c.takeStep(configuration, configuration)
	}
}

// nextRound begins another round, or gives up if there were too many.
func (c *Core) nextRound(l *leader, configuration *Configuration) {
	u := &l.catchUp
	if u.rounds == maxCatchUpRounds {
		c.giveUp(configuration, wire.RefusedNotCaughtUp, c.slowest(l, configuration, c.log.last+1))
		return
	}
	u.rounds++
	u.goal, u.slow, u.stalls = c.log.last, false, 0
	c.arm(changeDeadline, c.config.ElectionTimeout)
}

// catchUpDue looks what the servers have got in the last election timeout.
func (c *Core) catchUpDue(l *leader, configuration *Configuration) {
	u := &l.catchUp
	held, moved, before := Index(0), false, u.snapshot
	for _, p := range c.laggards(l, configuration) {
		t := &p.carried
		held += min(p.match, u.goal) // what comes after is new, and would hide one that gets nothing
		moved, t.moved = moved || t.moved, false
		moved = moved || p.sending.waits && p.silent < maxSilent
		if t.snapshot != nil && (u.snapshot == nil || t.snapshot.serial > u.snapshot.serial) {
			u.snapshot = t.snapshot
		}
	}
	if u.slow, u.stalls = true, u.stalls+1; moved || held > u.held {
		u.held, u.stalls = held, 0
	}
	switch {
	case u.stalls >= maxCatchUpStalls:
		c.giveUp(configuration, wire.RefusedNotCaughtUp, c.slowest(l, configuration, u.goal))
	case before != nil && before != u.snapshot:
		c.nextRound(l, configuration)
	default:
		c.arm(changeDeadline, c.config.ElectionTimeout)
	}
}

// slowest returns the server to blame when the servers don't catch up. Of the laggards that hold
// less than the log up to an index, it is the one that holds least. If there is none, it is the
// voter to be whose last answer is the oldest.
func (c *Core) slowest(l *leader, configuration *Configuration, upto Index) ServerID {
	slowest := ServerID("")
	least := uint64(upto)
	for _, p := range c.laggards(l, configuration) {
		if uint64(p.match) < least {
			slowest, least = p.id, uint64(p.match)
		}
	}
	if slowest != "" {
		return slowest
	}
	for i := range configuration.Next {
		m := &configuration.Next[i]
		if round := c.answered(l, m); m.Role == Voter && (slowest == "" || round < least) {
			slowest, least = m.ID, round
		}
	}
	return slowest
}

// giveUp ends a change whose servers don't catch up. The members that were joining go again.
func (c *Core) giveUp(configuration *Configuration, why wire.Refusal, about ServerID) {
	step := *configuration
	step.Next, step.Refusal, step.About = nil, why, about
	if step.Begun {
		step.Refusal = wire.RefusedHalfway
	}
	step.Members = withoutJoining(step.Members)
	c.disarm(changeDeadline)
	c.appendConfiguration(&step)
}

// The rest of this file says which members a call asks for, given the present ones, and which can't
// be.

// checkMembers says what is wrong with the members that a call names. An error wraps ErrMembers.
func checkMembers(c *wire.Call) error {
	if c.Kind != wire.CallSet && len(c.Members) != 1 {
		return fmt.Errorf("%w: the call (%v) names %d servers, not one", ErrMembers, c.Kind, len(c.Members))
	}
	if len(c.Members) > wire.MaxMembers {
		return fmt.Errorf("%w: there are %d of them, more than %d", ErrMembers, len(c.Members), wire.MaxMembers)
	}
	votes := c.Kind != wire.CallSet
	for i := range c.Members {
		m := &c.Members[i]
		known := m.Role == Voter || m.Role == Learner ||
			m.Role == 0 && (c.Kind == wire.CallRemove || c.Kind == wire.CallReplace)
		votes = votes || m.Role == Voter
		switch {
		case checkServer(m.Server) != nil:
			return fmt.Errorf("%w: %w", ErrMembers, checkServer(m.Server))
		case !known:
			return fmt.Errorf("%w: server %q is to be a %v", ErrMembers, m.ID, m.Role)
		case i > 0 && c.Members[i-1].ID >= m.ID:
			return fmt.Errorf("%w: server %q is named twice, or the list isn't sorted", ErrMembers, m.ID)
		}
	}
	if !votes {
		return fmt.Errorf("%w: none of them is a voter", ErrMembers)
	}
	return nil
}

// targetOf returns the members that a call asks for, given the present ones. A member whose disk
// isn't known yet has no incarnation. If no such members are possible, the outcome says why.
func targetOf(c *wire.Call, configuration *Configuration) ([]Member, callOutcome) {
	if checkMembers(c) != nil {
		return nil, callOutcome{refusal: wire.RefusedMembers}
	}
	present := configuration.Members
	target := slices.Clone(present)
	switch c.Kind {
	case wire.CallSet:
		target = slices.Clone(c.Members)
		for i := range target {
			if j := wire.FindMember(present, target[i].ID); j >= 0 {
				keep(&target[i], &present[j])
			}
		}
	default:
		m := c.Members[0]
		i, there := slices.BinarySearchFunc(target, m.ID, func(m Member, id ServerID) int { return cmp.Compare(m.ID, id) })
		switch {
		case c.Kind == wire.CallAdd && there:
			keep(&m, &target[i])
			target[i] = m
		case c.Kind == wire.CallAdd:
			target = slices.Insert(target, i, m)
		case c.Kind == wire.CallRemove && there:
			target = slices.Delete(target, i, i+1)
		case (c.Kind == wire.CallReplace || c.Kind == wire.CallRemove) && !there:
			return nil, callOutcome{refusal: wire.RefusedNotMember, about: m.ID}
		case c.Kind == wire.CallReplace:
			m.Role = target[i].Role
			if gaveUp(configuration, m.ID) {
				m.Role = Voter
			}
			if m.Address == "" {
				m.Address = target[i].Address
			}
			target[i] = m
		}
	}
	if !slices.ContainsFunc(target, func(m Member) bool { return m.Role == Voter }) || len(target) > wire.MaxMembers {
		return nil, callOutcome{refusal: wire.RefusedMembers}
	}
	if c.Kind != wire.CallRemove {
		for i := range c.Members {
			if m := &target[wire.FindMember(target, c.Members[i].ID)]; sharedBy(target, m.Server) {
				return nil, callOutcome{refusal: wire.RefusedMembers, about: m.ID}
			}
		}
	}
	return target, callOutcome{}
}

// sharedBy says whether one of the members is to be reached where another server is.
func sharedBy(members []Member, s Server) bool {
	return s.Address != "" && slices.ContainsFunc(members, func(m Member) bool { return m.ID != s.ID && m.Address == s.Address })
}

// gaveUp says whether the last change was to make a server a voter, and was given up because the
// server didn't catch up.
func gaveUp(c *Configuration, id ServerID) bool {
	return c.About == id && (c.Refusal == wire.RefusedHalfway || c.Refusal == wire.RefusedNotCaughtUp)
}

// keep takes over what is known of a member that stays. If the call says that the member has moved,
// it keeps nothing: the member is then asked whether it is the same.
func keep(m, present *Member) {
	if m.Address == "" || m.Address == present.Address {
		m.Address, m.Incarnation = present.Address, present.Incarnation
	}
}

// sharesAddress returns the first server of a list that is to be reached where another one is, or
// "". Empty addresses are those of a transport that needs none.
func sharesAddress(list []Server, with Server) ServerID {
	for _, s := range list {
		if s.ID != with.ID && s.Address == with.Address && s.Address != "" {
			return s.ID
		}
	}
	return ""
}
