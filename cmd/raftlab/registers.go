package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/e17579a5/raft"
)

// slots is how many registers the state machine has.
const slots = 8

// Registers are the replicated state: slots registers, each of a generation. A write of a later
// generation begins the register anew, and one of an earlier generation changes nothing. So a
// register stands for an endless row of registers, of which each begins empty, and the state stays
// small however long the lab runs. They are a raft.StateMachine.
type registers struct {
	mu    sync.Mutex // clients read beside Apply
	slots [slots]register
}

// A register is a slot's newest generation.
type register struct {
	Generation uint64 `json:"generation"`
	Value      string `json:"value"`
}

// A write is a command.
type write struct {
	slot       int
	generation uint64
	value      string
}

// commandMark begins each command. The lab finds commands by it in the files of a log, to damage
// them.
var commandMark = []byte("raftlab write ")

// commandBytes is the size of each command, in bytes. Values are shorter than that.
const commandBytes = 256

// encode returns the bytes of a command: the mark, the slot, the generation, the value with its
// length, and zeros up to commandBytes.
func (w write) encode() []byte {
	b := append(make([]byte, 0, commandBytes), commandMark...)
	b = binary.AppendUvarint(b, uint64(w.slot))
	b = binary.AppendUvarint(b, w.generation)
	b = binary.AppendUvarint(b, uint64(len(w.value)))
	b = append(b, w.value...)
	return append(b, make([]byte, max(commandBytes-len(b), 0))...)
}

// errNoWrite says that a command isn't one of this state machine.
var errNoWrite = errors.New("raftlab: no write to a register")

// decodeWrite reads a command.
func decodeWrite(b []byte) (w write, err error) {
	rest, marked := bytes.CutPrefix(b, commandMark)
	if !marked {
		return write{}, errNoWrite
	}
	number := func() (n uint64) {
		n, length := binary.Uvarint(rest)
		if length <= 0 {
			err = errNoWrite
			return 0
		}
		rest = rest[length:]
		return n
	}
	slot, generation, length := number(), number(), number()
	if err != nil || slot >= slots || length > uint64(len(rest)) {
		return write{}, errNoWrite
	}
	return write{int(slot), generation, string(rest[:length])}, nil
}

// Apply performs writes. The result of each is "=" and the value after it; or "!" if the write came
// too late, because its register has a later generation, or if the command is none.
func (r *registers) Apply(entries []raft.Entry, results [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range entries {
		results[i] = []byte("!")
		w, err := decodeWrite(entries[i].Data)
		if err != nil || w.generation < r.slots[w.slot].Generation {
			continue
		}
		r.slots[w.slot] = register{w.generation, w.value}
		results[i] = append([]byte("="), w.value...)
	}
}

// Value returns the value of a slot in a generation. It returns false if the slot has a later one.
func (r *registers) Value(slot int, generation uint64) (value string, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch s := r.slots[slot]; {
	case s.Generation == generation:
		return s.Value, true
	case s.Generation < generation:
		return "", true
	}
	return "", false
}

// Snapshot captures the registers.
func (r *registers) Snapshot() (io.WriterTo, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, err := json.Marshal(r.slots)
	return bytes.NewReader(b), err
}

// Restore replaces the registers by those of a snapshot.
func (r *registers) Restore(from io.Reader) error {
	b, err := io.ReadAll(from)
	if err != nil {
		return fmt.Errorf("raftlab: read snapshot: %w", err)
	}
	var restored [slots]register
	if err := json.Unmarshal(b, &restored); err != nil {
		return fmt.Errorf("raftlab: read snapshot: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slots = restored
	return nil
}
