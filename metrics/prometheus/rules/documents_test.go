package rules

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

var documentedName = regexp.MustCompile("(?m)^\\| `(raft_[a-z_]+)`")

// requireSameNames checks that the README lists just the families that servers have shown, that the
// dashboard shows each of them, and that no rule uses another.
func requireSameNames(t *testing.T, shown map[string]bool) {
	text, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	documented := map[string]bool{}
	for _, row := range documentedName.FindAllStringSubmatch(string(text), -1) {
		documented[row[1]] = true
	}
	require.Equal(t, shown, documented, "the list in the README")
	require.Equal(t, shown, drawn(t), "the dashboard")
	used := map[string]bool{}
	for _, rule := range shipped(t) {
		namesIn(t, rule.Expr, used)
	}
	for name := range used {
		require.True(t, shown[name], "a rule uses %s", name)
	}
}
