package sqlitestate

import (
	"bytes"
	"database/sql"
	"errors"
	"io"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/durable/state"
)

// everything is a schema with all that a copy must carry.
const everything = `
CREATE TABLE "a ""table""" (x, "rowid" TEXT, y INTEGER);
CREATE TABLE numbered (id INTEGER PRIMARY KEY AUTOINCREMENT, v ANY);
CREATE TABLE plain (v, doubled AS (v || v), when_ DATETIME);
CREATE TABLE keyed (k TEXT, n REAL, PRIMARY KEY (k, n)) WITHOUT ROWID;
CREATE INDEX by_v ON numbered (v);
CREATE UNIQUE INDEX by_when ON plain (when_) WHERE when_ IS NOT NULL;
CREATE VIEW seen AS SELECT count(*) AS n FROM numbered;
CREATE TRIGGER after_numbered AFTER INSERT ON numbered BEGIN INSERT INTO plain (v) VALUES (new.v); END;`

// execute runs the statement that a command is.
func execute(tx *sql.Tx, command raft.Entry) ([]byte, error) {
	_, err := tx.Exec(string(command.Data))
	return nil, err
}

func opened(t *testing.T, schema string) *Machine {
	m, err := Open(t.TempDir(), schema, execute)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

func apply(t *testing.T, m *Machine, index raft.Index, statements ...string) {
	var entries []raft.Entry
	for _, s := range statements {
		entries = append(entries, raft.Entry{Index: index, Data: []byte(s)})
	}
	m.Apply(entries, make([][]byte, len(entries)))
}

func content(t *testing.T, m *Machine) []byte {
	captured, err := m.Snapshot()
	require.NoError(t, err)
	var b bytes.Buffer
	_, err = captured.WriteTo(&b)
	require.NoError(t, err)
	if closer, ok := captured.(io.Closer); ok {
		require.NoError(t, closer.Close())
	}
	return b.Bytes()
}

// TestCopyHasEverything: tables of all sorts, values of all types, and what works on the tables. What
// was restored goes on as the original does.
func TestCopyHasEverything(t *testing.T) {
	m := opened(t, everything)
	apply(t, m, 7,
		`INSERT INTO "a ""table""" VALUES (1, 'one', 2), (3, 'three', 4)`,
		`INSERT INTO numbered (v) VALUES (NULL), (9223372036854775807), (-9223372036854775808), (0.1), (1e300), (-9e999), (''), (x'')`,
		`INSERT INTO numbered (v) VALUES (CAST(x'410042' AS TEXT)), (x'00ff'), ('ä''"'), (1.0), (3.0000000000000004)`,
		`DELETE FROM numbered WHERE id = 13`,
		`INSERT INTO plain (v, when_) VALUES ('v', '2026-01-02 03:04:05')`,
		`INSERT INTO plain (rowid, v) VALUES (1000, 'far')`,
		`INSERT INTO keyed VALUES ('k', 2), ('k', 1.5)`,
		`CREATE TABLE later (x)`)
	require.NoError(t, m.Durable().Save(7, []byte("beside")))
	want := content(t, m)

	other := opened(t, "CREATE TABLE other (x); CREATE VIEW v AS SELECT 1")
	require.NoError(t, other.Restore(bytes.NewReader(want)))
	require.NoError(t, other.Durable().Save(7, []byte("beside")))
	require.Equal(t, want, content(t, other))
	for _, machine := range []*Machine{m, other} {
		apply(t, machine, 8, `INSERT INTO numbered (v) VALUES ('next')`, `INSERT INTO plain (v) VALUES ('next')`)
		require.NoError(t, machine.Durable().Save(8, nil))
		require.NoError(t, machine.View(func(tx *sql.Tx) error {
			var id, rowid, seen int
			var least float64
			require.NoError(t, tx.QueryRow(`SELECT id FROM numbered WHERE v = 'next'`).Scan(&id))
			require.Equal(t, 14, id, "the number of a row that was deleted doesn't come back")
			require.NoError(t, tx.QueryRow(`SELECT max(rowid) FROM plain`).Scan(&rowid))
			require.Equal(t, 1002, rowid, "the trigger has inserted a row, too")
			require.NoError(t, tx.QueryRow(`SELECT n FROM seen`).Scan(&seen))
			require.Equal(t, 13, seen)
			require.NoError(t, tx.QueryRow(`SELECT v FROM numbered WHERE id = 6`).Scan(&least))
			require.True(t, math.IsInf(least, -1))
			_, err := tx.Exec(`DELETE FROM plain`)
			require.ErrorContains(t, err, "readonly", "a View can't write")
			return nil
		}))
	}
	require.Equal(t, content(t, m), content(t, other))
	index, beside, err := other.Durable().Load()
	require.NoError(t, err)
	require.Equal(t, raft.Index(8), index)
	require.Equal(t, "beside", string(beside))
}

// TestVirtualTablesAreRefused: a snapshot without them would be one that has lost something.
func TestVirtualTablesAreRefused(t *testing.T) {
	m := opened(t, "CREATE VIRTUAL TABLE words USING fts5(word)")
	captured, err := m.Snapshot()
	require.NoError(t, err)
	_, err = captured.WriteTo(io.Discard)
	require.ErrorContains(t, err, "virtual tables can't be copied")
	require.NoError(t, captured.(io.Closer).Close())
}

// TestSaveThatFailsIsMadeGood: what was applied before a commit failed is applied once more.
func TestSaveThatFailsIsMadeGood(t *testing.T) {
	m := opened(t, "CREATE TABLE sums (x)")
	apply(t, m, 1, "INSERT INTO sums VALUES (1)")
	require.NoError(t, m.Machine.View(func(d *database) error { return d.tx.Rollback() }))
	require.ErrorIs(t, m.Durable().Save(1, []byte("one")), sql.ErrTxDone)
	require.NoError(t, m.Durable().Save(1, []byte("one")))
	require.NoError(t, m.Durable().Save(2, nil))
	require.NoError(t, m.View(func(tx *sql.Tx) error {
		var n int
		require.NoError(t, tx.QueryRow("SELECT count(*) FROM sums").Scan(&n))
		require.Equal(t, 1, n)
		return nil
	}))
}

// TestMalformedCopies: an error says what is wrong, and the state stays.
func TestMalformedCopies(t *testing.T) {
	m := opened(t, "CREATE TABLE sums (x)")
	apply(t, m, 1, "INSERT INTO sums VALUES (1)")
	require.NoError(t, m.Durable().Save(1, nil))
	want := content(t, m)
	for name, records := range map[string]func(*state.CopyWriter) error{
		"its own table":         func(w *state.CopyWriter) error { return w.Record(makesTable, []byte(ownTable), []byte("SELECT 1")) },
		"a row of no table":     func(w *state.CopyWriter) error { return w.Record(rowHas, nil, nil) },
		"an unknown kind":       func(w *state.CopyWriter) error { return w.Record(9, nil, nil) },
		"a statement that's no": func(w *state.CopyWriter) error { return w.Record(makesTable, []byte("t"), []byte("CREATE")) },
		"an index of nothing": func(w *state.CopyWriter) error {
			return w.Record(makesOthers, []byte("i"), []byte("CREATE INDEX i ON t(x)"))
		},
		"too few values": func(w *state.CopyWriter) error {
			return errors.Join(w.Record(makesTable, []byte("t"), []byte("CREATE TABLE t (x)")), w.Record(rowHas, nil, []byte("\x04null\x04NULL")))
		},
		"an unknown type": func(w *state.CopyWriter) error {
			return errors.Join(w.Record(makesTable, []byte("t"), []byte("CREATE TABLE t (x)")), w.Record(rowHas, nil, []byte("\x01?\x01?\x01?\x01?")))
		},
		"a row cut off": func(w *state.CopyWriter) error {
			return errors.Join(w.Record(makesTable, []byte("t"), []byte("CREATE TABLE t (x)")), w.Record(rowHas, nil, []byte("\x04nul")))
		},
	} {
		var b bytes.Buffer
		w, err := state.NewCopyWriter(&b)
		require.NoError(t, err)
		_ = records(w) // a buffer takes everything
		require.NoError(t, w.End())
		require.Error(t, m.Restore(&b), name)
	}
	require.Equal(t, want, content(t, m))
}
