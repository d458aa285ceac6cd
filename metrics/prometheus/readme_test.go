package prometheus

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the lists in README.md anew")

// groups are the sections of the list, each with its first family.
var groups = []struct {
	first int
	title string
}{
	{roleFamily, "The server and its cluster"},
	{lastFamily, "The log"},
	{answersFamily, "Calls"},
	{turnsFamily, "The node's loop and its messages"},
	{lanePendingFamily, "Disk and state machine"},
	{snapshotsFamily, "Snapshots"},
	{lostFamily, "Damage and room"},
	{peerLagFamily, "Other servers, as the leader knows them"},
	{connectionsFamily, "Connections, with the transport of package tcp"},
	{hostGroupsFamily, "The groups of a host"},
	{groupAppliedFamily, "Single groups of a host"},
	{numFamilies, ""},
}

// list returns the list of all series as it is in the README.
func list() string {
	var b strings.Builder
	for i, group := range groups[:len(groups)-1] {
		fmt.Fprintf(&b, "\n### %s\n\n| series | type | labels | |\n| --- | --- | --- | --- |\n", group.title)
		for _, f := range families[group.first:groups[i+1].first] {
			kind := "gauge"
			switch {
			case f.histogram:
				kind = "histogram"
			case f.kind == counter:
				kind = "counter"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.name, kind, strings.Join(f.labels, ", "), f.help)
		}
	}
	return b.String()
}

// The README lists what there is, in its own words.
func TestReadmeListsTheSeries(t *testing.T) {
	const begin, end = "<!-- the list: go test . -run TestReadme -update -->\n", "\n<!-- the end of the list -->"
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(text), begin)
	require.True(t, found)
	listed, after, found := strings.Cut(rest, end)
	require.True(t, found)
	if *update {
		require.NoError(t, os.WriteFile("README.md", []byte(before+begin+list()+end+after), 0o644))
		return
	}
	require.Equal(t, list(), listed, "go test . -run TestReadme -update")
}

// Names follow Prometheus' conventions: a prefix, a unit, and _total for counters alone.
func TestNamesFollowConventions(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range families {
		require.Regexp(t, `^raft(_[a-z]+)+$`, f.name)
		require.False(t, seen[f.name], f.name)
		seen[f.name] = true
		require.Equal(t, f.kind == counter, strings.HasSuffix(f.name, "_total"), f.name)
		if f.histogram {
			require.True(t, strings.HasSuffix(f.name, "_seconds"), f.name)
		}
		require.NotContains(t, f.name, "milli")
		require.NotEmpty(t, f.help)
		require.True(t, strings.HasSuffix(f.help, "."), f.name)
	}
	require.Len(t, seen, numFamilies)
}
