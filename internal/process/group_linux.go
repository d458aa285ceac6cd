package process

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"
)

// A Group is the processes of a test. They end with it.
type Group struct {
	// Dir is a folder for the data of the processes. The log of each is there too, by its name.
	Dir string

	t         testing.TB
	host      string   // a loopback address, of this group alone where the system has more than one
	given     []string // addresses
	processes []*Process
	// parent starts the processes on a thread of its own. They end when that thread ends, and so
	// when the test dies in whatever way.
	parent chan func()
	over   chan struct{} // closed when the test ends
}

// A Process is a program that a test starts, ends, and starts again.
type Process struct {
	Name    string
	Address string    // where its clients find it; "" if they don't
	Command *exec.Cmd // of its present life, or of its last one; nil before the first

	group  *Group
	make   func() *exec.Cmd
	in     io.Writer     // its standard input, if it talks
	lines  chan string   // what it prints, if it talks
	exited chan struct{} // closed when the command has ended
	paused bool
}

// NewGroup returns a group without processes. When the test ends, it kills all that still run, and
// shows the ends of their logs if the test has failed.
func NewGroup(t testing.TB) *Group {
	t.Helper()
	g := &Group{
		Dir: t.TempDir(), t: t, parent: make(chan func()), over: make(chan struct{}),
		host: fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254)),
	}
	if listener, err := net.Listen("tcp", g.host+":0"); err != nil {
		t.Logf("the processes share 127.0.0.1 with others: %v", err)
		g.host = "127.0.0.1"
	} else if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	go func() {
		runtime.LockOSThread() // until the end of the goroutine, and so of the thread
		for start := range g.parent {
			start()
		}
	}()
	t.Cleanup(g.end)
	return g
}

// end kills all processes.
func (g *Group) end() {
	close(g.over)
	for _, p := range g.processes {
		if p.Command != nil {
			p.Kill()
		}
		if log, err := os.ReadFile(p.log()); err == nil && g.t.Failed() {
			g.t.Logf("%s: %v\n%s", p.Name, p.Command, log[max(0, len(log)-4000):])
		}
	}
	close(g.parent)
}

// FreeAddress returns an address that nobody has, and that the group hasn't given before. Its port is
// below those that the system gives away.
func (g *Group) FreeAddress() string {
	g.t.Helper()
	for range 1000 {
		address := fmt.Sprintf("%s:%d", g.host, 10_000+rand.IntN(20_000))
		if slices.Contains(g.given, address) {
			continue
		}
		listener, err := net.Listen("tcp", address)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue // somebody has the port, maybe at every host
		}
		if err == nil {
			err = listener.Close()
		}
		if err != nil {
			g.t.Fatal(err)
		}
		g.given = append(g.given, address)
		return address
	}
	g.t.Fatalf("no address is free at %s", g.host)
	return ""
}

// Add adds a process that doesn't run yet. make makes the command of each of its lives. What the
// command writes goes to the log of the process, unless make has set Stdout or Stderr.
func (g *Group) Add(name string, make func() *exec.Cmd) *Process {
	p := &Process{Name: name, group: g, make: make}
	g.processes = append(g.processes, p)
	return p
}

// log returns the name of the log.
func (p *Process) log() string { return filepath.Join(p.group.Dir, p.Name+".log") }

// Start starts a process that doesn't run.
func (p *Process) Start() {
	p.group.t.Helper()
	p.start(p.make())
}

// StartTalking is Start for a process whose standard input and output are for Tell and Line.
func (p *Process) StartTalking() {
	t := p.group.t
	t.Helper()
	command := p.make()
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	// A pipe of Command.StdoutPipe would be closed when the process ends, read or not.
	out, outOfProcess, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stdout = outOfProcess
	p.start(command)
	if err := outOfProcess.Close(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 100)
	p.in, p.lines = in, lines
	go func() {
		defer close(lines)
		defer func() { _ = out.Close() }() // all of it was read, or nobody wants it
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			select {
			case lines <- scanner.Text():
			case <-p.group.over:
				return
			}
		}
	}()
}

// start starts a command. It leads a group of processes of the system, apart from the test's: signals
// from a terminal are for the test.
func (p *Process) start(command *exec.Cmd) {
	t := p.group.t
	t.Helper()
	if p.Command != nil && !p.ended() {
		t.Fatalf("%s runs already", p.Name)
	}
	if command.Stdout == nil || command.Stderr == nil {
		log, err := os.OpenFile(p.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = log.Close() }() // nothing was written by this process
		if command.Stdout == nil {
			command.Stdout = log
		}
		if command.Stderr == nil {
			command.Stderr = log
		}
	}
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	p.group.parent <- func() { started <- command.Start() }
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	p.Command, p.exited, p.paused = command, exited, false
	go func() {
		_ = command.Wait() // command.ProcessState says the same
		close(exited)
	}()
}

// ended says whether a process that was started has ended.
func (p *Process) ended() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// Line returns the next line that the process prints.
func (p *Process) Line() string {
	p.group.t.Helper()
	select {
	case line, more := <-p.lines:
		if !more {
			p.group.t.Fatalf("%s says no more", p.Name)
		}
		return line
	case <-time.After(Patience):
		p.group.t.Fatalf("%s says nothing", p.Name)
		return ""
	}
}

// Tell gives the process a line.
func (p *Process) Tell(line string) {
	p.group.t.Helper()
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		p.group.t.Fatalf("%s: %v", p.Name, err)
	}
}

// Ask is Tell, and returns what the process says then.
func (p *Process) Ask(line string) string {
	p.group.t.Helper()
	p.Tell(line)
	return p.Line()
}

// Signal sends the process a signal.
func (p *Process) Signal(signal syscall.Signal) {
	p.group.t.Helper()
	if err := p.Command.Process.Signal(signal); err != nil {
		p.group.t.Fatalf("%s: %v: %v", p.Name, signal, err)
	}
}

// Kill ends the process as a power cut ends a process: it doesn't notice. It may have ended before.
func (p *Process) Kill() {
	p.group.t.Helper()
	if err := p.Command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.group.t.Fatalf("%s: %v", p.Name, err)
	}
	p.AwaitExit()
}

// Terminate asks the process to end, and requires that it ends cleanly.
func (p *Process) Terminate() {
	p.group.t.Helper()
	p.Signal(syscall.SIGTERM)
	if code := p.AwaitExit(); code != 0 {
		p.group.t.Fatalf("%s: %s", p.Name, p.Command.ProcessState)
	}
}

// AwaitExit waits until the process has ended, and returns its exit code: -1 if a signal has ended it.
func (p *Process) AwaitExit() int {
	p.group.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(Patience):
		p.group.t.Fatalf("%s doesn't end", p.Name)
	}
	p.paused = false
	return p.Command.ProcessState.ExitCode()
}

// RequireAlive requires that the process hasn't ended.
func (p *Process) RequireAlive() {
	p.group.t.Helper()
	if p.ended() {
		p.group.t.Fatalf("%s has ended by itself: %s", p.Name, p.Command.ProcessState)
	}
}

// Pause stops the process in the middle of whatever it does, and Resume lets it go on.
func (p *Process) Pause() {
	p.group.t.Helper()
	p.Signal(syscall.SIGSTOP)
	p.paused = true
}

// Resume lets a paused process go on.
func (p *Process) Resume() {
	p.group.t.Helper()
	p.Signal(syscall.SIGCONT)
	p.paused = false
}
