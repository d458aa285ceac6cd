package raft

import (
	"cmp"
	"slices"

	"github.com/e17579a5/raft/wire"
)

// A change of the members takes the steps below. Each step is an entry in the log, which is
// committed before the next step begins:
//
//	┌ new servers are asked who they are; nothing is in the log yet
//	│
//	│  Members               Old        Next
//	├─ present + joining     –          to be     they catch up (§4.2.1)
//	├─ to be                 present    –         joint: majorities of both (§4.3)
//	└─ to be                 –          –         settled
//
// The first step is left out when nobody must catch up and a majority of the voters to be answers.
// The joint step is left out when the voters stay the same. Every later leader goes on from where
// the log stands. A change whose servers don't catch up is given up: the members that were joining
// go again, and the configuration says why.
//
// When the disk of a voter was replaced, the new disk has forgotten what the old one promised. So
// the first step is then a joint one that makes the server a learner with its new disk. The change
// goes on from there.
//
// No step is taken before an entry of this leader's own term is committed. Otherwise two leaders
// that don't know of each other's changes can commit with disjoint majorities (the single-server
// bug of 2015). Here more would have to go wrong for that, since each half of a joint configuration
// must agree.

// changing is what a leader knows of changes of the members.
type changing struct {
	// change is the change that is about to begin, or nil. nonce counts such changes.
	change *change
	nonce  uint64
	// catchUp is how the servers catch up in the change at which the log stands.
	catchUp catchUp
	// settled is the index of the last configuration whose change is known to have ended.
	settled Index
	// parted is the index of the joint configuration in which this leader has tried to hand over.
	parted Index
}

func (k *changing) encode(s *stateEncoder) {
	s.numbers(flag(k.change != nil))
	if k.change != nil {
		k.change.encode(s)
	}
	s.numbers(k.nonce, uint64(k.settled), uint64(k.parted))
	k.catchUp.encode(s)
}

func (k *changing) clone() changing {
	n := *k
	if k.change != nil {
		n.change = k.change.clone()
	}
	return n
}

// A change is one that a leader has in mind, but not yet in its log.
type change struct {
	origin Origin
	number uint64
	// target are the members to be. asked are those whose disk isn't known yet: messages that bear
	// nonce ask them who they are. waits counts the election timeouts without an answer.
	target []Member
	asked  []Member
	nonce  uint64
	waits  int
	// replaces says that the call asks for another disk than the one that the cluster knows.
	replaces bool
}

func (x *change) encode(s *stateEncoder) {
	s.origin(x.origin, x.number)
	s.members(x.target)
	s.members(x.asked)
	s.numbers(x.nonce, uint64(x.waits), flag(x.replaces))
}

func (x *change) clone() *change {
	n := *x
	n.target, n.asked = slices.Clone(x.target), slices.Clone(x.asked)
	return &n
}

// maxIdentityWaits is the number of election timeouts that a new server has to say who it is.
const maxIdentityWaits = 2

// mayChange says whether a change may begin: none is under way, and the latest configuration is
// committed and settled, with a key that only its members know. A leader that doesn't belong to it any
// more leaves the next key to its successor, and so the next change too: the caller of the last one
// waits for the configuration with that key.
func (c *Core) mayChange(l *leader) bool {
	placed := c.log.placed()
	settled := placed.configuration.Settled() && !(placed.configuration.KeyOutworn && c.drawsKeys())
	return l.change == nil && placed.index <= c.log.commit && settled
}

// changeEnds says whether the members are settled, and yet the change isn't quite over: its last
// configuration isn't committed, or the one that brings the next key or a higher level. The call
// that led to it may have its answer already. So the next one waits, and isn't refused.
func (c *Core) changeEnds(l *leader) bool {
	return l.change == nil && c.log.configuration().Settled() && !c.mayChange(l)
}

// beginChange begins the change of the members that a call asks for, or goes on with it.
func (c *Core) beginChange(l *leader, t ticket, call *wire.Call) {
	placed := c.log.placed()
	present := placed.configuration
	if present.Origin == t.origin && present.Number == t.number {
		if l.settled == placed.index {
			c.endCall(l, t, outcomeOf(placed))
		}
		return // otherwise driveChange goes on with the change, and tells its outcome
	}
	if !c.mayChange(l) {
		c.endCall(l, t, callOutcome{refusal: wire.RefusedInProgress})
		return
	}
	if call.Expected != 0 && call.Expected != placed.index {
		c.endCall(l, t, callOutcome{refusal: wire.RefusedConflict})
		return
	}
	target, outcome := targetOf(call, present)
	if outcome.refusal != 0 {
		c.endCall(l, t, outcome)
		return
	}
	if i := wire.FindMember(target, c.id); i >= 0 && target[i].Incarnation == 0 {
		// This server needn't ask itself who it is, and it knows best where it is.
		if target[i].Incarnation = c.state.Incarnation; target[i].Address != c.config.Address {
			c.endCall(l, t, callOutcome{refusal: wire.RefusedUnreachable, about: c.id})
			return
		}
	}
	if call.Kind == wire.CallAdd {
		if why := c.lostDisk(l, &target[wire.FindMember(target, call.Members[0].ID)]); why != 0 {
			c.endCall(l, t, callOutcome{refusal: why, about: call.Members[0].ID})
			return
		}
	}
	l.nonce++
	l.change = &change{origin: t.origin, number: t.number, target: target, nonce: l.nonce}
	l.change.replaces = call.Kind == wire.CallReplace
	for i := range target {
		if target[i].Incarnation == 0 {
			l.change.asked = append(l.change.asked, target[i])
		}
	}
	if len(l.change.asked) > 0 {
		c.arm(changeDeadline, c.config.ElectionTimeout)
	}
	c.askIdentities(l)
	c.identified(l)
}

// lostDisk says why a member can't be what a call asks for with the disk that the cluster knows, if
// this leader knows that the member has another disk by now, or that the disk went back in time.
func (c *Core) lostDisk(l *leader, m *Member) wire.Refusal {
	if p := l.peer(m.ID); p != nil && p.incarnation == m.Incarnation {
		return c.peerRefusal(p)
	}
	return 0
}

// askIdentities asks the new servers who they are, at the addresses that the call names. Until a
// member has answered, it is spoken to at its old address: an address at which nobody answers cuts
// nobody off.
func (c *Core) askIdentities(l *leader) {
	if l.change == nil {
		return
	}
	for i := range l.change.asked {
		m := wire.IdentityRequest{Round: l.change.nonce}.Message()
		m.ToAddress = l.change.asked[i].Address
		c.send(l.change.asked[i].ID, m)
	}
}

// tellIdentity says which disk this server has and to which cluster it belongs. The envelope says
// both. The answer leaves when both are durable.
func (c *Core) tellIdentity(m *wire.Message) {
	c.send(m.From, wire.IdentityResponse{Round: m.IdentityRequest().Round, AskedIn: m.Term, Level: c.config.Level}.Message())
}

// identityTold takes an IdentityResponse, which a server may also send unasked.
func (c *Core) identityTold(m *wire.Message) {
	l, leads := c.role.(*leader)
	answer := m.IdentityResponse()
	if !leads || answer.AskedIn != c.state.Term {
		return
	}
	if m.FromIncarnation == 0 {
		if c.asksIdentity(m) {
			c.dropChange(l, callOutcome{refusal: wire.RefusedForeign, about: m.From}) // a member of a cluster, to which we are strangers
		}
		return
	}
	if p := l.peer(m.From); answer.Round == 0 && p != nil && p.incarnation != m.FromIncarnation {
		p.replaced = true
	}
	if l.change == nil || answer.Round != l.change.nonce {
		return
	}
	i := wire.FindMember(l.change.asked, m.From)
	if i < 0 {
		return
	}
	target := &l.change.target[wire.FindMember(l.change.target, m.From)]
	known := c.log.configuration().Member(m.From)
	switch {
	case m.Cluster != ClusterID{} && m.Cluster != c.state.Cluster:
		c.dropChange(l, callOutcome{refusal: wire.RefusedForeign, about: m.From})
		return
	case max(answer.Level, wire.LevelFirst) < c.log.configuration().LevelInForce():
		c.dropChange(l, callOutcome{refusal: wire.RefusedOutdated, about: m.From})
		return
	case known != nil && known.Address != target.Address && known.Incarnation != m.FromIncarnation && !l.change.replaces:
		c.dropChange(l, callOutcome{refusal: wire.RefusedOtherDisk, about: m.From})
		return
	}
	target.Incarnation = m.FromIncarnation
	l.change.asked = slices.Delete(l.change.asked, i, i+1)
	c.identified(l)
}

// identified takes the first step of a change once the disks of all new servers are known.
func (c *Core) identified(l *leader) {
	if l.change == nil || len(l.change.asked) > 0 {
		return
	}
	placed := c.log.placed()
	present, target := placed.configuration, l.change.target
	if slices.Equal(present.Members, target) {
		c.dropChange(l, callOutcome{index: placed.index})
		return
	}
	next := Configuration{Cluster: present.Cluster, Members: present.Members, Next: target}
	next.Origin, next.Number = l.change.origin, l.change.number
	c.changeDropped(l)
	members := make([]Member, 0, len(target))
	waits := !c.reachable(l, target)
	for _, m := range union(present.Members, target) {
		i, j := wire.FindMember(present.Members, m.ID), wire.FindMember(target, m.ID)
		switch {
		case j < 0: // it leaves at the end
		case i < 0:
			waits = waits || m.Role == Voter
			m.Role = Joining
		case present.Members[i].Incarnation != m.Incarnation:
			next.Begun = true
			if present.Members[i].Role == Voter {
				next.Old = present.Members
			}
			waits = waits || m.Role == Voter
			m.Role = Learner
		case present.Members[i].Role != Voter && m.Role == Voter:
			waits = true
			m = present.Members[i]
		default:
			m = present.Members[i]
		}
		members = append(members, m)
	}
	if !waits {
		c.takeStep(present, &next)
		return
	}
	if next.Members = members; len(members) > wire.MaxMembers {
		c.endCall(l, ticket{next.Origin, next.Number}, callOutcome{refusal: wire.RefusedMembers})
		return
	}
	c.appendConfiguration(&next)
}

// union returns the members of both lists, sorted by ID. Where both have a member, b counts.
func union(a, b []Member) []Member {
	all := slices.Clone(b)
	for i := range a {
		if wire.FindMember(b, a[i].ID) < 0 {
			all = append(all, a[i])
		}
	}
	slices.SortFunc(all, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// takeStep goes from the present members to those of Next: by way of a joint configuration, unless
// the voters stay the same.
func (c *Core) takeStep(present, next *Configuration) {
	step := *next
	step.Members, step.Next, step.Old = next.Next, nil, nil
	if !sameVoters(present.Members, step.Members) {
		step.Old = withoutJoining(present.Members)
	}
	c.appendConfiguration(&step)
}

// sameVoters says whether two lists have the same voters, with the same disks.
func sameVoters(a, b []Member) bool {
	voters := func(list, in []Member) bool {
		for i := range list {
			if m := &list[i]; m.Role == Voter {
				j := wire.FindMember(in, m.ID)
				if j < 0 || in[j].Role != Voter || in[j].Incarnation != m.Incarnation {
					return false
				}
			}
		}
		return true
	}
	return voters(a, b) && voters(b, a)
}

// appendConfiguration puts a configuration into this leader's log.
func (c *Core) appendConfiguration(configuration *Configuration) {
	present := c.log.configuration()
	configuration.Level = max(configuration.Level, present.Level) // it never falls
	c.setKeys(present, configuration)
	c.appendEntry(Entry{Kind: wire.EntryConfiguration, Data: wire.AppendConfiguration(nil, configuration)})
}

// dropChange ends a change of which nothing is in the log.
func (c *Core) dropChange(l *leader, outcome callOutcome) {
	t := ticket{l.change.origin, l.change.number}
	c.changeDropped(l)
	c.endCall(l, t, outcome)
}

func (c *Core) changeDropped(l *leader) {
	l.change = nil
	c.disarm(changeDeadline)
}

// driveChange takes the next step of the change at which the log stands, if there is one.
func (c *Core) driveChange(l *leader) {
	placed := c.log.placed()
	if c.log.commit < l.begin || placed.index > c.log.commit {
		return
	}
	if placed.index == l.settled {
		c.raiseLevel(l, placed.configuration)
		return
	}
	configuration := placed.configuration
	switch {
	case configuration.Old != nil:
		if c.handsOver(l, placed) {
			return
		}
		step := *configuration
		step.Old = nil
		c.appendConfiguration(&step)
	case configuration.Next != nil:
		c.driveCatchUp(l, placed)
	case c.renewsKey(configuration):
		renewed := *configuration
		c.appendConfiguration(&renewed)
	default:
		l.settled = placed.index
		if !c.keyFollows(configuration, configuration.Origin.Server) {
			c.endCall(l, ticket{configuration.Origin, configuration.Number}, outcomeOf(placed))
		}
		if !configuration.Counts(c.id, c.state.Incarnation) {
			// This server has led up to here, and doesn't belong to the voters any more (§4.2.2).
			if to := c.heir(l, configuration.Members, c.log.commit); to != "" {
				c.sendTimeoutNow(l, to)
			}
			c.stepDown()
		}
	}
}

// handsOver says whether this leader hands over before it takes the step by which it ceases to be a
// voter. It tries once. If that fails, it takes the step itself.
func (c *Core) handsOver(l *leader, placed *placedConfiguration) bool {
	if wire.IsVoter(placed.configuration.Members, c.id) {
		return false
	}
	if l.parted != placed.index {
		l.parted = placed.index
		if to := c.heir(l, placed.configuration.Members, l.begin); to != "" && l.handover.to == "" {
			c.handOver(l, to)
		}
	}
	return l.handover.to != ""
}

// outcomeOf returns what a settled configuration says of the call that led to it.
func outcomeOf(placed *placedConfiguration) callOutcome {
	return callOutcome{placed.index, placed.configuration.Refusal, placed.configuration.About}
}

// heir returns the member that should lead next, or "". Of the voters among some members that hold
// the log up to an index it is the fittest; among equals, the one that holds most of the log.
func (c *Core) heir(l *leader, members []Member, held Index) ServerID {
	var best *progress
	for i := range l.peers {
		p := &l.peers[i]
		if wire.IsVoter(members, p.id) && c.maySucceed(l, p) && p.match >= held {
			best = p.fitter(best)
		}
	}
	if best == nil {
		return ""
	}
	return best.id
}

// changeDue looks after a change when an election timeout has passed.
func (c *Core) changeDue(l *leader) {
	c.disarm(changeDeadline)
	placed := c.log.placed()
	switch {
	case l.change != nil:
		if l.change.waits++; l.change.waits >= maxIdentityWaits {
			c.dropChange(l, callOutcome{refusal: wire.RefusedUnreachable, about: l.change.asked[0].ID})
			return
		}
	case placed.configuration.Next == nil || l.catchUp.since != placed.index:
		return
	default:
		c.catchUpDue(l, placed.configuration)
		return
	}
	c.arm(changeDeadline, c.config.ElectionTimeout)
}

// withoutJoining returns the members that belong to the cluster already.
func withoutJoining(members []Member) []Member {
	return slices.DeleteFunc(slices.Clone(members), func(m Member) bool { return m.Role == Joining })
}
