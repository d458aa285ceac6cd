// Package kv is a state machine with keys and values, for any of the databases: its commands, its
// results, and what a command does.
package kv

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/cockroachdb/pebble/v2"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/durable/boltstate"
	"github.com/e17579a5/raft/examples/durable/pebblestate"
	"github.com/e17579a5/raft/examples/durable/sqlitestate"
	"github.com/e17579a5/raft/examples/durable/state"
)

// Limits of keys and values, in bytes.
const (
	MaxKey   = 1 << 10
	MaxValue = 512 << 10
)

// A Command changes one key. In the log it is JSON.
type Command struct {
	Op    string `json:"op"` // "set", "delete" or "add"
	Key   []byte `json:"key"`
	Value []byte `json:"value,omitempty"` // of "set"
	Add   int64  `json:"add,omitempty"`   // of "add": to the number that the value is; no value is 0
}

// Check returns an error if a Command makes no sense.
func (c *Command) Check() error {
	switch {
	case c.Op != "set" && c.Op != "delete" && c.Op != "add":
		return fmt.Errorf("%q is neither set, delete nor add", c.Op)
	case len(c.Key) == 0 || len(c.Key) > MaxKey:
		return fmt.Errorf("the key has %d bytes, not 1 to %d", len(c.Key), MaxKey)
	case len(c.Value) > MaxValue:
		return fmt.Errorf("the value has %d bytes, more than %d", len(c.Value), MaxValue)
	}
	return nil
}

// Encode returns the bytes that are proposed.
func (c *Command) Encode() ([]byte, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	return json.Marshal(c)
}

// A Result is what became of a Command.
type Result struct {
	Found   bool   `json:"found"` // whether the key had a value before
	Value   []byte `json:"value"` // the value after it
	Refused string `json:"refused,omitempty"`
}

// DecodeResult reads what the state machine has returned.
func DecodeResult(b []byte) (Result, error) {
	var r Result
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("kv: decode the result %q: %w", b, err)
	}
	return r, nil
}

// A table is where keys have values, within a transaction.
type table interface {
	get(key []byte) (value []byte, found bool, err error)
	set(key, value []byte) error
	remove(key []byte) error
}

// apply applies a command. An error says that the table fails.
func apply(t table, data []byte) ([]byte, error) {
	var c Command
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&c)
	if err == nil {
		err = c.Check()
	}
	if err != nil {
		return json.Marshal(Result{Refused: "not a command: " + err.Error()})
	}
	before, found, err := t.get(c.Key)
	if err != nil {
		return nil, err
	}
	result := Result{Found: found, Value: c.Value}
	switch c.Op {
	case "delete":
		if result.Value = nil; found {
			err = t.remove(c.Key)
		}
	case "add":
		sum, refused := add(before, c.Add)
		if refused != nil {
			return json.Marshal(Result{Found: found, Value: before, Refused: refused.Error()})
		}
		result.Value = strconv.AppendInt(nil, sum, 10)
		err = t.set(c.Key, result.Value)
	default:
		err = t.set(c.Key, c.Value)
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(result)
}

// add returns the sum of the number that a value is, and another one.
func add(value []byte, amount int64) (int64, error) {
	if value == nil {
		return amount, nil
	}
	number, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return 0, errors.New("the value is no number")
	}
	if amount > 0 && number > math.MaxInt64-amount || amount < 0 && number < math.MinInt64-amount {
		return 0, errors.New("the sum is too large")
	}
	return number + amount, nil
}

// A Store is a state machine with keys and values, on a database.
type Store interface {
	raft.StateMachine
	Durable() *raft.DurableMachine

	// Get returns the value of a key after the last command, and whether there is one.
	Get(key []byte) (value []byte, found bool, err error)

	Close() error
}

// Kinds are the databases that Open knows.
var Kinds = []string{"bolt", "pebble", "sqlite"}

// Options are for tests. The zero value is right for everybody else.
type Options struct {
	State  state.Options
	Pebble *pebble.Options
}

// Open opens a store in a folder, on a database of one of the Kinds.
func Open(kind, dir string, options Options) (Store, error) {
	switch kind {
	case "bolt":
		m, err := boltstate.OpenWith(dir, applyBolt, options.State)
		if err != nil {
			return nil, err
		}
		return &boltStore{m}, nil
	case "pebble":
		m, err := pebblestate.Open(dir, applyPebble, pebblestate.Options{Pebble: options.Pebble, State: options.State})
		if err != nil {
			return nil, err
		}
		return &pebbleStore{m}, nil
	case "sqlite":
		m, err := sqlitestate.OpenWith(dir, schema, applySQLite, options.State)
		if err != nil {
			return nil, err
		}
		return &sqliteStore{m}, nil
	}
	return nil, fmt.Errorf("kv: %q is none of the databases %q", kind, Kinds)
}
