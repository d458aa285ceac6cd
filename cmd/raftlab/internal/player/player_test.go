package player

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/link"
	"github.com/e17579a5/raft/rafttest/sim"
)

var update = flag.Bool("update", false, "write the files in testdata anew; read the diff before you commit it")

// schedules are kept failures. With this version of the library they break nothing.
func schedules(t *testing.T) map[string]*sim.Schedule {
	t.Helper()
	names, err := filepath.Glob("../../../../rafttest/testdata/*.schedule")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	all := map[string]*sim.Schedule{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		s := new(sim.Schedule)
		require.NoError(t, s.UnmarshalText(text))
		all[filepath.Base(name)] = s
	}
	return all
}

// TestGolden compares what the page gets of a small run, step by step, to a file.
func TestGolden(t *testing.T) {
	p, err := Open(link.Run{Schedule: schedules(t)["own-vote-early.schedule"], Step: -1})
	require.NoError(t, err)
	var got bytes.Buffer
	line := func(v any) {
		text, err := json.Marshal(v)
		require.NoError(t, err)
		got.Write(append(text, '\n'))
	}
	line(p.Summary())
	for i := range p.steps {
		line(p.At(i, 4))
	}
	line(p.Rows(0, len(p.steps)))
	const name = "testdata/small.golden"
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(name, got.Bytes(), 0o644))
	}
	want, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, strings.ReplaceAll(string(want), "\r\n", "\n"), got.String(), "go test ./cmd/raftlab/internal/player -update writes it anew")
}

// TestSteps demands of runs of every kind that what is told of a step, whichever is asked for
// first, is what the trace of the run has there: the text, the state and the log of each server, what
// its disk holds, what is committed, and which messages are on their way.
func TestSteps(t *testing.T) {
	for seed := uint64(1); seed <= 2; seed++ {
		live := func(w *sim.World) sim.Result { return w.Run(seed) }
		p, err := Open(link.Run{Params: sim.Swarm(seed), Step: -1})
		require.NoError(t, err)
		compare(t, fmt.Sprint("seed ", seed), p, sim.NewWorld(sim.Options{}).Trace(live))
	}
	for name, s := range schedules(t) {
		p, err := Open(link.Run{Schedule: s, Step: -1})
		require.NoError(t, err, name)
		compare(t, name, p, sim.NewWorld(sim.Options{}).Trace(func(w *sim.World) sim.Result { return w.Replay(s) }))
	}
}

// compare compares some hundred steps of a run, the last ones first: nothing may depend on what was
// asked for before.
func compare(t *testing.T, name string, p *Player, trace sim.Trace) {
	t.Helper()
	require.Equal(t, trace.Result, p.result, name)
	require.Len(t, p.steps, len(trace.Steps), name)
	want := expectations(&trace)
	for i := len(trace.Steps) - 1; i >= 0; i -= 1 + len(trace.Steps)/300 {
		f, s := p.At(i, MaxCells), &trace.Steps[i]
		where := fmt.Sprintf("%s, step %d", name, i)
		require.Equal(t, []any{i, s.At, s.Text, s.Server, strings.Join(s.Effects, "; ")}, []any{f.Step, f.At, f.Text, f.Server, strings.Join(f.Effects, "; ")}, where)
		require.Len(t, f.Servers, len(s.Servers), where)
		for j := range s.Servers {
			from, to := &s.Servers[j], &f.Servers[j]
			require.Equal(t, from.Up, to.Role != "down", where)
			require.Equal(t, []raft.Index{from.Applied, from.Commit, from.Stable, from.Last},
				[]raft.Index{raft.Index(to.Applied), raft.Index(to.Commit), raft.Index(to.Stable), raft.Index(to.Last)}, where)
			require.Equal(t, from.Text(), to.Text, where)
			require.Equal(t, []any{uint64(from.Disk.Term), uint64(from.Disk.Base) + 1, uint64(from.Disk.Last), from.Writes},
				[]any{to.Disk.Term, to.Disk.First, to.Disk.Last, to.Disk.Waiting}, where)
			compareLog(t, fmt.Sprintf("%s, server %d", where, j+1), &f, j, want[i].logs[j])
		}
		require.Equal(t, want[i].committed, f.Commit, where)
		require.Equal(t, want[i].flights, len(f.Flights)+f.More, where)
		require.Equal(t, want[i].never, f.Never, where)
		for _, flight := range f.Flights {
			require.True(t, flight.Sent <= i && i <= flight.End && flight.Part > 0 && flight.Part <= 1, "%s: %+v", where, flight)
			require.Equal(t, i == flight.End, flight.Part == 1, where)
		}
	}
}

func compareLog(t *testing.T, where string, f *Frame, server int, log []raft.Entry) {
	t.Helper()
	for k, c := range f.Servers[server].Cells {
		index := f.First + k
		var term raft.Term
		if index <= len(log) {
			term = log[index-1].Term
		}
		require.Equal(t, uint64(term), c.Term, "%s, index %d", where, index)
		if term > 0 {
			require.Contains(t, c.Full, fmt.Sprintf("index %d, term %d", index, term), where)
		}
	}
}

// An expectation is what a naive reading of a trace says of a step.
type expectation struct {
	logs           [sim.MaxServers][]raft.Entry
	committed      int
	flights, never int
}

// expectations goes through a trace from its first step on.
func expectations(trace *sim.Trace) []expectation {
	sent, ends := map[int]int{}, map[int]int{}
	for i := range trace.Steps {
		s := &trace.Steps[i]
		for _, m := range s.Sent {
			sent[m.Message] = i
		}
		if s.Delivered > 0 {
			ends[s.Delivered] = i
		}
		for _, lost := range s.Lost {
			ends[lost.Message] = i
		}
	}
	all := make([]expectation, len(trace.Steps))
	var now expectation
	for i := range trace.Steps {
		s := &trace.Steps[i]
		for _, c := range s.Logs {
			now.logs[c.Server] = append(now.logs[c.Server][:c.After:c.After], c.Entries...)
		}
		now.committed += len(s.Committed)
		all[i] = now
	}
	for m, from := range sent {
		end, ends := ends[m]
		for i := from; i < len(all) && (!ends || i <= end); i++ {
			if ends {
				all[i].flights++
			} else {
				all[i].never++
			}
		}
	}
	return all
}

// TestTurns demands that the turning points are in order, within the run, and hold its beginning, its
// end and the violation.
func TestTurns(t *testing.T) {
	for seed := uint64(1); seed <= 4; seed++ {
		p, err := Open(link.Run{Params: sim.Swarm(seed), Step: -1})
		require.NoError(t, err)
		s := p.Summary()
		require.IsIncreasing(t, s.Turns)
		require.Equal(t, []int{0, s.Steps - 1}, []int{s.Turns[0], s.Turns[len(s.Turns)-1]})
		require.Less(t, len(s.Turns), s.Steps/3, "most steps aren't turning points")
		for _, m := range s.Marks {
			require.Contains(t, s.Turns, m.Step, "a fault: %s", m.Text)
		}
		for i, lane := range s.Lanes {
			for _, l := range lane {
				require.Equal(t, []any{l.Role, l.Term}, []any{p.At(l.Step, 1).Servers[i].Role, p.At(l.Step, 1).Servers[i].Term})
			}
		}
	}
}

// cutOff is a schedule that breaks an invariant with any core: the cluster is never founded.
const cutOff = "raft schedule 1\nseed 1\nservers 3\n\ncut 1>2\ncut 2>1\ncut 1>3\ncut 3>1\ncut 2>3\ncut 3>2\nfound\n"

// TestViolation demands that the step, the text and the meaning of a violation are told, and that a
// reader begins there.
func TestViolation(t *testing.T) {
	p, err := OpenText([]byte(cutOff))
	require.NoError(t, err)
	s := p.Summary()
	require.Equal(t, &Violation{Name: sim.Convergence, Meaning: sim.Meaning(sim.Convergence), Text: p.result.Violation.Error()}, s.Violation)
	require.Equal(t, s.Steps-1, s.Broken)
	require.Equal(t, s.Broken, s.Start)
	require.True(t, p.At(s.Broken, 1).Broken)
	require.False(t, p.At(s.Broken-1, 1).Broken)
	require.Contains(t, s.Turns, s.Broken)
	require.Len(t, p.At(5, 1).Cut, 6)
	require.Equal(t, [2]int{5, 6}, s.Cuts[len(s.Cuts)-1])
	require.Empty(t, s.Notes)
	require.Equal(t, "schedule of 7 events", s.Title)

	again, err := OpenLink("#" + s.Link + "&step=3")
	require.NoError(t, err)
	require.Equal(t, 3, again.Summary().Start)
	again.run.Step = -1
	require.Equal(t, s, again.Summary())
}

// TestNotes demands that the page says where what it shows isn't what was found.
func TestNotes(t *testing.T) {
	notes := func(run link.Run) string {
		t.Helper()
		run.Step = -1
		p, err := Open(run)
		require.NoError(t, err)
		return strings.Join(p.Summary().Notes, "\n")
	}
	all := schedules(t)
	own, batched := all["own-vote-early.schedule"], all["batched.schedule"]
	require.Empty(t, notes(link.Run{Params: sim.Swarm(1)}))
	require.Equal(t, "This schedule once broke "+own.Expect+": "+sim.Meaning(own.Expect)+"\n"+nothing, notes(link.Run{Schedule: own}))
	require.Contains(t, notes(link.Run{Schedule: batched}), standIn)
	told := notes(link.Run{Schedule: batched, Told: "Invariant: negative"})
	require.Contains(t, told, "Where this run was found, it broke: Invariant: negative\n"+nothing)
	require.Contains(t, told, standIn)

	broken := new(sim.Schedule)
	require.NoError(t, broken.UnmarshalText([]byte(cutOff)))
	same := sim.NewWorld(sim.Options{}).Replay(broken).Violation.Error()
	require.Empty(t, notes(link.Run{Schedule: broken, Told: same}), "it is what was told")
	other := notes(link.Run{Schedule: broken, Told: "Invariant: negative"})
	require.Equal(t, "Where this run was found, it broke: Invariant: negative", other)
}

// TestCut demands that a run with more steps than are kept ends there, and says so: at the limit, it
// is whole.
func TestCut(t *testing.T) {
	run := link.Run{Params: sim.Swarm(1), Step: -1}
	whole, err := Open(run)
	require.NoError(t, err)
	n := len(whole.steps)
	exact, err := open(run, n)
	require.NoError(t, err)
	require.False(t, exact.cut)
	require.Equal(t, whole.Summary(), exact.Summary())
	for _, most := range []int{n - 1, n / 2, 1} {
		p, err := open(run, most)
		require.NoError(t, err)
		s := p.Summary()
		require.Equal(t, most, s.Steps)
		require.Nil(t, s.Violation)
		require.Contains(t, strings.Join(s.Notes, ""), fmt.Sprintf("only its first %d steps", most))
		at, want := p.At(most-1, 10), whole.At(most-1, 10)
		require.Equal(t, want.Servers, at.Servers, "what is kept is the same")
	}

	// An event in which time passes for ever is cut, too.
	text := []byte("raft schedule 1\nseed 1\nservers 3\n\nfound\npass 9000000000000000000\n")
	endless := new(sim.Schedule)
	require.NoError(t, endless.UnmarshalText(text))
	p, err := open(link.Run{Schedule: endless, Step: -1}, 5000)
	require.NoError(t, err)
	require.Len(t, p.steps, 5000)
}

// TestErrors demands that an error names what is wrong with a link or a file.
func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "line 1",
		"raft program 1\nrule x\n":             "this is a program",
		"raft schedule 1\nservers 3\n\nfly 1":  `no event is called "fly"`,
		"raft schedule 1\nservers 3\n":         "nothing happens",
		"raft schedule 1\nservers 3\n\nheal 1": "means nothing here",
	} {
		_, err := OpenText([]byte(text))
		require.ErrorContains(t, err, want, text)
	}
	_, err := OpenText(make([]byte, link.MaxText+1))
	require.ErrorContains(t, err, "a schedule may have 16777216")
	_, err = OpenLink("#seed=none")
	require.ErrorContains(t, err, `"none"`)
}

// TestFind demands that both directions find the same steps, and go round.
func TestFind(t *testing.T) {
	p, err := Open(link.Run{Params: sim.Swarm(2), Step: -1})
	require.NoError(t, err)
	all := func(from, direction int) []int {
		var found []int
		for at := p.Find("VOTErequest", from, direction); len(found) == 0 || at != found[0]; at = p.Find("voterequest", at, direction) {
			require.Less(t, len(found), len(p.steps))
			found = append(found, at)
		}
		return found
	}
	forth, back := all(-1, 1), all(0, -1)
	slices.Reverse(back)
	require.Greater(t, len(forth), 5)
	require.Equal(t, forth, back)
	require.Equal(t, -1, p.Find("no such text", 3, 1))
	require.Equal(t, -1, p.Find("", 3, 1))
}

// TestPageExamples demands that the links on the page itself can be opened: they are older than any
// change of the format.
func TestPageExamples(t *testing.T) {
	page, err := os.ReadFile("../../page/replay.html")
	require.NoError(t, err)
	links := regexp.MustCompile(`href="(#[^"]+)"`).FindAllSubmatch(page, -1)
	require.Len(t, links, 2)
	for _, found := range links {
		p, err := OpenLink(string(found[1]))
		require.NoError(t, err)
		require.Nil(t, p.Summary().Violation)
		require.Greater(t, len(p.steps), 100)
	}
}

// BenchmarkAt looks up steps all over a run of some thousands.
func BenchmarkAt(b *testing.B) {
	p, err := Open(link.Run{Params: sim.Swarm(4711), Step: -1})
	require.NoError(b, err)
	for i := 0; b.Loop(); i++ {
		p.At(i*997%len(p.steps), 14)
	}
}
