package raft_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A logged is a message that the sources log.
type logged struct {
	level string
	keys  map[string]bool
}

// loggedBy returns the messages that the sources in a directory log, by their texts. What a text has
// that isn't constant is "…".
func loggedBy(t *testing.T, dir string) map[string]*logged {
	found := map[string]*logged{}
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				noteCall(found, n)
			case *ast.CompositeLit:
				noteLine(found, n)
			}
			return true
		})
	}
	return found
}

// noteCall notes a message that a call logs: of a slog.Logger, of the root's diary, of tcp's note, or
// of wal's tell.
func noteCall(found map[string]*logged, call *ast.CallExpr) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return
	}
	of := lastName(method.X)
	switch name := method.Sel.Name; {
	case slices.Contains([]string{"Info", "Warn", "Error"}, name) && strings.EqualFold(of, "logger"):
		keys := map[string]bool{}
		for i := 1; i < len(call.Args); i += 2 {
			if more, group := call.Args[i].(*ast.CallExpr); group && lastName(more.Fun) == "Group" {
				break // the document says in words what it may have
			}
			keys[textOf(call.Args[i])] = true
		}
		note(found, name, call.Args[0], keys)
	case (name == "note" || name == "tell") && len(call.Args) >= 3 && strings.HasPrefix(lastName(call.Args[0]), "Level"):
		keys := keysOf(call.Args[3:])
		if name == "note" {
			keys["peer"] = true
		}
		if lastName(call.Args[2]) != "nil" {
			keys["err"] = true
		}
		note(found, lastName(call.Args[0]), call.Args[1], keys)
	}
}

// noteLine notes a message that tcp logs by a line of its own.
func noteLine(found map[string]*logged, literal *ast.CompositeLit) {
	if lastName(literal.Type) != "line" {
		return
	}
	fields := map[string]ast.Expr{}
	for _, element := range literal.Elts {
		if field, ok := element.(*ast.KeyValueExpr); ok {
			fields[lastName(field.Key)] = field.Value
		}
	}
	if _, constant := fields["text"].(*ast.BasicLit); !constant {
		return // note makes it of what it was given
	}
	keys := map[string]bool{}
	if more, ok := fields["more"].(*ast.CompositeLit); ok {
		keys = keysOf(more.Elts)
	}
	if fields["err"] != nil {
		keys["err"] = true
	}
	note(found, lastName(fields["level"]), fields["text"], keys)
}

func note(found map[string]*logged, level string, text ast.Expr, keys map[string]bool) {
	at := found[textOf(text)]
	if at == nil {
		at = &logged{strings.ToUpper(strings.TrimPrefix(level, "Level")), map[string]bool{}}
		found[textOf(text)] = at
	}
	maps.Copy(at.keys, keys)
}

// keysOf returns the keys of attributes.
func keysOf(attrs []ast.Expr) map[string]bool {
	keys := map[string]bool{}
	for _, attr := range attrs {
		call, ok := attr.(*ast.CallExpr)
		if !ok {
			continue
		}
		if lastName(call.Fun) == "peerAttr" {
			keys["peer"] = true
		} else {
			keys[textOf(call.Args[0])] = true
		}
	}
	return keys
}

// lastName returns the last name in an expression: Warn of slog.LevelWarn is LevelWarn.
func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// textOf returns a text, with "…" for what isn't constant.
func textOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, _ := strconv.Unquote(e.Value)
		return text
	case *ast.BinaryExpr:
		return textOf(e.X) + textOf(e.Y)
	}
	return "…"
}

var loggedRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([A-Z]+) \\| ([^|]*) \\| [^|]+ \\|$")

// docs/logging.md lists each message that the library logs, with its level and its keys, and no other
// one. The keys are those that the document explains, so one thing has one key everywhere.
func TestLogListIsComplete(t *testing.T) {
	var want []string
	known := map[string]bool{}
	for _, dir := range []string{".", "tcp", "wal", "httpapi", "admin"} {
		for text, m := range loggedBy(t, dir) {
			want = append(want, fmt.Sprintf("%s | %s | %s", text, m.level, strings.Join(slices.Sorted(maps.Keys(m.keys)), ", ")))
			maps.Copy(known, m.keys)
		}
	}
	require.Greater(t, len(want), 40, "the sources are read")
	document, err := os.ReadFile("docs/logging.md")
	require.NoError(t, err)
	var got []string
	for _, row := range loggedRow.FindAllStringSubmatch(string(document), -1) {
		got = append(got, fmt.Sprintf("%s | %s | %s", row[1], row[2], row[3]))
	}
	slices.Sort(want)
	slices.Sort(got)
	require.Equal(t, want, got)
	for _, added := range []string{"node", "dir", "left_out", "missed", "stack", "members", "to"} {
		known[added] = true // by what writes the lines
	}
	explained := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| ((?:`[a-z_]+`(?:, )?)+) \\| [a-z ]").FindAllStringSubmatch(string(document), -1) {
		for _, key := range strings.Split(row[1], ", ") {
			explained[strings.Trim(key, "`")] = true
		}
	}
	require.Equal(t, known, explained)
}
