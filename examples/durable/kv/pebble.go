package kv

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/durable/pebblestate"
)

// prefix begins all keys. So none of them is one of package pebblestate's own.
const prefix = "kv/"

type pebbleStore struct{ *pebblestate.Machine }

type pebbleTable struct{ *pebble.Batch }

func applyPebble(batch *pebble.Batch, command raft.Entry) ([]byte, error) {
	return apply(pebbleTable{batch}, command.Data)
}

func pebbleKey(key []byte) []byte { return append([]byte(prefix), key...) }

func (t pebbleTable) get(key []byte) ([]byte, bool, error) { return getPebble(t.Batch, key) }

func (t pebbleTable) set(key, value []byte) error { return t.Set(pebbleKey(key), value, nil) }

func (t pebbleTable) remove(key []byte) error { return t.Delete(pebbleKey(key), nil) }

// getPebble returns a copy of a value.
func getPebble(from pebble.Reader, key []byte) ([]byte, bool, error) {
	value, closer, err := from.Get(pebbleKey(key))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	return append([]byte{}, value...), true, closer.Close()
}

// Get implements Store.
func (s *pebbleStore) Get(key []byte) (value []byte, found bool, err error) {
	err = s.View(func(from pebble.Reader) (err error) {
		value, found, err = getPebble(from, key)
		return err
	})
	return value, found, err
}
