package tcp

import (
	"cmp"
	"slices"

	"github.com/e17579a5/raft"
)

// Stats say what a transport does, and what it has done since it was made.
type Stats struct {
	// Members are the servers that SetServers names, in the order of their IDs.
	Members []MemberStats
	// Guests counts the other servers that are known for now, and Connections all connections that
	// are open, those of streams and of newcomers included.
	Guests, Connections int
}

// MemberStats say how another server is reached. The counts begin anew when a server was forgotten:
// it was no member, and nothing came from it.
type MemberStats struct {
	ID raft.ServerID
	// Connected says that this side has a connection for what it sends, and Heard that the other
	// side has one for what it sends.
	Connected, Heard bool
	// QueuedMessages and QueuedBytes are what waits to be sent, or is being written
	// (Options.QueueMessages, QueueBytes), large messages included.
	QueuedMessages, QueuedBytes int
	// Connects counts the connections for messages that this side has made, and Failures its
	// attempts that failed.
	Connects, Failures uint64
	// SentMessages and SentBytes count what was handed to a connection. Dropped counts the messages
	// that were not: the queue was full, the server couldn't be reached, or the message was too
	// large.
	SentMessages, SentBytes, Dropped uint64
}

// Stats returns what the transport does now. It may be called at any time, also after Close.
func (t *Transport) Stats() Stats {
	t.mu.RLock()
	peers := make([]*peer, 0, len(t.peers))
	for _, p := range t.peers {
		peers = append(peers, p)
	}
	s := Stats{Connections: len(t.conns)}
	t.mu.RUnlock()
	for _, p := range peers {
		if m, member := p.stats(); member {
			s.Members = append(s.Members, m)
		} else {
			s.Guests++
		}
	}
	slices.SortFunc(s.Members, func(a, b MemberStats) int { return cmp.Compare(a.ID, b.ID) })
	return s
}

// stats says how the peer is reached, and whether it is a member.
func (p *peer) stats() (s MemberStats, member bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s = MemberStats{
		ID: p.id, Connected: p.out != nil, Heard: p.in != nil,
		Connects: p.connections, Failures: p.attempts, Dropped: p.unreached,
	}
	for _, q := range []*queue{&p.queue, &p.bulk.queue} {
		s.QueuedMessages += q.messages + q.writingMessages
		s.QueuedBytes += q.bytes + q.writingBytes
		s.SentMessages += q.sent
		s.SentBytes += q.sentBytes
		s.Dropped += q.dropped
	}
	return s, p.member.Load()
}
