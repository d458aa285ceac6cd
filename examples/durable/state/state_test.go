package state

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPlaceRefusesWhatItDoesntUnderstand: a folder that isn't as this package leaves it is an error,
// and nothing in it is removed.
func TestPlaceRefusesWhatItDoesntUnderstand(t *testing.T) {
	for text, want := range map[string]string{
		"":            "is no name of a database",
		"state-0\n":   "is no name of a database",
		"state-01\n":  "is no name of a database",
		"../state-1":  "is no name of a database",
		"state-2\n":   "names what isn't there",
		"state-1\n\n": "is no name of a database",
	} {
		dir := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(dir, "state-1"), 0o777))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "CURRENT"), []byte(text), 0o666))
		_, err := openPlace(dir, nil)
		require.ErrorContains(t, err, want, "%q", text)
		require.DirExists(t, filepath.Join(dir, "state-1"))
	}
}

// TestPlaceRemovesWhatDoesntCount: and nothing that isn't its own. A number isn't used twice.
func TestPlaceRemovesWhatDoesntCount(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"state-1", "state-2", "state-7", "state-x", "other"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o777))
	}
	require.NoError(t, writeFile(filepath.Join(dir, "CURRENT"), "state-2\n"))
	require.NoError(t, writeFile(filepath.Join(dir, "CURRENT.new"), "state-7"))
	p, err := openPlace(dir, nil)
	require.NoError(t, err)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	require.Equal(t, []string{"CURRENT", "other", "state-2", "state-x"}, names)
	name, err := p.create()
	require.NoError(t, err)
	require.Equal(t, "state-8", name)
}

// TestCopiesCarryAnyFields: of any length, and none is taken for another one.
func TestCopiesCarryAnyFields(t *testing.T) {
	records := [][2][]byte{{nil, nil}, {[]byte("a"), nil}, {nil, []byte("a")}, {make([]byte, 200), make([]byte, 70_000)}, {[]byte("\x00"), bytes.Repeat([]byte{255}, 1<<17)}}
	var b bytes.Buffer
	w, err := NewCopyWriter(&b)
	require.NoError(t, err)
	for i, record := range records {
		require.NoError(t, w.Record(byte(i+1), record[0], record[1]))
	}
	require.Error(t, w.Record(0, nil, nil), "0 is the end")
	require.NoError(t, w.End())
	require.EqualValues(t, b.Len(), w.written)

	r, err := NewCopyReader(bytes.NewReader(b.Bytes()))
	require.NoError(t, err)
	for i, record := range records {
		kind, first, second, err := r.Next()
		require.NoError(t, err)
		require.EqualValues(t, i+1, kind)
		require.True(t, bytes.Equal(record[0], first) && bytes.Equal(record[1], second), i)
	}
	kind, _, _, err := r.Next()
	require.NoError(t, err)
	require.Zero(t, kind)
	require.Equal(t, w.sum.Sum32(), r.sum.Sum32())

	huge := append([]byte(copyMagic), 1, 255, 255, 255, 255, 127)
	r, err = NewCopyReader(bytes.NewReader(huge))
	require.NoError(t, err)
	_, _, _, err = r.Next()
	require.ErrorIs(t, err, ErrCopy)
	require.ErrorContains(t, err, "more than")
}
