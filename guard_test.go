package raft_test

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// The files of this package have three sides, and no list says which side a file is on:
//
//	the shell    node.go and node_*.go: whatever waits, or knows of goroutines, locks, channels and clocks
//	the core     the files that declare methods of Core, those that they use, and so on
//	the face     all others: what callers configure and implement
//
// The rules:
//
//  1. Outside the shell nothing waits, and nothing is left to chance. There is no go statement, no
//     channel and no select, and nothing ranges over a map. Of the standard library only the
//     packages in calm are used. Of the packages in mentioned only types and constants are used, as
//     in a field that is a time.Duration. The packages of this module that are used there keep this
//     rule too.
//  2. The core uses nothing that the shell declares.
//  3. The face names exported types of the shell, and uses nothing else of it: it describes, and
//     calls nothing.
//  4. The shell declares no method of Core. It uses no unexported field of the core, and no
//     unexported method of a type that has such fields: it asks by the methods that Core exports. A
//     type that has no such field, as Message, is a value that the two hand to each other.
type house struct {
	files map[string]*ast.File // by name
	set   *token.FileSet
	info  *types.Info
	pkg   *types.Package
	core  map[string]string // the files of the core, each with the one that uses it; "" for those with methods of Core
}

// calm are the packages whose functions don't wait, and depend on nothing but their arguments.
var calm = []string{
	"bufio", "bytes", "cmp", "crypto/hmac", "crypto/sha256", "encoding/binary", "encoding/hex", "errors", "fmt", "hash",
	"hash/crc32", "io", "math/bits", "slices",
	"sort", "strconv", "strings",
}

// mentioned are the packages of which only types and constants may be used.
var mentioned = []string{"context", "log/slog", "time"}

// module is the prefix of the paths of this module's other packages.
const module = "github.com/e17579a5/raft/"

// exports returns, for each package that is imported, the file in which the compiler has put the
// package's types.
var exports = sync.OnceValues(func() (map[string]string, error) {
	list := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", ".", "math/rand/v2")
	out, err := list.Output()
	found := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		found[path] = file
	}
	return found, err
})

// newHouse parses and checks the files of a package.
func newHouse(t *testing.T, sources map[string][]byte) *house {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go tool, which knows the types of imported packages, isn't here: ", err)
	}
	h := &house{files: map[string]*ast.File{}, set: token.NewFileSet(), core: map[string]string{}, info: &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{},
	}}
	var all []*ast.File
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		file, err := parser.ParseFile(h.set, name, sources[name], 0)
		require.NoError(t, err)
		h.files[name] = file
		all = append(all, file)
	}
	found, err := exports()
	require.NoError(t, err)
	lookup := func(path string) (io.ReadCloser, error) { return os.Open(found[path]) }
	h.pkg, err = (&types.Config{Importer: importer.ForCompiler(h.set, "gc", lookup)}).Check("raft", h.set, all, h.info)
	require.NoError(t, err)
	h.findCore()
	return h
}

// findCore finds the files of the core: the files that declare a method of Core, those that they
// use, and so on.
func (h *house) findCore() {
	var found []string
	for _, name := range slices.Sorted(maps.Keys(h.files)) {
		for _, d := range h.files[name].Decls {
			f, ok := d.(*ast.FuncDecl)
			if _, known := h.core[name]; ok && !known && !shell(name) && ofCore(f) {
				h.core[name] = ""
				found = append(found, name)
			}
		}
	}
	for len(found) > 0 {
		name := found[0]
		found = found[1:]
		h.each(name, func(_ ast.Node, used types.Object) {
			from := h.home(used)
			if _, known := h.core[from]; from != "" && !known && !shell(from) {
				h.core[from] = name
				found = append(found, from)
			}
		})
	}
}

// ofCore says whether a function is a method of Core.
func ofCore(f *ast.FuncDecl) bool {
	return f.Recv != nil && strings.TrimPrefix(types.ExprString(f.Recv.List[0].Type), "*") == "Core"
}

// shell says whether a file belongs to the shell.
func shell(name string) bool {
	return name == "node.go" || strings.HasPrefix(name, "node_")
}

// each calls f with each node of a file. If the node is an identifier, f also gets what it names.
func (h *house) each(name string, f func(n ast.Node, used types.Object)) {
	ast.Inspect(h.files[name], func(n ast.Node) bool {
		if identifier, ok := n.(*ast.Ident); ok {
			if used := h.info.Uses[identifier]; used != nil {
				f(n, used)
			}
		} else if n != nil {
			f(n, nil)
		}
		return true
	})
}

// home returns the file that declares something of this package, or "".
func (h *house) home(o types.Object) string {
	if o == nil || o.Pkg() != h.pkg {
		return ""
	}
	return h.set.Position(o.Pos()).Filename
}

// breaches returns, in words, whatever breaks a rule.
func (h *house) breaches() (breaches []string) {
	for _, name := range slices.Sorted(maps.Keys(h.files)) {
		breach := func(n ast.Node, format string, a ...any) {
			at := h.set.Position(n.Pos())
			breaches = append(breaches, fmt.Sprintf("%s:%d: ", at.Filename, at.Line)+fmt.Sprintf(format, a...))
		}
		h.each(name, func(n ast.Node, used types.Object) {
			by, core := h.core[name]
			switch from := h.home(used); {
			case shell(name):
				if f, ok := n.(*ast.FuncDecl); ok && ofCore(f) {
					breach(n, "the shell has a method of Core")
				}
				if _, inside := h.core[from]; inside && h.hidden(used) {
					breach(n, "the shell uses %s, which is the core's (%s)", used.Name(), from)
				}
			case core && shell(from):
				breach(n, "the core uses %s of %s; this file is the core's because %s", used.Name(), from, because(by))
			case shell(from) && !description(used):
				breach(n, "the face uses %s of %s, which is no exported type", used.Name(), from)
			default:
				if what := h.restless(n, used); what != "" {
					breach(n, "%s outside the shell", what)
				}
			}
		})
	}
	return breaches
}

func because(by string) string {
	if by == "" {
		return "it has methods of Core"
	}
	return by + " uses it"
}

// description says whether something is no more than an exported type, or a field of one.
func description(o types.Object) bool {
	switch o := o.(type) {
	case *types.TypeName:
		return o.Exported()
	case *types.Var:
		return o.IsField() && o.Exported()
	}
	return false
}

// restless says what is wrong with a node outside the shell, or "".
func (h *house) restless(n ast.Node, used types.Object) string {
	switch n := n.(type) {
	case *ast.GoStmt:
		return "a go statement"
	case *ast.SelectStmt:
		return "a select"
	case *ast.RangeStmt:
		if _, ok := h.info.TypeOf(n.X).Underlying().(*types.Map); ok {
			return "a range over a map"
		}
	}
	if e, ok := n.(ast.Expr); ok {
		if typed := h.info.TypeOf(e); typed != nil {
			if _, ok := typed.Underlying().(*types.Chan); ok {
				return "a channel"
			}
		}
	}
	if used == nil || used.Pkg() == nil || used.Pkg() == h.pkg {
		return ""
	}
	path := used.Pkg().Path()
	switch used.(type) {
	case *types.PkgName, *types.TypeName, *types.Const:
		if slices.Contains(mentioned, path) {
			return ""
		}
	}
	if strings.HasPrefix(path, module) || slices.Contains(calm, path) && path+"."+used.Name() != "io.Pipe" {
		return ""
	}
	return path + "." + used.Name()
}

// hidden says whether something is an unexported field, or an unexported method of a type that has
// such fields.
func (h *house) hidden(o types.Object) bool {
	if o.Exported() {
		return false
	}
	if field, ok := o.(*types.Var); ok {
		return field.IsField()
	}
	method, ok := o.(*types.Func)
	if !ok || method.Signature().Recv() == nil {
		return false
	}
	typed := method.Signature().Recv().Type()
	if pointer, ok := typed.(*types.Pointer); ok {
		typed = pointer.Elem()
	}
	fields, ok := typed.Underlying().(*types.Struct)
	for i := 0; ok && i < fields.NumFields(); i++ {
		if !fields.Field(i).Exported() {
			return true
		}
	}
	return false
}

// usedOutsideTheShell returns the directories of the packages of this module that the core and the
// face import.
func (h *house) usedOutsideTheShell() []string {
	used := map[string]bool{}
	for name, file := range h.files {
		for _, imported := range file.Imports {
			path := strings.Trim(imported.Path.Value, `"`)
			if dir, ours := strings.CutPrefix(path, module); ours && !shell(name) {
				used[dir] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(used))
}

// sourcesOf returns the files of a package, without the tests.
func sourcesOf(t *testing.T, dir string) map[string][]byte {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	sources := map[string][]byte{}
	for _, entry := range entries {
		if name := entry.Name(); strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			sources[name], err = os.ReadFile(filepath.Join(dir, name))
			require.NoError(t, err)
		}
	}
	return sources
}

// The core is deterministic because it can't be anything else, and the shell asks it as any other
// driver would.
func TestHouseRules(t *testing.T) {
	h := newHouse(t, sourcesOf(t, "."))
	require.Contains(t, h.core, "log.go")
	require.NotContains(t, h.core, "config.go")
	require.Empty(t, strings.Join(h.breaches(), "\n"))
	used := h.usedOutsideTheShell()
	require.Equal(t, []string{"internal/coalesce", "internal/codec", "internal/hash", "wire"}, used)
	for _, dir := range used {
		require.Empty(t, strings.Join(newHouse(t, sourcesOf(t, dir)).breaches(), "\n"), dir)
	}
}

// Each rule can be broken, and then the test says so.
func TestHouseRulesCanBeBroken(t *testing.T) {
	for name, test := range map[string]struct{ raft, log, config, node, breach string }{
		"nothing":         {log: `import ("io"; "fmt"; "time"); type W interface { io.Writer }; var err, d = fmt.Errorf("x"), time.Second`},
		"a goroutine":     {log: `func f() { go f() }`, breach: "log.go:1: a go statement outside the shell"},
		"a channel":       {config: `var closed chan int`, breach: "config.go:1: a channel outside the shell"},
		"a select":        {config: `func f() { select {} }`, breach: "config.go:1: a select outside the shell"},
		"a map's order":   {log: `func f(m map[int]int) { for range m {} }`, breach: "log.go:1: a range over a map outside the shell"},
		"a look-up":       {log: `func f(m map[int]int) int { return m[1] }`},
		"a clock":         {log: `import "time"; var now = time.Now()`, breach: "log.go:1: time.Now outside the shell"},
		"a context":       {config: `import "context"; func f(ctx context.Context) { <-ctx.Done() }`, breach: "config.go:1: context.Done outside the shell"},
		"a log":           {config: `import "log/slog"; func f(l *slog.Logger) { l.Info("x") }`, breach: "config.go:1: log/slog.Info outside the shell"},
		"a lock":          {log: `import "sync"; type l struct { sync.Mutex }`, breach: "log.go:1: sync.Mutex outside the shell"},
		"a pipe":          {log: `import "io"; var r, w = io.Pipe()`, breach: "log.go:1: io.Pipe outside the shell"},
		"luck":            {log: `import "math/rand/v2"; var n = rand.Int()`, breach: "log.go:1: math/rand/v2.Int outside the shell"},
		"core uses shell": {log: `type T struct { n *Node }`, breach: "log.go:1: the core uses Node of node.go"},
		"core by another": {raft: `var x C`, config: `type C struct { n *Node }`, breach: "config.go:1: the core uses Node of node.go; this file is the core's because raft.go uses it"},
		"core in shell":   {node: `func (c *Core) wait() {}`, breach: "node.go:1: the shell has a method of Core"},
		"face uses shell": {config: `var n Node`},
		"face calls":      {config: `var n = start()`, node: `func start() int { return 0 }`, breach: "config.go:1: the face uses start of node.go, which is no exported type"},
		"a core's field":  {node: `func f(c *Core) { _ = c.log }`, breach: "node.go:1: the shell uses log, which is the core's (raft.go)"},
		"a core's method": {node: `func f(c *Core) { c.decide() }`, breach: "node.go:1: the shell uses decide, which is the core's (raft.go)"},
		"asks the core":   {node: `func f(c *Core) { _ = c.Term }`},
		"a value between": {node: `func f(m Message) { m.size() }`},
	} {
		t.Run(name, func(t *testing.T) {
			file := func(text string, more string) []byte { return []byte("package raft; " + text + "\n" + more) }
			h := newHouse(t, map[string][]byte{
				"raft.go": file(test.raft, `type Core struct { log Log; Term int }; func (c *Core) decide() {}
					type Message struct { Size int }; func (m Message) size() {}; var _ Message`),
				"log.go": file(test.log, `type Log struct { last int }`), "config.go": file(test.config, ""),
				"node.go": file("type Node struct{}; "+test.node, ""),
			})
			breaches := strings.Join(h.breaches(), "\n")
			if test.breach == "" {
				require.Empty(t, breaches)
			} else {
				require.Contains(t, breaches, test.breach)
			}
		})
	}
}

// The root package imports only the standard library and this module.
func TestRootImportsTheStandardLibraryOnly(t *testing.T) {
	for name, source := range sourcesOf(t, ".") {
		file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ImportsOnly)
		require.NoError(t, err)
		for _, imported := range file.Imports {
			path, err := strconv.Unquote(imported.Path.Value)
			require.NoError(t, err)
			if !strings.HasPrefix(path, module) {
				require.NotContains(t, strings.Split(path, "/")[0], ".", "%s imports %s", name, path)
			}
		}
	}
}
