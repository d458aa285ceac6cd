package rafttest_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
	"github.com/e17579a5/raft/rafttest/link"
	"github.com/e17579a5/raft/rafttest/sim"
)

// A ledger adds up amounts. It refuses an amount that would make the sum negative.
type ledger struct {
	sum   int64
	drift func() int64 // when not nil, returns what to add to the sum by mistake
}

func (l *ledger) Apply(entries []raft.Entry, results [][]byte) {
	for i := range entries {
		amount, n := binary.Varint(entries[i].Data)
		if n <= 0 || l.sum+amount < 0 {
			results[i] = []byte("refused")
			continue
		}
		l.sum += amount
		if l.drift != nil {
			l.sum += l.drift()
		}
		results[i] = binary.AppendVarint(nil, l.sum)
	}
}

func (l *ledger) Snapshot() (io.WriterTo, error) {
	return bytes.NewBuffer(binary.AppendVarint(nil, l.sum)), nil
}

func (l *ledger) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	sum, n := binary.Varint(b)
	if n <= 0 {
		return fmt.Errorf("ledger: %q is no snapshot", b)
	}
	l.sum = sum
	return nil
}

func amounts() *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		return binary.AppendVarint(nil, rapid.Int64Range(-100, 100).Draw(t, "amount"))
	})
}

func solvent(m raft.StateMachine) error {
	if sum := m.(*ledger).sum; sum < 0 {
		return fmt.Errorf("the sum is %d", sum)
	}
	return nil
}

// TestCheck is what a user's property test looks like.
func TestCheck(t *testing.T) {
	rafttest.Check(t, rafttest.Property{
		Machine:   func() raft.StateMachine { return new(ledger) },
		Command:   amounts(),
		Invariant: solvent,
	})
}

// TestCheckFailsAlone runs this test binary again with a ledger that breaks the rule of batches.
// That takes one copy, and what the process prints shows no cluster.
func TestCheckFailsAlone(t *testing.T) {
	if os.Getenv("RAFTTEST_FAILS") != "" {
		rafttest.Check(t, rafttest.Property{
			Machine: func() raft.StateMachine { return &batched{} },
			Command: amounts(),
		})
		return
	}
	out := failing(t, "TestCheckFailsAlone")
	require.Contains(t, out, "[rapid] failed after 0 tests: the state machine breaks a rule: the results don't depend on where a batch ends")
	require.Contains(t, out, "it takes one copy of the state machine, and no cluster")
	require.Regexp(t, `1  m\.Apply\(.+, .+\)\n.+the result of .+ is .+; the same commands applied one by one, .*, give .+\n\s*\n`, out)
	require.NotContains(t, out, ".schedule", "it takes no cluster")
	copied := regexp.MustCompile(`cp (".+\.program") testdata/ and, in a test, rafttest\.Replay\(t, "testdata/\*\.program", …\)`).FindStringSubmatch(out)
	require.NotNil(t, copied, "%s", out)
	kept, err := strconv.Unquote(copied[1])
	require.NoError(t, err)

	p := rafttest.Property{Machine: func() raft.StateMachine { return &batched{} }}
	require.ErrorContains(t, rafttest.ReplayFile(kept, p), "the results don't depend on where a batch ends")
	p.Machine = func() raft.StateMachine { return &ledger{} }
	require.NoError(t, rafttest.ReplayFile(kept, p), "once it is mended")
	rafttest.Replay(t, kept, p)
}

// TestReplayOfAProgramFails demands that Replay explains a program that fails as Check explained it.
func TestReplayOfAProgramFails(t *testing.T) {
	if os.Getenv("RAFTTEST_FAILS") != "" {
		rafttest.Replay(t, "testdata/batched.program", rafttest.Property{Machine: func() raft.StateMachine { return &batched{} }})
		return
	}
	out := failing(t, "TestReplayOfAProgramFails")
	require.Contains(t, out, "--- FAIL: TestReplayOfAProgramFails/batched.program")
	require.Contains(t, out, "the state machine breaks a rule: the results don't depend on where a batch ends")
	require.Regexp(t, `1  m\.Apply\(.+, .+\)\n.+the result of .+ is .+; the same commands applied one by one, .*, give`, out)
}

// TestCheckFails runs this test binary again with a ledger that fails only in a cluster. It then
// looks at what that process prints.
func TestCheckFails(t *testing.T) {
	if os.Getenv("RAFTTEST_FAILS") != "" {
		rafttest.Check(t, rafttest.Property{
			Machine: func() raft.StateMachine { return &partial{} },
			Command: amounts(),
		})
		return
	}
	out := failing(t, "TestCheckFails")
	require.Contains(t, out, "Replicas Equal")
	require.Contains(t, out, "applied in one batch of indexes", "what is wrong is shown")
	require.Regexp(t, `shortened to \d{1,2} events: without any single event`, out)
	picture := regexp.MustCompile(`to see it, open (.+\.html)`).FindStringSubmatch(out)
	require.NotNil(t, picture, "%s", out)
	require.FileExists(t, picture[1])
	linked := regexp.MustCompile(`http://127\.0\.0\.1:7070/replay(#\S+)`).FindStringSubmatch(out)
	require.NotNil(t, linked, "%s", out)
	opened, err := link.Parse(linked[1])
	require.NoError(t, err)
	require.Contains(t, opened.Told, "Replicas Equal")
	right := sim.Options{Machine: func() raft.StateMachine { return &ledger{} }}
	want, standIn := sim.NewWorld(right).Replay(opened.Schedule), sim.NewWorld(sim.Options{}).Replay(opened.Schedule)
	require.Nil(t, standIn.Violation, "the machine that is wrong isn't in the link")
	require.Equal(t, want.Hash, standIn.Hash, "what the servers do is the same with another machine")
	copied := regexp.MustCompile(`cp (".+\.schedule") testdata`).FindStringSubmatch(out)
	require.NotNil(t, copied, "%s", out)
	kept, err := strconv.Unquote(copied[1])
	require.NoError(t, err)

	p := rafttest.Property{Machine: func() raft.StateMachine { return &partial{} }}
	require.ErrorContains(t, rafttest.ReplayFile(kept, p), "Replicas Equal")
	p.Machine = func() raft.StateMachine { return &ledger{} }
	require.NoError(t, rafttest.ReplayFile(kept, p), "once it is mended")
	rafttest.Replay(t, kept, p)
}

// TestMisuseIsRefused demands that Check and Replay refuse what they can't do anything with.
func TestMisuseIsRefused(t *testing.T) {
	if os.Getenv("RAFTTEST_FAILS") != "" {
		t.Run("nothing", func(t *testing.T) { rafttest.Check(t, rafttest.Property{Command: amounts()}) })
		t.Run("no commands", func(t *testing.T) {
			rafttest.Check(t, rafttest.Property{Machine: func() raft.StateMachine { return &ledger{} }})
		})
		t.Run("no file", func(t *testing.T) { rafttest.Replay(t, "testdata/*.nothing", rafttest.Property{}) })
		return
	}
	out := failing(t, "TestMisuseIsRefused")
	require.Equal(t, 2, strings.Count(out, "rafttest: Check needs a Machine or a Store, and a generator of Commands"))
	require.Contains(t, out, "rafttest: no file matches testdata/*.nothing")
}

// TestReplayFails demands that Replay explains a schedule that fails as Check explained it.
func TestReplayFails(t *testing.T) {
	if os.Getenv("RAFTTEST_FAILS") != "" {
		rafttest.Replay(t, "testdata/batched.schedule", rafttest.Property{Machine: func() raft.StateMachine { return &batched{} }})
		return
	}
	out := failing(t, "TestReplayFails")
	require.Contains(t, out, "Every copy of the state machine gives the same results")
	require.Contains(t, out, "applies 3")
	picture := regexp.MustCompile(`to see it, open (.+\.html)`).FindStringSubmatch(out)
	require.NotNil(t, picture, "%s", out)
	require.FileExists(t, picture[1])
}

// TestCheckFindsChance demands that Check tells a machine that isn't deterministic from one whose
// results depend on its batches.
func TestCheckFindsChance(t *testing.T) {
	if os.Getenv("RAFTTEST_FAILS") != "" {
		made := int64(0)
		rafttest.Check(t, rafttest.Property{
			Machine: func() raft.StateMachine {
				made++
				mine := made % 2
				return &ledger{drift: func() int64 { return mine }}
			},
			Command: amounts(),
		})
		return
	}
	out := failing(t, "TestCheckFindsChance")
	require.Contains(t, out, "[rapid] failed after")
	require.Contains(t, out, "the state machine isn't deterministic")
	require.Regexp(t, `the (result of \d+|snapshot after all of them) is .+ in one copy`, out)
	require.NotContains(t, out, ".schedule", "it would repeat nothing")
}

// failing runs a test of this binary in a process of its own, in which the test must fail. It
// returns what the process prints.
func failing(t *testing.T, name string) string {
	program, err := os.Executable()
	require.NoError(t, err)
	again := exec.Command(program, "-test.run=^"+name+"$", "-rapid.seed=1", "-rapid.shrinktime=1s", "-rapid.nofailfile")
	again.Env = append(os.Environ(), "RAFTTEST_FAILS=1", link.PageVariable+"=", "TMPDIR="+t.TempDir())
	out, err := again.CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	return string(out)
}

// A batched ledger adds 1 to its sum with each batch, which breaks the rule of batches.
type batched struct{ ledger }

func (b *batched) Apply(entries []raft.Entry, results [][]byte) {
	b.sum++
	b.ledger.Apply(entries, results)
}

// A partial ledger adds 1 to its sum for each batch with commands that were proposed at two
// servers.
type partial struct{ ledger }

func (p *partial) Apply(entries []raft.Entry, results [][]byte) {
	if entries[0].Origin.Server != entries[len(entries)-1].Origin.Server {
		p.sum++
	}
	p.ledger.Apply(entries, results)
}

// A brittle ledger panics at its third command. Its stack is the user's.
type brittle struct {
	ledger
	count int
}

func (b *brittle) Apply(entries []raft.Entry, results [][]byte) {
	for range entries {
		b.add()
	}
	b.ledger.Apply(entries, results)
}

func (b *brittle) add() {
	if b.count++; b.count == 3 {
		panic("the pages are full")
	}
}

// TestCheckShowsAPanic demands the stack of a panic, without the functions that called the state
// machine.
func TestCheckShowsAPanic(t *testing.T) {
	if os.Getenv("RAFTTEST_FAILS") != "" {
		rafttest.Check(t, rafttest.Property{Machine: func() raft.StateMachine { return &brittle{} }, Command: amounts()})
		return
	}
	out := failing(t, "TestCheckShowsAPanic")
	require.Contains(t, out, "panic: the pages are full")
	require.Regexp(t, `the panic came from\n\s+\S+\.\(\*brittle\)\.add\n\s+\S+check_test.go:\d+\n\s+\S+\.\(\*brittle\)\.Apply\n\s+\S+check_test.go:\d+\n\s*\n`, out)
}

// A careless ledger counts the commands that another server than the first has proposed. Its
// snapshots tell that number one too low.
type careless struct {
	ledger
	others int64
}

func (c *careless) Apply(entries []raft.Entry, results [][]byte) {
	c.ledger.Apply(entries, results)
	for i := range entries {
		if entries[i].Origin.Server != "1" {
			c.others++
		}
		results[i] = binary.AppendVarint(bytes.Clone(results[i]), c.others)
	}
}

func (c *careless) Snapshot() (io.WriterTo, error) {
	return bytes.NewBufferString(fmt.Sprintf("sum %d, others %d", c.sum, c.others)), nil
}

func (c *careless) Restore(r io.Reader) error {
	_, err := fmt.Fscanf(r, "sum %d, others %d", &c.sum, &c.others)
	c.others = max(c.others-1, 0)
	return err
}

// TestCheckShowsSnapshots demands that a failure about snapshots shows where they were captured and
// restored, and their bytes.
func TestCheckShowsSnapshots(t *testing.T) {
	if os.Getenv("RAFTTEST_FAILS") != "" {
		rafttest.Check(t, rafttest.Property{Machine: func() raft.StateMachine { return &careless{} }, Command: amounts()})
		return
	}
	out := failing(t, "TestCheckShowsSnapshots")
	require.Regexp(t, `restores the snapshot of index \d+, captured at server \d: \d+ bytes "sum \d+, others \d+"`, out)
	require.Regexp(t, `this copy was restored from the snapshot of index \d+, captured at server \d|`+
		`want "sum \d+, others \d+" of \d+ bytes; they differ from byte \d+ on`, out)
}

// A safe keeps a durable ledger: its sum, the index and the bytes beside it, which change in one
// step. careless says that it keeps the sum of each Apply at once.
type safe struct {
	sum      int64
	index    raft.Index
	beside   []byte
	careless bool
}

// Open implements rafttest.Store.
func (s *safe) Open() (raft.StateMachine, raft.DurableMachine, error) {
	l := &ledger{sum: s.sum}
	if s.careless {
		l.drift = func() int64 { s.sum = l.sum; return 0 }
	}
	return l, raft.DurableMachine{
		Load: func() (raft.Index, []byte, error) { return s.index, s.beside, nil },
		Save: func(applied raft.Index, beside []byte) error {
			s.sum, s.index = l.sum, applied
			if beside != nil {
				s.beside = bytes.Clone(beside)
			}
			return nil
		},
	}, nil
}

// Crash implements rafttest.Store. What a safe keeps is durable at once, and nothing is open.
func (s *safe) Crash() {}

// TestCheckDurable is what a property test of a durable state machine looks like.
func TestCheckDurable(t *testing.T) {
	rafttest.Check(t, rafttest.Property{
		Store:     func() rafttest.Store { return new(safe) },
		Command:   amounts(),
		Invariant: solvent,
	})
}

// TestCheckFailsDurable demands that Check shows the crash that a durable state machine doesn't
// survive.
func TestCheckFailsDurable(t *testing.T) {
	if os.Getenv("RAFTTEST_FAILS") != "" {
		rafttest.Check(t, rafttest.Property{Store: func() rafttest.Store { return &safe{careless: true} }, Command: amounts()})
		return
	}
	out := failing(t, "TestCheckFailsDurable")
	require.Contains(t, out, "the rule that is broken: what a durable state machine keeps changes in one step, with Save")
	require.Regexp(t, `m\.Apply\(.+\), and a crash before Save  → .+ \(Load: index \d+\)\n`, out)
	require.Regexp(t, `the snapshot after a crash, when Load returned index \d+, is .+ of \d+ bytes, want .+ of \d+ bytes`, out)
}
