package raft

import "github.com/e17579a5/raft/wire"

// A message is input, and may say what can't be: its sender may be broken, or no member at all, or
// have a disk that has forgotten something. So before a message changes anything, it is compared
// with what this server knows for certain. One that contradicts it is refused as a whole, and a
// note for people is left (Standing). Nothing that the messages of correct servers can say is
// refused here.

// refusal is the latest message that was refused and is worth a note. It is never changed any more.
type refusal struct {
	count uint64 // of the notes so far
	from  ServerID
	term  Term
	why   string
	// rest is when the next note may be made. Until then messages are refused in silence.
	rest Instant
}

// refuse notes that a message isn't taken. There is at most one note in an election timeout.
func (c *Core) refuse(m *wire.Message, why string) {
	count := uint64(1)
	if last := c.refusal; last != nil {
		if c.now < last.rest {
			return
		}
		count += last.count
	}
	c.refusal = &refusal{count, m.From, m.Term, m.Kind().String() + ": " + why, c.now + Instant(c.config.ElectionTimeout)}
}

// maxTermLeap is by how much the term of a message may exceed this server's own. A cluster doesn't
// get there by elections: at one each second they would take 136 years. And it bounds what a single
// message can do to the terms that are left.
const maxTermLeap Term = 1 << 32

// absurd says whether the term of a message is one that no cluster of this server can be in. The
// message then isn't taken, whatever its kind: a server that adopted the last of all terms could
// never campaign again, and no leader could ever speak to it. A server without a cluster and without
// a log knows no term to compare with, and the cluster that it joins may be old.
func (c *Core) absurd(term Term) bool {
	fresh := c.state.Cluster == ClusterID{} && c.log.last == 0
	return term > wire.MaxTerm-maxTermLeap || term > c.state.Term+maxTermLeap && !fresh
}

// contradicts says what is wrong with the message of a leader, or "". It is asked before the message
// changes anything, the term included. A message of an earlier term is refused anyway.
func (c *Core) contradicts(m *wire.Message) string {
	if m.Term < c.state.Term {
		return ""
	}
	switch m.Kind() {
	case wire.KindAppendRequest, wire.KindHeartbeat, wire.KindSnapshotRequest, wire.KindSnapshotStream:
	default:
		return ""
	}
	if leader := c.leaderID(); m.Term == c.state.Term && (c.elected() || leader != "" && leader != m.From) {
		return "another server leads this term"
	}
	switch m.Kind() {
	case wire.KindAppendRequest:
		return c.appendContradicts(m)
	case wire.KindSnapshotStream:
		return c.snapshotContradicts(m)
	}
	return ""
}

// appendContradicts compares an append with what is committed here (Leader Completeness), with what
// was acknowledged to the same leader (Log Matching), and with what may follow in a log.
func (c *Core) appendContradicts(m *wire.Message) string {
	l, request := &c.log, m.AppendRequest()
	shared := l.commit // up to here this log equals the leader's
	if f, follows := c.role.(*follower); follows && f.leader == m.From && m.Term == c.state.Term {
		shared = max(shared, f.matched)
	}
	if p := request.Previous; p.Index >= l.base.Index && !l.matches(p.Index, p.Term) {
		if p.Index <= shared {
			return "it contradicts what this log shares with the leader's"
		}
		return "" // the logs don't agree there, so nothing is appended
	}
	for i := range request.Entries {
		e := &request.Entries[i]
		switch {
		case e.Index < l.base.Index || e.Index <= l.last && l.matches(e.Index, e.Term):
		case e.Index <= shared:
			return "it contradicts what this log shares with the leader's"
		default:
			return l.cantFollow(request.Entries[i:])
		}
	}
	return ""
}

// cantFollow says why entries can't be put behind what the log holds before the first of them, or
// "".
func (l *entryLog) cantFollow(entries []Entry) string {
	before := l.configurationBefore(entries[0].Index - 1)
	for i := range entries {
		switch e := &entries[i]; {
		case !e.Kind.Known():
			return "it brings an entry of an unknown kind"
		case e.Kind == wire.EntryConfiguration:
			next, err := wire.DecodeConfiguration(e.Data)
			if err != nil || !mayFollow(before, &next) {
				return "it brings a configuration that can't follow the one before"
			}
			before = &next
		case before == nil:
			return "it brings an entry before the first configuration"
		}
	}
	return ""
}

// snapshotContradicts compares a snapshot that is about to come with what is known here.
func (c *Core) snapshotContradicts(m *wire.Message) string {
	head := m.SnapshotStream()
	configuration, err := wire.DecodeConfiguration(head.Configuration.Data)
	if err != nil {
		return "its configuration can't be read"
	}
	return c.metaContradicts(&SnapshotMeta{
		Index: head.Snapshot.Index, Term: head.Snapshot.Term,
		Configuration: configuration, ConfigurationIndex: head.Configuration.Index,
	})
}

// metaContradicts says what is wrong with a snapshot from another server, or "".
func (c *Core) metaContradicts(meta *SnapshotMeta) string {
	l := &c.log
	held := l.matches(meta.Index, meta.Term)
	if !held && meta.Index <= l.commit {
		return "the snapshot contradicts what is committed"
	}
	if meta.founding() {
		if !held && l.configuration() != nil {
			return "the snapshot is of a cluster that is still to be founded"
		}
		return ""
	}
	if !possible(&meta.Configuration) {
		return "the configuration of the snapshot has no voter"
	}
	if n := len(l.configurations); held && n > 0 && l.configurations[0].index <= meta.Index {
		if l.configurationAt(meta.Index).index != meta.ConfigurationIndex {
			return "the snapshot names another configuration than the log"
		}
	} else if held && n > 0 && !mayFollow(&meta.Configuration, l.configurations[0].configuration) {
		return "the configuration of the snapshot can't stand before the one in the log"
	}
	return ""
}

// possible says whether a configuration, and each half of a joint one, has a voter.
func possible(configuration *Configuration) bool {
	votes := func(members []Member) bool {
		for i := range members {
			if members[i].Role == Voter {
				return true
			}
		}
		return false
	}
	return votes(configuration.Members) && (configuration.Old == nil || votes(configuration.Old))
}

// mayFollow says whether a configuration may stand in a log next after another one, which is nil if
// it is the first. Two neighbours stand in one of three relations (§4.3). They have the same voters;
// or the later one is joint, and its old voters are the voters of the earlier one; or the earlier
// one is joint, and the later one is its new half. A recovery is no step: it begins another cluster.
func mayFollow(was, is *Configuration) bool {
	switch {
	case !possible(is):
		return false
	case was == nil || is.Recovered != ClusterID{}:
		return true
	case was.Old == nil && is.Old != nil:
		return sameVoters(was.Members, is.Old)
	}
	return is.Old == nil && sameVoters(was.Members, is.Members)
}
