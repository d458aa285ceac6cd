package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wire"
)

// write makes a log with a snapshot in a directory, and leaves it open.
func write(t *testing.T) (dir string, log *wal.Log, state raft.DurableState) {
	t.Helper()
	dir = t.TempDir()
	log, err := wal.Open(dir, wal.Options{SegmentSize: wal.MinSegmentSize, Salt: 1, Inline: true})
	require.NoError(t, err)
	founded := raft.Configuration{Cluster: raft.ClusterID{1}, Members: []raft.Member{
		{Server: raft.Server{ID: "a", Address: "here"}, Role: raft.Voter, Incarnation: 0xabc},
	}}
	state = raft.DurableState{HardState: raft.HardState{Term: 2, Vote: "a"}, Server: "a", Incarnation: 0xabc, Cluster: raft.ClusterID{1}, Start: 3 << 32}
	require.NoError(t, log.Write(raft.Write{State: state, Entries: []raft.Entry{
		{Index: 1, Term: 1, Kind: wire.EntryConfiguration, Data: wire.AppendConfiguration(nil, &founded)},
		{Index: 2, Term: 2, Kind: wire.EntryNoOp},
		{Index: 3, Term: 2, Kind: wire.EntryCommand, Origin: raft.Origin{Server: "a", Start: 3 << 32}, Number: 1, Data: []byte("the first command")},
	}}))
	meta := raft.SnapshotMeta{Index: 2, Term: 2, Configuration: founded, ConfigurationIndex: 1}
	snapshot, err := log.CreateSnapshot(meta)
	require.NoError(t, err)
	_, err = snapshot.Write([]byte("the state"))
	require.NoError(t, err)
	require.NoError(t, snapshot.Commit())
	require.NoError(t, log.Write(raft.Write{State: state, Snapshot: &meta, Compact: 1}))
	return dir, log, state
}

// look runs the command and requires an exit code.
func look(t *testing.T, code int, arguments ...string) (out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	require.Equal(t, code, run(t.Context(), arguments, &stdout, &stderr), "%s%s", &stdout, &stderr)
	return stdout.String(), stderr.String()
}

// flip changes a byte of a file. A negative at counts from the end of the file.
func flip(t *testing.T, name string, at int) {
	t.Helper()
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 1
	require.NoError(t, os.WriteFile(name, b, 0o600))
}

const (
	segment      = "0000000000000001.wal"
	anchor       = "ANCHOR"
	snapshotFile = "0000000000000001.snapshot"
)

func TestSoundLog(t *testing.T) {
	dir, log, _ := write(t)
	require.NoError(t, log.Close())
	out, errs := look(t, exitWell, "inspect", dir)
	require.Empty(t, errs)
	require.Equal(t, `server     "a", disk 0000000000000abc, cluster 01000000000000000000000000000000
state      term 2, vote "a", 3 starts, longest lease 0 ns, opened 1 times
segment    0000000000000001.wal: 3 records in 568 of 4096 bytes
segment    0000000000000002.wal: not begun, 4096 bytes
snapshot   0000000000000001.snapshot: current, of 2 in term 2, 83 bytes with frames; cluster 01000000000000000000000000000000: a voter at "here", disk 0000000000000abc
log        entries 2 to 3 are stored, behind a snapshot of 2 in term 2; forgotten to 1
terms      2 from 2 on
end        0000000000000001.wal at 568: closed, so nothing follows
sound
`, out)

	out, errs = look(t, exitWell, "dump", "-data", "9", dir)
	require.Empty(t, errs)
	require.Contains(t, out, `0000000000000001.wal
        40  head   a log to 0  term 0 start 0-00000000
       144  batch  synced to 144  entries 1 to 3  term 2 vote "a" start 3-00000000
                     1  term 1  configuration  cluster 01000000000000000000000000000000: a voter at "here", disk 0000000000000abc
                     2  term 2  no-op
                     3  term 2  command  a/3-00000000/1  17 bytes "the first"…
       384  batch  synced to 384  snapshot of 2 in term 2  forgotten to 1
`)

	out, errs = look(t, exitWell, "dump", "-snapshot", snapshotFile, dir)
	require.Empty(t, errs)
	require.Equal(t, "the state", out)
}

// TestConfigurations demands that all that a configuration says is printed: who else must agree,
// what is under way, and where the cluster comes from.
func TestConfigurations(t *testing.T) {
	member := func(id raft.ServerID, role raft.MemberRole) []raft.Member {
		return []raft.Member{{Server: raft.Server{ID: id, Address: "at " + string(id)}, Role: role, Incarnation: 1}}
	}
	require.Equal(t, `cluster 01000000000000000000000000000000: a voter at "at a", disk 0000000000000001, and before: b voter at "at b", `+
		`disk 0000000000000001, asked for by b/3-00000000/2, level 2`,
		configuration(&raft.Configuration{Cluster: raft.ClusterID{1}, Members: member("a", raft.Voter), Old: member("b", raft.Voter),
			Origin: raft.Origin{Server: "b", Start: 3 << 32}, Number: 2, Level: wire.LevelSessions}))
	require.Equal(t, `cluster 01000000000000000000000000000000: a joining at "at a", disk 0000000000000001, to be: a voter at "at a", `+
		`disk 0000000000000001, given up: not caught up: server a, `+
		`recovered from cluster 02000000000000000000000000000000`,
		configuration(&raft.Configuration{Cluster: raft.ClusterID{1}, Members: member("a", raft.Joining), Next: member("a", raft.Voter),
			Refusal: wire.RefusedNotCaughtUp, About: "a", Recovered: raft.ClusterID{2}}))
}

// TestTornWrite demands that a torn write is no damage and stays as it is.
func TestTornWrite(t *testing.T) {
	dir, log, state := write(t)
	require.NoError(t, log.Write(raft.Write{State: state, Entries: []raft.Entry{{Index: 4, Term: 2, Kind: wire.EntryNoOp}}}))
	before := map[string][]byte{}
	for _, name := range []string{segment, anchor} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		before[name] = b
	}
	require.NoError(t, log.Close())
	for name, b := range before { // as if the process had been killed
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	out, _ := look(t, exitWell, "inspect", dir)
	require.Contains(t, out, "end        0000000000000001.wal at 728: not closed: the last 160 bytes may not be synced")
	flip(t, filepath.Join(dir, segment), 700)
	for range 2 {
		out, _ = look(t, exitWell, "inspect", dir)
		require.Contains(t, out, "log        entries 2 to 3 are stored")
		require.Contains(t, out, "end        0000000000000001.wal at 568: a batch was torn while it was written")
		require.NotContains(t, out, "DAMAGE")
	}
}

func TestDamage(t *testing.T) {
	dir, log, _ := write(t)
	require.NoError(t, log.Close())
	flip(t, filepath.Join(dir, segment), 380)
	out, _ := look(t, exitNot, "dump", dir)
	require.Contains(t, out, "       144  batch  synced to 144  entries 1 to 2  term 2")
	damage := "wal: " + filepath.Join(dir, segment) + " is corrupt at offset 144: entry 3: its checksum is wrong"
	require.Contains(t, out, "DAMAGED  "+damage)
	require.Contains(t, out, "DAMAGE     "+damage)
	require.Contains(t, out, "LOST       the bytes of entries 3 to 3 of term 2: other servers must give them, or a snapshot that covers them\n")
	require.Contains(t, out, "DAMAGED: a server starts with this log, and needs entries from the others\n")
	flip(t, filepath.Join(dir, segment), 380)

	for _, at := range []int{30, 65536 + 30} {
		look(t, exitWell, "inspect", dir)
		flip(t, filepath.Join(dir, anchor), at)
	}
	out, _ = look(t, exitNot, "inspect", dir)
	require.Contains(t, out, "DAMAGE     wal: "+filepath.Join(dir, anchor)+" is corrupt at offset 0: neither of its slots is sound")
	require.Contains(t, out, "DAMAGED: no server starts with this log\n")
	flip(t, filepath.Join(dir, anchor), 30)

	flip(t, filepath.Join(dir, snapshotFile), -10)
	out, _ = look(t, exitNot, "inspect", dir)
	require.Contains(t, out, "snapshot   0000000000000001.snapshot: current, damaged\n")
	require.Contains(t, out, "DAMAGED: a server starts with this log, and needs a snapshot from the leader\n")
	_, errs := look(t, exitNot, "dump", "-snapshot", snapshotFile, dir)
	require.Contains(t, errs, "the checksum of a block is wrong")
}

// TestDamageThatIsNoObstacle demands that damage counts as damage even if a server starts with it.
func TestDamageThatIsNoObstacle(t *testing.T) {
	dir, log, _ := write(t)
	stale, err := log.CreateSnapshot(raft.SnapshotMeta{Index: 3, Term: 2})
	require.NoError(t, err)
	require.NoError(t, stale.Commit())
	require.NoError(t, log.Close())
	look(t, exitWell, "inspect", dir)
	flip(t, filepath.Join(dir, "0000000000000002.snapshot"), 20)
	out, _ := look(t, exitNot, "inspect", dir)
	require.Contains(t, out, "DAMAGED: a server starts with this log, without what is damaged\n")
}

func TestWhatCannotBeLookedAt(t *testing.T) {
	dir, log, _ := write(t)
	_, errs := look(t, exitUntold, "inspect", dir)
	require.Contains(t, errs, "in use")
	require.NoError(t, log.Close())
	_, errs = look(t, exitUntold, "inspect", t.TempDir())
	require.Contains(t, errs, "no log there")
	missing := filepath.Join(dir, "nothing")
	_, errs = look(t, exitUntold, "inspect", missing)
	_, err := os.Stat(missing)
	require.Contains(t, errs, errors.Unwrap(err).Error(), "in the words of the system")
	look(t, exitUntold, "dump", "-snapshot", "0000000000000009.snapshot", dir)

	preamble, err := os.ReadFile(filepath.Join(dir, segment))
	require.NoError(t, err)
	preamble[8]++
	binary.LittleEndian.PutUint32(preamble[32:], crc32.Checksum(preamble[:32], crc32.MakeTable(crc32.Castagnoli)))
	require.NoError(t, os.WriteFile(filepath.Join(dir, segment), preamble, 0o600))
	_, errs = look(t, exitUntold, "inspect", dir)
	require.Contains(t, errs, "has version 3 of the format")
	for _, arguments := range [][]string{
		{}, {"nothing"}, {"verify"}, {"inspect"}, {"inspect", "-nonsense", dir}, {"dump", "-data", "-1", dir}, {"dump", dir, "-json", "-snapshot", snapshotFile},
	} {
		out, errs := look(t, exitUsage, arguments...)
		require.Empty(t, out)
		require.NotEmpty(t, errs)
	}
	_, errs = look(t, exitWell, "dump", "-h")
	require.Contains(t, errs, "-snapshot")
}

// serversLog makes a server's log of three entries, the last of which can be lost.
func serversLog(t *testing.T, id raft.ServerID) (dir string, last raft.Entry, state raft.DurableState) {
	t.Helper()
	dir = t.TempDir()
	log, err := wal.Open(dir, wal.Options{SegmentSize: wal.MinSegmentSize, Salt: 1, Inline: true})
	require.NoError(t, err)
	founded := raft.Configuration{Cluster: raft.ClusterID{1}, Members: []raft.Member{{Server: raft.Server{ID: "a"}, Role: raft.Voter, Incarnation: 1}}}
	state = raft.DurableState{HardState: raft.HardState{Term: 2}, Server: id, Incarnation: 1, Cluster: raft.ClusterID{1}, Start: 3 << 32}
	last = raft.Entry{Index: 3, Term: 2, Kind: wire.EntryCommand, Origin: raft.Origin{Server: "a", Start: 3 << 32}, Number: 1, Data: []byte("the first command")}
	require.NoError(t, log.Write(raft.Write{State: state, Entries: []raft.Entry{
		{Index: 1, Term: 1, Kind: wire.EntryConfiguration, Data: wire.AppendConfiguration(nil, &founded)},
		{Index: 2, Term: 2, Kind: wire.EntryNoOp}, last,
	}}))
	require.NoError(t, log.Close())
	return dir, last, state
}

// spoil damages the command of a log, or undoes that.
func spoil(t *testing.T, dir string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, segment))
	require.NoError(t, err)
	at := bytes.Index(b, []byte("he first command"))
	require.Positive(t, at)
	flip(t, filepath.Join(dir, segment), at-1)
}

// What was lost and has been repaired since is no damage any more.
func TestRepairedLogIsSound(t *testing.T) {
	dir, last, state := serversLog(t, "a")
	spoil(t, dir)
	look(t, exitNot, "inspect", dir)
	log, err := wal.Open(dir, wal.Options{SegmentSize: wal.MinSegmentSize, Salt: 1, Inline: true})
	require.NoError(t, err)
	require.NoError(t, log.Write(raft.Write{State: state, Repairs: []raft.Entry{last}}))
	require.NoError(t, log.Close())
	out, _ := look(t, exitWell, "inspect", dir)
	require.Contains(t, out, "DAMAGE     ")
	require.NotContains(t, out, "LOST")
	require.Contains(t, out, "repaired: nothing is lost; what is damaged is stored once more, or isn't needed\n")
}

// Several logs are judged together.
func TestLogsTogether(t *testing.T) {
	a, _, _ := serversLog(t, "a")
	b, _, _ := serversLog(t, "b")
	out, _ := look(t, exitWell, "verify", a, b)
	require.Contains(t, out, "together: nothing is lost\n")
	spoil(t, a)
	out, _ = look(t, exitNot, "verify", a, b)
	require.Contains(t, out, "server a has lost what was in entries 3 to 3 of term 2: b can give it\n")
	require.Contains(t, out, "together: these logs have all that is lost in one of them\n")
	spoil(t, b)
	out, _ = look(t, exitNowhere, "verify", a, b)
	require.Contains(t, out, "TOGETHER: something that a server needs is in none of these logs\n")
	spoil(t, b)
	for _, at := range []int{30, 65536 + 30} {
		flip(t, filepath.Join(b, anchor), at)
	}
	look(t, exitNowhere, "verify", a, b) // no server starts with b, so it gives nothing
	spoil(t, a)
	look(t, exitNot, "verify", a, b)
	_, errs := look(t, exitUsage, "verify", a, a)
	require.Contains(t, errs, `two of the logs are server "a"'s`)
	look(t, exitUntold, "verify", a, t.TempDir())
	look(t, exitUsage, "dump", a, b)
	look(t, exitUsage, "inspect", a, b)
}

// TestLogsAsJSON: each record is a line, and then the log.
func TestLogsAsJSON(t *testing.T) {
	dir, log, _ := write(t)
	require.NoError(t, log.Close())
	out, _ := look(t, exitWell, "dump", "-json", "-data", "9", dir)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	require.Len(t, lines, 4)
	require.Equal(t, `{"segment":"0000000000000001.wal","offset":144,"kind":"batch","term":2,"vote":"a","entries":[`+
		`{"index":1,"term":1,"kind":"configuration","bytes":60,"configuration":"cluster 01000000000000000000000000000000: a voter at \"here\", disk 0000000000000abc"},`+
		`{"index":2,"term":2,"kind":"no-op","bytes":0},{"index":3,"term":2,"kind":"command","bytes":17,"data":"dGhlIGZpcnN0"}]}`,
		regexp.MustCompile(`"bytes":\d+,"configuration`).ReplaceAllString(lines[1], `"bytes":60,"configuration`))
	inspected, _ := look(t, exitWell, "inspect", dir, "-json")
	require.Equal(t, lines[3]+"\n", inspected)
	var l logReport
	require.NoError(t, json.Unmarshal([]byte(inspected), &l))
	require.Equal(t, logReport{
		logVerdict: logVerdict{Path: dir, Server: "a", Verdict: "sound", Starts: true},
		Disk:       "0000000000000abc", Cluster: "01000000000000000000000000000000", Term: 2, Vote: "a",
		First: 2, Last: 3, LastTerm: 2, Snapshot: 2, Tail: "closed", Segments: l.Segments,
		Members:   `cluster 01000000000000000000000000000000: a voter at "here", disk 0000000000000abc`,
		Snapshots: []snapshotReport{{Name: snapshotFile, Size: 83, Index: 2, Term: 2, Current: true}},
	}, l)

	flip(t, filepath.Join(dir, segment), 380)
	out, _ = look(t, exitNot, "verify", dir, "-json")
	require.Contains(t, out, `"verdict":"damaged","starts":true,"damage":["wal: `)
	require.Contains(t, out, `"lost":["server a has lost what was in entries 3 to 3 of term 2: nobody here can give it"]`)
	other, _, _ := serversLog(t, "b")
	out, _ = look(t, exitNot, "verify", dir, other, "-json")
	require.Contains(t, out, `{"together":"others have it","losses":["server a has lost`)
}

// TestGroupsOfALog: each group is listed, each part is shown with the name of its group, and damage to one
// group is told.
func TestGroupsOfALog(t *testing.T) {
	dir, log, state := write(t)
	founded := wire.AppendConfiguration(nil, &raft.Configuration{Cluster: raft.ClusterID{1}})
	of := func(group raft.GroupID, data string) raft.GroupWrite {
		return raft.GroupWrite{Group: group, Write: raft.Write{State: state, Entries: []raft.Entry{
			{Index: 1, Term: 1, Kind: wire.EntryConfiguration, Data: founded},
			{Index: 2, Term: 2, Kind: wire.EntryCommand, Data: []byte(data)},
		}}}
	}
	_, err := log.WriteGroups([]raft.GroupWrite{of("a", "of a"), of("b", "of b")})
	require.NoError(t, err)
	_, err = log.WriteGroups([]raft.GroupWrite{of("c", "of c")})
	require.NoError(t, err)
	require.NoError(t, log.RemoveGroup("c"))
	require.NoError(t, log.Close())
	out, errs := look(t, exitWell, "inspect", dir)
	require.Empty(t, errs)
	require.Contains(t, out, `
group      "a" (1): entries 1 to 2, term 2, snapshot of 0
group      "b" (2): entries 1 to 2, term 2, snapshot of 0
`)
	out, _ = look(t, exitWell, "dump", dir)
	require.Regexp(t, `part   group "a" \(1\)  synced to \d+  a log to 0  entries 1 to 2  term 2`, out)
	require.Regexp(t, `part   group "c" \(3\)  synced to \d+  ends`, out)
	out, _ = look(t, exitWell, "inspect", "-json", dir)
	require.Contains(t, out, `"groups":[{"group":"a","number":1,"term":2,"first":1,"last":2,"snapshot":0},{"group":"b"`)

	content, err := os.ReadFile(filepath.Join(dir, segment))
	require.NoError(t, err)
	flip(t, filepath.Join(dir, segment), bytes.Index(content, []byte("of b"))-100)
	out, _ = look(t, exitNot, "inspect", dir)
	require.Contains(t, out, `DAMAGED, can't be loaded`)
	require.Contains(t, out, "DAMAGED: a server starts with this log, without what is damaged")
}
