// Package pebblestate keeps the state of a raft.StateMachine in a pebble database: any keys, but for
// two of its own.
package pebblestate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/durable/state"
)

// An Apply applies one command to a batch, which also reads what the database and the batch hold, and
// returns the result. It is deterministic, as a raft.StateMachine is, and doesn't commit the batch. An
// error says that the database fails, and stops the server; a command that makes no sense gets a
// result that says so.
type Apply func(batch *pebble.Batch, command raft.Entry) (result []byte, err error)

// A Machine is a state machine whose state is in a pebble database.
type Machine struct{ *state.Machine[*database] }

// Options are the settings of a Machine.
type Options struct {
	// Pebble are the settings of the database, or nil. Its writes are not synced one by one, whatever
	// they say: the node's log is durable already, and has what a crash takes from the database.
	Pebble *pebble.Options
	State  state.Options
}

// Open opens the state in a folder, or makes an empty one. apply is nil if a machine around this one
// uses Change instead. Where pebble can't write to its own log, for
// instance for want of room, it ends the process.
func Open(dir string, apply Apply, options Options) (*Machine, error) {
	m, err := state.Open(dir, func(folder string) (*database, error) {
		settings := options.Pebble.Clone()
		if settings == nil {
			settings = &pebble.Options{}
		}
		if settings.Logger == nil {
			settings.Logger = logger{}
		}
		db, err := pebble.Open(folder, settings)
		if err != nil {
			return nil, err
		}
		return &database{db: db, apply: apply}, nil
	}, options.State)
	if err != nil {
		return nil, err
	}
	return &Machine{m}, nil
}

// Change is for a machine around this one that knows its commands better, such as one of package
// typed. change changes a batch as an Apply does, and the next Save commits it together with the index.
// If it returns an error, Change panics, as Apply does: a database that fails stops the server.
func (m *Machine) Change(change func(batch *pebble.Batch) error) {
	m.Machine.Change(func(d *database) error { return change(d.open()) })
}

// Latest returns what was applied or restored last, saved or not. It is valid until the next call of
// another method than View, none of which may run beside whoever reads it; after a Save it shows what
// was saved. Several goroutines may read it at a time if what was applied is saved.
func (m *Machine) Latest() pebble.Reader { return m.Machine.Latest().latest() }

// Capture returns the state as of the last Save, for a machine around this one that writes snapshots
// of its own form. If something was applied since (Unsaved), it returns the state with that, and must
// be closed before anything else happens.
func (m *Machine) Capture() (*Captured, error) {
	c, err := m.Machine.Capture()
	if err != nil {
		return nil, err
	}
	return &Captured{c.Content().(capture).shown, c}, nil
}

// Captured is a state of one moment. What Save keeps in it is at keys that begin with OwnPrefix.
type Captured struct {
	pebble.Reader
	held io.Closer
}

// Close lets the database go.
func (c *Captured) Close() error { return c.held.Close() }

// RestoreBy is Restore for a machine around this one whose snapshots are of its own form. fill fills
// an empty database, reads it back, and returns an error if that isn't what the snapshot says. It need
// sync nothing.
func (m *Machine) RestoreBy(fill func(*pebble.DB) error) error {
	return m.Machine.RestoreBy(func(d *database) error {
		if err := fill(d.db); err != nil {
			return err
		}
		return d.db.Flush()
	})
}

// View calls view with the state after some Save: after raft.Node.Read, one that has all that was
// acknowledged before. Commands are applied meanwhile, and view doesn't see them.
func (m *Machine) View(view func(pebble.Reader) error) error {
	return m.Machine.View(func(d *database) (err error) {
		shown := d.db.NewSnapshot()
		defer func() { err = errors.Join(err, shown.Close()) }()
		return view(shown)
	})
}

// OwnPrefix begins the keys of what Save keeps. No command may use it.
const OwnPrefix = "\x00raft/"

var (
	ownPrefix  = []byte(OwnPrefix)
	appliedKey = append(bytes.Clone(ownPrefix), "applied"...)
	besideKey  = append(bytes.Clone(ownPrefix), "beside"...)
)

type database struct {
	db    *pebble.DB
	apply Apply
	batch *pebble.Batch // holds what was applied and isn't saved; nil while there is nothing
}

// open returns the batch for what is applied.
func (d *database) open() *pebble.Batch {
	if d.batch == nil {
		d.batch = d.db.NewIndexedBatch()
	}
	return d.batch
}

// latest returns what shows all that was applied.
func (d *database) latest() pebble.Reader {
	if d.batch != nil {
		return d.batch
	}
	return d.db
}

// Apply implements state.Database.
func (d *database) Apply(entries []raft.Entry, results [][]byte) error {
	if d.apply == nil {
		return errors.New("pebblestate: opened without an Apply")
	}
	batch := d.open()
	for i := range entries {
		result, err := d.apply(batch, entries[i])
		if err != nil {
			return fmt.Errorf("entry %d: %w", entries[i].Index, err)
		}
		results[i] = result
	}
	return nil
}

// Save implements state.Database. What isn't synced may be lost in a power cut, from the end on: then
// the node applies it again.
func (d *database) Save(applied raft.Index, beside []byte) error {
	if d.batch == nil {
		d.batch = d.db.NewBatch()
	}
	err := d.batch.Set(appliedKey, binary.BigEndian.AppendUint64(nil, uint64(applied)), nil)
	if err == nil && beside != nil {
		err = d.batch.Set(besideKey, beside, nil)
	}
	if err == nil {
		err = d.batch.Commit(pebble.NoSync)
	}
	if err != nil {
		return err
	}
	batch := d.batch
	d.batch = nil
	return batch.Close()
}

// Sync implements state.Database.
func (d *database) Sync() error { return d.db.LogData(nil, pebble.Sync) }

// Load implements state.Database.
func (d *database) Load() (raft.Index, []byte, error) {
	index, err := d.get(appliedKey)
	if err != nil || index == nil {
		return 0, nil, err
	}
	if len(index) != 8 {
		return 0, nil, fmt.Errorf("pebblestate: the index has %d bytes, not 8", len(index))
	}
	beside, err := d.get(besideKey)
	return raft.Index(binary.BigEndian.Uint64(index)), beside, err
}

// get returns a copy of a value, or nil.
func (d *database) get(key []byte) ([]byte, error) {
	value, closer, err := d.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return bytes.Clone(value), closer.Close()
}

// Close implements state.Database.
func (d *database) Close() (err error) {
	if d.batch != nil {
		err = d.batch.Close()
	}
	return errors.Join(err, d.db.Close())
}

// keyHas is the kind of all records in a copy: a key and its value.
const keyHas = 1

// Capture implements state.Database.
func (d *database) Capture() (state.Capture, error) {
	if d.batch != nil {
		return capture{d.batch, io.NopCloser(nil)}, nil
	}
	if err := d.Sync(); err != nil {
		return nil, err
	}
	shown := d.db.NewSnapshot()
	return capture{shown, shown}, nil
}

type capture struct {
	shown pebble.Reader
	io.Closer
}

// Copy implements state.Capture.
func (c capture) Copy(to *state.CopyWriter) (err error) {
	all, err := c.shown.NewIter(nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, all.Close()) }()
	for valid := all.First(); valid; valid = all.Next() {
		if bytes.HasPrefix(all.Key(), ownPrefix) {
			continue
		}
		value, err := all.ValueAndErr()
		if err == nil {
			err = to.Record(keyHas, all.Key(), value)
		}
		if err != nil {
			return err
		}
	}
	return all.Error()
}

// fillBytes is how many bytes are put into the database in one batch, while it is filled.
const fillBytes = 1 << 20

// Fill implements state.Database.
func (d *database) Fill(from *state.CopyReader) error {
	for {
		batch := d.db.NewBatch()
		more, err := fillBatch(batch, from)
		if err == nil {
			err = batch.Commit(pebble.NoSync)
		}
		if err := errors.Join(err, batch.Close()); err != nil {
			return err
		}
		if !more {
			return d.db.Flush()
		}
	}
}

// fillBatch puts records into a batch, and says whether there are more.
func fillBatch(batch *pebble.Batch, from *state.CopyReader) (more bool, err error) {
	for batch.Len() < fillBytes {
		kind, key, value, err := from.Next()
		if err != nil || kind == 0 {
			return false, err
		}
		if kind != keyHas || bytes.HasPrefix(key, ownPrefix) {
			return false, fmt.Errorf("%w: a record of the kind %d with the key %q", state.ErrCopy, kind, key)
		}
		if err := batch.Set(key, value, nil); err != nil {
			return false, err
		}
	}
	return true, nil
}

// A logger is told by pebble what goes wrong.
type logger struct{}

func (logger) Infof(string, ...any) {}

func (logger) Errorf(format string, args ...any) {
	slog.Error("pebble: " + fmt.Sprintf(format, args...))
}

func (logger) Fatalf(format string, args ...any) { pebble.DefaultLogger.Fatalf(format, args...) }
