// Package buildtest lets a test build a program of this module and run it. It assumes little about
// the machine: where the machine can't do it, the test is skipped, and says why.
package buildtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Go returns a go command. It skips the test where there is no go command: a test program may run
// on a machine other than the one that it was built on.
func Go(t testing.TB, arguments ...string) *exec.Cmd {
	t.Helper()
	program, err := exec.LookPath("go")
	if err != nil {
		t.Skipf("this machine can't build: %v", err)
	}
	return exec.Command(program, arguments...)
}

// Build builds a program in a directory of the module, and returns the name of its file. The
// environment says for which machine, and arguments are those of go build. It skips the test where
// the machine runs no program that is built for that environment, not even one that does nothing: a
// kernel may lack what runs the programs of another architecture, or the directory may be on a file
// system that runs none.
func Build(t testing.TB, dir string, environment []string, arguments ...string) string {
	t.Helper()
	// The directory of the go command's own temporary files: it has run this test from there.
	programs, err := os.MkdirTemp(os.Getenv("GOTMPDIR"), "buildtest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(programs); err != nil {
			t.Error(err)
		}
	})
	source := filepath.Join(programs, "nothing.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	nothing, program := filepath.Join(programs, "nothing.exe"), filepath.Join(programs, "program.exe")
	build(t, dir, environment, "-o", nothing, source)
	if out, err := exec.Command(nothing).CombinedOutput(); err != nil {
		t.Skipf("this machine doesn't run what is built with %q: %v\n%s", environment, err, out)
	}
	build(t, dir, environment, append([]string{"-o", program}, arguments...)...)
	return program
}

// build runs go build.
func build(t testing.TB, dir string, environment []string, arguments ...string) {
	t.Helper()
	// The go command doesn't look at the history of the source: git refuses to show it to anyone
	// but its owner.
	command := Go(t, append([]string{"build", "-buildvcs=false"}, arguments...)...)
	command.Dir = dir
	command.Env = append(command.Environ(), environment...)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", command, err, out)
	}
}
