package raft_test

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// A driver runs a Core, as Node does, but without a goroutine and a clock: it hands events in, and
// has done what comes out of Drain. This one drives the only server of a cluster, so it sends
// nothing and receives nothing; what more servers need is said where it would stand.
type driver struct {
	core    *raft.Core
	storage raft.Storage
	applier *raft.Applier
	now     raft.Instant
	effects raft.Effects // used again by each Drain
	answers map[uint64]raft.Answer
}

// startDriver starts a server on what its storage holds.
func startDriver(storage raft.Storage, machine raft.StateMachine) (*driver, error) {
	saved, err := storage.Load()
	if err != nil {
		return nil, err
	}
	core, err := raft.NewCore(raft.CoreConfig{
		ID: "a", Bootstrap: []raft.Server{{ID: "a"}}, Saved: saved,
		// A real driver draws both at random. Incarnation names a disk, and Seed makes timeouts
		// differ.
		Incarnation: 1, Seed: 1,
	})
	if err != nil {
		return nil, err
	}
	d := &driver{core: core, storage: storage, applier: raft.NewApplier(machine, core.Origin()), answers: map[uint64]raft.Answer{}}
	return d, d.turn()
}

// turn does what the core wants done, until it wants nothing more. Each effect is safe at once,
// beside all others: a driver may perform them in goroutines of their own, and report each when it
// is done. Only the order of writes, and that of batches for the state machine, is to be kept.
func (d *driver) turn() error {
	for {
		d.core.Drain(&d.effects)
		e := &d.effects
		for _, answer := range e.Answers {
			d.answers[answer.Number] = answer // of a proposal; reads and calls are numbered apart
		}
		// Here e.Messages would be sent, to the servers that e.Servers names. What arrives goes to
		// d.core.Receive. Snapshots go from server to server by e.Sends and e.Streams.
		if e.Write.Number == 0 && e.RestoreSnapshot == nil && len(e.Apply) == 0 && e.TakeSnapshot == nil && len(e.Fetches) == 0 {
			return nil
		}
		if err := d.perform(e); err != nil {
			return err // the server has to stop: nobody knows what the disk or the state holds
		}
	}
}

// perform does what is wanted of the disk and of the state machine, and reports it.
func (d *driver) perform(e *raft.Effects) error {
	if e.Write.Number != 0 {
		if err := d.storage.Write(e.Write); err != nil {
			return err
		}
		d.core.Persisted(d.now, e.Write.Number)
		// A driver of a storage that knows its room tells it to d.core.Room here. If there is none, or
		// if entries are lost, e.VerifySnapshot asks for the current snapshot to be read, and
		// d.core.SnapshotVerified reports that.
	}
	for _, fetch := range e.Fetches { // entries that have left the memory
		entries, err := d.storage.Entries(fetch.After, fetch.Last, fetch.MaxBytes)
		if err != nil && !errors.Is(err, raft.ErrCompacted) {
			return err
		}
		d.core.Fetched(d.now, fetch, entries)
	}
	if e.RestoreSnapshot != nil {
		_, snapshot, err := d.storage.OpenSnapshot()
		if err != nil {
			return err
		}
		err = d.applier.Restore(e.RestoreSnapshot.Index, e.RestoreSnapshot.Term, snapshot)
		if err := errors.Join(err, snapshot.Close()); err != nil {
			return err
		}
		d.core.Restored(d.now)
	}
	for _, entries := range e.Apply {
		batch, err := d.applier.Apply(entries)
		if err != nil {
			return err
		}
		d.core.Applied(d.now, batch)
	}
	if e.TakeSnapshot != nil { // it comes after all batches so far
		if size, err := d.takeSnapshot(e.TakeSnapshot); err != nil {
			d.core.SnapshotFailed(d.now, err) // the core tries again later
		} else {
			d.core.SnapshotTaken(d.now, size)
		}
	}
	return nil
}

// takeSnapshot stores the state. The core names the snapshot in a later write, and so makes it the
// current one.
func (d *driver) takeSnapshot(meta *raft.SnapshotMeta) (_ uint64, err error) {
	state, err := d.applier.Snapshot(meta.Index)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	into, err := d.storage.CreateSnapshot(*meta)
	if err != nil {
		return 0, err
	}
	size, err := state.WriteTo(into)
	if err == nil {
		err = into.Commit()
	}
	if err != nil {
		return 0, errors.Join(err, into.Abort())
	}
	return uint64(size), nil
}

// propose proposes a command and lets the time pass until it has an answer. The core says when it
// wants to be woken.
func (d *driver) propose(command string) (string, error) {
	number := d.core.Propose(d.now, []byte(command))
	for {
		if err := d.turn(); err != nil {
			return "", err
		}
		if answer, ok := d.answers[number]; ok {
			delete(d.answers, number)
			return string(answer.Result), answer.Err
		}
		d.now = max(d.now, d.core.Deadline())
		d.core.Tick(d.now)
	}
}

// A Core is driven by its exported methods alone.
func ExampleCore() {
	storage := memory.NewStorage()
	for range 2 { // the second start goes on with what the first has stored
		d, err := startDriver(storage, &total{})
		if err != nil {
			fmt.Println("start:", err)
			return
		}
		for _, command := range []string{"1", "10"} {
			result, err := d.propose(command)
			fmt.Printf("add %s: %s %v\n", command, result, err)
		}
		d.core.Snapshot(d.now)
		if err := d.turn(); err != nil {
			fmt.Println("turn:", err)
			return
		}
		s := d.core.Status()
		fmt.Printf("%s in term %d, applied %d of %d entries, snapshot of %d\n", s.Role, s.Term, s.Applied, s.Last, s.Snapshot)
	}
	// Output:
	// add 1: 1 <nil>
	// add 10: 11 <nil>
	// leader in term 1, applied 3 of 3 entries, snapshot of 3
	// add 1: 12 <nil>
	// add 10: 22 <nil>
	// leader in term 2, applied 6 of 6 entries, snapshot of 6
}

// A total is a state machine that adds.
type total struct{ sum int }

// Apply implements raft.StateMachine.
func (t *total) Apply(entries []raft.Entry, results [][]byte) {
	for i := range entries {
		n, err := strconv.Atoi(string(entries[i].Data))
		if err != nil {
			results[i] = []byte("no number")
			continue
		}
		t.sum += n
		results[i] = strconv.AppendInt(nil, int64(t.sum), 10)
	}
}

// written is a state that was captured.
type written int

// WriteTo implements io.WriterTo.
func (w written) WriteTo(to io.Writer) (int64, error) {
	n, err := fmt.Fprint(to, int(w))
	return int64(n), err
}

// Snapshot implements raft.StateMachine.
func (t *total) Snapshot() (io.WriterTo, error) { return written(t.sum), nil }

// Restore implements raft.StateMachine.
func (t *total) Restore(from io.Reader) error {
	_, err := fmt.Fscan(from, &t.sum)
	return err
}
