package raft_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a reader has to keep in mind at a time, in lines.
const (
	longestFile     = 500
	longestFunction = 70
)

// No file and no function of the repository is too long to be read at a time, tests included.
func TestNothingIsTooLong(t *testing.T) {
	files := 0
	require.NoError(t, filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" {
			return err
		}
		files++
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		require.LessOrEqual(t, set.File(file.FileStart).LineCount(), longestFile+1, path) // one begins after the last
		for _, declaration := range file.Decls {
			if f, ok := declaration.(*ast.FuncDecl); ok {
				lines := set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1
				require.LessOrEqual(t, lines, longestFunction, "%s: %s", path, f.Name.Name)
			}
		}
		return nil
	}))
	require.Greater(t, files, 300)
}
