package raft_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wire"
)

// A command of a session is applied once, and every call gets the result of that one time (§6.3).
// It doesn't matter at which servers the command is proposed, nor that all servers start again
// between.
func TestSessionCommandIsAppliedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{})
		id, err := c.nodes["a"].OpenSession(t.Context())
		require.NoError(t, err)
		session := raft.NewSession(id)
		for round := range 3 {
			command, err := session.Next()
			require.NoError(t, err)
			for range 2 {
				for _, server := range c.ids {
					result, err := c.nodes[server].ProposeInSession(t.Context(), command, fmt.Append(nil, "command ", round))
					require.NoError(t, err)
					require.Equal(t, fmt.Sprint(round+1), string(result))
				}
				for _, server := range c.ids {
					c.close(server)
				}
				for _, server := range c.ids {
					c.start(server)
				}
			}
			session.Done(command)
		}
		for _, server := range c.ids {
			require.NoError(t, c.nodes[server].Read(t.Context()))
			require.Equal(t, []string{"command 0", "command 1", "command 2"}, c.machines[server].applied())
		}
	})
}

// A caller that was told that the outcome is unknown learns it by sending the command again.
func TestSessionTellsAnUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{})
		_, others := c.leader()
		id, err := others[0].OpenSession(t.Context())
		require.NoError(t, err)
		command := raft.SessionCommand{Session: id, Sequence: 1, Lowest: 1}

		for _, server := range c.ids {
			c.disks[server].set(nil, make(chan struct{}))
		}
		_, err = others[0].ProposeInSession(within(t, electionTimeout/2), command, []byte("x"))
		require.ErrorIs(t, err, raft.ErrOutcomeUnknown)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		for _, server := range c.ids {
			disk := c.disks[server]
			disk.mu.Lock()
			hang := disk.hang
			disk.hang = nil
			disk.mu.Unlock()
			close(hang)
		}
		for _, node := range others {
			result, err := node.ProposeInSession(t.Context(), command, []byte("x"))
			require.NoError(t, err)
			require.Equal(t, "1", string(result))
		}
	})
}

// The log alone expires sessions. When one session too many is opened, the one that was used least
// recently ends. Its commands are not applied again. Whether one ever was is told only if it is
// known.
func TestSessionsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, memory.Faults{})
		c.adjust = func(config *raft.Config) { config.MaxSessions = 2 }
		for _, id := range c.ids {
			c.start(id)
		}
		a := c.nodes["a"]
		var ids []raft.SessionID
		for range 2 {
			id, err := a.OpenSession(t.Context())
			require.NoError(t, err)
			ids = append(ids, id)
		}
		for i := range ids { // the session that was opened first is used last
			_, err := a.ProposeInSession(t.Context(), raft.SessionCommand{Session: ids[1-i], Sequence: 1, Lowest: 1}, []byte("x"))
			require.NoError(t, err)
		}
		_, err := a.OpenSession(t.Context())
		require.NoError(t, err)

		_, err = c.nodes["b"].ProposeInSession(t.Context(), raft.SessionCommand{Session: ids[1], Sequence: 1, Lowest: 1}, []byte("x"))
		require.ErrorIs(t, err, raft.ErrSessionExpired)
		require.ErrorIs(t, err, raft.ErrOutcomeUnknown)
		require.NotErrorIs(t, err, raft.ErrNotApplied)
		_, err = c.nodes["c"].ProposeInSession(t.Context(), raft.SessionCommand{Session: ids[1], Sequence: 2, Lowest: 2, Only: true}, []byte("y"))
		require.ErrorIs(t, err, raft.ErrSessionExpired)
		require.ErrorIs(t, err, raft.ErrNotApplied)
		require.NotErrorIs(t, err, raft.ErrOutcomeUnknown)

		result, err := a.ProposeInSession(t.Context(), raft.SessionCommand{Session: ids[0], Sequence: 1, Lowest: 1}, []byte("x"))
		require.NoError(t, err)
		require.Equal(t, "2", string(result))
		require.NoError(t, a.CloseSession(t.Context(), ids[0]))
		require.NoError(t, a.CloseSession(t.Context(), ids[0]))
		_, err = a.ProposeInSession(t.Context(), raft.SessionCommand{Session: ids[0], Sequence: 1, Lowest: 1}, []byte("x"))
		require.ErrorIs(t, err, raft.ErrSessionExpired)
		require.Equal(t, []string{"x", "x"}, c.machines["a"].applied())
	})
}

// A command that its client has let go of is refused when it comes late, also if it was never
// applied.
func TestSessionRefusesWhatWasLetGoOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 1, memory.Faults{})
		a := c.nodes["a"]
		id, err := a.OpenSession(t.Context())
		require.NoError(t, err)
		_, err = a.ProposeInSession(t.Context(), raft.SessionCommand{Session: id, Sequence: 9, Lowest: 5}, []byte("x"))
		require.NoError(t, err)
		_, err = a.ProposeInSession(t.Context(), raft.SessionCommand{Session: id, Sequence: 4, Lowest: 4}, []byte("late"))
		require.ErrorIs(t, err, raft.ErrSessionAnswered)
		require.ErrorIs(t, err, raft.ErrOutcomeUnknown)
		_, err = a.ProposeInSession(t.Context(), raft.SessionCommand{Session: id, Sequence: 5, Lowest: 5}, []byte("y"))
		require.NoError(t, err)
		require.Equal(t, []string{"x", "y"}, c.machines["a"].applied())
	})
}

func TestSessionCallsCheckWhatTheyGet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, memory.Faults{})
		c.adjust = func(config *raft.Config) {
			config.MaxCommandBytes = 10
			config.Validate = func(command []byte) error {
				switch string(command) {
				case "bad":
					return errors.New("this is no command")
				case "worse":
					panic("at the sight of it")
				}
				return nil
			}
		}
		a := c.start("a")
		id, err := a.OpenSession(t.Context())
		require.NoError(t, err)
		for what, call := range map[string]struct {
			command raft.SessionCommand
			data    string
			want    error
			says    string
		}{
			"no session":       {raft.SessionCommand{Sequence: 1, Lowest: 1}, "", wire.ErrMalformed, "no session"},
			"no sequence":      {raft.SessionCommand{Session: id}, "", wire.ErrMalformed, "sequence 0"},
			"below the lowest": {raft.SessionCommand{Session: id, Sequence: 1, Lowest: 2}, "", wire.ErrMalformed, "below the lowest, 2"},
			"too far above":    {raft.SessionCommand{Session: id, Sequence: 257, Lowest: 1}, "", wire.ErrMalformed, "256 above the lowest"},
			"too large":        {raft.SessionCommand{Session: id, Sequence: 1, Lowest: 1}, "more than ten bytes", raft.ErrTooLarge, "19 bytes"},
			"not valid":        {raft.SessionCommand{Session: id, Sequence: 1, Lowest: 1}, "bad", raft.ErrNotApplied, "this is no command"},
			"a panic":          {raft.SessionCommand{Session: id, Sequence: 1, Lowest: 1}, "worse", raft.ErrNotApplied, "at the sight of it"},
		} {
			_, err := a.ProposeInSession(t.Context(), call.command, []byte(call.data))
			require.ErrorIs(t, err, raft.ErrNotApplied, what)
			require.ErrorIs(t, err, call.want, what)
			require.ErrorContains(t, err, call.says, what)
		}
		_, err = a.Propose(t.Context(), []byte("bad"))
		require.ErrorIs(t, err, raft.ErrNotApplied)
		require.ErrorContains(t, err, "this is no command")

		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = a.OpenSession(ended)
		require.ErrorIs(t, err, raft.ErrNotApplied)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, a.CloseSession(ended, id), raft.ErrNotApplied)
		_, err = a.ProposeInSession(ended, raft.SessionCommand{Session: id, Sequence: 1, Lowest: 1}, nil)
		require.ErrorIs(t, err, raft.ErrNotApplied)
		require.Empty(t, c.machines["a"].applied())
	})
}

// The client's side of a session names the lowest number that isn't done. It hands out at most
// MaxSessionCommands numbers at a time.
func TestSessionNumbersItsCommands(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := raft.SessionID{Term: 2, Index: 9}
		first := rapid.Uint64Range(0, 1000).Draw(t, "first")
		session := raft.ResumeSession(id, first)
		first = max(first, 1)
		require.Equal(t, id, session.ID())
		next := first
		var open []raft.SessionCommand
		for range rapid.IntRange(1, 700).Draw(t, "steps") {
			if rapid.IntRange(0, 2).Draw(t, "step") > 0 {
				lowest := next
				for _, o := range open {
					lowest = min(lowest, o.Sequence)
				}
				command, err := session.Next()
				if next-lowest >= wire.MaxSessionCommands {
					require.ErrorIs(t, err, raft.ErrOverloaded)
					continue
				}
				require.NoError(t, err)
				require.Equal(t, raft.SessionCommand{Session: id, Sequence: next, Lowest: lowest}, command)
				open = append(open, command)
				next++
			} else if len(open) > 0 {
				i := rapid.IntRange(0, len(open)-1).Draw(t, "done")
				session.Done(open[i])
				session.Done(open[i])
				open = append(open[:i], open[i+1:]...)
			}
		}
		session.Done(raft.SessionCommand{Session: id, Sequence: next})
		session.Done(raft.SessionCommand{Sequence: first})
	})
}

// A client goes on for longer than one lap of the numbers that may be in use at once, and is done
// with its commands in any order. Each command names the lowest number that isn't done.
func TestSessionBeyondOneLap(t *testing.T) {
	const laps = 5
	id := raft.SessionID{Term: 2, Index: 9}
	for _, width := range []int{1, 2, 7, 100, wire.MaxSessionCommands} {
		session := raft.NewSession(id)
		var open []raft.SessionCommand
		for next := uint64(1); next < laps*wire.MaxSessionCommands; {
			lowest := next
			if len(open) > 0 {
				lowest = open[0].Sequence // the others come behind it
			}
			if len(open) < width && next-lowest < wire.MaxSessionCommands {
				command, err := session.Next()
				require.NoError(t, err)
				require.Equal(t, raft.SessionCommand{Session: id, Sequence: next, Lowest: lowest}, command)
				open = append(open, command)
				next++
				continue
			}
			if next-lowest == wire.MaxSessionCommands {
				_, err := session.Next()
				require.ErrorIs(t, err, raft.ErrOverloaded)
			}
			done := int(next) % len(open)
			if next-lowest > wire.MaxSessionCommands/2 {
				done = 0
			}
			session.Done(open[done])
			open = slices.Delete(open, done, done+1)
		}
	}
}

func TestSessionIDIsText(t *testing.T) {
	id := raft.SessionID{Term: 3, Index: 1042}
	text, err := id.MarshalText()
	require.NoError(t, err)
	require.Equal(t, "3.1042", string(text))
	var read raft.SessionID
	require.NoError(t, read.UnmarshalText(text))
	require.Equal(t, id, read)
	for _, bad := range []string{"", "3", "3.", ".1042", "3.0", "0.1042", "3.1042.5", "03.1042", "3.-1", "18446744073709551616.1"} {
		require.ErrorIs(t, read.UnmarshalText([]byte(bad)), wire.ErrMalformed, bad)
	}
	require.Equal(t, id, read, "an error changes nothing")
}

func TestConfigBoundsSessions(t *testing.T) {
	for _, config := range []raft.Config{{MaxSessions: wire.MaxSessions + 1}, {MaxSessionBytes: wire.MaxSessionBytes + 1}, {MaxSessions: -1}} {
		config.ID, config.Machine, config.Storage = "a", &journal{}, memory.NewStorage()
		config.Transport = memory.NewNetwork(memory.Options{}).Join("a")
		_, err := raft.Start(config)
		require.ErrorIs(t, err, raft.ErrConfig)
		require.ErrorContains(t, err, "MaxSession")
	}
}

// An entry that callers may not propose isn't appended, whichever server it comes from.
func TestOnlyWhatCallersMayProposeIsForwarded(t *testing.T) {
	c := founded(t, 3)
	for _, e := range []raft.Entry{
		{Kind: wire.EntryNoOp}, {Kind: wire.EntryConfiguration}, {Kind: 99}, {Kind: wire.EntrySessionCommand, Data: []byte{1}},
		{Kind: wire.EntryOpenSession}, {Kind: wire.EntryCloseSession, Data: []byte{1, 2, 3}},
	} {
		number := c.servers["b"].core.ProposeEntry(c.now, raft.Proposal{Kind: e.Kind, Data: e.Data})
		c.drain("b")
		require.Empty(t, c.forwards())
		last := c.servers["b"].answers[len(c.servers["b"].answers)-1]
		require.Equal(t, number, last.Number)
		require.ErrorIs(t, last.Err, raft.ErrNotApplied)
		require.ErrorIs(t, last.Err, wire.ErrMalformed)

		_, forward := c.offer("b", "x")
		e.Number = 1000
		request := forward.ForwardRequest()
		request.Commands = append(request.Commands, e)
		before := c.status("a").Last
		c.deliver(request.Message().In(forward.Envelope))
		require.Equal(t, before, c.status("a").Last, "%v", e.Kind)
	}
}
