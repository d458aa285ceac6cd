package raft_test

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The reading order in doc.go names each file of this package once, and nothing else.
func TestReadingOrderOmitsNothing(t *testing.T) {
	sources := sourcesOf(t, ".")
	_, order, found := strings.Cut(string(sources["doc.go"]), "// # Reading order\n")
	require.True(t, found, "doc.go has no reading order")
	var named []string
	for line := range strings.Lines(order) {
		if row, ok := strings.CutPrefix(line, "//\t"); ok {
			_, files, _ := strings.Cut(row, "  ") // what the row is about stands before
			for _, name := range strings.Fields(files) {
				named = append(named, name+".go")
			}
		}
	}
	slices.Sort(named)
	require.Equal(t, slices.Sorted(maps.Keys(sources)), named)
}

// What doc.go calls a file elsewhere in the module is there.
func TestMapNamesWhatIsThere(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	for _, path := range regexp.MustCompile(`\b(docs|examples|cmd)/[a-z]+(\.md)?`).FindAllString(string(text), -1) {
		_, err := os.Stat(path)
		require.NoError(t, err)
	}
}
