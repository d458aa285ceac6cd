package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/examples/lock/client"
	"github.com/e17579a5/raft/httpapi"
)

// These are the deadlines of the tests with processes. They only bound how long a failure takes.
const (
	patience = 60 * time.Second
	pollEach = 5 * time.Millisecond
)

// processes is a cluster of real processes and a store, with files and sockets of their own.
type processes struct {
	t       *testing.T
	data    string
	peers   string
	servers []*process
	store   *process
	// parent starts the processes on a thread of its own. They end when that thread ends, and so
	// when the test dies in whatever way.
	parent chan func()
	http   *http.Client
}

// A process is a server, the store, or a program that uses them.
type process struct {
	id, web string
	command *exec.Cmd
	exited  chan struct{} // closed when the command has ended
	in      io.Writer
	lines   chan string // what it prints, if it is a holder
	paused  bool
}

// startProcesses starts three servers and a store at a loopback address of the test's own, and ends
// them with the test.
func startProcesses(t *testing.T) *processes {
	p := &processes{t: t, data: t.TempDir(), parent: make(chan func()), http: &http.Client{Timeout: time.Second}}
	go func() {
		runtime.LockOSThread() // until the end of the goroutine, and so of the thread
		for start := range p.parent {
			start()
		}
	}()
	addresses := freeAddresses(t, 7)
	var peers []string
	for i, id := range []string{"a", "b", "c"} {
		peers = append(peers, id+"="+addresses[i])
		p.servers = append(p.servers, &process{id: id, web: addresses[3+i]})
	}
	p.peers = strings.Join(peers, ",")
	p.store = &process{id: "store", web: addresses[6]}
	t.Cleanup(func() {
		for _, s := range append(p.servers, p.store) {
			if s.command != nil {
				p.kill(s)
			}
			if t.Failed() {
				log, err := os.ReadFile(filepath.Join(p.data, s.id+".log"))
				t.Logf("%s: %v\n%s", s.id, err, log[max(0, len(log)-4000):])
			}
		}
		close(p.parent)
		p.http.CloseIdleConnections()
	})
	for _, s := range p.servers {
		p.start(s)
	}
	p.startLogged(p.store, "store", "-http", p.store.web, "-data", filepath.Join(p.data, "store"))
	p.leader()
	require.Eventually(t, func() bool {
		_, err := p.get(p.store, "/store/x", nil)
		return err == nil
	}, patience, pollEach, "the store doesn't answer")
	return p
}

// freeAddresses returns addresses that nobody has.
func freeAddresses(t *testing.T, n int) []string {
	host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	if listener, err := net.Listen("tcp", host+":0"); err != nil {
		t.Logf("the servers share 127.0.0.1 with others: %v", err)
		host = "127.0.0.1"
	} else {
		require.NoError(t, listener.Close())
	}
	var free []string
	for range 1000 {
		address := fmt.Sprintf("%s:%d", host, 10_000+rand.IntN(20_000))
		if slices.Contains(free, address) {
			continue
		}
		listener, err := net.Listen("tcp", address)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue // somebody has the port, maybe at every host
		}
		require.NoError(t, err)
		require.NoError(t, listener.Close())
		if free = append(free, address); len(free) == n {
			return free
		}
	}
	require.FailNow(t, "no addresses are free", "at %s", host)
	return nil
}

// start starts a server that isn't running.
func (p *processes) start(s *process) {
	p.startLogged(s, "-id", s.id, "-peers", p.peers, "-http", s.web, "-data", p.data, "-timeout", "1s")
}

// startLogged starts the program, which writes into a file.
func (p *processes) startLogged(s *process, args ...string) {
	p.t.Helper()
	log, err := os.OpenFile(filepath.Join(p.data, s.id+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(p.t, err)
	s.command = exec.Command(os.Args[0], args...)
	s.command.Env = append(os.Environ(), asProgram+"=1")
	s.command.Stdout, s.command.Stderr = log, log
	p.run(s)
	require.NoError(p.t, log.Close())
}

// run starts a command. It is a leader of a group of processes, so that it can be stopped with its
// children.
func (p *processes) run(s *process) {
	p.t.Helper()
	s.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	p.parent <- func() { started <- s.command.Start() }
	require.NoError(p.t, <-started)
	command, exited := s.command, make(chan struct{})
	s.exited = exited
	go func() {
		_ = command.Wait() // command.ProcessState says the same
		close(exited)
	}()
}

// startHolder starts a holder of lock x, and waits until it holds that. It returns the token.
func (p *processes) startHolder(lease time.Duration) (s *process, token uint64) {
	s = &process{id: "holder", command: exec.Command(os.Args[0]), lines: make(chan string, 100)}
	s.command.Env = append(os.Environ(), asProgram+"="+asHolder, holderServers+"="+strings.Join(p.web(), ","),
		holderStore+"="+p.store.web, holderLease+"="+lease.String())
	s.command.Stderr = os.Stderr
	out, in := io.Pipe()
	s.command.Stdout = in
	input, err := s.command.StdinPipe()
	require.NoError(p.t, err)
	s.in = input
	p.run(s)
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.lines <- lines.Text()
		}
	}()
	p.t.Cleanup(func() {
		p.kill(s)
		_ = in.Close() // this never fails
	})
	_, err = fmt.Sscanf(p.line(s), "holds %d", &token)
	require.NoError(p.t, err)
	return s, token
}

// line returns the next line that a holder prints.
func (p *processes) line(s *process) string {
	p.t.Helper()
	select {
	case line := <-s.lines:
		return line
	case <-time.After(patience):
		require.FailNow(p.t, "a holder says nothing")
		return ""
	}
}

// tell gives a holder a line, and returns what it answers.
func (p *processes) tell(s *process, line string) string {
	p.t.Helper()
	_, err := fmt.Fprintln(s.in, line)
	require.NoError(p.t, err)
	return p.line(s)
}

// web returns the HTTP addresses of the servers.
func (p *processes) web() (all []string) {
	for _, s := range p.servers {
		all = append(all, s.web)
	}
	return all
}

// client returns a client of the servers.
func (p *processes) client() *client.Client { return newClient(p.t, p.web()) }

func newClient(t *testing.T, servers []string) *client.Client {
	c, err := client.New(client.Options{Servers: servers, Attempt: 2 * time.Second})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = c.Close(ctx) // the servers may be gone
	})
	return c
}

// kill ends a process as a power cut ends it: the process doesn't notice.
func (p *processes) kill(s *process) {
	p.t.Helper()
	if err := s.command.Process.Kill(); !errors.Is(err, os.ErrProcessDone) {
		require.NoError(p.t, err)
	}
	p.awaitExit(s)
	s.paused = false
}

func (p *processes) awaitExit(s *process) {
	p.t.Helper()
	select {
	case <-s.exited:
	case <-time.After(patience):
		require.FailNow(p.t, "a process doesn't end", s.id)
	}
}

// pause stops a process in the middle of whatever it does, and resume lets it go on.
func (p *processes) pause(s *process) {
	p.t.Helper()
	require.NoError(p.t, s.command.Process.Signal(syscall.SIGSTOP))
	s.paused = true
}

func (p *processes) resume(s *process) {
	p.t.Helper()
	require.NoError(p.t, s.command.Process.Signal(syscall.SIGCONT))
	s.paused = false
}

// leader waits until a server says that it leads, and returns it.
func (p *processes) leader() (leader *process) {
	p.t.Helper()
	require.Eventually(p.t, func() bool {
		highest := httpapi.Status{}
		for _, s := range p.servers {
			var is httpapi.Status
			if s.paused {
				continue
			}
			if _, err := p.get(s, "/status", &is); err == nil && is.Role == "leader" && is.Term > highest.Term {
				leader, highest = s, is
			}
		}
		return highest.Term > 0
	}, patience, pollEach, "nobody leads")
	return leader
}

// get reads a JSON answer, and returns the status.
func (p *processes) get(s *process, path string, answer any) (int, error) {
	w, err := p.http.Get("http://" + s.web + path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = w.Body.Close() }() // an error would lose nothing
	if answer == nil {
		return w.StatusCode, nil
	}
	return w.StatusCode, json.NewDecoder(w.Body).Decode(answer)
}
