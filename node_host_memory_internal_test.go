package raft

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft/wire"
)

// WaitingBytes returns what the groups of a host have of its memory: first all that is lent, and then all
// of their shares.
func (h *Host) WaitingBytes() (lent, sure int) {
	for _, n := range h.nodes() {
		for _, a := range []*account{&n.inbox.commandRoom, &n.inbox.messageRoom} {
			a.mu.Lock()
			sure += a.sure
			a.mu.Unlock()
		}
	}
	return int(h.commands.lent.Load() + h.messages.lent.Load()), sure
}

// TailBytes returns how many bytes of entries the groups of a host have in memory, and how many it counts.
func (h *Host) TailBytes() (bytes, counted int) {
	for _, n := range h.nodes() {
		done := make(chan struct{})
		if n.inbox.report(func(l *loop, _ Instant) {
			bytes += l.core.TrimTail(maxInt)
			counted += l.tail.sure + l.tail.lent
			close(done)
		}) == nil {
			<-done
		}
	}
	return bytes, counted
}

// lentMemory is the memory of a host with what its groups are known to have.
type lentMemory struct {
	hostMemory
	accounts []*account
	held     map[*account][]int
}

const lentLimit = 1000

func (m *lentMemory) any(t *rapid.T) *account {
	if len(m.accounts) == 0 {
		t.Skip("no group")
	}
	return m.accounts[rapid.IntRange(0, len(m.accounts)-1).Draw(t, "group")]
}

func (m *lentMemory) take(t *rapid.T) {
	a, bytes, kept := m.any(t), rapid.IntRange(0, lentLimit).Draw(t, "bytes"), rapid.IntRange(1, 2).Draw(t, "kept")
	was, room := int(m.lent.Load()), max(m.share()/kept-a.sure, 0)
	lent := max(bytes-room, 0)
	took := a.take(bytes, kept)
	require.Equal(t, lent == 0 || was == 0 || was+lent <= lentLimit/2, took)
	if took {
		m.held[a] = append(m.held[a], bytes)
	}
}

func (m *lentMemory) give(t *rapid.T) {
	a := m.any(t)
	if n := len(m.held[a]); n > 0 {
		a.give(m.held[a][n-1])
		m.held[a] = m.held[a][:n-1]
	}
}

func (m *lentMemory) keep(t *rapid.T) {
	a, bytes := m.any(t), rapid.IntRange(0, lentLimit).Draw(t, "bytes")
	kept := a.keep(bytes)
	require.GreaterOrEqual(t, kept, min(bytes, m.share()))
	require.LessOrEqual(t, kept, bytes)
	m.held[a] = []int{kept}
}

func (m *lentMemory) close(t *rapid.T) {
	a := m.any(t)
	a.close()
	a.give(1) // something is answered late
	delete(m.held, a)
	m.accounts = slices.DeleteFunc(m.accounts, func(other *account) bool { return other == a })
}

func (m *lentMemory) check(t *rapid.T) {
	lent := 0
	for _, a := range m.accounts {
		all := 0
		for _, n := range m.held[a] {
			all += n
		}
		require.Equal(t, all, a.sure+a.lent)
		require.GreaterOrEqual(t, min(a.sure, a.lent), 0)
		lent += a.lent
	}
	require.EqualValues(t, lent, m.lent.Load())
	require.EqualValues(t, len(m.accounts), m.groups.Load())
}

// Whatever groups take and give back, no more is lent than there is, but for one thing that is larger than
// all; each group has its share; and in the end everything is there again.
func TestMemoryOfAHostIsLent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &lentMemory{held: map[*account][]int{}}
		m.max.Store(lentLimit)
		t.Repeat(map[string]func(*rapid.T){
			"join": func(*rapid.T) {
				a := new(account)
				m.join(a)
				m.accounts = append(m.accounts, a)
			},
			"take": m.take, "give": m.give, "keep": m.keep, "close": m.close, "": m.check,
		})
		for _, a := range m.accounts {
			for _, n := range m.held[a] {
				a.give(n)
			}
			require.Zero(t, a.sure+a.lent)
		}
		require.Zero(t, m.lent.Load())
	})
}

// A group that is flooded takes what is lent, and leaves the others their shares. Commands that callers
// wait for leave all room for messages, since they wait for some of these; and bulk leaves room for the
// messages that keep the group together.
func TestFloodedGroupLeavesOthersTheirShare(t *testing.T) {
	commands, messages := &hostMemory{}, &hostMemory{}
	commands.max.Store(80 << 10)
	messages.max.Store(80 << 10)
	flooded, other := boundedInbox(), boundedInbox()
	for _, in := range []*inbox{flooded, other} {
		commands.join(&in.commandRoom)
		messages.join(&in.messageRoom)
	}
	command := Proposal{Data: make([]byte, 10<<10-wire.EntryOverhead)}
	taken := 0
	for flooded.propose(&waiter{}, command) == nil {
		taken++
	}
	require.Equal(t, 6, taken, "a share of 20 KiB, and the 40 KiB that can be lent")
	require.ErrorIs(t, flooded.propose(&waiter{}, command), ErrOverloaded)
	require.ErrorContains(t, flooded.propose(&waiter{}, command), "HostConfig.MaxBytes")
	forward := wire.ForwardRequest{Commands: []Entry{{Data: command.Data[:9<<10]}}}.Message()
	for flooded.dropped.Load() == 0 {
		flooded.receive(forward)
	}
	require.Len(t, flooded.intake.forwards, 5, "commands leave messages their room: half of a share, and what can be lent")
	flooded.receive(wire.VoteRequest{}.Message())
	require.EqualValues(t, 1, flooded.dropped.Load(), "a vote has room")

	w := &waiter{done: make(chan struct{}, 1)}
	require.NoError(t, other.propose(w, command), "the other has its share")
	require.NoError(t, other.propose(&waiter{}, command))
	require.ErrorIs(t, other.propose(&waiter{}, command), ErrOverloaded)
	w.answer(&Answer{})
	w = &waiter{}
	require.NoError(t, other.propose(w, command), "it was answered")
	require.True(t, other.withdraw(w))
	require.NoError(t, other.propose(w, command), "it was withdrawn")
}
