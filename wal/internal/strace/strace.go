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

// A Call is a call that the kernel has carried out without an error.
type Call struct {
	Name string // as strace names it; "step" for what Step has told
	Path string // the file or folder, the old name for a rename; the text of Step
	To   string // the new name for a rename
	New  bool   // an open that was to create a file
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

// Run runs a test of this test program, which works in the folder, and returns its calls about
// files in the folder, in the order in which they ended. The error is ErrNot if strace isn't here,
// or may not trace.
func Run(test, folder string) ([]Call, error) {
	if err := exec.Command("strace", "-f", "-o", os.DevNull, "true").Run(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNot, err)
	}
	out := filepath.Join(filepath.Dir(folder), "trace")
	command := exec.Command("strace", "-f", "-y", "-qq", "-s", "200", "-o", out, "-e", "trace="+strings.Join(traced, ","),
		os.Args[0], "-test.run=^"+test+"$", "-test.v")
	command.Env = append(os.Environ(), variable+"="+folder)
	if text, err := command.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("strace: %w: %s", err, text)
	}
	file, err := os.Open(out)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	p := parser{folder: folder, begun: map[string]begun{}}
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
	aCall   = regexp.MustCompile(`^(\w+)\((.*)\) += (-?\d+)`)
	ofFile  = regexp.MustCompile(`^\d+<([^>]*)>`)
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
	if result, err := strconv.Atoi(call[3]); err != nil || result < 0 {
		return
	}
	p.ended(call[1], call[2], b.calls)
}

// ended adds a call, if it concerns the folder or is a step.
func (p *parser) ended(name, arguments string, before int) {
	c := Call{Name: name, Begun: before}
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
	if c.To == c.Path {
		c.To = ""
	}
	inside := strings.HasPrefix(c.Path, p.folder)
	if inside && (name != "openat" || c.New) {
		p.calls = append(p.calls, c)
	}
}
