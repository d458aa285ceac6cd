package typed_test

import (
	"context"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/typed"
)

// TestProposeAndRead: results and errors have types, and reads see what was acknowledged.
func TestProposeAndRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, machine := startBank(t)
		sum, err := node.Propose(t.Context(), payment{To: "b", Amount: 5})
		require.NoError(t, err)
		require.Equal(t, 5, sum)
		requireRefusals(t, func(p payment) (int, error) { return node.Propose(t.Context(), p) })

		var amount int
		view := func() { amount = machine.Amounts["b"] }
		require.NoError(t, node.Read(t.Context(), view))
		require.Equal(t, 5, amount)
		amount = 0
		require.NoError(t, node.LeaseRead(t.Context(), view))
		require.Equal(t, 5, amount)
		amount = 0
		_, err = node.StaleRead(t.Context(), 0, view)
		require.NoError(t, err)
		require.Equal(t, 5, amount)
		require.Equal(t, raft.ServerID("a"), node.Status().Leader)
		require.Equal(t, raft.ServerID("a"), node.Raft().Status().ID)

		ended, end := context.WithCancel(t.Context())
		end()
		unseen := func() { t.Error("view was called though the read has failed") }
		require.ErrorIs(t, node.Read(ended, unseen), context.Canceled)
		require.ErrorIs(t, node.LeaseRead(ended, unseen), context.Canceled)
		_, err = node.StaleRead(ended, 0, unseen)
		require.ErrorIs(t, err, context.Canceled)
		_, err = node.Propose(ended, payment{To: "b"})
		require.ErrorIs(t, err, raft.ErrNotApplied)
	})
}

// TestNothingIsProposedThatCantBe: what has no bytes, or isn't valid, is not applied.
func TestNothingIsProposedThatCantBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, machine := startBank(t)
		_, err := node.Propose(t.Context(), payment{To: "\xff"})
		require.ErrorIs(t, err, raft.ErrNotApplied)
		require.ErrorContains(t, err, "a string isn't UTF-8")
		require.Zero(t, machine.applied)

		invalid := errors.New("a negative amount")
		options := accountOptions
		options.Validate = func(p payment) error {
			if p.Amount == math.MinInt {
				panic("too little")
			}
			if p.Amount < 0 {
				return invalid
			}
			return nil
		}
		other, err := options.Start(new(accounts), memoryConfig())
		require.NoError(t, err)
		defer func() { require.NoError(t, other.Close(t.Context())) }()
		_, err = other.Propose(t.Context(), payment{Amount: -1})
		require.ErrorIs(t, err, raft.ErrNotApplied)
		require.ErrorIs(t, err, invalid)
		_, err = other.Propose(t.Context(), payment{Amount: math.MinInt})
		require.ErrorIs(t, err, raft.ErrNotApplied)
		var panicked *raft.PanicError
		require.ErrorAs(t, err, &panicked)
		_, err = options.Encode(payment{Amount: -1})
		require.ErrorIs(t, err, invalid)
	})
}

// A divider has results that JSON can't carry.
type divider struct{}

func (*divider) Apply(by float64) (float64, error) { return 1 / by, nil }

// TestResultWithoutBytes: the command was applied, and its caller is told so.
func TestResultWithoutBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, err := typed.Start(new(divider), memoryConfig())
		require.NoError(t, err)
		defer func() { require.NoError(t, node.Close(t.Context())) }()
		half, err := node.Propose(t.Context(), 2)
		require.NoError(t, err)
		require.InDelta(t, 0.5, half, 0)
		_, err = node.Propose(t.Context(), 0)
		var lost *typed.ResultError
		require.ErrorAs(t, err, &lost)
		require.ErrorContains(t, err, "the command was applied")
		require.ErrorContains(t, err, "+Inf")
		require.NotErrorIs(t, err, raft.ErrNotApplied)
		_, err = node.Propose(t.Context(), 4)
		require.NoError(t, err, "the server goes on")
	})
}

// TestUnknownCommandStopsTheServer: what comes after it isn't applied, and a version that knows the
// command goes on from there.
func TestUnknownCommandStopsTheServer(t *testing.T) {
	type newer struct {
		To     string
		Amount int
		Memo   string
	}
	synctest.Test(t, func(t *testing.T) {
		for _, unknown := range []string{
			"\x01" + `{"To":"b","Amount":1,"Memo":"x"}`, "\x01", "\x00", "\x00\x09", "\x02" + `{"To":"b","Amount":1}`,
			"\x01" + `{"To":"b","Amount":1}{}`, "\xff\xff\xff\xff\xff\x01", "", "\x80",
		} {
			machine := new(accounts)
			node, err := accountOptions.Start(machine, memoryConfig())
			require.NoError(t, err)
			_, err = node.Propose(t.Context(), payment{To: "b", Amount: 1})
			require.NoError(t, err)
			_, err = node.Raft().Propose(t.Context(), []byte(unknown))
			require.ErrorIs(t, err, raft.ErrOutcomeUnknown)
			<-node.Done()
			var stopped *typed.UnknownCommandError
			require.ErrorAs(t, node.Err(), &stopped, "%q", unknown)
			require.Equal(t, node.Status().Last, stopped.Index)
			require.Equal(t, 1, machine.applied, "%q", unknown)
			require.NoError(t, node.Close(t.Context()))
		}
	})
	later, err := typed.Options[newer, int]{}.StateMachine(&echoTo[newer]{})
	require.NoError(t, err)
	results := make([][]byte, 1)
	later.Apply([]raft.Entry{{Data: []byte("\x01" + `{"To":"b","Amount":1,"Memo":"x"}`)}}, results)
	require.Equal(t, "\x007", string(results[0]))
}

type echoTo[C any] struct{}

func (*echoTo[C]) Apply(C) (int, error) { return 7, nil }

// TestSessions: a command that is sent again has the same result, and the same error.
func TestSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, machine := startBank(t)
		session, err := node.OpenSession(t.Context())
		require.NoError(t, err)
		sum, err := session.Propose(t.Context(), payment{To: "b", Amount: 5})
		require.NoError(t, err)
		require.Equal(t, 5, sum)
		requireRefusals(t, func(p payment) (int, error) { return session.Propose(t.Context(), p) })

		number, err := session.Side().Next()
		require.NoError(t, err)
		applied := machine.applied
		for range 3 {
			sum, err = node.ProposeInSession(t.Context(), number, payment{To: "b", Amount: 5})
			require.NoError(t, err)
			require.Equal(t, 10, sum)
		}
		refused, err := session.Side().Next()
		require.NoError(t, err)
		for range 3 {
			_, err = node.ProposeInSession(t.Context(), refused, payment{To: "b", Amount: 102})
			var limit *limitError
			require.ErrorAs(t, err, &limit)
			require.Equal(t, limitError{102, 100}, *limit)
		}
		require.Equal(t, applied+2, machine.applied)

		_, err = node.ProposeInSession(t.Context(), number, payment{To: "\xff"})
		require.ErrorIs(t, err, raft.ErrNotApplied)
		require.NoError(t, session.Close(t.Context()))
		_, err = session.Propose(t.Context(), payment{To: "b"})
		require.ErrorIs(t, err, raft.ErrSessionExpired)
	})
}

// blob is a machine that writes its own state.
type blob struct{ text string }

func (b *blob) Apply(more string) (int, error) {
	b.text += more
	return len(b.text), nil
}
func (b *blob) AppendBinary(to []byte) ([]byte, error) { return append(to, b.text...), nil }
func (b *blob) UnmarshalBinary(text []byte) error {
	if strings.Contains(string(text), "bad") {
		return errors.New("bad text")
	}
	b.text = string(text)
	return nil
}

// stream is a machine that writes its own snapshots.
type stream struct {
	blob
	captured io.WriterTo
}

func (s *stream) Snapshot() (io.WriterTo, error) { return s.captured, nil }
func (s *stream) Restore(r io.Reader) error {
	text, err := io.ReadAll(r)
	s.text = string(text)
	return err
}
