package typed_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
)

// TestAccountsReplicated: a typed machine is checked like any other one, with its refusals.
func TestAccountsReplicated(t *testing.T) {
	rafttest.Check(t, rafttest.Property{
		Machine: func() raft.StateMachine {
			m, err := accountOptions.StateMachine(new(accounts))
			require.NoError(t, err)
			return m
		},
		Command: rapid.Custom(func(t *rapid.T) []byte {
			to := rapid.SampledFrom([]string{"", "b", "c", "both", "other", "closed"}).Draw(t, "to")
			command, err := accountOptions.Encode(payment{To: to, Amount: rapid.IntRange(-10, 120).Draw(t, "amount")})
			require.NoError(t, err)
			return command
		}),
	})
}
