package rafttest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/blame"
	"github.com/e17579a5/raft/rafttest/sim"
)

// The rules that a program can break, as a finding names them
const (
	ruleEntries   = "Apply changes no entry: it is lent, and others read it, too"
	ruleLent      = "an entry's Data is valid during the call of Apply only: what is kept, or returned as a result, must be a copy"
	ruleBatches   = "the results don't depend on where a batch ends"
	ruleIsolation = "what Snapshot returns doesn't see what is applied later"
	ruleReplaces  = "Restore replaces the state by the one in a snapshot, whatever it was before"
	ruleRestores  = "Restore brings back the state that Snapshot has captured"
	ruleCaptures  = "Snapshot doesn't change the state"
	ruleCloses    = "a capture can be closed, whether it was written or not"
	ruleSaves     = "what a durable state machine keeps changes in one step, with Save: its state, the index, and the bytes beside"
	ruleLoads     = "Load returns the index and the bytes of one call of Save, of none before the one that it returned last"
	ruleOpens     = "a new copy begins in the initial state, and a Store opens, at first and after each crash, with Load and with Save"
	ruleFails     = "a state machine neither panics nor fails: a command that makes no sense has a result that says so"
	ruleInvariant = "Invariant holds after every batch"
	ruleSame      = "the same entries in the same order give the same results and the same snapshots on every server"
)

// A mercy leaves out something that a program may do to a state machine. Which of them makes a
// failing program pass tells which rule was broken.
type mercy struct {
	rule string

	keepLent     bool // lent memory isn't overwritten
	oneByOne     bool // each command is a batch of its own
	writeAtOnce  bool // a capture is written at once
	freshCopy    bool // a copy that is restored has applied nothing before
	uncut        bool // the power never fails
	applyInstead bool // instead of being restored, a copy applies the same commands
	noCapture    bool // nothing is captured, either
}

var mercies = []mercy{
	{rule: ruleSaves, uncut: true},
	{rule: ruleLent, keepLent: true},
	{rule: ruleBatches, oneByOne: true},
	{rule: ruleIsolation, writeAtOnce: true},
	{rule: ruleReplaces, freshCopy: true},
	{rule: ruleRestores, applyInstead: true},
	{rule: ruleCaptures, applyInstead: true, noCapture: true},
}

// judge says which rule a program has found broken, if a mercy tells it better than the finding
// does.
func (p *Property) judge(steps program, f *finding) {
	switch f.rule {
	case ruleEntries, ruleCloses, ruleLoads, ruleOpens:
		return
	}
	for _, m := range mercies {
		if p.run(steps, m) == nil {
			f.rule = m.rule
			return
		}
	}
}

// run runs a program and returns what it finds broken, or nil.
func (p *Property) run(steps program, m mercy) *finding {
	t := &trial{property: p, mercy: m}
	f := t.guard(ruleFails, func() { t.perform(steps) })
	return cmp.Or(f, t.end()) // what came first
}

// perform performs the steps of a program, and looks at the state in the end.
func (t *trial) perform(steps program) {
	t.renew()
	for t.at = range steps {
		t.lines = append(t.lines, "")
		t.do(&steps[t.at])
	}
	t.at = len(steps)
	t.drop()
	t.compare("the snapshot at the end")
}

// guard calls f, and returns what f convicts. A panic of the user's code breaks the rule.
func (t *trial) guard(rule string, f func()) (found *finding) {
	defer func() {
		switch cause := recover().(type) {
		case nil:
		case *finding:
			found = cause
		default:
			found = t.found(rule, "panic: %v", cause)
			found.stack = blame.Stack()
		}
	}()
	f()
	return nil
}

// A trial is one run of a program.
type trial struct {
	property *Property
	mercy    mercy
	at       int // the step
	lines    []string

	machine raft.StateMachine
	// log are the commands that are committed; the machine has applied the first few. A durable one
	// may have lost the last ones in a crash.
	log     [][]byte
	applied int
	// reference is a machine that has applied the first referred of the commands one by one.
	reference raft.StateMachine
	referred  [][]byte

	captured io.WriterTo // not closed; nil for none
	at0      [][]byte    // the log as it was captured
	file     []byte      // nil for none
	inFile   [][]byte    // the log of the file

	disk   sim.Store
	saving raft.DurableMachine
	saves  []saveCall
	stores []sim.Store // all that were opened
}

// A saveCall is what a durable state machine was told to save.
type saveCall struct {
	index  raft.Index
	beside []byte
	count  int // of the commands
}

func (t *trial) found(rule, format string, arguments ...any) *finding {
	return &finding{rule: rule, at: t.at, detail: fmt.Sprintf(format, arguments...), lines: t.lines}
}

// convict ends the program, and says what was found. It is a panic, as in the other checks (see
// conviction).
func (t *trial) convict(rule, format string, arguments ...any) {
	panic(t.found(rule, format, arguments...))
}

// must convicts the machine if a call about a capture has failed. what names what was captured.
func (t *trial) must(what string, err error) {
	rule := ruleFails
	if errors.Is(err, errNotClosed) {
		rule = ruleCloses
	}
	if err != nil {
		t.convict(rule, "%s: %v", what, err)
	}
}

func (t *trial) do(s *step) {
	switch s.kind {
	case stepApply:
		t.log = append(t.log[:len(t.log):len(t.log)], s.commands...)
		t.apply(s)
	case stepCapture:
		t.capture()
	case stepWrite:
		t.write()
	case stepRestore:
		t.restore(s)
	case stepCrash:
		if t.disk != nil && !t.mercy.uncut {
			t.reopen()
		}
	}
}

// apply applies the rest of the log, as one batch.
func (t *trial) apply(s *step) {
	for t.applied < len(t.log) {
		batch := t.log[t.applied:]
		if t.mercy.oneByOne {
			batch = batch[:1]
		}
		results := t.batch(batch)
		for i := range batch {
			t.applied++
			if want := t.expect(t.applied); !bytes.Equal(results[i], want) {
				t.convict(ruleSame, "the result of %s is %s; the same commands applied one by one, to a copy that nothing else happens to, give %s",
					sim.Show(batch[i]), sim.Show(results[i]), sim.Show(want))
			}
		}
		t.lines[t.at] = listed(results)
		if f := t.guard(ruleInvariant, t.invariant); f != nil {
			panic(f)
		}
	}
	t.save(s)
}

// invariant asks the user's invariant, if there is one.
func (t *trial) invariant() {
	if t.property.Invariant == nil {
		return
	}
	if err := t.property.Invariant(t.machine); err != nil {
		t.convict(ruleInvariant, "%v", err)
	}
}

// batch lends commands to the machine and lets it apply them.
func (t *trial) batch(commands [][]byte) [][]byte {
	lent, kept := make([]raft.Entry, len(commands)), make([]raft.Entry, len(commands))
	for i, command := range commands {
		lent[i], kept[i] = entryOf(t.applied+i, command), entryOf(t.applied+i, command)
	}
	results := make([][]byte, len(commands))
	t.machine.Apply(lent, results)
	for i := range lent {
		if !sameEntry(lent[i], kept[i]) {
			t.convict(ruleEntries, "the call of Apply has changed %s to %s", describeEntry(kept[i]), describeEntry(lent[i]))
		}
		if !t.mercy.keepLent {
			scribble(lent[i].Data)
			lent[i] = raft.Entry{}
		}
	}
	copied := make([][]byte, len(results))
	for i := range results {
		copied[i] = bytes.Clone(results[i])
	}
	return copied
}

func (t *trial) capture() {
	t.drop()
	at := t.log[:t.applied:t.applied]
	if t.mercy.noCapture {
		t.captured, t.at0 = new(bytes.Buffer), at
		return
	}
	var err error
	t.captured, err = captureOf(t.machine)
	t.must("a capture", err)
	t.at0 = at
	if t.mercy.writeAtOnce {
		t.captured = bytes.NewBuffer(t.writeOut())
	}
}

// drop closes what was captured without writing it.
func (t *trial) drop() {
	captured := t.captured
	t.captured = nil
	if err := closeCapture(captured); err != nil {
		t.convict(ruleCloses, "Close of a capture that wasn't written failed: %v", err)
	}
}

// writeOut returns the bytes of what was captured, and closes it.
func (t *trial) writeOut() []byte {
	b, err := written(t.captured)
	t.captured = nil
	t.must("a capture", err)
	return b
}

func (t *trial) write() {
	if t.captured == nil {
		return
	}
	t.file, t.inFile = append([]byte{}, t.writeOut()...), t.at0
	if t.mercy.noCapture {
		return
	}
	t.lines[t.at] = fmt.Sprintf("%d bytes %s", len(t.file), sim.Show(t.file))
	t.equal(fmt.Sprintf("the snapshot, captured after %d commands,", len(t.at0)), t.file, t.at0)
}

// closeCapture closes what a state machine has captured, if it is an io.Closer.
func closeCapture(captured io.WriterTo) error {
	if closer, ok := captured.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

func (t *trial) restore(s *step) {
	if t.file == nil {
		return
	}
	t.drop()
	t.renew()
	if t.mercy.applyInstead {
		t.log = t.inFile
		for t.applied < len(t.log) {
			applyCopy(t.machine, t.applied, t.log[t.applied])
			t.applied++
		}
		t.save(&step{})
		return
	}
	// Restore never goes back: the copy has applied less than what it is restored to.
	if before := s.commands[:max(min(len(s.commands), len(t.inFile)-1), 0)]; len(before) > 0 && !t.mercy.freshCopy {
		t.log = before
		t.apply(&step{})
	}
	if err := t.machine.Restore(bytes.NewReader(t.file)); err != nil {
		t.convict(ruleRestores, "Restore of %s failed: %v", sim.Show(t.file), err)
	}
	if s.cut && t.disk != nil && !t.mercy.uncut {
		t.reopen()
		return
	}
	t.log, t.applied = t.inFile, len(t.inFile)
	t.compare("the snapshot after Restore")
	t.save(&step{})
}

// save lets a durable state machine save its state, unless the power fails before.
func (t *trial) save(s *step) {
	if t.disk == nil {
		return
	}
	if s.cut && !t.mercy.uncut {
		t.reopen()
		return
	}
	last := t.saves[len(t.saves)-1]
	now := saveCall{index: 1, beside: last.beside, count: t.applied}
	if t.applied > 0 {
		now.index = entryOf(t.applied-1, nil).Index
	}
	var lent []byte // nil if it is as it was
	if len(t.saves) == 1 || t.applied%3 != 0 {
		now.beside = fmt.Appendf(nil, "beside index %d", now.index)
		lent = bytes.Clone(now.beside)
	}
	if err := t.saving.Save(now.index, lent); err != nil {
		t.convict(ruleFails, "Save failed: %v", err)
	}
	scribble(lent)
	t.saves = append(t.saves, now)
}

// reopen cuts the power of a durable state machine and opens it again.
func (t *trial) reopen() {
	t.drop()
	t.disk.Crash()
	t.machine, t.saving = t.openStore(t.disk, "a store that was cut off")
	index, beside, err := t.saving.Load()
	if err != nil {
		t.convict(ruleLoads, "Load failed: %v", err)
	}
	for n := len(t.saves) - 1; n >= 0; n-- {
		if now := t.saves[n]; now.index == index && bytes.Equal(now.beside, beside) {
			t.saves, t.applied = []saveCall{now}, now.count
			t.lines[t.at] += fmt.Sprintf(" (Load: index %d)", index)
			t.compare(fmt.Sprintf("the snapshot after a crash, when Load returned index %d,", index))
			return
		}
	}
	last := t.saves[len(t.saves)-1]
	t.convict(ruleLoads, "after a crash Load returned index %d and %s; the last Save was of index %d and %s",
		index, describeBytes(beside), last.index, describeBytes(last.beside))
}
