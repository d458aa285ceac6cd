package kv

import (
	"bytes"

	"go.etcd.io/bbolt"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/durable/boltstate"
)

// bucket has all keys.
var bucket = []byte("kv")

type boltStore struct{ *boltstate.Machine }

type boltTable struct{ *bbolt.Bucket }

func applyBolt(tx *bbolt.Tx, command raft.Entry) ([]byte, error) {
	b, err := tx.CreateBucketIfNotExists(bucket)
	if err != nil {
		return nil, err
	}
	return apply(boltTable{b}, command.Data)
}

func (t boltTable) get(key []byte) ([]byte, bool, error) {
	value := t.Get(key)
	return value, value != nil, nil
}

// set stores a value that isn't nil: within a transaction bbolt takes that for no value.
func (t boltTable) set(key, value []byte) error { return t.Put(key, append([]byte{}, value...)) }

func (t boltTable) remove(key []byte) error { return t.Delete(key) }

// Get implements Store.
func (s *boltStore) Get(key []byte) (value []byte, found bool, err error) {
	err = s.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket(bucket); b != nil {
			value, found = bytes.Clone(b.Get(key)), b.Get(key) != nil
		}
		return nil
	})
	return value, found, err
}
