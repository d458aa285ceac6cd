package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/e17579a5/raft"
)

// A counter is the replicated state: one int64. It is a raft.StateMachine: the same commands in the
// same order give the same values and the same refusals on every server.
type counter struct {
	mu    sync.Mutex // the service reads the value while commands are applied
	value int64
}

// Apply adds each command's amount to the value. The result is the new value. If the sum isn't an
// int64, the value stays, and the result is empty.
func (c *counter) Apply(entries []raft.Entry, results [][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range entries {
		amount, err := decode(entries[i].Data)
		sum := c.value + amount
		if err == nil && (sum > c.value) == (amount > 0) { // otherwise the sum wraps around
			c.value = sum
			results[i] = encode(sum)
		}
	}
}

// Value returns the value after the last command that was applied here.
func (c *counter) Value() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.value
}

// Snapshot captures the value.
func (c *counter) Snapshot() (io.WriterTo, error) { return bytes.NewReader(encode(c.Value())), nil }

// Restore replaces the value by the one in a snapshot.
func (c *counter) Restore(r io.Reader) error {
	snapshot, err := io.ReadAll(io.LimitReader(r, 9))
	if err != nil {
		return fmt.Errorf("counter: read snapshot: %w", err)
	}
	restored, err := decode(snapshot)
	if err != nil {
		return fmt.Errorf("counter: read snapshot: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.value = restored
	return nil
}

// encode returns the 8 bytes of a number, in commands, results and snapshots alike.
func encode(number int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(number)) }

// decode reads a number that encode wrote.
func decode(b []byte) (int64, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("a number takes 8 bytes, not %d", len(b))
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}
