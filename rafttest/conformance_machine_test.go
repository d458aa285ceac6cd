package rafttest_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
)

// A census counts words. Each command is a word, and its result is how often the word has come so
// far. flaw names the mistake that the census makes; "" is none.
type census struct {
	mu      sync.Mutex // so that a flawed snapshot, which reads the live state, is no data race
	flaw    string
	words   map[string]int
	refused int
	last    []byte // the last word
	kept    []byte // the same, but lent
	result  [20]byte

	taken   int             // snapshots so far
	first   *censusSnapshot // the first of them
	applied int             // batches so far
	open    int             // captures that aren't closed
}

func newCensus(flaw string) func() raft.StateMachine {
	made := 0
	return func() raft.StateMachine {
		c := &census{flaw: flaw, words: map[string]int{}}
		if made++; flaw == "begins anyhow" {
			c.refused = made
		}
		return c
	}
}

func (c *census) Apply(entries []raft.Entry, results [][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.applied++
	for i := range entries {
		word := entries[i].Data
		if len(word) == 0 || len(word) > 9 || bytes.ContainsFunc(word, func(r rune) bool { return r < 'a' || r > 'z' }) {
			if c.flaw == "panics" {
				panic("no such word")
			}
			c.refused++
			results[i] = fmt.Appendf(nil, "refused %d", c.refused)
			continue
		}
		c.words[string(word)]++
		if c.last = word; c.flaw != "keeps data" {
			c.last = bytes.Clone(word)
		}
		results[i] = strconv.AppendInt(nil, int64(c.words[string(word)]), 10)
		switch c.flaw {
		case "random results":
			results[i] = strconv.AppendUint(nil, rand.Uint64(), 10)
		case "one buffer":
			results[i] = append(c.result[:0], results[i]...)
		case "result is data":
			results[i] = word
		case "changes data":
			word[0] = 'X'
		case "counts the batch":
			results[i] = strconv.AppendInt(results[i], int64(len(entries)), 10)
		case "counts the small batch":
			if len(entries) > 1 && len(entries) < 10 {
				results[i] = strconv.AppendInt(results[i], int64(len(entries)), 10)
			}
		case "tells what it keeps":
			results[i] = append(results[i], c.kept...)
			c.kept = word
		case "counts snapshots":
			results[i] = strconv.AppendInt(results[i], int64(c.taken), 10)
		}
	}
	if c.flaw == "counts batches" && len(entries) > 0 || c.flaw == "counts empty batches" && len(entries) == 0 {
		c.words["batch"]++
	}
}

// A censusSnapshot is the content of a snapshot.
type censusSnapshot struct {
	Words   map[string]int
	Refused int
	Last    []byte
	Order   []string // of the words, when the flaw is "map order"
}

func (c *census) Snapshot() (io.WriterTo, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	captured := censusSnapshot{Words: maps.Clone(c.words), Refused: c.refused, Last: bytes.Clone(c.last)}
	if c.flaw == "forgets refusals" {
		captured.Refused = 0
	}
	if c.flaw == "map order" {
		for word := range c.words {
			captured.Order = append(captured.Order, word)
		}
	}
	if c.taken++; c.first == nil {
		c.first = &captured
	}
	if c.flaw == "captures once" {
		captured = *c.first
	}
	if c.open++; c.open > 1 && c.flaw == "one at a time" {
		return nil, errors.New("another capture is open")
	}
	return &censusWriter{c, captured, c.taken, c.applied, 0, false}, nil
}

type censusWriter struct {
	census   *census
	captured censusSnapshot
	number   int // of the snapshot
	applied  int // batches before it
	writes   int
	failed   bool // the last WriteTo
}

// Close implements io.Closer.
func (w *censusWriter) Close() error {
	w.census.mu.Lock()
	defer w.census.mu.Unlock()
	w.census.open--
	switch {
	case w.census.flaw == "closes what was written only" && w.writes == 0, w.census.flaw == "can't be closed" && w.writes > 0,
		w.census.flaw == "can't be closed after a failure" && w.failed:
		return errors.New("busy")
	case w.census.flaw == "writes ahead" && w.writes == 0, w.census.flaw == "counts failures" && w.failed:
		w.census.refused++
	case w.census.flaw == "stays open" && w.writes == 0:
		w.census.open++
		w.census.flaw = "one at a time"
	}
	return nil
}

func (w *censusWriter) WriteTo(to io.Writer) (int64, error) {
	w.writes++
	switch {
	case w.number == 5 && w.census.flaw == "can't write the fifth":
		return 0, errors.New("no ink")
	case w.number == 5 && w.census.flaw == "panics at the fifth":
		panic("no ink")
	case w.census.flaw == "spoils what waits":
		w.census.mu.Lock()
		if w.census.applied > w.applied && w.number > 6 {
			w.captured = censusSnapshot{}
		}
		w.census.mu.Unlock()
	}
	if w.census.flaw == "live snapshot" {
		w.census.mu.Lock()
		defer w.census.mu.Unlock()
		w.captured = censusSnapshot{Words: w.census.words, Refused: w.census.refused, Last: w.census.last}
	}
	b, err := json.Marshal(w.captured)
	if err != nil {
		return 0, err
	}
	n, err := to.Write(b)
	w.failed = err != nil
	switch w.census.flaw {
	case "swallows the writer's error":
		return int64(n), nil
	case "counts wrong":
		return 0, err
	}
	return int64(n), err
}

func (c *census) Restore(r io.Reader) error {
	b, err := c.read(r)
	if c.flaw == "can't be restored" {
		err = errors.New("no glasses")
	}
	if err != nil && c.flaw == "swallows the reader's error" {
		return nil
	}
	restored := censusSnapshot{Words: map[string]int{}}
	if c.flaw == "merges" {
		restored.Words = c.words
	}
	if err := errors.Join(err, json.Unmarshal(b, &restored)); err != nil {
		return err
	}
	c.words, c.refused, c.last = restored.Words, restored.Refused, restored.Last
	return nil
}

func (c *census) read(r io.Reader) ([]byte, error) {
	if c.flaw == "reads once" {
		b := make([]byte, 1<<20)
		n, err := r.Read(b)
		if err == io.EOF {
			err = nil
		}
		return b[:n], err
	}
	return io.ReadAll(r)
}

// word makes up a command: a word of two letters.
func word(r *rand.Rand) []byte { return []byte{'a' + byte(r.IntN(4)), 'a' + byte(r.IntN(4))} }

func amount(r *rand.Rand) []byte { return binary.AppendVarint(nil, r.Int64N(200)-100) }

func TestStateMachineOfThisPackage(t *testing.T) {
	require.NoError(t, rafttest.TestStateMachine(newCensus(""), word))
	require.NoError(t, rafttest.TestStateMachine(newCensus("one at a time"), word), "it allows one capture at a time")
	require.NoError(t, rafttest.TestStateMachine(func() raft.StateMachine { return new(ledger) }, amount))
}

// TestStateMachineConvicts demands that TestStateMachine convicts each flawed machine of the rule
// that it breaks.
func TestStateMachineConvicts(t *testing.T) {
	for flaw, want := range map[string][]string{
		"random results":                  {"determinism: two machines, one command at a time: the result of command", "on every server"},
		"map order":                       {"determinism: ", "the snapshot is", "they differ from byte"},
		"one buffer":                      {"batches: all commands in one batch: the result of command"},
		"counts the batch":                {"batches: all commands in one batch: the result of command", "don't depend on where a batch ends"},
		"counts the small batch":          {"batches: batches of random sizes: the result of command"},
		"tells what it keeps":             {"lent entries: the batch after entries' Data was used for something else: the result of command 1, "},
		"counts snapshots":                {"isolation: a machine of which snapshots were taken: the result of command"},
		"can't be restored":               {"restore: a new machine after Restore: Restore failed: no glasses"},
		"begins anyhow":                   {"determinism: two machines in the initial state: the snapshot is"},
		"counts empty batches":            {"batches: an empty batch: the snapshot is"},
		"writes ahead":                    {"captures: a machine of which snapshots were closed without being written: the snapshot is"},
		"counts failures":                 {"failing writer: a machine whose snapshots failed: the snapshot is"},
		"counts batches":                  {"batches: all commands in one batch: the snapshot is"},
		"keeps data":                      {"lent entries: after the entries' Data was used for something else"},
		"result is data":                  {"lent entries: after the entries' Data was used for something else: the result of command"},
		"changes data":                    {"lent entries: the call of Apply has changed entry"},
		"live snapshot":                   {"isolation: ", "written"},
		"forgets refusals":                {"restore: a new machine after Restore"},
		"merges":                          {"restore: a machine with another state after Restore: the snapshot is"},
		"reads once":                      {"restore: Restore from a reader that gives one byte at a time: Restore failed"},
		"swallows the reader's error":     {"failing reader: the call of Restore returned nil though its reader failed after 0 of"},
		"swallows the writer's error":     {"failing writer: WriteTo returned no error though the writer failed after 0 of"},
		"counts wrong":                    {"WriteTo returned 0, want"},
		"captures once":                   {"isolation: a snapshot taken after command"},
		"spoils what waits":               {"isolation: a snapshot that was written after more was applied is"},
		"can't write the fifth":           {"isolation: WriteTo failed: no ink"},
		"panics at the fifth":             {"isolation: panic: no ink", "(*censusWriter).WriteTo"},
		"stays open":                      {"captures: the call of Snapshot after 1 others, all of which were closed, failed"},
		"closes what was written only":    {"captures: the call of Close, without WriteTo, failed: busy"},
		"can't be closed":                 {"the call of Close after WriteTo failed: busy"},
		"can't be closed after a failure": {"failing writer: WriteTo failed, as it should, and then Close failed: busy"},
		"panics":                          {"determinism: panic: no such word", "conformance_machine_test.go"},
	} {
		t.Run(flaw, func(t *testing.T) {
			t.Parallel()
			err := rafttest.TestStateMachine(newCensus(flaw), word)
			require.Error(t, err)
			for _, part := range want {
				require.ErrorContains(t, err, part)
			}
		})
	}
	t.Run("snapshot fails", func(t *testing.T) {
		err := rafttest.TestStateMachine(func() raft.StateMachine { return noSnapshots{&census{words: map[string]int{}}} }, word)
		require.ErrorContains(t, err, "Snapshot failed: not today")
	})
}

// TestStateMachineConvictsHangs demands that TestStateMachine names a method that hangs, and calls
// nothing more.
func TestStateMachineConvictsHangs(t *testing.T) {
	for _, method := range []string{"Apply", "Snapshot", "Restore", "WriteTo", "Close of what was captured"} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ended, began := make(chan struct{}), time.Now()
				err := rafttest.TestStateMachine(func() raft.StateMachine {
					return calledMachine{newCensus("")(), func(call string) {
						if call == method {
							<-ended
						}
					}}
				}, word)
				close(ended)
				require.ErrorContains(t, err, method+" hasn't returned within 1m0s")
				require.Equal(t, 1, strings.Count(err.Error(), "the rule: "))
				require.Equal(t, time.Minute, time.Since(began))
			})
		})
	}
}

// A calledMachine calls a function at the beginning of each method.
type calledMachine struct {
	raft.StateMachine
	called func(method string)
}

func (m calledMachine) Apply(entries []raft.Entry, results [][]byte) {
	m.called("Apply")
	m.StateMachine.Apply(entries, results)
}

func (m calledMachine) Snapshot() (io.WriterTo, error) {
	m.called("Snapshot")
	captured, err := m.StateMachine.Snapshot()
	return calledCapture{captured.(*censusWriter), m}, err
}

func (m calledMachine) Restore(r io.Reader) error {
	m.called("Restore")
	return m.StateMachine.Restore(r)
}

type calledCapture struct {
	*censusWriter
	m calledMachine
}

func (c calledCapture) WriteTo(w io.Writer) (int64, error) {
	c.m.called("WriteTo")
	return c.censusWriter.WriteTo(w)
}

func (c calledCapture) Close() error {
	c.m.called("Close of what was captured")
	return c.censusWriter.Close()
}

type noSnapshots struct{ *census }

func (noSnapshots) Snapshot() (io.WriterTo, error) { return nil, errors.New("not today") }

// A register is a state machine that holds the last command. The result of a command is the command
// before it.
type register struct{ value []byte }

func (r *register) Apply(entries []raft.Entry, results [][]byte) {
	for i := range entries {
		results[i] = slices.Clone(r.value) // the value before
		r.value = append(r.value[:0], entries[i].Data...)
	}
}

func (r *register) Snapshot() (io.WriterTo, error) {
	return bytes.NewReader(slices.Clone(r.value)), nil
}

func (r *register) Restore(from io.Reader) (err error) {
	r.value, err = io.ReadAll(from)
	return err
}

// TestStateMachine needs commands that make sense. It adds others by itself.
func ExampleTestStateMachine() {
	err := rafttest.TestStateMachine(
		func() raft.StateMachine { return new(register) },
		func(r *rand.Rand) []byte { return fmt.Appendf(nil, "value %d", r.IntN(100)) },
	)
	fmt.Println(err)
	// Output: <nil>
}
