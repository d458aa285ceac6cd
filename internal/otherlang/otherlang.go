// Package otherlang finds the interpreters of other languages, for tests of what is written in them.
package otherlang

import (
	"os/exec"
	"testing"
)

// A Language is one that clients are written in.
type Language struct {
	Program string // the name of the interpreter
	Ending  string // of a script's name
	version string // a script that fails if the interpreter is too old
	needs   string
}

// Languages are those that there are clients in.
var Languages = []Language{
	{"python3", ".py", "import sys; sys.exit(sys.version_info < (3, 8))", "Python 3.8"},
	{"node", ".mjs", "process.exit(Number(typeof fetch !== 'function'))", "Node 18"},
}

// Find returns the path of the interpreter. It skips the test on a machine that has none, or one that
// is too old.
func (l Language) Find(t testing.TB) string {
	path, err := exec.LookPath(l.Program)
	if err != nil {
		t.Skipf("this machine has no %s: %v", l.Program, err)
	}
	flag := "-c"
	if l.Program == "node" {
		flag = "-e"
	}
	if out, err := exec.CommandContext(t.Context(), path, flag, l.version).CombinedOutput(); err != nil {
		t.Skipf("this machine's %s isn't %s or later: %v: %s", l.Program, l.needs, err, out)
	}
	return path
}
