package sim

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMeanings demands that every invariant is explained.
func TestMeanings(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "violation.go", nil, 0)
	require.NoError(t, err)
	names := 0
	ast.Inspect(file, func(n ast.Node) bool {
		if c, ok := n.(*ast.GenDecl); ok && c.Tok == token.CONST {
			for _, spec := range c.Specs {
				value, err := strconv.Unquote(spec.(*ast.ValueSpec).Values[0].(*ast.BasicLit).Value)
				require.NoError(t, err)
				require.NotEmpty(t, Meaning(value), value)
				names++
			}
		}
		return true
	})
	require.Len(t, meanings, names)
}
