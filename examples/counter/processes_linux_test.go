package main

import (
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

	"github.com/e17579a5/raft/httpapi"
)

// These are the deadlines of the tests with processes. They only bound how long a failure takes.
const (
	patience = 60 * time.Second
	pollEach = 5 * time.Millisecond
)

// processes is a cluster of real processes, with files and sockets of their own.
type processes struct {
	t       *testing.T
	data    string
	peers   string
	certs   string // the folder of the certificates; "" for no TLS
	servers []*process
	// parent starts the processes on a thread of its own. They end when that thread ends, and so
	// when the test dies in whatever way.
	parent chan func()
	client *http.Client
}

// A process is one server.
type process struct {
	id, web string
	command *exec.Cmd
	exited  chan struct{} // closed when the command has ended
	paused  bool
}

// startProcesses starts three servers at a loopback address of the test's own, and ends them with
// the test. They find their certificates in the folder certs, if that isn't "".
func startProcesses(t *testing.T, certs string) *processes {
	p := &processes{t: t, data: t.TempDir(), certs: certs, parent: make(chan func()), client: &http.Client{Timeout: time.Second}}
	go func() {
		runtime.LockOSThread() // until the end of the goroutine, and so of the thread
		for start := range p.parent {
			start()
		}
	}()
	addresses := freeAddresses(t, 6)
	var peers []string
	for i, id := range []string{"a", "b", "c"} {
		peers = append(peers, id+"="+addresses[i])
		p.servers = append(p.servers, &process{id: id, web: addresses[3+i]})
	}
	p.peers = strings.Join(peers, ",")
	t.Cleanup(func() {
		for _, s := range p.servers {
			if s.command != nil {
				p.kill(s)
			}
			if t.Failed() {
				log, err := os.ReadFile(filepath.Join(p.data, s.id+".log"))
				t.Logf("server %s: %v\n%s", s.id, err, log[max(0, len(log)-4000):])
			}
		}
		close(p.parent)
		p.client.CloseIdleConnections()
	})
	for _, s := range p.servers {
		p.start(s)
	}
	return p
}

// These are the ports of the first server; the others have the ports after them.
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
	p.t.Helper()
	log, err := os.OpenFile(filepath.Join(p.data, s.id+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(p.t, err)
	program, err := os.Executable()
	require.NoError(p.t, err)
	s.command = exec.Command(program, "-id", s.id, "-peers", p.peers, "-http", s.web, "-data", p.data, "-timeout", "1s", "-certs", p.certs)
	s.command.Env = append(os.Environ(), asServer+"=1")
	s.command.Stdout, s.command.Stderr = log, log
	s.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	p.parent <- func() { started <- s.command.Start() }
	require.NoError(p.t, <-started)
	require.NoError(p.t, log.Close())
	command, exited := s.command, make(chan struct{})
	s.exited = exited
	go func() {
		_ = command.Wait() // command.ProcessState says the same
		close(exited)
	}()
}

// kill ends a server as a power cut ends a process: the server doesn't notice.
func (p *processes) kill(s *process) {
	p.t.Helper()
	if err := s.command.Process.Kill(); !errors.Is(err, os.ErrProcessDone) {
		require.NoError(p.t, err)
	}
	p.awaitExit(s)
	s.paused = false
}

// terminate asks a server to end, and requires that it ends cleanly.
func (p *processes) terminate(s *process) {
	p.t.Helper()
	require.NoError(p.t, s.command.Process.Signal(syscall.SIGTERM))
	p.awaitExit(s)
	require.Zero(p.t, s.command.ProcessState.ExitCode(), "server %s: %s", s.id, s.command.ProcessState)
}

func (p *processes) awaitExit(s *process) {
	p.t.Helper()
	select {
	case <-s.exited:
	case <-time.After(patience):
		require.FailNow(p.t, "a process doesn't end", s.id)
	}
}

// pause stops servers in the middle of whatever they do, and resume lets them go on.
func (p *processes) pause(servers ...*process) {
	p.t.Helper()
	for _, s := range servers {
		require.NoError(p.t, s.command.Process.Signal(syscall.SIGSTOP))
		s.paused = true
	}
}

func (p *processes) resume(servers ...*process) {
	p.t.Helper()
	for _, s := range servers {
		require.NoError(p.t, s.command.Process.Signal(syscall.SIGCONT))
		s.paused = false
	}
}

// others returns all servers but one.
func (p *processes) others(than *process) []*process {
	return slices.DeleteFunc(slices.Clone(p.servers), func(s *process) bool { return s == than })
}

// leader waits until a server says that it leads, and returns it.
func (p *processes) leader() (leader *process) {
	p.t.Helper()
	require.Eventually(p.t, func() bool {
		highest := httpapi.Status{}
		for _, s := range p.servers {
			var is httpapi.Status
			if !s.paused && p.ask(s, "/status", &is) == nil && is.Role == "leader" && is.Term > highest.Term {
				leader, highest = s, is
			}
		}
		return highest.Term > 0
	}, patience, pollEach, "nobody leads")
	return leader
}

// value waits until a server answers with the value, and returns it.
func (p *processes) value(s *process) int64 {
	p.t.Helper()
	var got value
	require.Eventually(p.t, func() bool { return p.ask(s, "/counter", &got) == nil }, patience, pollEach,
		"server %s doesn't answer", s.id)
	return got.Value
}

// requireValue requires that every server answers with the same value.
func (p *processes) requireValue(want int64) {
	p.t.Helper()
	for _, s := range p.servers {
		require.Equal(p.t, want, p.value(s), "server %s", s.id)
	}
}

// ask reads a JSON answer.
func (p *processes) ask(s *process, path string, answer any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.web+path, nil)
	if err != nil {
		return err
	}
	w, err := p.client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = w.Body.Close() }() // an error would lose nothing
	if w.StatusCode != http.StatusOK {
		body, err := io.ReadAll(w.Body)
		return errors.Join(fmt.Errorf("%s: %s", w.Status, body), err)
	}
	return json.NewDecoder(w.Body).Decode(answer)
}
