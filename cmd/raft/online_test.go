package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/admin"
	"github.com/e17579a5/raft/httpapi"
)

// A fake is a server that answers as it is told to.
type fake struct {
	status  admin.Status
	host    *admin.Host    // of a server with many groups
	queries []string       // of all requests
	answers map[string]any // by path: what is answered to a change, an *httpapi.Error or another value
	asked   []string       // paths and bodies of the changes that were asked for
	address string
}

// nothing is an answer that doesn't come until the client is gone.
type nothing struct{}

// fakes starts servers that answer as they are told to, and names them in the environment.
func fakes(t *testing.T, all ...*fake) {
	t.Helper()
	var addresses []string
	for _, f := range all {
		server := httptest.NewServer(f)
		t.Cleanup(server.Close)
		f.address = fmt.Sprintf("%s=%s", f.status.ID, server.URL)
		addresses = append(addresses, f.address)
	}
	t.Setenv(environment, strings.Join(addresses, ","))
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, admin.Path)
	f.queries = append(f.queries, r.URL.RawQuery)
	switch many := f.host != nil || f.status.Role == "" && f.status.Membership.Index == 0; {
	case path == "host" && f.host != nil:
		_ = json.NewEncoder(w).Encode(f.host)
		return
	case path == "status" && many && r.URL.RawQuery == "":
		httpapi.Fail(w, &httpapi.Error{Status: http.StatusNotFound, Code: "no_group", Outcome: httpapi.NotApplied})
		return
	case path == "status":
		_ = json.NewEncoder(w).Encode(f.status)
		return
	}
	body, _ := io.ReadAll(r.Body)
	f.asked = append(f.asked, path+" "+string(body))
	switch answer := f.answers[path].(type) {
	case nil:
		panic(http.ErrAbortHandler)
	case *httpapi.Error:
		httpapi.Fail(w, answer)
	case nothing:
		w.Header().Set("Content-Type", "application/octet-stream")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	case []byte:
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(answer)
	default:
		_ = json.NewEncoder(w).Encode(answer)
	}
}

func membership(index raft.Index, ids ...raft.ServerID) admin.Membership {
	m := admin.Membership{Cluster: "00112233445566778899aabbccddeeff", Index: index, Level: 3}
	for _, id := range ids {
		m.Members = append(m.Members, admin.Member{ID: id, Address: string(id) + ":1", Role: "voter", Disk: "000000000000000" + string(id)})
	}
	return m
}

// healthy returns three servers, the first of which leads.
func healthy() (a, b, c *fake) {
	server := func(id raft.ServerID, role string) *fake {
		return &fake{answers: map[string]any{}, status: admin.Status{
			ID: id, Role: role, Term: 7, Leader: "a", Membership: membership(5, "a", "b", "c"),
			Snapshot: 1000, Applied: 123456, Commit: 123456, Stable: 123456, Last: 123456,
		}}
	}
	return server("a", "leader"), server("b", "follower"), server("c", "follower")
}

func TestStatusWell(t *testing.T) {
	a, b, c := healthy()
	fakes(t, b, a, c)
	out, errs := look(t, exitWell, "status")
	require.Empty(t, errs)
	require.Equal(t, `cluster 00112233445566778899aabbccddeeff, configuration at 5: 3 voters
SERVER  ROLE      TERM  LEADER  APPLIED  COMMIT  LAST    SNAPSHOT  WAITING
b       follower  7     a       123456   123456  123456  1000      0
a       leader    7     a       123456   123456  123456  1000      0
c       follower  7     a       123456   123456  123456  1000      0
all is well
`, out)
	out, _ = look(t, exitWell, "status", "-json")
	var r report
	require.NoError(t, json.Unmarshal([]byte(out), &r))
	require.True(t, r.Well)
	require.Equal(t, a.status, *r.Servers[1].Status)

	out, _ = look(t, exitWell, "members")
	require.Equal(t, `configuration at 5 of cluster 00112233445566778899aabbccddeeff
  a  a:1  voter  disk 000000000000000a
  b  b:1  voter  disk 000000000000000b
  c  c:1  voter  disk 000000000000000c
`, out)

	// A member that wasn't asked is told, and is no trouble.
	out, _ = look(t, exitWell, "status", "-servers", a.address)
	require.Contains(t, out, "b was not asked: no address on the command line is its\nc was not asked")
	require.Contains(t, out, "all is well\n")
}

func TestStatusOfTrouble(t *testing.T) {
	a, b, c := healthy()
	a.status.Membership = membership(9, "a", "b", "c")
	a.status.Membership.Members[2].Role = "joining"
	a.status.Membership.Next = membership(9, "a", "b", "c").Members
	a.status.Pending = admin.Pending{Commands: 12, Reads: 1}
	a.status.Waiting = []admin.Waiting{{Kind: "command", Text: "waits for 1.2s on a majority to store (entry 5): b, c"}}
	a.status.Peers = []admin.Peer{
		{ID: "b", SilentMS: 2999}, {ID: "c", SilentMS: 3000, Trouble: "another disk", Full: true, Snapshot: &admin.SnapshotTransfer{Index: 9, Stage: "streaming", Done: 1, Size: 2}},
	}
	a.status.Problems = []string{"the disk has been full for 3s"}
	a.status.HandingOver = "b"
	b.status.Role, b.status.Leader, b.status.NoLeader = "pre-candidate", "", "no leader for 2s: this server lacks votes; granted: b; silent: a, c"
	c.status.Trouble = "another disk"
	fakes(t, a, b, c)
	server := httptest.NewServer(nil)
	server.Close()
	t.Setenv(environment, os.Getenv(environment)+",d="+server.URL)
	out, _ := look(t, exitNot, "status")
	require.Equal(t, `cluster 00112233445566778899aabbccddeeff, configuration at 9: 2 voters, 1 joining
SERVER  ROLE           TERM  LEADER  APPLIED  COMMIT  LAST    SNAPSHOT  WAITING
a       leader         7     a       123456   123456  123456  1000      13
b       pre-candidate  7     -       123456   123456  123456  1000      0
c       follower       7     a       123456   123456  123456  1000      0
d doesn't answer: dial tcp `+strings.TrimPrefix(server.URL, "http://")+`: connect: connection refused
a: the disk has been full for 3s
a has heard nothing from c for 3s
c takes no part: another disk
the disk of c is full
a sends a snapshot of entry 9 to c: streaming, 1 of 2 bytes
a: the oldest command waits for 1.2s on a majority to store (entry 5): b, c
a hands over to b
a: a change of the members is under way
b: no leader for 2s: this server lacks votes; granted: b; silent: a, c
c takes no part: another disk
`, out)
	out, _ = look(t, exitWell, "members")
	require.Contains(t, out, "  c  c:1  voter    disk 000000000000000c  to be\n")

	c.status.Membership.Cluster, a.status.Role = "ffffffffffffffffffffffffffffffff", "follower"
	out, _ = look(t, exitNot, "status")
	require.Contains(t, out, "c belongs to another cluster, ffffffffffffffffffffffffffffffff\n")
	require.Contains(t, out, "none of the servers that answer leads\n")
	_, errs := look(t, exitWell, "members")
	require.Contains(t, errs, "no leader answers; this is what server a knows")
	a.status.Membership = membership(9, "a", "b")
	b.status.Membership, c.status.Membership, c.status.Trouble = a.status.Membership, a.status.Membership, ""
	out, _ = look(t, exitNot, "status")
	require.Contains(t, out, "c is no member\n")
}

// TestNobodyAnswers: then nothing can be told, and nothing was changed.
func TestNobodyAnswers(t *testing.T) {
	server := httptest.NewServer(nil)
	server.Close()
	t.Setenv(environment, "a="+server.URL+",b=unix:/nonexistent/socket")
	out, _ := look(t, exitUntold, "status")
	require.Contains(t, out, "a doesn't answer: ")
	require.Contains(t, out, "b doesn't answer: ")
	for _, arguments := range [][]string{
		{"add", "d=d:1"}, {"remove", "d"}, {"replace", "d"}, {"set", "d"}, {"transfer"}, {"snapshot"}, {"snapshot", "a"},
		{"export", "-o", filepath.Join(t.TempDir(), "x")},
	} {
		_, errs := look(t, exitNot, arguments...)
		require.Contains(t, errs, "server a doesn't answer", arguments)
		require.Contains(t, errs, "not done", arguments)
	}
	_, errs := look(t, exitUntold, "members")
	require.Contains(t, errs, "server b doesn't answer")
}

// TestChanges: a change is asked of the leader, and shows the members before and after.
func TestChanges(t *testing.T) {
	a, b, c := healthy()
	fakes(t, b, a, c)
	after := membership(8, "a", "b", "c", "d")
	changed := admin.Changed{Before: membership(5, "a", "b", "c"), After: &after, Index: 8}
	for _, name := range []string{"add", "remove", "replace", "set"} {
		a.answers["members/"+name] = changed
	}
	out, _ := look(t, exitWell, "add", "d=d:1", "-expect", "5")
	require.Equal(t, `before: configuration at 5 of cluster 00112233445566778899aabbccddeeff
  a  a:1  voter  disk 000000000000000a
  b  b:1  voter  disk 000000000000000b
  c  c:1  voter  disk 000000000000000c
after:  configuration at 8 of cluster 00112233445566778899aabbccddeeff
  a  a:1  voter  disk 000000000000000a
  b  b:1  voter  disk 000000000000000b
  c  c:1  voter  disk 000000000000000c
  d  d:1  voter  disk 000000000000000d
`, out)
	look(t, exitWell, "add", "-learner", "d=d:1", "-timeout", "1s")
	look(t, exitWell, "replace", "c=c:2")
	look(t, exitWell, "set", "a", "d=d:1", "c,learner")
	out, _ = look(t, exitWell, "remove", "b", "-json")
	var done admin.Changed
	require.NoError(t, json.Unmarshal([]byte(out), &done))
	require.Equal(t, changed, done)
	require.Equal(t, []string{
		`members/add {"members":[{"id":"d","address":"d:1"}],"expect":5,"timeout_ms":30000}`,
		`members/add {"members":[{"id":"d","address":"d:1","role":"learner"}],"timeout_ms":1000}`,
		`members/replace {"members":[{"id":"c","address":"c:2"}],"timeout_ms":30000}`,
		`members/set {"members":[{"id":"a"},{"id":"d","address":"d:1"},{"id":"c","role":"learner"}],"timeout_ms":30000}`,
		`members/remove {"members":[{"id":"b"}],"timeout_ms":30000}`,
	}, a.asked)
	require.Empty(t, b.asked)

	// The server that made it may not know what is after, as one that was removed.
	changed.After = nil
	b.answers["members/remove"] = changed
	out, _ = look(t, exitWell, "remove", "a")
	require.Contains(t, out, "done with the configuration at 8, which none of the servers that answer knows yet\n")
	c.status.Membership = after
	out, _ = look(t, exitWell, "remove", "a")
	require.Contains(t, out, "after:  configuration at 8 ")
	require.Len(t, b.asked, 2, "a server isn't asked for its own removal if there is another one")
}

// TestFailures: what wasn't done, and what may have been, is said as such, and another server is asked
// only where that can't do it twice.
func TestFailures(t *testing.T) {
	a, b, c := healthy()
	fakes(t, a, b, c)
	refusal := &httpapi.Error{Status: 409, Code: "conflict", Outcome: httpapi.NotApplied, Message: "it is another one"}
	unknown := &httpapi.Error{Status: 504, Code: "outcome_unknown", Outcome: httpapi.Unknown, Message: "the time is over"}
	closed := &httpapi.Error{Status: 503, Code: "closed", Outcome: httpapi.NotApplied, Message: "the node was closed"}
	for _, command := range [][]string{{"members/add", "add", "d=d:1"}, {"transfer", "transfer", "b"}, {"snapshot", "snapshot", "a"}} {
		path, arguments := command[0], command[1:]
		a.answers[path] = refusal
		out, errs := look(t, exitNot, arguments...)
		require.Equal(t, "raft: "+arguments[0]+": not done: it is another one (conflict)\n", errs)
		require.Empty(t, out)
		out, _ = look(t, exitNot, append(arguments, "-json")...)
		require.Equal(t, `{"error":"it is another one","code":"conflict","outcome":"not applied"}`+"\n", out)
		a.answers[path] = unknown
		_, errs = look(t, exitUntold, arguments...)
		require.Contains(t, errs, "THE OUTCOME IS UNKNOWN: it may have been done, or may be done yet: the time is over")
		a.answers[path] = nil // the connection breaks
		_, errs = look(t, exitUntold, arguments...)
		require.Contains(t, errs, "THE OUTCOME IS UNKNOWN")
		require.Contains(t, errs, "EOF")
	}
	require.Empty(t, b.asked)
	require.Empty(t, c.asked)

	a.answers["transfer"], b.answers["transfer"] = closed, admin.Transferred{Before: admin.Leadership{Leader: "a", Term: 7}, After: admin.Leadership{Leader: "b", Term: 8}}
	out, _ := look(t, exitWell, "transfer", "b", "-expect", "7")
	require.Equal(t, "before: a leads in term 7\nafter:  b leads in term 8\n", out)
	require.Equal(t, []string{`transfer {"to":"b","expect_term":7,"timeout_ms":30000}`}, b.asked)
	require.Empty(t, c.asked)

	b.answers["snapshot"], c.answers["snapshot"] = admin.Snapshotted{ID: "b", Before: 1, After: 9}, refusal
	a.answers["snapshot"] = admin.Snapshotted{ID: "a", Before: 9, After: 9}
	out, errs := look(t, exitNot, "snapshot")
	require.Equal(t, "a: the snapshot covers entries to 9, before: 9\nb: the snapshot covers entries to 9, before: 1\n", out)
	require.Contains(t, errs, "not done: it is another one")
	_, errs = look(t, exitNot, "snapshot", "x")
	require.Contains(t, errs, "no server that answers is x")
}

// TestExport: the file is there if all of it is, and nothing is replaced.
func TestExport(t *testing.T) {
	a, b, c := healthy()
	fakes(t, a, b, c)
	dir := t.TempDir()
	name := filepath.Join(dir, "x")
	b.answers["export"] = []byte("raft-exported")
	_, errs := look(t, exitNot, "export", "-o", name)
	require.Contains(t, errs, "not done: the export of server b")
	require.Contains(t, errs, "ends too early")
	b.answers["export"] = nothing{}
	_, errs = look(t, exitNot, "export", "-o", name, "-stall", "50ms")
	require.Contains(t, errs, "not done: nothing has come for 50ms")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
	require.NoError(t, os.WriteFile(name, []byte("precious"), 0o600))
	_, errs = look(t, exitNot, "export", "-o", name)
	require.Contains(t, errs, "there is a file")
	_, errs = look(t, exitNot, "verify", name)
	require.Empty(t, errs)
	out, _ := look(t, exitNot, "verify", name, "-json")
	require.Contains(t, out, `"verdict":"damaged"`)
	_, errs = look(t, exitNot, "export", "-o", name+"2", "-from", "x")
	require.Contains(t, errs, "no server that answers is x")
	look(t, exitUntold, "verify", filepath.Join(dir, "nothing"))
	require.Empty(t, a.asked, "the leader has enough to do")
}

// TestTop: the rates are those between two answers.
func TestTop(t *testing.T) {
	a, b, _ := healthy()
	b.status.Role = "follower"
	fakes(t, a, b)
	out, _ := look(t, exitWell, "top", "-n", "2", "-every", "10ms")
	require.Equal(t, 2, strings.Count(out, "all is well\n"))
	require.Equal(t, 1, strings.Count(out, "COMMITTED/s"))
	require.NotContains(t, out, "\x1b", "it is no terminal")
	out, _ = look(t, exitWell, "top", "-n", "2", "-every", "10ms", "-json")
	require.Equal(t, 2, strings.Count(out, `{"well":true`))

	later := a.status
	later.Stable, later.Commit, later.Applied, later.Pending.Reads = later.Stable+500, later.Commit+300, later.Applied+200, 3
	var text bytes.Buffer
	printRates(&text, []view{{status: a.status}, {err: io.EOF}, {status: b.status}}, []view{{status: later}, {status: b.status}, {err: io.EOF}}, 2e9)
	require.Equal(t, `  SERVER  STORED/s  COMMITTED/s  APPLIED/s  UNAPPLIED  COMMANDS  READS  CALLS  DISK  MACHINE
       a       250          150        100        100         0      3      0     0        0
       b         -            -          -          0         0      0      0     0        0
`, text.String())
}

// TestUsage: what is wrong with the command line is named.
func TestUsage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("x"), 0o600))
	t.Setenv(environment, "")
	_, errs := look(t, exitUsage, "status")
	require.Contains(t, errs, "no servers: name them with -servers, or with RAFT_SERVERS")
	t.Setenv(environment, "localhost:1")
	for _, wrong := range []struct {
		text      string
		arguments []string
	}{
		{`no command "nothing"`, []string{"nothing"}}, {`no command "recover"`, []string{"recover"}}, {"raft status", []string{}},
		{"number of arguments is 1", []string{"status", "x"}}, {"number of arguments is 0", []string{"add"}},
		{`"d" is not ID=ADDRESS`, []string{"add", "d"}}, {`"d=" is not`, []string{"add", "d="}}, {`"=d:1" is not`, []string{"add", "=d:1"}},
		{`"d=d:1,king" is not`, []string{"set", "d=d:1,king"}}, {"is not ID", []string{"replace", "d,learner"}},
		{"-expect", []string{"remove", "d", "-expect", "x"}}, {"-timeout 0s", []string{"remove", "d", "-timeout", "0"}},
		{"-timeout 1h0m0s", []string{"remove", "d", "-timeout", "1h"}}, {"need each other", []string{"status", "-cert", file}},
		{"-cert, -key", []string{"status", "-cert", file, "-key", file}}, {"-ca: open", []string{"status", "-ca", file + "x"}},
		{"holds no certificate", []string{"status", "-ca", file}}, {"ftp", []string{"status", "-servers", "ftp://x"}},
		{"name it with -o", []string{"export"}}, {"-stall 0s", []string{"export", "-o", "x", "-stall", "0"}}, {"at least 10ms", []string{"top", "-every", "1ms"}}, {"not defined", []string{"top", "-x"}},
	} {
		out, errs := look(t, exitUsage, wrong.arguments...)
		require.Empty(t, out, wrong.arguments)
		require.Contains(t, errs, wrong.text, wrong.arguments)
	}
	out, _ := look(t, exitWell, "help")
	for _, c := range commands() {
		require.Contains(t, out, "  raft "+c.name)
		_, errs := look(t, exitWell, append(strings.Fields(c.name), "-h")...)
		require.Contains(t, errs, "usage: raft "+c.name+" "+c.about+"\n")
	}
}
