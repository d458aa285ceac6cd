package rafttest

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/sim"
)

// TestProgramsAreKept demands that a program that was written is read as it was, whatever its
// commands are.
func TestProgramsAreKept(t *testing.T) {
	luck := rand.New(rand.NewPCG(1, 2))
	commands := [][]byte{{}, []byte("a"), []byte("two words  # and no comment"), []byte("\"\\\n"), {0xff, 0, 0x80}, []byte("ü�")}
	for n := range 200 {
		p := drawProgram(luck, commands, n%3 == 0, n%2 == 0)
		var read program
		require.NoError(t, read.unmarshal(p.marshal(ruleSame)))
		require.Equal(t, p, read)
	}
	var read program
	require.NoError(t, read.unmarshal(program{}.marshal(ruleOpens)))
	require.Equal(t, program{}, read, "a copy in its initial state")
}

// TestProgramErrors demands that an error names the line and says what is wrong with it.
func TestProgramErrors(t *testing.T) {
	head := programHeader + "\nexpect something\n\n"
	for text, want := range map[string]string{
		"":                                `line 1 is "", not "raft program 1"`,
		"raft program 2\n":                `line 1 is "raft program 2", not "raft program 1"`,
		programHeader + "\nseed 1\n":      `line 2: "seed 1" means nothing before the first empty line`,
		head + "fly\n":                    `line 4: no step is called "fly"`,
		head + "# a comment\napply \"a\n": `line 5: apply: "a doesn't begin with a string in quotes`,
		head + "apply a\n":                `line 4: apply: "a" means nothing here`,
		head + "apply \"a\" cutlery\n":    `line 4: apply: "cutlery" means nothing here`,
		head + "apply \"a\" cut\ncrash 1": `line 5: crash: "1" means nothing here`,
	} {
		var p program
		require.ErrorContains(t, p.unmarshal([]byte(text)), want, "%q", text)
	}
}

// FuzzProgram gives the parser any text, and demands that a program that it accepts survives being
// written and read.
func FuzzProgram(f *testing.F) {
	f.Add("apply \"a\" \"\\xff\"  # twice\ncapture\nwrite cut\nrestore \"b\" cut\ncrash")
	f.Fuzz(func(t *testing.T, steps string) {
		var p, again program
		if p.unmarshal([]byte(programHeader+"\n\n"+steps)) != nil {
			return
		}
		require.NoError(t, again.unmarshal(p.marshal(ruleSame)))
		require.Equal(t, p, again)
	})
}

// TestFilesAreToldApart demands that a file is read by its first line, whatever its name is, and
// that an error names the file.
func TestFilesAreToldApart(t *testing.T) {
	name := filepath.Join(t.TempDir(), "failure")
	for text, want := range map[string]string{
		"":                  `failure: schedule: line 1 is ""`,
		"raft schedule 9\n": `failure: schedule: line 1 is "raft schedule 9"`,
		"raft program 9\n":  `failure: program: line 1 is "raft program 9"`,
	} {
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		require.ErrorContains(t, ReplayFile(name, property("")), want)
	}
	require.ErrorIs(t, ReplayFile(name+" that isn't there", property("")), os.ErrNotExist)
}

// TestKeptProgramsRepeatEachRule demands that the file of a failure repeats the failure with the
// same rule, and passes when the machine is mended.
func TestKeptProgramsRepeatEachRule(t *testing.T) {
	for _, flaw := range names() {
		p, mended := property(flaw), property("")
		if p.Store != nil {
			mended = property("durable ")
		}
		r := drawn(3)
		for seed := uint64(4); r.fails(&p) == ""; seed++ {
			r = drawn(seed)
		}
		r.found.stack = "" // it is that of another call
		name := filepath.Join(t.TempDir(), "kept.program")
		require.NoError(t, os.WriteFile(name, r.short.marshal(r.found.rule), 0o600))
		require.ErrorContains(t, ReplayFile(name, p), r.found.text(r.short), flaw)
		require.NoError(t, ReplayFile(name, mended), flaw)
		Replay(t, name, mended)
	}
}

// An odd machine, or a store of one, does something that none may do, from a call of it on.
type odd struct {
	*notebook
	snapshot, crash func()
	captured        io.WriterTo // what is captured, if it isn't nil
	unread          error       // of Restore, which reads all the same
	machine         raft.StateMachine
	none            bool // no captures
	durable         raft.DurableMachine
	err             error
}

func (o *odd) Snapshot() (io.WriterTo, error) {
	if o.snapshot != nil {
		o.snapshot()
	}
	if o.none {
		return nil, nil
	}
	if o.captured != nil {
		return o.captured, nil
	}
	return o.notebook.Snapshot()
}

func (o *odd) Restore(r io.Reader) error { return errors.Join(o.notebook.Restore(r), o.unread) }

func (o *odd) Open() (raft.StateMachine, raft.DurableMachine, error) {
	return o.machine, o.durable, o.err
}

func (o *odd) Crash() {
	if o.crash != nil {
		o.crash()
	}
}

// A miscount is a capture of nothing, whose WriteTo returns a number and an error.
type miscount struct {
	n   int64
	err error
}

func (m miscount) WriteTo(io.Writer) (int64, error) { return m.n, m.err }

// explode panics in a function that a stack must name.
func explode() { panic("no more pages") }

// An oddCase is a property that a program breaks, with the rule and a part of what is told.
type oddCase struct {
	property Property
	steps    program
	rule     string
	detail   string
	panics   bool
}

func demandFindings(t *testing.T, cases map[string]oddCase) {
	t.Helper()
	for what, c := range cases {
		t.Run(what, func(t *testing.T) {
			f := c.property.run(c.steps, mercy{})
			require.NotNil(t, f)
			require.Equal(t, c.rule, f.rule)
			require.Contains(t, f.text(c.steps), c.detail)
			if c.panics {
				require.Contains(t, f.text(c.steps), "rafttest.explode")
			} else {
				require.Empty(t, f.stack)
			}
		})
	}
}

// TestOddMachinesAreConvicted demands a finding with its rule, and with the stack of a panic,
// wherever the code of a user can go wrong.
func TestOddMachinesAreConvicted(t *testing.T) {
	load := func() (raft.Index, []byte, error) { return 0, nil, nil }
	save := func(raft.Index, []byte) error { return nil }
	exploding := func() (raft.Index, []byte, error) { explode(); return 0, nil, nil }
	store := func(make func() *odd) Property {
		return Property{Store: func() Store { return make() }, Command: words()}
	}
	machine := func(make func() raft.StateMachine) Property { return Property{Machine: make, Command: words()} }
	crashing := program{{kind: stepApply, commands: [][]byte{[]byte("a")}}, {kind: stepCrash}}
	opened := 0
	demandFindings(t, map[string]oddCase{
		"no machine":       {machine(func() raft.StateMachine { return nil }), nil, ruleOpens, "Machine returned nil", false},
		"making one":       {machine(func() raft.StateMachine { explode(); return nil }), nil, ruleFails, "panic: no more pages", true},
		"no capture":       {machine(func() raft.StateMachine { return &odd{notebook: newNotebook(""), none: true} }), nil, ruleFails, "neither a capture nor an error", false},
		"capture panics":   {machine(func() raft.StateMachine { return &odd{notebook: newNotebook(""), snapshot: explode} }), nil, ruleFails, "panic: no more pages", true},
		"a copy's capture": {machine(func() raft.StateMachine { return &odd{notebook: newNotebook(""), none: second(&opened)} }), nil, ruleFails, "one by one: the call of Snapshot returned neither", false},
		"no store":         {Property{Store: func() Store { return nil }}, nil, ruleOpens, "Store returned nil", false},
		"can't be opened":  {store(func() *odd { return &odd{err: errors.New("locked")} }), nil, ruleOpens, "an empty store can't be opened: locked", false},
		"opens nothing":    {store(func() *odd { return &odd{} }), nil, ruleOpens, "an empty store opens without a state machine", false},
		"no Load":          {store(func() *odd { return &odd{machine: newNotebook(""), durable: raft.DurableMachine{Save: save}} }), nil, ruleOpens, "without Load or without Save", false},
		"no Save":          {store(func() *odd { return &odd{machine: newNotebook(""), durable: raft.DurableMachine{Load: load}} }), nil, ruleOpens, "without Load or without Save", false},
		"Load panics": {
			store(func() *odd {
				return &odd{machine: newNotebook(""), durable: raft.DurableMachine{Load: exploding, Save: save}}
			}),
			crashing, ruleFails, "panic: no more pages", true,
		},
		"Crash panics": {
			store(func() *odd {
				return &odd{machine: newNotebook(""), crash: explode, durable: raft.DurableMachine{Load: load, Save: save}}
			}),
			crashing, ruleFails, "panic: no more pages", true,
		},
		"Crash panics in the end": {
			store(func() *odd {
				return &odd{machine: newNotebook(""), crash: explode, durable: raft.DurableMachine{Load: load, Save: save}}
			}),
			nil, ruleFails, "panic: no more pages", true,
		},
		"Invariant panics": {
			Property{Machine: func() raft.StateMachine { return newNotebook("") }, Invariant: func(raft.StateMachine) error { explode(); return nil }},
			crashing[:1], ruleInvariant, "panic: no more pages", true,
		},
	})
}

// TestOddCapturesAreConvicted demands the same of what a machine captures and restores, and of what
// Invariant says.
func TestOddCapturesAreConvicted(t *testing.T) {
	machine := func(o odd) Property {
		return Property{Machine: func() raft.StateMachine { o := o; o.notebook = newNotebook(""); return &o }}
	}
	words := [][]byte{[]byte("a"), []byte("b")}
	restoring := program{{kind: stepApply, commands: words}, {kind: stepCapture}, {kind: stepWrite}, {kind: stepRestore, commands: words[:1]}}
	crashing := program{restoring[0], {kind: stepCrash}}
	demandFindings(t, map[string]oddCase{
		"Invariant fails": {
			Property{Machine: func() raft.StateMachine { return newNotebook("") }, Invariant: func(raft.StateMachine) error { return io.ErrNoProgress }},
			crashing[:1], ruleInvariant, io.ErrNoProgress.Error(), false,
		},
		"no capture to write": {machine(odd{none: true}), restoring[1:2], ruleFails, "a capture: the call of Snapshot returned neither", false},
		"writes too much":     {machine(odd{captured: miscount{n: 1}}), restoring[1:3], ruleFails, "a capture: WriteTo returned 1, want 0", false},
		"can't be written":    {machine(odd{captured: miscount{err: io.ErrNoProgress}}), restoring[1:3], ruleFails, "a capture: WriteTo failed: " + io.ErrNoProgress.Error(), false},
		"stays open unread":   {property("can't be closed"), restoring[1:2], ruleCloses, "Close of a capture that wasn't written failed: still open", false},
		"stays open":          {property("can't be closed"), restoring[1:3], ruleCloses, "a capture: the call of Close after WriteTo failed: still open", false},
		"stays open at last":  {property("can't be closed"), nil, ruleCloses, "the snapshot at the end: the call of Close after WriteTo failed: still open", false},
		"can't be restored": {
			machine(odd{unread: io.ErrNoProgress}),
			restoring, ruleRestores, "failed: " + io.ErrNoProgress.Error(), false,
		},
		"is restored to more":    {property("adds up"), restoring, ruleSame, "the snapshot after Restore is ", false},
		"can't be opened again":  {reopened(errors.New("locked")), crashing, ruleOpens, "a store that was cut off can't be opened: locked", false},
		"captures something new": {property("sees what comes later"), append(restoring[:2:2], restoring[0], restoring[2]), ruleSame, "the snapshot, captured after 2 commands, is ", false},
	})
}

// reopened returns the property of stores that fail to open after a crash.
func reopened(err error) Property {
	return Property{Store: func() Store { return &reopening{Store: newShelf("")(), err: err} }}
}

// A reopening store fails to open after a crash.
type reopening struct {
	Store
	err     error
	crashed bool
}

func (r *reopening) Open() (raft.StateMachine, raft.DurableMachine, error) {
	m, d, err := r.Store.Open()
	if r.crashed {
		err = r.err
	}
	return m, d, err
}

func (r *reopening) Crash() { r.crashed = true }

// TestFailuresThatCantBeKept demands that a failure is told when it can't be written to a file.
func TestFailuresThatCantBeKept(t *testing.T) {
	for flaw, kind := range map[string]string{"counts batches": "program", "mixes servers": "schedule"} {
		r, p := drawn(3), property(flaw)
		for verdict, _ := r.judge(p); verdict == ""; verdict, _ = r.judge(p) {
			r = drawn(r.seed + 1)
		}
		for _, name := range []string{"TMPDIR", "TMP", "TEMP"} {
			t.Setenv(name, filepath.Join(t.TempDir(), "none"))
		}
		require.Contains(t, strings.Join(r.told(t.Name(), p), "\n"), "the "+kind+" can't be kept: ", flaw)
		if kind == "schedule" {
			w := sim.NewWorld(r.options(p))
			s := w.Record(r.do)
			require.Contains(t, draw(w, &s, "kept.schedule")[0], "the diagram can't be kept: ")
		}
	}
}

// second reports whether it was called before with the same counter.
func second(calls *int) bool { *calls++; return *calls > 1 }
