package kv_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/durable/boltstate"
	"github.com/e17579a5/raft/examples/durable/pebblestate"
	"github.com/e17579a5/raft/examples/durable/sqlitestate"
	"github.com/e17579a5/raft/rafttest"
	"github.com/e17579a5/raft/typed"
)

// A payment is the command of a machine of package typed.
type payment struct {
	To     string
	Amount int64
}

var errPoor = errors.New("there isn't so much in it")

var payments = typed.Options[payment, int64]{Errors: typed.Errors{"poor": errPoor}}

// pay is what a payment does: read and write are those of a transaction.
func pay(p payment, read func(string) (string, error), write func(key, value string) error) (after int64, refused, failed error) {
	text, err := read(p.To)
	if err != nil {
		return 0, nil, err
	}
	before, _ := strconv.ParseInt(text, 10, 64)
	if after = before + p.Amount; after < 0 {
		return 0, fmt.Errorf("take %d of %d: %w", -p.Amount, before, errPoor), nil
	}
	return after, nil, write(p.To, strconv.FormatInt(after, 10))
}

// These are the machines: each keeps the sums in another database, within Change.
type (
	pebbleAccounts struct{ *pebblestate.Machine }
	boltAccounts   struct{ *boltstate.Machine }
	sqliteAccounts struct{ *sqlitestate.Machine }
)

func (m pebbleAccounts) Apply(p payment) (after int64, refused error) {
	m.Change(func(batch *pebble.Batch) (failed error) {
		after, refused, failed = pay(p, func(key string) (string, error) {
			value, closer, err := batch.Get([]byte(key))
			if errors.Is(err, pebble.ErrNotFound) {
				return "", nil
			}
			if err != nil {
				return "", err
			}
			return string(value), closer.Close()
		}, func(key, value string) error { return batch.Set([]byte(key), []byte(value), nil) })
		return failed
	})
	return after, refused
}

func (m boltAccounts) Apply(p payment) (after int64, refused error) {
	m.Change(func(tx *bbolt.Tx) error {
		sums, failed := tx.CreateBucketIfNotExists([]byte("sums"))
		if failed == nil {
			after, refused, failed = pay(p, func(key string) (string, error) { return string(sums.Get([]byte(key))), nil },
				func(key, value string) error { return sums.Put([]byte(key), []byte(value)) })
		}
		return failed
	})
	return after, refused
}

func (m sqliteAccounts) Apply(p payment) (after int64, refused error) {
	m.Change(func(tx *sql.Tx) (failed error) {
		after, refused, failed = pay(p, func(key string) (value string, err error) {
			if err = tx.QueryRow("SELECT sum FROM sums WHERE name = ?", key).Scan(&value); errors.Is(err, sql.ErrNoRows) {
				err = nil
			}
			return value, err
		}, func(key, value string) error {
			_, err := tx.Exec("INSERT INTO sums VALUES (?, ?) ON CONFLICT DO UPDATE SET sum = excluded.sum", key, value)
			return err
		})
		return failed
	})
	return after, refused
}

// typedOn returns what makes a machine of package typed on a kind of database.
func typedOn(kind string) func(d *disk) (raft.StateMachine, durable, error) {
	return func(d *disk) (raft.StateMachine, durable, error) {
		var machine typed.Machine[payment, int64]
		var store durable
		switch kind {
		case "pebble":
			m, err := pebblestate.Open(d.dir, nil, pebblestate.Options{Pebble: &pebble.Options{FS: d.files}})
			if err != nil {
				return nil, nil, err
			}
			machine, store = pebbleAccounts{m}, m
		case "bolt":
			m, err := boltstate.Open(d.dir, nil)
			if err != nil {
				return nil, nil, err
			}
			machine, store = boltAccounts{m}, m
		case "sqlite":
			m, err := sqlitestate.Open(d.dir, "CREATE TABLE sums(name TEXT PRIMARY KEY, sum TEXT NOT NULL) WITHOUT ROWID", nil)
			if err != nil {
				return nil, nil, err
			}
			machine, store = sqliteAccounts{m}, m
		}
		s, err := payments.StateMachine(machine)
		return s, store, err
	}
}

// TestTypedReplicated: a machine of package typed can have its state in each kind of database, whatever
// crashes, parts or is forgotten.
func TestTypedReplicated(t *testing.T) {
	for _, kind := range []string{"bolt", "pebble", "sqlite"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			stores, dir := 0, folderInMemory(t)
			rafttest.Check(t, rafttest.Property{
				Store: func() rafttest.Store {
					stores++
					return &disk{make: typedOn(kind), dir: filepath.Join(dir, fmt.Sprint(stores)), files: vfs.NewCrashableMem()}
				},
				Command: rapid.Custom(func(t *rapid.T) []byte {
					b, err := payments.Encode(payment{
						To:     rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "to"),
						Amount: rapid.Int64Range(-9, 9).Draw(t, "amount"),
					})
					require.NoError(t, err)
					return bytes.Clone(b)
				}),
			})
		})
	}
}
