package raft_test

import (
	"go/types"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
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

// What doc.go links to is declared, or else the links are plain text in brackets.
func TestMapLinksLead(t *testing.T) {
	sources := sourcesOf(t, ".")
	declared := newHouse(t, sources).pkg.Scope()
	for _, link := range regexp.MustCompile(`\[([A-Z]\w*)(?:\.(\w+))?\]`).FindAllStringSubmatch(string(sources["doc.go"]), -1) {
		object := declared.Lookup(link[1])
		require.NotNil(t, object, link[0])
		if link[2] != "" {
			member, _, _ := types.LookupFieldOrMethod(object.Type(), true, object.Pkg(), link[2])
			require.NotNil(t, member, link[0])
		}
	}
}

// Files that the documents name are there, and declare what the documents say that they do: the
// walks in docs/design.md can be followed.
func TestDocumentsNameWhatIsThere(t *testing.T) {
	sources := map[string]string{}
	source := func(path string) string {
		if _, known := sources[path]; !known {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			sources[path] = string(text)
		}
		return sources[path]
	}
	for _, path := range regexp.MustCompile(`\b(docs|examples)/[a-z]+(\.md)?`).FindAllString(source("doc.go"), -1) {
		_, err := os.Stat(path)
		require.NoError(t, err)
	}
	file := regexp.MustCompile("`([a-z_/]+\\.go)`")
	named := regexp.MustCompile("((?:`[A-Za-z.]+`(?:,? (?:and )?)?)+)\\(?`([a-z_/]+\\.go)`")
	for _, document := range []string{"docs/design.md", "docs/divergence.md"} {
		text := strings.Join(strings.Fields(source(document)), " ")
		for _, found := range file.FindAllStringSubmatch(text, -1) {
			source(found[1])
		}
		for _, found := range named.FindAllStringSubmatch(text, -1) {
			for _, name := range regexp.MustCompile("[A-Za-z]+`").FindAllString(found[1], -1) {
				if name = strings.TrimSuffix(name, "`"); name != "go" {
					declared := regexp.MustCompile(`\b(func|type) (\([^)]*\) )?` + name + `\b|\n\t` + name + `\b`)
					require.True(t, declared.MatchString(source(found[2])), "%s: %s declares no %s", document, found[2], name)
				}
			}
		}
	}
}

// What docs/promises.md names is there: each test, each file, and each invariant of the simulator.
// So is each test that docs/security.md names.
func TestPromisesAreShownBySomething(t *testing.T) {
	table, err := os.ReadFile("docs/promises.md")
	require.NoError(t, err)
	threats, err := os.ReadFile("docs/security.md")
	require.NoError(t, err)
	invariants, err := os.ReadFile("rafttest/sim/violation.go")
	require.NoError(t, err)
	declared := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (?:\([^)]*\) )?((?:Test|Fuzz)\w+)\(`)
	require.NoError(t, filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") {
			var source []byte
			source, err = os.ReadFile(path)
			for _, found := range function.FindAllSubmatch(source, -1) {
				declared[string(found[1])] = true
			}
		}
		return err
	}))
	for _, name := range regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(string(table)+string(threats), -1) {
		require.True(t, declared[name[1]], "there is no %s", name[1])
	}
	for _, path := range regexp.MustCompile("`([a-z_/]+\\.go)`").FindAllStringSubmatch(string(table), -1) {
		require.FileExists(t, path[1])
	}
	for _, name := range regexp.MustCompile(`\*([A-Z][A-Za-z -]+)\*`).FindAllStringSubmatch(string(table), -1) {
		require.Contains(t, string(invariants), `"`+name[1]+`"`)
	}
	for _, line := range strings.Split(string(table), "\n") {
		if cells := strings.Split(line, "|"); len(cells) == 5 && !strings.Contains(cells[1], "---") && !strings.Contains(cells[1], "promise") {
			require.Regexp(t, "`(Test|Fuzz)|\\*[A-Z]", cells[3], "nothing shows: %s", cells[1])
		}
	}
}

// The comment on PanicError.Where has all places, and no others.
func TestPlacesOfPanicsAreNamed(t *testing.T) {
	guards, err := os.ReadFile("node_guard.go")
	require.NoError(t, err)
	_, comment, _ := strings.Cut(string(guards), "\t// Where is ")
	comment, _, _ = strings.Cut(comment, "\tWhere string")
	comment = strings.ReplaceAll(comment, "\n\t//", "")
	var named []string
	for _, name := range regexp.MustCompile(`"([^"]+)"`).FindAllStringSubmatch(comment, -1) {
		named = append(named, name[1])
	}
	place := regexp.MustCompile(`\bguard\("([^"]+)"|\bwork\(n, [\w.]+, "([^"]+)"|\bWhere: "([^"]+)"[,}]`)
	found := map[string]bool{}
	for dir, before := range map[string]string{".": "", "typed": "", "tcp": "tcp: "} {
		for _, source := range sourcesOf(t, dir) {
			for _, match := range place.FindAllStringSubmatch(string(source), -1) {
				if name := match[1] + match[2] + match[3]; name != "an error" { // which is looked at for a log
					found[before+name] = true
				}
			}
		}
	}
	require.ElementsMatch(t, append(slices.Sorted(maps.Keys(found)), "trace"), named) // "trace" is in a table
}
