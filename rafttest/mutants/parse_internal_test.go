package mutants

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestParse reads a mutant of one change, and one of three.
func TestParse(t *testing.T) {
	m, err := parse("one", "file a.go\nbreaks all\ntests ./wal ./tcp\nruns 7\ntime 9s\n--- is\nx\n\ny\n--- becomes\n")
	require.NoError(t, err)
	require.Equal(t, Mutant{
		Name: "one", Breaks: "all", Tests: []string{"./wal", "./tcp"}, Runs: 7, Time: 9 * time.Second,
		Changes: []Change{{File: "a.go", Is: "x\n\ny", Becomes: ""}},
	}, m)

	m, err = parse("three", "breaks all\nflags -faults ring\nfile a.go\nremoves the front door\n--- is\nx\n--- becomes\ny\n"+
		"--- also\nfile b/b.go\nremoves the back door\n--- is\nz\n--- becomes\n\n"+
		"--- also\nfile a.go\nremoves the window\n--- is\nu\nv\n--- becomes\nw\n")
	require.NoError(t, err)
	require.Equal(t, Mutant{
		Name: "three", Breaks: "all", Flags: []string{"-faults", "ring"}, Runs: MaxRuns, Time: MaxTime,
		Changes: []Change{
			{File: "a.go", Removes: "the front door", Is: "x", Becomes: "y"},
			{File: "b/b.go", Removes: "the back door", Is: "z", Becomes: ""},
			{File: "a.go", Removes: "the window", Is: "u\nv", Becomes: "w"},
		},
	}, m)
}

// TestParseSaysWhatIsMissing demands an error for a file that isn't a mutant.
func TestParseSaysWhatIsMissing(t *testing.T) {
	const (
		head   = "file a.go\nbreaks all\n"
		change = "--- is\nx\n--- becomes\ny\n"
		second = "--- also\nfile b.go\nremoves two\n"
	)
	for text, want := range map[string]string{
		head:                                 `change 1 has no line "--- is"`,
		head + "--- is\nx\n":                 `change 1 has no line "--- becomes"`,
		"breaks all\n" + change:              "change 1 has no file",
		"file a.go\n" + change:               "doesn't say what it breaks",
		head + "weather\n" + change:          `"weather" means nothing here`,
		head + "runs 0\n" + change:           "too small",
		head + "runs x\n" + change:           "invalid syntax",
		head + "time 0s\n" + change:          "too small",
		head + "--- is\nx\n--- becomes\nx\n": "change 1 has no file, or changes nothing",
		head + "removes one\n" + change:      "change 1 of 1",
		head + change + second + change:      "change 1 of 2",
		head + "removes one\n" + change + "--- also\nfile b.go\n" + change:  "change 2 of 2",
		head + "removes one\n" + change + "--- also\nremoves b\n" + change:  "change 2 has no file",
		head + "removes one\n" + change + second:                            `change 2 has no line "--- is"`,
		head + "removes one\n" + change + second + "--- is\nx\n":            `change 2 has no line "--- becomes"`,
		head + "removes one\n" + change + second + "tests ./wal\n" + change: `"tests" means nothing behind the first change`,
	} {
		_, err := parse("m", text)
		require.ErrorContains(t, err, want, "%s", text)
	}
}
