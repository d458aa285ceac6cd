package raft_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// coreFiles decide; everything else in this package waits, or is a port.
var coreFiles = []string{
	"raft.go", "types.go", "core_config.go", "deadlines.go", "random.go", "outbox.go", "log.go", "tail.go", "election.go",
	"core_state.go", "core_status.go", "machine.go", "administration.go",
	"membership.go", "membership_change.go", "membership_catchup.go", "sessions.go", "upgrade.go", "fingerprint.go",
	"founding.go", "transfer.go", "lease.go", "replication.go", "quota.go", "progress.go", "quorum.go", "read.go", "proposals.go", "forwards.go", "apply.go", "applying.go", "fetch.go", "snapshot_bytes.go", "snapshot.go", "snapshot_send.go", "snapshot_receive.go", "check.go", "core_turn.go",
}

// The core is deterministic because it can't be anything else: it has no clock, no goroutine, no lock, no channel, no map
// to range over, and knows nothing of the shell.
func TestCoreIsPure(t *testing.T) {
	forbidden := map[string]bool{"sync": true, "sync/atomic": true, "os": true, "net": true, "context": true,
		"log": true, "log/slog": true, "math/rand": true, "math/rand/v2": true, "crypto/rand": true, "runtime": true, "maps": true}
	shell := map[string]bool{"Node": true, "Config": true, "Transport": true, "Start": true}
	for _, name := range coreFiles {
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, name, nil, 0)
		require.NoError(t, err)
		for _, imported := range file.Imports {
			path, err := strconv.Unquote(imported.Path.Value)
			require.NoError(t, err)
			require.False(t, forbidden[path], "%s imports %s", name, path)
		}
		fields := map[*ast.Ident]bool{}
		ast.Inspect(file, func(n ast.Node) bool {
			where := func() string { return files.Position(n.Pos()).String() }
			switch n := n.(type) {
			case *ast.GoStmt, *ast.SelectStmt, *ast.ChanType, *ast.SendStmt:
				require.Fail(t, "the core waits", "%s: %T", where(), n)
			case *ast.MapType:
				// The decoder and the table of sessions only look IDs up in their maps; a core has none that somebody could range over.
				require.Contains(t, []string{"sessions.go"}, name, "%s: a map", where())
			case *ast.RangeStmt:
				field, ok := n.X.(*ast.SelectorExpr)
				require.False(t, ok && (field.Sel.Name == "byIndex" || field.Sel.Name == "ids"), "%s: ranges over a map", where())
			case *ast.SelectorExpr:
				fields[n.Sel] = true
				if pkg, ok := n.X.(*ast.Ident); ok && pkg.Name == "time" {
					require.Contains(t, []string{"Duration", "Millisecond", "Second"}, n.Sel.Name, "%s: a clock", where())
				}
			case *ast.Field:
				for _, name := range n.Names {
					fields[name] = true
				}
			case *ast.FuncDecl:
				fields[n.Name] = n.Recv != nil
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok {
					fields[key] = true
				}
			case *ast.Ident:
				require.False(t, shell[n.Name] && !fields[n], "%s: the core names the shell's %s", where(), n.Name)
			}
			return true
		})
	}
}

// The root package imports the standard library alone, and what of this module does so too.
func TestRootImportsTheStandardLibraryOnly(t *testing.T) {
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	seen := 0
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		seen++
		file, err := parser.ParseFile(token.NewFileSet(), entry.Name(), nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, imported := range file.Imports {
			own := imported.Path.Value == `"github.com/e17579a5/raft/wire"` || imported.Path.Value == `"github.com/e17579a5/raft/internal/codec"`
			require.False(t, strings.Contains(strings.Split(imported.Path.Value, "/")[0], ".") && !own, "%s imports %s", entry.Name(), imported.Path.Value)
		}
	}
	require.Greater(t, seen, len(coreFiles))
}
