// Package boltstate keeps the state of a raft.StateMachine in a bbolt database: any buckets, nested
// ones too, but for one of its own.
package boltstate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/durable/state"
)

// An Apply applies one command, within a transaction of its own server, and returns the result. It is
// deterministic, as a raft.StateMachine is, and doesn't commit. An error says that the database fails,
// and stops the server; a command that makes no sense gets a result that says so. The result may point
// into the database.
//
// Apply may be called once more for the same command, in another transaction that begins where the
// first one did: when the first one found no room on the disk.
type Apply func(tx *bbolt.Tx, command raft.Entry) (result []byte, err error)

// A Machine is a state machine whose state is in a bbolt database.
type Machine struct{ *state.Machine[*database] }

// Open opens the state in a folder, or makes an empty one. Each Save syncs the file. apply is nil if a
// machine around this one uses Change instead.
func Open(dir string, apply Apply) (*Machine, error) { return OpenWith(dir, apply, state.Options{}) }

// OpenWith is Open with the options of package state.
func OpenWith(dir string, apply Apply, options state.Options) (*Machine, error) {
	m, err := state.Open(dir, func(folder string) (*database, error) { return open(folder, apply) }, options)
	if err != nil {
		return nil, err
	}
	return &Machine{m}, nil
}

// Change is for a machine around this one that knows its commands better, such as one of package
// typed. change changes the state within a transaction, as an Apply does, and the next Save commits it
// together with the index. As an Apply it may be called once more, so it uses only memory that stays as
// it is. If it returns an error, Change panics, as Apply does: a database that fails stops the server.
func (m *Machine) Change(change func(tx *bbolt.Tx) error) {
	m.Machine.Change(func(d *database) error { return d.change(change) })
}

// View calls view with a transaction that shows the state after some Save: after raft.Node.Read, one
// that has all that was acknowledged before. Commands are applied meanwhile.
func (m *Machine) View(view func(*bbolt.Tx) error) error {
	return m.Machine.View(func(d *database) error { return d.db.View(view) })
}

// What Save keeps is in a bucket of its own, whose name no command may use.
var (
	ownBucket  = []byte("\x00raft")
	appliedKey = []byte("applied")
	besideKey  = []byte("beside")
)

type database struct {
	db    *bbolt.DB
	apply Apply
	tx    *bbolt.Tx // holds what was applied and isn't saved; nil while there is nothing
	// applied are the changes since the last Save. They are made once more if it fails.
	applied []func(*bbolt.Tx) error
}

// mapBytes is how much of the file the process can see from the start. When a file outgrows that, Save
// waits until no capture and no View is open, since bbolt then maps it anew. It takes addresses, and no
// memory; but on Windows it takes the disk, and 32 bits have no more.
func mapBytes() int {
	if runtime.GOOS == "windows" || math.MaxInt == math.MaxInt32 {
		return 256 << 20
	}
	gibibyte := 1 << 30
	return 64 * gibibyte
}

// lockTimeout is how long another process may take to let the file go.
const lockTimeout = 5 * time.Second

func open(folder string, apply Apply) (*database, error) {
	db, err := bbolt.Open(filepath.Join(folder, "bolt.db"), 0o666, &bbolt.Options{
		Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType, InitialMmapSize: mapBytes(),
	})
	if err != nil {
		return nil, err
	}
	return &database{db: db, apply: apply}, nil
}

// begin begins a transaction unless there is one.
func (d *database) begin() (err error) {
	if d.tx == nil {
		d.tx, err = d.db.Begin(true)
	}
	return err
}

// Apply implements state.Database.
func (d *database) Apply(entries []raft.Entry, results [][]byte) error {
	if d.apply == nil {
		return errors.New("boltstate: opened without an Apply")
	}
	for i := range entries {
		command := entries[i]
		command.Data = bytes.Clone(command.Data) // bbolt refers to keys until the transaction ends
		var result []byte
		err := d.change(func(tx *bbolt.Tx) (err error) {
			if result, err = d.apply(tx, command); err != nil {
				err = fmt.Errorf("entry %d: %w", command.Index, err)
			}
			return err
		})
		if err != nil {
			return err
		}
		results[i] = result
	}
	return nil
}

// change makes a change, and keeps it for a Save that fails.
func (d *database) change(change func(*bbolt.Tx) error) error {
	if err := d.begin(); err != nil {
		return err
	}
	d.applied = append(d.applied, change)
	return change(d.tx)
}

// Save implements state.Database.
func (d *database) Save(applied raft.Index, beside []byte) error {
	if d.tx == nil {
		if err := d.begin(); err != nil {
			return err
		}
		for _, change := range d.applied { // the transaction in which they were has failed
			if err := change(d.tx); err != nil {
				return errors.Join(err, d.rollback())
			}
		}
	}
	if err := d.commit(applied, beside); err != nil {
		return errors.Join(err, d.rollback())
	}
	d.tx = nil
	clear(d.applied)
	d.applied = d.applied[:0]
	return nil
}

func (d *database) commit(applied raft.Index, beside []byte) error {
	own, err := d.tx.CreateBucketIfNotExists(ownBucket)
	if err == nil {
		err = own.Put(appliedKey, binary.BigEndian.AppendUint64(nil, uint64(applied)))
	}
	if err == nil && beside != nil {
		err = own.Put(besideKey, slices.Clone(beside))
	}
	if err == nil {
		err = d.tx.Commit()
	}
	return err
}

// rollback undoes what isn't saved.
func (d *database) rollback() error {
	tx := d.tx
	if d.tx = nil; tx == nil {
		return nil
	}
	if err := tx.Rollback(); !errors.Is(err, berrors.ErrTxClosed) {
		return err
	}
	return nil // a commit that fails has rolled back already
}

// Sync implements state.Database. Save has synced the whole file already.
func (d *database) Sync() error { return nil }

// Load implements state.Database.
func (d *database) Load() (applied raft.Index, beside []byte, err error) {
	err = d.db.View(func(tx *bbolt.Tx) error {
		own := tx.Bucket(ownBucket)
		if own == nil {
			return nil
		}
		index := own.Get(appliedKey)
		if len(index) != 8 {
			return fmt.Errorf("boltstate: the index has %d bytes, not 8", len(index))
		}
		applied, beside = raft.Index(binary.BigEndian.Uint64(index)), bytes.Clone(own.Get(besideKey))
		return nil
	})
	return applied, beside, err
}

// Close implements state.Database.
func (d *database) Close() error { return errors.Join(d.rollback(), d.db.Close()) }
