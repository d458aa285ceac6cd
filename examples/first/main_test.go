package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func Example() {
	main()
	// Output: 1 <nil>
}

// TestReadmeShowsThisProgram: the first program in the README is this one.
func TestReadmeShowsThisProgram(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	program, err := os.ReadFile("main.go")
	require.NoError(t, err)
	_, shown, found := strings.Cut(strings.ReplaceAll(string(readme), "\r", ""), "```go\n")
	require.True(t, found, "the README has no Go")
	shown, _, _ = strings.Cut(shown, "```\n")
	require.Equal(t, strings.ReplaceAll(string(program), "\r", ""), shown)
	require.LessOrEqual(t, strings.Count(shown, "\n"), 25, "a first program is short")
}
