package sqlitestate

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/e17579a5/raft/examples/durable/state"
)

// These are the kinds of records in a copy. A table is its statement, and its rows in the order of
// their rowids, or else of their columns. Whatever works on tables comes after all of them.
const (
	makesTable  = 1 // its name, and the statement that makes it; none for one that SQLite makes itself
	rowHas      = 2 // nothing, and the values
	makesOthers = 3 // a name, and the statement that makes an index, a view or a trigger
)

// Capture implements state.Database.
func (d *database) Capture() (state.Capture, error) {
	if d.tx != nil {
		return capture{d.tx, true}, nil
	}
	if err := d.Sync(); err != nil {
		return nil, err
	}
	tx, err := d.readers.Begin()
	if err != nil {
		return nil, err
	}
	var tables int // a transaction begins with its first statement
	if err := tx.QueryRow("SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return nil, errors.Join(err, tx.Rollback())
	}
	return capture{tx, false}, nil
}

type capture struct {
	tx   *sql.Tx
	lent bool // it goes on afterwards
}

// Close implements state.Capture.
func (c capture) Close() error {
	if c.lent {
		return nil
	}
	return c.tx.Rollback()
}

// A made is what a statement of the schema has made.
type made struct{ kind, name, statement string }

// Copy implements state.Capture.
func (c capture) Copy(to *state.CopyWriter) error {
	rows, err := c.tx.Query("SELECT type, name, coalesce(sql, '') FROM sqlite_schema WHERE name <> ? ORDER BY name", ownTable)
	if err != nil {
		return err
	}
	var all []made
	for rows.Next() {
		var m made
		if err := rows.Scan(&m.kind, &m.name, &m.statement); err != nil {
			return errors.Join(err, rows.Close())
		}
		all = append(all, m)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for _, m := range all {
		if m.kind == "table" && (!strings.HasPrefix(m.name, "sqlite_") || m.name == sequenceTable) {
			if err := c.copyTable(to, m); err != nil {
				return fmt.Errorf("table %s: %w", m.name, err)
			}
		}
	}
	for _, m := range all {
		if m.kind != "table" && m.statement != "" { // SQLite makes the others by itself
			if err := to.Record(makesOthers, []byte(m.name), []byte(m.statement)); err != nil {
				return err
			}
		}
	}
	return nil
}

// sequenceTable is what SQLite keeps for AUTOINCREMENT.
const sequenceTable = "sqlite_sequence"

func (c capture) copyTable(to *state.CopyWriter, m made) error {
	if strings.HasPrefix(strings.ToUpper(m.statement), "CREATE VIRTUAL") {
		return errors.New("virtual tables can't be copied")
	}
	columns, err := columnsOf(c.tx, m.name)
	if err != nil {
		return err
	}
	statement := m.statement
	if m.name == sequenceTable {
		statement = ""
	}
	if err := to.Record(makesTable, []byte(m.name), []byte(statement)); err != nil {
		return err
	}
	var selected, order []string
	for i, column := range columns {
		// Text as its bytes, which may have a NUL; and numbers as SQL writes them, exactly.
		selected = append(selected, fmt.Sprintf("typeof(%[1]s), CAST(CASE WHEN typeof(%[1]s) IN ('text', 'blob') THEN %[1]s ELSE quote(%[1]s) END AS BLOB)", column))
		order = append(order, strconv.Itoa(2*i+2))
	}
	by := strings.Join(order, ", ")
	if columns[0] == "rowid" {
		by = "rowid"
	}
	rows, err := c.tx.Query("SELECT " + strings.Join(selected, ", ") + " FROM " + quoted(m.name) + " ORDER BY " + by)
	if err != nil {
		return err
	}
	values, targets := make([]sql.RawBytes, 2*len(columns)), make([]any, 2*len(columns))
	for i := range values {
		targets[i] = &values[i]
	}
	var row []byte
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return errors.Join(err, rows.Close())
		}
		row = row[:0]
		for _, value := range values {
			row = append(binary.AppendUvarint(row, uint64(len(value))), value...)
		}
		if err := to.Record(rowHas, nil, row); err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

// columnsOf returns the names of a table's columns that can be given values, quoted. The first one is
// rowid, unquoted, if the table has one and no column is called that.
func columnsOf(tx *sql.Tx, table string) (columns []string, err error) {
	var without int
	if err := tx.QueryRow("SELECT wr FROM pragma_table_list(?) WHERE schema = 'main'", table).Scan(&without); err != nil {
		return nil, err
	}
	rows, err := tx.Query("SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0", table)
	if err != nil {
		return nil, err
	}
	named := false
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		named = named || strings.EqualFold(name, "rowid")
		columns = append(columns, quoted(name))
	}
	if without == 0 && !named {
		columns = slices.Insert(columns, 0, "rowid")
	}
	return columns, errors.Join(rows.Err(), rows.Close())
}

// quoted returns a name as SQL writes it.
func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// Fill implements state.Database.
func (d *database) Fill(from *state.CopyReader) (err error) {
	tx, err := d.writer.Begin()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(noRoom(err), ended(tx.Rollback()))
		}
	}()
	if err := dropAll(tx); err != nil { // the schema of the copy takes the place of the one it was opened with
		return err
	}
	f := filling{tx: tx}
	for {
		kind, first, second, err := from.Next()
		if err != nil {
			return err
		}
		if kind == 0 {
			break
		}
		if err := f.record(kind, string(first), second); err != nil {
			return err
		}
	}
	if err := f.end(); err != nil {
		return err
	}
	return tx.Commit()
}

// ended returns no error for a transaction that has ended already.
func ended(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// dropAll removes what the schema of an empty state has made.
func dropAll(tx *sql.Tx) error {
	for {
		var m made
		err := tx.QueryRow("SELECT type, name FROM sqlite_schema WHERE name <> ? AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "+
			"ORDER BY type = 'table', name LIMIT 1", ownTable).Scan(&m.kind, &m.name)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err == nil {
			_, err = tx.Exec("DROP " + m.kind + " " + quoted(m.name))
		}
		if err != nil {
			return err
		}
	}
}

// A filling is where the filling of a database has come to.
type filling struct {
	tx      *sql.Tx
	insert  *sql.Stmt // into the table whose rows come; nil for none
	columns int
}

func (f *filling) end() error {
	if f.insert == nil {
		return nil
	}
	insert := f.insert
	f.insert = nil
	return insert.Close()
}

// record puts a record into the database.
func (f *filling) record(kind byte, name string, b []byte) error {
	switch {
	case kind == makesTable && !strings.EqualFold(name, ownTable):
		if err := f.end(); err != nil {
			return err
		}
		statement := string(b)
		if name == sequenceTable {
			statement = "DELETE FROM " + sequenceTable
		}
		if _, err := f.tx.Exec(statement); err != nil {
			return fmt.Errorf("make table %s: %w", name, err)
		}
		return f.into(name)
	case kind == rowHas && f.insert != nil:
		values, err := readRow(b, f.columns)
		if err == nil {
			_, err = f.insert.ExecContext(context.Background(), values...)
		}
		return err
	case kind == makesOthers:
		if err := f.end(); err != nil {
			return err
		}
		if _, err := f.tx.Exec(string(b)); err != nil {
			return fmt.Errorf("make %s: %w", name, err)
		}
		return nil
	}
	return fmt.Errorf("%w: a record of the kind %d at a place where there is none", state.ErrCopy, kind)
}

// into prepares for the rows of a table.
func (f *filling) into(table string) error {
	columns, err := columnsOf(f.tx, table)
	if err != nil {
		return err
	}
	f.columns = len(columns)
	f.insert, err = f.tx.Prepare("INSERT INTO " + quoted(table) + "(" + strings.Join(columns, ", ") + ") VALUES (" +
		strings.TrimSuffix(strings.Repeat("?, ", len(columns)), ", ") + ")")
	return err
}

// readRow reads the values of a row.
func readRow(b []byte, columns int) ([]any, error) {
	var values []any
	for len(b) > 0 {
		var field [2][]byte
		for i := range field {
			length, n := binary.Uvarint(b)
			if n <= 0 || length > uint64(len(b)-n) {
				return nil, fmt.Errorf("%w: a row is cut off", state.ErrCopy)
			}
			field[i], b = b[n:n+int(length)], b[n+int(length):]
		}
		value, err := readValue(string(field[0]), field[1])
		if err != nil {
			return nil, fmt.Errorf("%w: %w", state.ErrCopy, err)
		}
		values = append(values, value)
	}
	if len(values) != columns {
		return nil, fmt.Errorf("%w: a row of %d values, not %d", state.ErrCopy, len(values), columns)
	}
	return values, nil
}

func readValue(kind string, b []byte) (any, error) {
	switch kind {
	case "null":
		return nil, nil
	case "text":
		return string(b), nil
	case "blob":
		return append([]byte{}, b...), nil
	case "integer":
		return strconv.ParseInt(string(b), 10, 64)
	case "real":
		f, err := strconv.ParseFloat(string(b), 64)
		if math.IsInf(f, 0) { // which SQL writes as 9.0e+999
			err = nil
		}
		return f, err
	}
	return nil, fmt.Errorf("a value of the type %q", kind)
}
