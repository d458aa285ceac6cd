package mutants_test

import (
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/internal/buildtest"
	"github.com/e17579a5/raft/rafttest/mutants"
)

// TestTypes demands that every mutant compiles. A mutant that doesn't is a bug that nobody can
// catch. Only the declarations of the other files in its packages are looked at. A mutant must compile
// in each package by itself: what it changes in one doesn't change what another one imports.
func TestTypes(t *testing.T) {
	if testing.Short() {
		t.Skip("builds what the packages import, if that isn't there yet")
	}
	root, err := mutants.Root()
	require.NoError(t, err)
	all, err := mutants.All()
	require.NoError(t, err)
	files := token.NewFileSet()
	imports := importer.ForCompiler(files, "gc", exports(t, root))
	declared := map[string]map[string]*ast.File{}
	for i := range all {
		m := &all[i]
		texts, err := m.Apply(root)
		require.NoError(t, err)
		changed := map[string]map[string]*ast.File{} // by directory, and then by the file's base name
		for name, text := range texts {
			dir := filepath.Join(root, filepath.Dir(name))
			if changed[dir] == nil {
				changed[dir] = map[string]*ast.File{}
			}
			changed[dir][filepath.Base(name)], err = parser.ParseFile(files, m.Name+": "+name, text, parser.SkipObjectResolution)
			require.NoError(t, err)
		}
		for dir, own := range changed {
			if declared[dir] == nil {
				declared[dir] = declarations(t, files, dir)
			}
			list := slices.Collect(maps.Values(own))
			for name, file := range declared[dir] {
				if own[name] == nil {
					list = append(list, file)
				}
			}
			config := types.Config{Importer: imports, Error: func(err error) {
				if e := err.(types.Error); strings.HasPrefix(files.Position(e.Pos).Filename, m.Name+": ") {
					t.Error(err)
				}
			}}
			// Check returns only the first of the errors that config.Error has got.
			_, _ = config.Check(dir, files, list, nil)
		}
	}
}

// exports returns a function that opens the export data of any package that the module imports.
func exports(t *testing.T, root string) func(path string) (io.ReadCloser, error) {
	list := buildtest.Go(t, "list", "-buildvcs=false", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", "./...")
	list.Dir = root
	out, err := list.Output()
	require.NoError(t, err)
	exported := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		exported[path] = file
	}
	return func(path string) (io.ReadCloser, error) { return os.Open(exported[path]) }
}

// declarations parses a package and drops the bodies of its functions.
func declarations(t *testing.T, files *token.FileSet, dir string) map[string]*ast.File {
	p, err := build.ImportDir(dir, 0)
	require.NoError(t, err)
	all := map[string]*ast.File{}
	for _, name := range p.GoFiles {
		file, err := parser.ParseFile(files, filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Type.TypeParams == nil {
				f.Body = nil
			}
		}
		all[name] = file
	}
	return all
}
