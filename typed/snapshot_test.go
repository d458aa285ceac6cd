package typed_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/typed"
)

// written returns the bytes of a snapshot.
func written(t *testing.T, m raft.StateMachine) []byte {
	captured, err := m.Snapshot()
	require.NoError(t, err)
	var b bytes.Buffer
	n, err := captured.WriteTo(&b)
	require.NoError(t, err)
	require.EqualValues(t, b.Len(), n)
	require.NoError(t, captured.(io.Closer).Close())
	return b.Bytes()
}

// applied applies commands to a state machine, as one batch.
func applied[C any](t *testing.T, m raft.StateMachine, commands ...C) {
	var entries []raft.Entry
	for _, command := range commands {
		data, err := typed.Encode(command)
		require.NoError(t, err)
		entries = append(entries, raft.Entry{Index: raft.Index(len(entries) + 1), Data: data})
	}
	m.Apply(entries, make([][]byte, len(entries)))
}

// TestSnapshotAsJSON: the state is replaced, but for the fields that JSON leaves out; or, if it can't
// be read, nothing is.
func TestSnapshotAsJSON(t *testing.T) {
	first, second := new(accounts), &accounts{Amounts: map[string]int{"z": 1}, applied: 77}
	m, err := accountOptions.StateMachine(first)
	require.NoError(t, err)
	applied(t, m, payment{To: "b", Amount: 1}, payment{To: "c", Amount: 2})
	snapshot := written(t, m)
	require.Equal(t, "\x01\x00\x00"+`{"Amounts":{"b":1,"c":2}}`, string(snapshot))

	other, err := accountOptions.StateMachine(second)
	require.NoError(t, err)
	for cut := range len(snapshot) {
		require.Error(t, other.Restore(bytes.NewReader(snapshot[:cut])), cut)
	}
	require.ErrorContains(t, other.Restore(strings.NewReader("\x01\x00\x00{}{}")), "more than one JSON value")
	require.ErrorContains(t, other.Restore(strings.NewReader("\x01\x00\x00"+`{"Amounts":{"b":1},"Newer":1}`)), `unknown field "Newer"`)
	require.ErrorContains(t, other.Restore(iotest.ErrReader(io.ErrClosedPipe)), "closed pipe")
	require.Equal(t, accounts{Amounts: map[string]int{"z": 1}, applied: 77}, *second)

	require.NoError(t, other.Restore(bytes.NewReader(snapshot)))
	require.Equal(t, accounts{Amounts: map[string]int{"b": 1, "c": 2}, applied: 77}, *second)
	require.Equal(t, snapshot, written(t, other))

	var unknown *typed.UnknownCommandError
	require.ErrorAs(t, other.Restore(strings.NewReader("\x02\x00\x00{}")), &unknown)
	require.ErrorAs(t, other.Restore(strings.NewReader("\x01\x01\x00{}")), &unknown)
	require.ErrorIs(t, unknown, raft.ErrOutdated)
}

// TestSnapshotOfEmbeddedFields: fields of an embedded struct are the machine's.
func TestSnapshotOfEmbeddedFields(t *testing.T) {
	first, second := &nested{base: base{3}, B: 4, cache: 5}, &nested{base: base{30}, B: 40, cache: 50}
	m, err := typed.Options[int, int]{}.StateMachine(first)
	require.NoError(t, err)
	other, err := typed.Options[int, int]{}.StateMachine(second)
	require.NoError(t, err)
	require.NoError(t, other.Restore(bytes.NewReader(written(t, m))))
	require.Equal(t, nested{base: base{3}, B: 4, cache: 50}, *second)
}

type nested struct {
	base
	B     int
	cache int `json:"-"`
}

func (*nested) Apply(int) (int, error) { return 0, nil }

// TestSnapshotByMethods: a machine can write its own state, or whole snapshots.
func TestSnapshotByMethods(t *testing.T) {
	m, err := typed.Options[string, int]{}.StateMachine(&blob{"x"})
	require.NoError(t, err)
	applied(t, m, "y")
	require.Equal(t, "\x01\x00\x00xy", string(written(t, m)))
	require.NoError(t, m.Restore(strings.NewReader("\x01\x00\x00state")))
	require.Equal(t, "\x01\x00\x00state", string(written(t, m)))
	require.ErrorContains(t, m.Restore(strings.NewReader("\x01\x00\x00bad")), "bad text")

	closing := &closes{Reader: strings.NewReader("captured"), err: errors.New("can't be closed")}
	s := &stream{captured: closing}
	m, err = typed.Options[string, int]{}.StateMachine(s)
	require.NoError(t, err)
	require.NoError(t, m.Restore(strings.NewReader("\x01\x00\x00state")))
	require.Equal(t, "state", s.text)
	captured, err := m.Snapshot()
	require.NoError(t, err)
	var b bytes.Buffer
	_, err = captured.WriteTo(&b)
	require.NoError(t, err)
	require.Equal(t, "\x01\x00\x00captured", b.String())
	require.Equal(t, closing.err, captured.(io.Closer).Close())
	_, err = captured.WriteTo(broken{})
	require.ErrorIs(t, err, io.ErrShortWrite)

	s.captured = nil
	captured, err = m.Snapshot()
	require.NoError(t, err)
	require.Nil(t, captured, "raft says what is wrong with that")
}

type closes struct {
	*strings.Reader
	err error
}

func (c *closes) Close() error { return c.err }

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrShortWrite }
