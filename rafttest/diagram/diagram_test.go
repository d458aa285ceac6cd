package diagram

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/sim"
	"github.com/e17579a5/raft/wire"
)

var update = flag.Bool("update", false, "write the files in testdata anew; read the diff before you commit it")

// picky is a state machine that counts its commands. Its invariant allows one command.
type picky struct{ count int }

func (p *picky) Apply(entries []raft.Entry, results [][]byte) {
	for i := range entries {
		p.count++
		results[i] = strconv.AppendInt(nil, int64(p.count), 10)
	}
}
func (p *picky) Snapshot() (io.WriterTo, error) {
	return bytes.NewBufferString(strconv.Itoa(p.count)), nil
}
func (p *picky) Restore(io.Reader) error { return errors.New("no snapshot is ever restored here") }

// pickyOptions give the runs commands with a text that would end a script element, if nothing
// escaped it.
var pickyOptions = sim.Options{
	Machine: func() raft.StateMachine { return new(picky) },
	Command: func(n int64) []byte { return []byte("</script><b>" + strconv.FormatInt(n, 10)) },
	Invariant: func(m raft.StateMachine) error {
		if m.(*picky).count > 1 {
			return errors.New("two are too many")
		}
		return nil
	},
}

func small(t *testing.T) sim.Trace {
	t.Helper()
	text, err := os.ReadFile("testdata/small.schedule")
	require.NoError(t, err)
	var schedule sim.Schedule
	require.NoError(t, schedule.UnmarshalText(text))
	trace := sim.NewWorld(pickyOptions).Trace(func(w *sim.World) sim.Result { return w.Replay(&schedule) })
	require.NotNil(t, trace.Result.Violation)
	require.Equal(t, schedule.Expect, trace.Result.Violation.Name)
	return trace
}

// write returns the diagram of a run, as a page and as the data in the page.
func write(t *testing.T, trace *sim.Trace) (string, run) {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, Write(&out, trace, "go run <this> & that"))
	_, after, found := strings.Cut(out.String(), `<script type="application/json" id="data">`)
	require.True(t, found)
	data, _, found := strings.Cut(after, "</script>")
	require.True(t, found)
	var r run
	require.NoError(t, json.Unmarshal([]byte(data), &r))
	return out.String(), r
}

// TestGolden compares the data of a small run to a file. The file has one line for each message,
// entry and step.
func TestGolden(t *testing.T) {
	trace := small(t)
	_, r := write(t, &trace)
	var got bytes.Buffer
	line := func(what string, v any) {
		text, err := json.Marshal(v)
		require.NoError(t, err)
		got.WriteString(what + " " + string(text) + "\n")
	}
	line("violation", r.Violation)
	for _, e := range r.Entries {
		line("entry", e)
	}
	for _, m := range r.Messages {
		line("message", m)
	}
	for _, s := range r.Steps {
		line("step", s)
	}
	const name = "testdata/small.golden"
	if *update {
		require.NoError(t, os.WriteFile(name, got.Bytes(), 0o644))
	}
	want, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, strings.ReplaceAll(string(want), "\r\n", "\n"), got.String(), "go test ./rafttest/diagram -update writes it anew")
}

// A server that runs loses the bytes of entries, finds out, asks the others, and has them again. The page
// says so at each step, and marks the entries.
func TestDamageIsShown(t *testing.T) {
	text, err := os.ReadFile("testdata/damage.schedule")
	require.NoError(t, err)
	var schedule sim.Schedule
	require.NoError(t, schedule.UnmarshalText(text))
	trace := sim.NewWorld(sim.Options{}).Trace(func(w *sim.World) sim.Result { return w.Replay(&schedule) })
	require.Nil(t, trace.Result.Violation)
	checkComplete(t, &trace)
	page, r := write(t, &trace)
	require.Contains(t, page, "isLost(state, i + 1)")

	var told, labels []string
	lost := map[string]bool{}
	for i := range r.Steps {
		for _, d := range r.Steps[i].Damage {
			told = append(told, fmt.Sprintf("%d %s", d.Server+1, d.Text))
		}
		if r.Steps[i].Kind == "lose" {
			labels = append(labels, r.Steps[i].Label)
		}
		for _, s := range r.Steps[i].States {
			lost[fmt.Sprintf("%d %s", s.Server+1, s.Lost)] = true
		}
	}
	require.Equal(t, []string{"loses 3…4", "loses 6"}, labels)
	require.Equal(t, []string{
		"2 the disk has lost the bytes of 3…4", "2 the disk has lost the bytes of 6",
		"2 the disk has the bytes of 3…4 again", "2 the disk has the bytes of 6 again",
	}, told)
	require.True(t, lost["2 3-4"] && lost["2 3-4 6"], "%v", lost)
	var short []string
	for _, m := range r.Messages {
		if strings.HasPrefix(m.Kind, "Repair") {
			short = append(short, fmt.Sprintf("%d→%d %s", m.From+1, m.To+1, m.Short))
		}
	}
	require.Contains(t, short, "2→1 needs 3…4 t1")
	require.Contains(t, short, "1→2 gives 3…4")
}

// TestSelfContained demands that a page refers to nothing outside of it, that nothing in a run can
// end or escape the page's data, and that the same run gives the same bytes.
func TestSelfContained(t *testing.T) {
	first, second := small(t), small(t)
	page, _ := write(t, &first)
	again, _ := write(t, &second)
	require.Equal(t, page, again)
	outside := regexp.MustCompile(`(?i)https?:|//[a-z]+\.|\bsrc\s*=|\bhref\s*=|url\(|@import|<link|<img|<iframe|fetch\(|XMLHttpRequest|import\(`)
	require.Empty(t, outside.FindAllString(page, -1))
	require.Equal(t, 2, strings.Count(page, "<script"), "the data and the program")
	require.Equal(t, 2, strings.Count(page, "</script"))
	require.NotContains(t, page, "{{")
	require.NotContains(t, page, "go run <this>")
	for _, name := range scripts {
		text, err := os.ReadFile("page/" + name)
		require.NoError(t, err)
		require.LessOrEqual(t, bytes.Count(text, []byte("\n")), 500, name)
	}
}

// TestComplete demands that a page holds every step and every message of a run, and says where each
// message began and ended. It also demands that the page's changes add up to the state of every
// server.
func TestComplete(t *testing.T) {
	w := sim.NewWorld(sim.Options{})
	for seed := uint64(1); seed <= 12; seed++ {
		live := func(w *sim.World) sim.Result { return w.Run(seed) }
		trace := w.Trace(live)
		checkComplete(t, &trace)
		schedule := w.Record(live)
		trace = w.Trace(func(w *sim.World) sim.Result { return w.Replay(&schedule) })
		checkComplete(t, &trace)
	}
	trace := small(t)
	require.Positive(t, checkComplete(t, &trace))
}

// checkComplete checks the page of a run and returns the number of messages that arrived in the
// run.
func checkComplete(t *testing.T, trace *sim.Trace) int {
	t.Helper()
	_, r := write(t, trace)
	require.Len(t, r.Steps, len(trace.Steps))
	states := make([]state, r.Servers)
	sent, ended, arrived, lost := 0, map[int][]int{}, 0, 0
	for i := range trace.Steps {
		from, to := &trace.Steps[i], &r.Steps[i]
		require.Equal(t, from.At, to.At)
		for j, m := range from.Sent {
			shown := r.Messages[to.Sent[j]]
			require.Equal(t, m.Message-1, to.Sent[j])
			require.Equal(t, []any{m.Content.Kind().String(), m.Content.Term, i}, []any{shown.Kind, shown.Term, shown.Sent})
			require.Equal(t, []raft.ServerID{m.Content.From, m.Content.To}, []raft.ServerID{name(shown.From), name(shown.To)})
			sent++
		}
		require.Equal(t, from.Delivered-1, to.Message)
		if from.Delivered > 0 && from.Kind != sim.StepMiss {
			ended[to.Message] = append(ended[to.Message], i)
			arrived++
		}
		lost += len(from.Lost)
		for _, now := range to.States {
			states[now.Server] = now
		}
		for s, want := range from.Servers {
			require.Equal(t, []raft.Index{want.Applied, want.Commit, want.Stable, want.Last},
				[]raft.Index{states[s].Applied, states[s].Commit, states[s].Stable, states[s].Last})
			require.Equal(t, want.Up, states[s].Role != "down")
		}
	}
	require.Len(t, r.Messages, sent)
	if trace.Result.Stats.Messages > 0 { // a cluster of one has none
		require.Positive(t, arrived)
	}
	require.GreaterOrEqual(t, sent, trace.Result.Stats.Messages)
	for i := range r.Messages {
		require.Equal(t, ended[i], r.Messages[i].Delivered, "message %d", i)
		if f := r.Messages[i].Fate; f == "lost" || f == "cut" {
			lost--
		}
	}
	require.Zero(t, lost)
	return arrived
}

func name(server int) raft.ServerID { return raft.ServerID(strconv.Itoa(server + 1)) }

// TestData demands that a printable command is shown as text, another one in hexadecimal digits,
// and that a long one is cut.
func TestData(t *testing.T) {
	require.Equal(t, `"set x=1"`, dataText([]byte("set x=1")))
	require.Equal(t, "0x00ff", dataText([]byte{0, 255}))
	require.Equal(t, `"`+strings.Repeat("a", shownData)+`"… (41 bytes)`, dataText(bytes.Repeat([]byte("a"), shownData+1)))
}

// full is a writer that has room for a number of bytes.
type full struct{ room int }

func (f *full) Write(b []byte) (int, error) {
	if f.room -= len(b); f.room < 0 {
		return 0, io.ErrShortWrite
	}
	return len(b), nil
}

func TestWriteFails(t *testing.T) {
	trace := small(t)
	for _, room := range []int{0, 400, 20_000} {
		require.ErrorIs(t, Write(&full{room}, &trace, ""), io.ErrShortWrite)
	}
	require.ErrorContains(t, WriteFile(t.TempDir(), &trace, ""), "diagram: ")
}

// TestShort demands that a long command is cut between characters, not within one.
func TestShort(t *testing.T) {
	e := newEntry(&raft.Entry{Index: 1, Term: 1, Kind: wire.EntryCommand, Data: []byte("größer als acht")})
	require.Equal(t, "größer a", e.Text)
	e = newEntry(&raft.Entry{Index: 1, Term: 1, Kind: wire.EntryCommand, Data: []byte{7}, Origin: raft.Origin{Server: "2", Start: wire.NextStart(2<<32, 0xab)}, Number: 4})
	require.Equal(t, "2.4", e.Text)
	require.Equal(t, "index 1, term 1: command 4 of server 2, start 3-000000ab, 0x07", e.Full)
}
