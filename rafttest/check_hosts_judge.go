package rafttest

import (
	"bytes"
	"io"
	"maps"
	"slices"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/sim"
)

// A checkedCopy is the copy of a group's state machine at one server, in one life.
type checkedCopy struct {
	group *checkedGroup
	at    raft.ServerID
	inner raft.StateMachine
}

// Apply applies entries, and compares what comes out to what other copies have given.
func (c *checkedCopy) Apply(entries []raft.Entry, results [][]byte) {
	kept := make([]raft.Entry, len(entries))
	for i := range entries {
		kept[i] = entries[i]
		kept[i].Data = bytes.Clone(entries[i].Data)
	}
	c.inner.Apply(entries, results)
	g := c.group
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range kept {
		now := checkedEntry{kept[i], bytes.Clone(results[i]), c.at}
		was, known := g.entries[now.entry.Index]
		switch {
		case !known:
			g.entries[now.entry.Index] = now
		case !bytes.Equal(was.entry.Data, now.entry.Data):
			g.fail("at index %d, server %s has applied %s, and server %s %s", now.entry.Index, was.by, sim.Show(was.entry.Data), now.by, sim.Show(now.entry.Data))
		case !bytes.Equal(was.result, now.result):
			g.fail("of %s at index %d, server %s has the result %s, and server %s %s", sim.Show(now.entry.Data), now.entry.Index, was.by, sim.Show(was.result), now.by, sim.Show(now.result))
		}
	}
	if invariant := g.run.property.Invariant; invariant != nil {
		if err := invariant(c.inner); err != nil {
			g.fail("the invariant of server %s: %v", c.at, err)
		}
	}
}

// Snapshot implements raft.StateMachine.
func (c *checkedCopy) Snapshot() (io.WriterTo, error) { return c.inner.Snapshot() }

// Restore implements raft.StateMachine.
func (c *checkedCopy) Restore(r io.Reader) error { return c.inner.Restore(r) }

// judge compares what clients of a group at rest were told to what its copies have applied.
func (g *checkedGroup) judge() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.acknowledged) == 0 {
		g.fail("no command was acknowledged at all")
	}
	// How often a command may be there: at least as often as it was acknowledged, and once more for each
	// unknown outcome.
	least, most := map[string]int{}, map[string]int{}
	for i := range g.calls {
		call := &g.calls[i]
		command := string(call.command)
		if call.unknown {
			most[command]++
		}
		if call.index == 0 {
			continue
		}
		least[command]++
		most[command]++
		switch there, known := g.entries[call.index]; {
		case !known || !bytes.Equal(there.entry.Data, call.command):
			g.fail("%s was acknowledged at index %d, and isn't there", sim.Show(call.command), call.index)
		case !bytes.Equal(there.result, call.result):
			g.fail("%s was acknowledged with the result %s, and has the result %s at index %d", sim.Show(call.command), sim.Show(call.result), sim.Show(there.result), call.index)
		}
	}
	found := map[string]int{}
	for _, there := range g.entries {
		found[string(there.entry.Data)]++
	}
	for command, n := range found {
		if n > most[command] {
			g.fail("%s is there %d times, and was proposed %d times with an outcome that allows it", sim.Show([]byte(command)), n, most[command])
		}
	}
	for command, n := range least {
		if found[command] < n {
			g.fail("%s was acknowledged %d times, and is there %d times", sim.Show([]byte(command)), n, found[command])
		}
	}
}

// replay applies all entries one by one to a copy to which nothing else happens, and compares the
// results, and the state in the end.
func (g *checkedGroup) replay() {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.run.property
	machine := raft.StateMachine(nil)
	if p.Store == nil {
		machine = p.Machine()
	} else {
		store := p.Store()
		defer store.Crash() // it releases what it holds
		var err error
		if machine, _, err = store.Open(); err != nil {
			g.fail("an empty store can't be opened: %v", err)
			return
		}
	}
	for _, index := range slices.Sorted(maps.Keys(g.entries)) {
		there := g.entries[index]
		result := [1][]byte{}
		entry := there.entry
		entry.Data = bytes.Clone(entry.Data)
		machine.Apply([]raft.Entry{entry}, result[:])
		if !bytes.Equal(result[0], there.result) {
			g.fail("of %s at index %d, server %s has the result %s; the same commands applied one by one, to a copy that nothing else happens to, give %s",
				sim.Show(there.entry.Data), index, there.by, sim.Show(there.result), sim.Show(result[0]))
		}
	}
	want, err := snapshotOf(machine)
	if err != nil {
		g.fail("a snapshot: %v", err)
		return
	}
	view := g.run.cluster.Group(g.id)
	for _, i := range view.taking() {
		got, err := snapshotOf(view.Machine(i).inner)
		if err != nil || !bytes.Equal(got, want) {
			g.fail("the state of server %s isn't that of a copy which has applied the same commands one by one: %s and %s (%v)",
				view.ID(i), describeBytes(got), describeBytes(want), err)
		}
	}
}
