package typed_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/typed"
)

// accounts is the machine of most tests: amounts of money, by JSON.
type accounts struct {
	Amounts map[string]int
	applied int `json:"-"`
}

type payment struct {
	To     string
	Amount int
	Why    *string `json:",omitempty"`
}

type (
	limitError  struct{ Amount, Limit int }
	closedError string
)

var errNobody = errors.New("there is no such account")

func (e *limitError) Error() string { return fmt.Sprintf("%d is more than %d", e.Amount, e.Limit) }
func (e closedError) Error() string { return string(e) + " is closed" }

func (a *accounts) Apply(p payment) (int, error) {
	a.applied++
	switch {
	case p.To == "":
		return 0, fmt.Errorf("pay %d: %w", p.Amount, errNobody)
	case p.To == "closed":
		return 0, closedError(p.To)
	case p.To == "both":
		return 0, errors.Join(errNobody, &limitError{p.Amount, 7})
	case p.To == "other":
		return 0, errors.New("something else")
	case p.Amount > 100:
		return 0, fmt.Errorf("pay: %w", &limitError{p.Amount, 100})
	}
	if a.Amounts == nil {
		a.Amounts = map[string]int{}
	}
	a.Amounts[p.To] += p.Amount
	return a.Amounts[p.To], nil
}

var accountOptions = typed.Options[payment, int]{Errors: typed.Errors{
	"nobody": errNobody, "limit": (*limitError)(nil), "closed": closedError(""),
}}

// memoryConfig returns the config of a server that is a cluster by itself.
func memoryConfig() raft.Config {
	return raft.Config{
		ID: "a", Storage: memory.NewStorage(), Transport: memory.NewNetwork(memory.Options{}).Join("a"),
		Bootstrap: []raft.Server{{ID: "a"}}, Logger: slog.New(slog.DiscardHandler),
	}
}

// startBank starts a server that is a cluster by itself.
func startBank(t *testing.T) (*typed.Node[payment, int], *accounts) {
	machine := new(accounts)
	node, err := accountOptions.Start(machine, memoryConfig())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, node.Close(context.Background())) })
	return node, machine
}

// requireRefusals demands that the errors of accounts come back as what they were.
func requireRefusals(t *testing.T, propose func(payment) (int, error)) {
	_, err := propose(payment{Amount: 3})
	require.EqualError(t, err, "pay 3: there is no such account")
	require.ErrorIs(t, err, errNobody)
	require.NotErrorIs(t, err, raft.ErrNotApplied)
	require.NotErrorIs(t, err, raft.ErrOutcomeUnknown)
	var refusal *typed.Refusal
	require.ErrorAs(t, err, &refusal)

	_, err = propose(payment{To: "b", Amount: 101})
	require.EqualError(t, err, "pay: 101 is more than 100")
	var limit *limitError
	require.ErrorAs(t, err, &limit)
	require.Equal(t, limitError{101, 100}, *limit)

	_, err = propose(payment{To: "both", Amount: 8})
	require.ErrorIs(t, err, errNobody)
	require.ErrorAs(t, err, &limit)
	require.Equal(t, limitError{8, 7}, *limit)

	_, err = propose(payment{To: "closed"})
	var closed closedError
	require.ErrorAs(t, err, &closed)
	require.Equal(t, closedError("closed"), closed)

	_, err = propose(payment{To: "other"})
	require.EqualError(t, err, "something else")
	require.ErrorAs(t, err, &refusal)
}
