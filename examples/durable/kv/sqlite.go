package kv

import (
	"database/sql"
	"errors"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/durable/sqlitestate"
)

// schema makes the table that has all keys.
const schema = "CREATE TABLE kv(key BLOB PRIMARY KEY, value BLOB NOT NULL)"

type sqliteStore struct{ *sqlitestate.Machine }

type sqliteTable struct{ *sql.Tx }

func applySQLite(tx *sql.Tx, command raft.Entry) ([]byte, error) {
	return apply(sqliteTable{tx}, command.Data)
}

func (t sqliteTable) get(key []byte) (value []byte, found bool, err error) {
	err = t.QueryRow("SELECT value FROM kv WHERE key = ?", key).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	return value, err == nil, err
}

func (t sqliteTable) set(key, value []byte) error {
	_, err := t.Exec("INSERT INTO kv VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", key, append([]byte{}, value...))
	return err
}

func (t sqliteTable) remove(key []byte) error {
	_, err := t.Exec("DELETE FROM kv WHERE key = ?", key)
	return err
}

// Get implements Store.
func (s *sqliteStore) Get(key []byte) (value []byte, found bool, err error) {
	err = s.View(func(tx *sql.Tx) error {
		value, found, err = sqliteTable{tx}.get(key)
		return err
	})
	return value, found, err
}
