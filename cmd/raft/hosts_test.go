package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/admin"
	"github.com/e17579a5/raft/httpapi"
)

// hostFakes starts two servers with many groups, of which one isn't well.
func hostFakes(t *testing.T) (a, b *fake) {
	a = &fake{status: admin.Status{ID: "a"}, host: &admin.Host{
		ID: "a", Running: 7, Led: 5, Followed: 2, Quiet: 4, Pending: 3, Entries: 120.4, Writes: 60,
		Busiest: []admin.Group{
			{Group: "kv/1", Leader: "a", Term: 3, Entries: 100, Commit: 1005, Applied: 1000, Pending: 2},
			{Group: "kv/2", Leader: "b", Term: 1, Entries: 20, Commit: 10, Applied: 10},
		},
	}}
	b = &fake{status: admin.Status{ID: "b"}, host: &admin.Host{ID: "b", Running: 7, Led: 2, Followed: 5, Quiet: 7,
		Busiest: []admin.Group{{Group: "kv/1", Leader: "a", Term: 3, Entries: 98, Commit: 1000, Applied: 990}}}}
	fakes(t, a, b)
	return a, b
}

func TestStatusOfHosts(t *testing.T) {
	a, b := hostFakes(t)
	out, _ := look(t, exitWell, "status")
	require.Equal(t, []string{
		"SERVER GROUPS LED FOLLOWED LEADERLESS ENDED QUIET WAITING APPLIED/s WRITES/s DISK",
		"a 7 5 2 0 0 4 3 120 60 0",
		"b 7 2 5 0 0 7 0 0 0 0",
		"GROUP LEADER TERM APPLIED/s APPLIED UNAPPLIED WAITING",
		"kv/1 a 3 100 1000 5 2",
		"kv/2 b 1 20 10 0 0",
		"all is well",
	}, squeezed(out))

	b.host.Leaderless, b.host.Ended = 7, 1
	for _, group := range []raft.GroupID{"g1", "g2", "g3", "g4", "g5", "g6", "g7"} {
		b.host.NoLeader = append(b.host.NoLeader, admin.Group{Group: group, LeaderlessMS: 12000})
	}
	b.host.Stopped = []admin.Group{{Group: "g8", Error: "a panic"}}
	b.host.Troubled = []admin.Group{{Group: "g9", Trouble: "removed"}}
	b.host.Problems = []string{"the disk has been full for 3s"}
	out, _ = look(t, exitNot, "status")
	for _, line := range []string{
		`b: the disk has been full for 3s`, `b: group "g1" has no leader for 12s`, `b: group "g5" has no leader for 12s`, `b: and 2 groups more`,
		`b: group "g8" has ended: a panic`, `b: group "g9" takes no part: removed`,
	} {
		require.Contains(t, squeezed(out), line)
	}
	require.NotContains(t, out, "g6")
	require.NotContains(t, out, "all is well")

	a.host, b.host = nil, nil
	out, _ = look(t, exitUntold, "status", "-json")
	require.Contains(t, out, `"well":false`)
}

// top measures for as long as it waits, and prints the same again and again.
func TestTopOfHosts(t *testing.T) {
	a, _ := hostFakes(t)
	out, _ := look(t, exitWell, "top", "-n", "2", "-every", "20ms")
	require.Equal(t, 2, strings.Count(out, "SERVER"))
	require.Contains(t, a.queries, "over_ms=20")
	out, _ = look(t, exitWell, "top", "-n", "2", "-every", "20ms", "-json")
	require.Equal(t, 2, strings.Count(out, "\n"))
}

// With -group, all commands are about this group.
func TestCommandsOfAGroup(t *testing.T) {
	a := &fake{status: admin.Status{ID: "a", Role: "leader", Leader: "a", Membership: membership(3, "a")}}
	fakes(t, a)
	a.answers = map[string]any{"transfer": &httpapi.Error{Status: http.StatusConflict, Code: "bad_transfer", Outcome: httpapi.NotApplied}}
	look(t, exitWell, "status", "-group", "kv/1")
	look(t, exitNot, "transfer", "-group", "kv/1")
	require.NotEmpty(t, a.asked)
	require.NotEmpty(t, a.queries)
	for _, query := range a.queries {
		require.Equal(t, "group=kv%2F1", query)
	}
}

// squeezed returns the lines of a text, with one space between words.
func squeezed(text string) (lines []string) {
	for line := range strings.Lines(text) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return lines
}
