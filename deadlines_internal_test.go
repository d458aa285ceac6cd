package raft

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Each deadline has a name of its own, by which a model checker lets it pass.
func TestDeadlinesHaveNames(t *testing.T) {
	seen := map[string]bool{"": true}
	for i := range traitsOf {
		require.False(t, seen[traitsOf[i].name], "deadline %d: %q", i, traitsOf[i].name)
		seen[traitsOf[i].name] = true
	}
}
