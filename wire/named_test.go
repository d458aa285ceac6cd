package wire_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/wire"
)

// constants returns the names of the package's constants with a prefix, in the order of the files.
func constants(t *testing.T, prefix string) (names []string) {
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), entry.Name(), nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, prefix) {
				names = append(names, spec.Names[0].Name)
			}
			return true
		})
	}
	require.NotEmpty(t, names)
	return names
}

// TestEveryKindIsRegistered: no constant of a kind stands for a message that nobody can decode.
func TestEveryKindIsRegistered(t *testing.T) {
	var registered []string
	for _, kind := range wire.Kinds() {
		registered = append(registered, "Kind"+kind.String())
	}
	require.ElementsMatch(t, registered, constants(t, "Kind"))
}

// TestEveryConstantHasAName: a call, and a refusal of one, can be told in words.
func TestEveryConstantHasAName(t *testing.T) {
	calls, refusals := constants(t, "Call"), constants(t, "Refused")
	for i := range calls {
		require.NotContains(t, []string{"", fmt.Sprint("call ", i+1)}, wire.CallKind(i+1).String(), calls[i])
	}
	for i := range refusals {
		require.NotContains(t, []string{"", fmt.Sprint("refusal ", i+1)}, wire.Refusal(i+1).String(), refusals[i])
	}
	require.Equal(t, fmt.Sprint("call ", len(calls)+1), wire.CallKind(len(calls)+1).String())
	require.Equal(t, fmt.Sprint("refusal ", len(refusals)+1), wire.Refusal(len(refusals)+1).String())
}

// TestSpecificationNamesTheFields: the table of fields in the documentation is that of the code.
func TestSpecificationNamesTheFields(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	for bit, name := range wire.FieldNames {
		require.Contains(t, string(text), fmt.Sprintf("//	%2d  %s ", bit, name))
	}
	require.NotContains(t, string(text), fmt.Sprintf("//	%2d  ", len(wire.FieldNames)))
}

// TestSamplesLeaveNothingOut: the golden file shows each field of each kind.
func TestSamplesLeaveNothingOut(t *testing.T) {
	shown := map[wire.Kind]map[string]bool{}
	for _, m := range sampleMessages() {
		shown[m.Kind()] = map[string]bool{}
		for bit, name := range wire.FieldNames {
			shown[m.Kind()][name] = m.Value(uint(bit)) != 0
		}
	}
	for kind, fields := range shown {
		for bit, name := range wire.FieldNames {
			if wire.MayHave(kind, uint(bit)) {
				require.True(t, fields[name], "%v: no sample has %s", kind, name)
			}
		}
	}
}
