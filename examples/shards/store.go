package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"sync"

	"github.com/e17579a5/raft"
)

// A store is the replicated state of one shard: keys with their values and versions. It is a
// raft.StateMachine: the same commands in the same order give the same results on every server.
type store struct {
	mu    sync.Mutex // the service reads while commands are applied
	items map[string]item
}

// An item is what a key has. Its value is never changed, but replaced.
type item struct {
	Value []byte `json:"value"`
	// Version is the index in the shard's log of the command that wrote the value. So it rises with each
	// write, and a key that was deleted and made again has another one.
	Version uint64 `json:"version"`
}

// A command changes one key.
type command struct {
	Op    op     `json:"op"`
	Key   string `json:"key"`
	Value []byte `json:"value,omitempty"` // of a put
	Add   int64  `json:"add,omitempty"`   // of an add
	// If is the version that the key must have, and 0 says that there must be no such key; nil for any.
	If *uint64 `json:"if,omitempty"`
}

type op string

const (
	put    op = "put"    // writes the value
	remove op = "delete" // deletes the key, if it is there
	add    op = "add"    // adds to the value, which is an int64 as text; a key that isn't there counts as 0
)

// A result is what came of a command.
type result struct {
	Version uint64 `json:"version"`           // of the key after it; 0 if there is no such key
	Value   int64  `json:"value"`             // of an add
	Refused string `json:"refused,omitempty"` // why nothing has changed; "" if the command was carried out
}

// The reasons of a refusal.
const (
	otherVersion = "other_version" // the key's version isn't the one of the command
	notANumber   = "not_a_number"  // the value isn't an int64
	overflow     = "overflow"      // the sum isn't an int64
	badCommand   = "bad_command"   // only a newer version of this program makes such commands
)

func newStore() *store { return &store{items: map[string]item{}} }

// Apply implements raft.StateMachine.
func (s *store) Apply(entries []raft.Entry, results [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range entries {
		var c command
		r := result{Refused: badCommand}
		if json.Unmarshal(entries[i].Data, &c) == nil {
			r = s.apply(&c, uint64(entries[i].Index))
		}
		results[i] = encode(r)
	}
}

func (s *store) apply(c *command, index uint64) result {
	before, found := s.items[c.Key]
	if c.If != nil && *c.If != before.Version {
		return result{Version: before.Version, Refused: otherVersion}
	}
	switch c.Op {
	case put:
		s.items[c.Key] = item{c.Value, index}
		return result{Version: index}
	case remove:
		delete(s.items, c.Key)
		return result{}
	case add:
		var value int64
		if found {
			var err error
			if value, err = strconv.ParseInt(string(before.Value), 10, 64); err != nil {
				return result{Version: before.Version, Refused: notANumber}
			}
		}
		if c.Add > 0 && value > math.MaxInt64-c.Add || c.Add < 0 && value < math.MinInt64-c.Add {
			return result{Version: before.Version, Refused: overflow}
		}
		value += c.Add
		s.items[c.Key] = item{strconv.AppendInt(nil, value, 10), index}
		return result{Version: index, Value: value}
	}
	return result{Version: before.Version, Refused: badCommand}
}

// get returns what a key has.
func (s *store) get(key string) (item, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.items[key]
	return found, ok
}

// keys returns the first keys after one, in order: at most limit.
func (s *store) keys(after string, limit int) []string {
	s.mu.Lock()
	var all []string
	for key := range s.items {
		if key > after {
			all = append(all, key)
		}
	}
	s.mu.Unlock()
	slices.Sort(all)
	return all[:min(limit, len(all))]
}

// A snapshotLine is a key in a snapshot. Each has a line of its own.
type snapshotLine struct {
	Key string `json:"key"`
	item
}

// A capture is the state of a store at one moment.
type capture map[string]item

// Snapshot captures the state. The values are shared: they never change.
func (s *store) Snapshot() (io.WriterTo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return capture(maps.Clone(s.items)), nil
}

// WriteTo writes the keys in their order, while commands are applied.
func (c capture) WriteTo(w io.Writer) (n int64, err error) {
	var lines bytes.Buffer
	for _, key := range slices.Sorted(maps.Keys(c)) {
		lines.Write(encode(snapshotLine{key, c[key]}))
		lines.WriteByte('\n')
		if lines.Len() >= 64<<10 {
			written, err := lines.WriteTo(w)
			if n += written; err != nil {
				return n, err
			}
		}
	}
	written, err := lines.WriteTo(w)
	return n + written, err
}

// Restore replaces the state by the one in a snapshot.
func (s *store) Restore(r io.Reader) error {
	items := map[string]item{}
	for decoder := json.NewDecoder(bufio.NewReader(r)); ; {
		var line snapshotLine
		if err := decoder.Decode(&line); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("shards: read snapshot: %w", err)
		}
		items[line.Key] = line.item
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items = items
	return nil
}

// encode returns a value as JSON. All that are encoded here can be: their keys are UTF-8.
func encode(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return text
}
