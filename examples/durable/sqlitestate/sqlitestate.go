// Package sqlitestate keeps the state of a raft.StateMachine in an SQLite database, by a driver that
// needs no C: any tables with their indexes, views and triggers, but for a table of its own. Virtual
// tables can't be copied, and are an error of the first snapshot.
package sqlitestate

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"

	"modernc.org/sqlite" // it is the driver, too

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/durable/state"
)

// An Apply applies one command, within a transaction of its own server, and returns the result. It is
// deterministic, as a raft.StateMachine is: it uses no random(), no 'now', and no SELECT whose order is
// left open. It doesn't commit. An error says that the database fails, and stops the server; a command
// that makes no sense gets a result that says so.
//
// Apply may be called once more for the same command, in another transaction that begins where the
// first one did: when the first one found no room on the disk.
type Apply func(tx *sql.Tx, command raft.Entry) (result []byte, err error)

// A Machine is a state machine whose state is in an SQLite database.
type Machine struct{ *state.Machine[*database] }

// Open opens the state in a folder, or makes one of what the statements of the schema say: the tables of
// an empty state. They are the same on all servers. apply is nil if a machine around this one uses Change
// instead.
func Open(dir, schema string, apply Apply) (*Machine, error) {
	return OpenWith(dir, schema, apply, state.Options{})
}

// OpenWith is Open with the options of package state.
func OpenWith(dir, schema string, apply Apply, options state.Options) (*Machine, error) {
	m, err := state.Open(dir, func(folder string) (*database, error) { return open(folder, schema, apply) }, options)
	if err != nil {
		return nil, err
	}
	return &Machine{m}, nil
}

// Change is for a machine around this one that knows its commands better, such as one of package
// typed. change changes the state within a transaction, as an Apply does, and the next Save commits it
// together with the index. As an Apply it may be called once more, so it uses only memory that stays as
// it is. If it returns an error, Change panics, as Apply does: a database that fails stops the server.
func (m *Machine) Change(change func(tx *sql.Tx) error) {
	m.Machine.Change(func(d *database) error { return d.change(change) })
}

// View calls view with a transaction that shows the state after some Save, and can't change it: after
// raft.Node.Read, one that has all that was acknowledged before. Commands are applied meanwhile.
func (m *Machine) View(view func(*sql.Tx) error) error {
	return m.Machine.View(func(d *database) error {
		tx, err := d.readers.Begin()
		if err != nil {
			return err
		}
		return errors.Join(view(tx), tx.Rollback())
	})
}

// ownTable is what Save keeps.
const ownTable = "raft_own"

type database struct {
	writer  *sql.DB // of one connection
	readers *sql.DB
	apply   Apply
	tx      *sql.Tx // holds what was applied and isn't saved; nil while there is nothing
	// applied are the changes since the last Save. They are made once more if it fails.
	applied []func(*sql.Tx) error
}

func open(folder, schema string, apply Apply) (*database, error) {
	d := &database{apply: apply}
	var err error
	// With a log of its own (WAL) SQLite lets readers see the state at their beginning while it writes.
	// synchronous=NORMAL keeps that whole in a power cut, and may forget its last commits. Without
	// cache_spill nothing is written before the commit: so a full disk fails Save, which is called
	// again, and not Apply.
	if d.writer, err = connect(folder, "_txlock=immediate", "_pragma=journal_mode(WAL)", "_pragma=synchronous(NORMAL)", "_pragma=cache_spill(0)"); err != nil {
		return nil, err
	}
	d.writer.SetMaxOpenConns(1)
	if err := d.create(schema); err != nil {
		return nil, errors.Join(noRoom(err), d.writer.Close())
	}
	if d.readers, err = connect(folder, "_pragma=query_only(1)"); err != nil {
		return nil, errors.Join(err, d.writer.Close())
	}
	return d, nil
}

func connect(folder string, settings ...string) (*sql.DB, error) {
	query := "?_pragma=busy_timeout(10000)"
	for _, setting := range settings {
		query += "&" + setting
	}
	path, err := filepath.Abs(filepath.Join(folder, "sqlite.db"))
	if err != nil {
		return nil, err
	}
	path = "/" + strings.TrimPrefix(filepath.ToSlash(path), "/") // before the letter of a drive, too
	return sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+query)
}

// create makes the tables unless they are there.
func (d *database) create(schema string) error {
	tx, err := d.writer.Begin()
	if err != nil {
		return err
	}
	var tables int
	err = tx.QueryRow("SELECT count(*) FROM sqlite_schema WHERE name = ?", ownTable).Scan(&tables)
	if err == nil && tables == 0 {
		if _, err = tx.Exec("CREATE TABLE " + ownTable + "(id INTEGER PRIMARY KEY CHECK (id = 1), applied INTEGER NOT NULL, beside BLOB)"); err == nil {
			_, err = tx.Exec(schema)
		}
	}
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// begin begins a transaction unless there is one.
func (d *database) begin() (err error) {
	if d.tx == nil {
		d.tx, err = d.writer.Begin()
	}
	return err
}

// Apply implements state.Database.
func (d *database) Apply(entries []raft.Entry, results [][]byte) error {
	if d.apply == nil {
		return errors.New("sqlitestate: opened without an Apply")
	}
	for i := range entries {
		command := entries[i]
		command.Data = append([]byte(nil), command.Data...)
		var result []byte
		err := d.change(func(tx *sql.Tx) (err error) {
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
func (d *database) change(change func(*sql.Tx) error) error {
	if err := d.begin(); err != nil {
		return err
	}
	d.applied = append(d.applied, change)
	return change(d.tx)
}

// Save implements state.Database. What isn't synced may be lost in a power cut, from the end on: then
// the node applies it again.
func (d *database) Save(applied raft.Index, beside []byte) error {
	if d.tx == nil {
		if err := d.begin(); err != nil {
			return err
		}
		for _, change := range d.applied { // the transaction in which they were has failed
			if err := change(d.tx); err != nil {
				return errors.Join(noRoom(err), d.rollback())
			}
		}
	}
	_, err := d.tx.Exec("INSERT INTO "+ownTable+" VALUES (1, ?, ?) ON CONFLICT DO UPDATE SET "+
		"applied = excluded.applied, beside = coalesce(excluded.beside, beside)", int64(applied), beside)
	if err == nil {
		err = d.tx.Commit()
	}
	if err != nil {
		return errors.Join(noRoom(err), d.rollback())
	}
	d.tx = nil
	clear(d.applied)
	d.applied = d.applied[:0]
	return nil
}

// noRoom says of an error whether a full disk is behind it, in the words by which a node knows that.
func noRoom(err error) error {
	if failed, ok := errors.AsType[*sqlite.Error](err); ok && failed.Code()&0xff == sqliteFull {
		return fmt.Errorf("%w: %w", syscall.ENOSPC, err)
	}
	return err
}

// sqliteFull is SQLITE_FULL.
const sqliteFull = 13

// rollback undoes what isn't saved.
func (d *database) rollback() error {
	tx := d.tx
	if d.tx = nil; tx == nil {
		return nil
	}
	return ended(tx.Rollback())
}

// Sync implements state.Database. A commit that is synced syncs all commits before it.
func (d *database) Sync() error {
	for _, statement := range []string{"PRAGMA synchronous = FULL", "UPDATE " + ownTable + " SET applied = applied", "PRAGMA synchronous = NORMAL"} {
		if _, err := d.writer.Exec(statement); err != nil {
			return fmt.Errorf("%s: %w", statement, noRoom(err))
		}
	}
	return nil
}

// Load implements state.Database.
func (d *database) Load() (raft.Index, []byte, error) {
	var applied int64
	var beside []byte
	err := d.readers.QueryRow("SELECT applied, beside FROM "+ownTable).Scan(&applied, &beside)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil, nil
	}
	return raft.Index(applied), beside, err
}

// Close implements state.Database.
func (d *database) Close() error {
	return errors.Join(d.rollback(), d.readers.Close(), d.writer.Close())
}
