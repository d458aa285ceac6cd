// Package strace runs a test under strace and tells which calls to the file system have reached the
// kernel. It is for tests that must not believe what the code under test says of itself.
package strace

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// A Call is a call that has returned.
type Call struct {
	Name string // as strace names it; "step" for what Step has told
	Path string // the file or folder, the old name for a rename; the text of Step
	To   string // the new name for a rename
	New  bool   // an open that was to create a file
	// Offset and Size say where a pwrite64 was to write, and how many bytes.
	Offset, Size int64
	Error        string // as strace names it, "EIO" for example; "" when the call has succeeded
	// Begun says how many calls had ended when this one began. A sync covers what had been written
	// by then.
	Begun int
}

// ErrNot says that nothing can be traced here.
var ErrNot = errors.New("strace: nothing can be traced here")

// variable is the variable of the environment that tells a traced test its folder.
const variable = "RAFT_STRACED_FOLDER"

// Folder returns the folder in which a traced test is to work, or "" when it isn't traced.
func Folder() string { return os.Getenv(variable) }

// Step tells the tracer how far a traced test has come.
func Step(text string) { fmt.Printf("step: %s\n", text) }

// traced are the calls that are told.
var traced = []string{
	"openat", "mkdirat", "pwrite64", "fdatasync", "fsync", "renameat", "renameat2", "unlinkat", "flock", "ftruncate", "write",
}

// Possible returns ErrNot if strace isn't here, or may not trace.
func Possible() error {
	if err := exec.Command("strace", "-f", "-o", os.DevNull, "true").Run(); err != nil {
		return fmt.Errorf("%w: %w", ErrNot, err)
	}
	return nil
}

// Failing returns a command whose arguments are another command. It traces that one into the file
// out, and lets a call of it fail that would write, without carrying it out: "fdatasync:error=EIO:when=5"
// is the fifth sync of a file's data by a thread.
func Failing(out, call string) []string {
	return []string{
		"strace", "-f", "--seccomp-bpf", "-y", "-qq", "-s", "0", "-o", out,
		"-e", "trace=openat,pwrite64,fdatasync,fsync,renameat,renameat2,unlinkat,ftruncate", "-e", "inject=" + call,
	}
}

// Run runs a test of this test program, which works in the folder, and returns its calls about
// files in the folder that have succeeded, in the order in which they ended. The error is ErrNot if
// strace isn't here, or may not trace.
func Run(test, folder string) ([]Call, error) {
	if err := Possible(); err != nil {
		return nil, err
	}
	out := filepath.Join(filepath.Dir(folder), "trace")
	command := exec.Command("strace", "-f", "-y", "-qq", "-s", "200", "-o", out, "-e", "trace="+strings.Join(traced, ","),
		os.Args[0], "-test.run=^"+test+"$", "-test.v")
	command.Env = append(os.Environ(), variable+"="+folder)
	if text, err := command.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("strace: %w: %s", err, text)
	}
	p := parser{folder: folder, begun: map[string]begun{}}
	return p.read(out)
}

// Read returns the calls about files in the folder that were traced into the file out, also those
// that have failed.
func Read(out, folder string) ([]Call, error) {
	p := parser{folder: folder, begun: map[string]begun{}, failed: true}
	return p.read(out)
}

// read reads a file.
func (p *parser) read(out string) ([]Call, error) {
	file, err := os.Open(out)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.line(lines.Text())
	}
	return p.calls, lines.Err()
}

// A parser reads what strace has written.
type parser struct {
	folder string
	failed bool // calls that have failed are told, too
	calls  []Call
	begun  map[string]begun // by thread: calls that have begun and not ended
}

// begun is the beginning of a call.
type begun struct {
	text  string
	calls int // how many had ended by then
}

var (
	aLine   = regexp.MustCompile(`^(\d+) +(.*)$`)
	resumed = regexp.MustCompile(`^<\.\.\. \w+ resumed>(.*)$`)
	aCall   = regexp.MustCompile(`^(\w+)\((.*)\) += (-?\d+)(?: (E\w+))?`)
	ofFile  = regexp.MustCompile(`^\d+<([^>]*)>`)
	aPlace  = regexp.MustCompile(`, (\d+), (\d+)$`)
	aName   = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)
)

// line takes a line. A call that another thread interrupts stands on two lines.
func (p *parser) line(text string) {
	parts := aLine.FindStringSubmatch(text)
	if parts == nil {
		return
	}
	thread, b := parts[1], begun{parts[2], len(p.calls)}
	if head, ok := strings.CutSuffix(b.text, " <unfinished ...>"); ok {
		p.begun[thread] = begun{head, b.calls}
		return
	}
	if tail := resumed.FindStringSubmatch(b.text); tail != nil {
		b = p.begun[thread]
		b.text += tail[1]
		delete(p.begun, thread)
	}
	call := aCall.FindStringSubmatch(b.text)
	if call == nil {
		return
	}
	if call[4] != "" && !p.failed {
		return
	}
	p.ended(call[1], call[2], Call{Name: call[1], Begun: b.calls, Error: call[4]})
}

// ended adds a call, if it concerns the folder or is a step.
func (p *parser) ended(name, arguments string, c Call) {
	var names []string
	for _, quoted := range aName.FindAllStringSubmatch(arguments, -1) {
		names = append(names, strings.TrimSuffix(quoted[1], `\n`))
	}
	file := ofFile.FindStringSubmatch(arguments)
	switch {
	case name == "write":
		step, ok := strings.CutPrefix(strings.Join(names, ""), "step: ")
		if !ok {
			return
		}
		c.Name, c.Path = "step", step
		p.calls = append(p.calls, c)
		return
	case len(names) > 0 && name != "pwrite64":
		c.Path, c.To = names[0], names[len(names)-1]
		c.New = name == "openat" && strings.Contains(arguments, "O_CREAT")
	case file != nil:
		c.Path = file[1]
	}
	if place := aPlace.FindStringSubmatch(arguments); place != nil && name == "pwrite64" {
		c.Size, _ = strconv.ParseInt(place[1], 10, 64) // they are digits
		c.Offset, _ = strconv.ParseInt(place[2], 10, 64)
	}
	if c.To == c.Path {
		c.To = ""
	}
	inside := strings.HasPrefix(c.Path, p.folder)
	if inside && (name != "openat" || c.New) {
		p.calls = append(p.calls, c)
	}
}
