package shard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/e17579a5/raft"
)

// maxServers bounds the servers: each is a member of the table's group.
const maxServers = 255

// A machine is the state machine of the table. What it has applied, others see at once.
type machine struct {
	mu      sync.Mutex
	table   *Table
	changed chan struct{} // closed when another table comes
}

func newMachine() *machine { return &machine{table: new(Table), changed: make(chan struct{})} }

// latest returns the table, and a channel that is closed when there is another one.
func (m *machine) latest() (*Table, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.table, m.changed
}

func (m *machine) publish(t *Table) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.table = t
	close(m.changed)
	m.changed = make(chan struct{})
}

// Apply implements raft.StateMachine. A result is empty, or a Refusal as JSON.
func (m *machine) Apply(entries []raft.Entry, results [][]byte) {
	before, _ := m.latest()
	t := *before
	t.Shards = slices.Clone(t.Shards)
	for i := range entries {
		var change Change
		refusal := refuse("bad_change", "the change is no JSON")
		if json.Unmarshal(entries[i].Data, &change) == nil {
			refusal = t.apply(&change)
		}
		if refusal != nil {
			results[i] = encode(refusal)
		}
	}
	m.publish(&t)
}

// Snapshot implements raft.StateMachine.
func (m *machine) Snapshot() (io.WriterTo, error) {
	t, _ := m.latest()
	return bytes.NewReader(encode(t)), nil
}

// Restore implements raft.StateMachine.
func (m *machine) Restore(r io.Reader) error {
	t := new(Table)
	if err := json.NewDecoder(r).Decode(t); err != nil {
		return fmt.Errorf("shard: read the table: %w", err)
	}
	m.publish(t)
	return nil
}

// encode returns a value as JSON. All of them can be written so.
func encode(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return text
}
