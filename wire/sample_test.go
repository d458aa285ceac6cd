package wire_test

import (
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/wire"
)

var update = flag.Bool("update", false, "write testdata/wire.golden anew")

// TestGolden: everything that is encoded has the encoding that testdata/wire.golden records. A
// change of that file is a change of the format: servers of the two versions can't talk, and can't
// read each other's logs.
func TestGolden(t *testing.T) {
	var lines []string
	record := func(name string, b []byte) {
		lines = append(lines, name+" "+hex.EncodeToString(b))
	}
	for _, e := range sampleEntries() {
		record("entry "+e.Kind.String(), wire.AppendEntry(nil, &e))
	}
	configuration := sampleConfiguration()
	record("configuration", wire.AppendConfiguration(nil, &configuration))
	changing := changingConfiguration()
	record("configuration", wire.AppendConfiguration(nil, &changing))
	for _, m := range sampleMessages() {
		record("message "+m.Kind().String(), wire.AppendMessage(nil, &m))
	}
	got := strings.Join(lines, "\n") + "\n"

	file := filepath.Join("testdata", "wire.golden")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o777))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o666))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, strings.ReplaceAll(string(want), "\r\n", "\n"), got)
}

// TestSamplesHaveEveryKind: the golden file shows each kind of message.
func TestSamplesHaveEveryKind(t *testing.T) {
	var kinds []wire.Kind
	for _, m := range sampleMessages() {
		kinds = append(kinds, m.Kind())
	}
	slices.Sort(kinds)
	require.Equal(t, wire.Kinds(), slices.Compact(kinds)) // some have more than one
}

func sampleEntries() []wire.Entry {
	session := wire.SessionID{Term: 7, Index: 302}
	return []wire.Entry{
		{Index: 300, Term: 7, Kind: wire.EntryCommand, Origin: wire.Origin{Server: "a", Start: 3}, Number: 130, Data: []byte("add 5")},
		{Index: 301, Term: 7, Kind: wire.EntryNoOp},
		{Index: 1, Term: 1, Kind: wire.EntryConfiguration, Data: []byte{1, 2, 3}},
		{Kind: wire.EntryCommand, Origin: wire.Origin{Server: "b", Start: 1}, Number: 1},
		{Index: 1 << 63, Term: 1<<64 - 1, Kind: 200, Data: []byte("from a later version")},
		{Kind: wire.EntryOpenSession, Data: wire.AppendSessionLimits(nil, wire.SessionLimits{Sessions: 1000, Bytes: 1 << 20})},
		{Kind: wire.EntrySessionCommand, Data: wire.AppendSessionCommand(nil,
			&wire.SessionCommand{Session: session, Sequence: 130, Lowest: 128}, []byte("add 5"))},
		{Kind: wire.EntryCloseSession, Data: wire.AppendSessionID(nil, session)},
	}
}

func sampleConfiguration() wire.Configuration {
	return wire.Configuration{
		Cluster: wire.ClusterID{0: 1, 15: 2},
		Members: []wire.Member{
			{Server: wire.Server{ID: "a", Address: "a.example:7001"}, Role: wire.Voter, Incarnation: 11},
			{Server: wire.Server{ID: "b", Address: "b.example:7001"}, Role: wire.Learner, Incarnation: 1 << 63},
		},
	}
}

func changingConfiguration() wire.Configuration {
	c := sampleConfiguration()
	c.Old, c.Next = c.Members[:1], c.Members[1:]
	c.Origin, c.Number, c.Begun = wire.Origin{Server: "a", Start: 3}, 5, true
	c.Refusal, c.About = wire.RefusedNotCaughtUp, "b"
	c.Level, c.Recovered = wire.LatestLevel, wire.ClusterID{3: 4}
	return c
}

// sampleMessages has every kind once.
func sampleMessages() []wire.Message {
	entries, configuration := sampleEntries(), sampleConfiguration()
	last := wire.Place{Index: 300, Term: 7}
	bootstrap := []wire.Server{{ID: "a", Address: "a.example:7001"}, {ID: "b", Address: "b.example:7001"}}
	offer := wire.SnapshotRequest{Snapshot: last, Attempt: 5, Start: 3, Serial: 2, Bytes: 1 << 30}
	founding := wire.VoteRequest{Last: wire.Place{Index: 20, Term: 6}, FoundedFrom: 7, Transfer: true, Bootstrap: bootstrap}.Message()
	messages := []wire.Message{
		wire.PreVoteRequest{Last: last, FoundedFrom: 1 << 63, Bootstrap: bootstrap}.Message(),
		wire.PreVoteResponse{Granted: true, Mismatch: true}.Message(),
		founding,
		wire.VoteResponse{Start: 1<<32 | 5, Granted: true, Level: wire.LatestLevel}.Message(),
		wire.AppendRequest{Previous: wire.Place{Index: 299, Term: 6}, Commit: 298, Entries: entries[:2]}.Message(),
		wire.AppendResponse{Accepted: true, Index: 301, Agree: wire.Place{Index: 280, Term: 7}}.Message(),
		wire.Heartbeat{Acknowledged: wire.Place{Index: 11, Term: 6}, Commit: 12, Stable: 13, Round: 9, Lease: 500 * time.Millisecond}.Message(),
		wire.HeartbeatResponse{
			Durable: 12, Received: 13, Round: 9, Lost: 10, Lease: 500 * time.Millisecond, Fitness: 4, Level: wire.LatestLevel,
		}.Message(),
		wire.TimeoutNow{}.Message(),
		wire.ForwardRequest{Start: 1, Lowest: 128, Commands: entries[3:4]}.Message(),
		wire.ForwardResponse{Start: 1, Refused: []uint64{1, 128, 1 << 40}}.Message(),
		wire.ReadRequest{Start: 1, Number: 6, ByLease: true}.Message(),
		wire.ReadResponse{Index: 44, Start: 1, Number: 6, ByLease: true}.Message(),
		wire.CallRequest{Start: 1, Lowest: 2, Number: 3, Call: &wire.Call{Kind: 7, Members: configuration.Members, Expected: 9}}.Message(),
		wire.CallResponse{Index: 9, Start: 1, Number: 3, Done: true, About: "b", Refusal: wire.RefusedUnknown}.Message(),
		wire.IdentityRequest{Round: 4}.Message(),
		wire.IdentityResponse{AskedIn: 7, Round: 4, Level: wire.LatestLevel}.Message(),
		wire.Removed{Committed: last}.Message(),
		offer.Message(),
		wire.SnapshotResponse{Snapshot: last, Attempt: 5, Start: 3, Serial: 2, Offset: 1 << 20}.Message(),
		wire.SnapshotStream{SnapshotRequest: offer, Pulled: true, Offset: 1 << 20, Configuration: entries[2]}.Message(),
		wire.Fingerprints{Index: 128, Sums: []uint64{1 << 31, 7}}.Message(),
		wire.Started{}.Message(),
		wire.Known{Promised: wire.Place{Index: 8, Term: 6}, Start: 2<<32 | 3, Led: 7, Back: true}.Message(),
		wire.RolledBack{}.Message(),
		wire.RepairRequest{First: 290, Term: 7, Last: 301}.Message(),
		wire.RepairResponse{Lacks: wire.Place{Index: 301, Term: 7}, First: 290, Snapshot: 295, Entries: entries[:1]}.Message(),
		wire.SnapshotPull{Least: 290, Start: 3, Serial: 2, Offset: 1 << 20}.Message(),
		wire.HeartbeatResponse{Durable: 12, Received: 13, Round: 9, Lost: 10, Lease: time.Second, Fitness: 4, Room: 1 << 23, Level: wire.LatestLevel}.Message(),
		wire.HeartbeatResponse{
			Durable: 12, Received: 13, Round: 9, Lost: 10, Full: true, Lease: time.Second, Fitness: 4, Room: 1 << 10, Level: wire.LatestLevel,
		}.Message(),
		wire.ForwardResponse{Start: 1, Refused: []uint64{128}, Why: wire.RefusedFull}.Message(),
		wire.SnapshotResponse{Snapshot: last, Attempt: 5, Start: 3, Serial: 2, Refused: wire.RefusedFull, Held: 1 << 20, Offset: 1}.Message(),
		wire.TimeoutNow{}.Message(),
		wire.ProcessHeartbeat{
			Round: 200, Base: 7, Version: 9, Wait: 100 * time.Millisecond, AnsweredStart: 1<<32 | 3, AnsweredRound: 199, AnsweredVersion: 5, Room: 1 << 23,
			Stands: []wire.Stand{{
				Group: "orders/7", Term: 7, Cluster: wire.ClusterID{0: 1, 15: 2}, Leader: 11, Member: 1 << 63, LeaderStart: 1<<32 | 4,
				Last: last, Lease: 500 * time.Millisecond, Fitness: 1, Level: wire.LatestLevel,
			}, {}},
			Gone: []wire.GroupID{"orders/8", ""}, Excepted: []wire.GroupID{"orders/9"}, Lost: []wire.ServerID{"c"},
		}.Message(),
	}
	messages[len(messages)-2].Group = "orders/7"
	for i := range messages {
		m := &messages[i]
		m.From, m.To, m.Term, m.FromIncarnation = "a", "b", 7, 11
		if m.Kind() >= wire.KindStarted {
			m.FromStart = 1<<32 | 4
		}
		if m.Kind() != wire.KindVoteRequest {
			m.Cluster, m.ToIncarnation = wire.ClusterID{0: 1, 15: 2}, 1<<63
		}
	}
	return messages
}
