package raft_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/wire"
)

// casesOf returns the constants of package wire that the core names in the case of a switch.
func casesOf(t *testing.T) map[string]bool {
	named := map[string]bool{}
	for name, source := range sourcesOf(t, ".") {
		if shell(name) {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, source, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			if clause, ok := n.(*ast.CaseClause); ok {
				for _, value := range clause.List {
					if selector, ok := value.(*ast.SelectorExpr); ok {
						named[selector.Sel.Name] = true
					}
				}
			}
			return true
		})
	}
	return named
}

// The core has a case for each kind of message and of call: none is forgotten, and so ignored. A
// few kinds it handles before the switch.
func TestEveryKindHasACase(t *testing.T) {
	cases := casesOf(t)
	before := []wire.Kind{wire.KindRemoved, wire.KindRolledBack, wire.KindPreVoteResponse, wire.KindVoteResponse, wire.KindProcessHeartbeat}
	for _, kind := range wire.Kinds() {
		if !slices.Contains(before, kind) {
			require.True(t, cases["Kind"+kind.String()], "%v", kind)
		}
	}
	for call := wire.CallKind(1); !strings.HasPrefix(call.String(), "call "); call++ {
		name := call.String()
		require.True(t, cases["Call"+strings.ToUpper(name[:1])+name[1:]], "a call to %v", call)
	}
}
