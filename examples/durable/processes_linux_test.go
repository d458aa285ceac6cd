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
)

// asServer is an environment variable. If it is set, the test binary is the program itself.
const asServer = "DURABLE_TEST_AS_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(asServer) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// These are the deadlines of the tests with processes. They only bound how long a failure takes.
const (
	patience = 60 * time.Second
	pollEach = 5 * time.Millisecond
)

// processes is a cluster of real processes, with files and sockets of their own.
type processes struct {
	t       *testing.T
	kind    string
	data    string
	peers   string
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
}

// startProcesses starts three servers at a loopback address of the test's own, and ends them with the
// test.
func startProcesses(t *testing.T, kind string) *processes {
	p := &processes{t: t, kind: kind, data: t.TempDir(), parent: make(chan func()), client: &http.Client{Timeout: 2 * time.Second}}
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
			p.kill(s)
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

// freeAddresses returns addresses at which nobody listens, below the ports that the system gives away.
func freeAddresses(t *testing.T, n int) (free []string) {
	host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	for range 1000 {
		address := fmt.Sprintf("%s:%d", host, 10_000+rand.IntN(20_000))
		listener, err := net.Listen("tcp", address)
		if errors.Is(err, syscall.EADDRINUSE) || slices.Contains(free, address) {
			continue
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

// start starts a server that isn't running. It takes a snapshot after every 32 KiB of log, so that one
// that was away soon needs a snapshot.
func (p *processes) start(s *process) {
	p.t.Helper()
	log, err := os.OpenFile(filepath.Join(p.data, s.id+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(p.t, err)
	program, err := os.Executable()
	require.NoError(p.t, err)
	s.command = exec.Command(program, "-id", s.id, "-peers", p.peers, "-http", s.web, "-data", p.data,
		"-store", p.kind, "-timeout", "1s", "-snapshot", "32768")
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

// kill ends a server, if it runs, as SIGKILL does: the server doesn't notice.
func (p *processes) kill(s *process) {
	p.t.Helper()
	if s.command == nil {
		return
	}
	if err := s.command.Process.Kill(); !errors.Is(err, os.ErrProcessDone) {
		require.NoError(p.t, err)
	}
	select {
	case <-s.exited:
	case <-time.After(patience):
		require.FailNow(p.t, "a process doesn't end", s.id)
	}
}

// requireAlive demands that a server hasn't ended by itself.
func (p *processes) requireAlive(s *process) {
	p.t.Helper()
	select {
	case <-s.exited:
		require.FailNow(p.t, "a server has ended by itself", "%s: %s", s.id, s.command.ProcessState)
	default:
	}
}

// await waits until a server serves a read.
func (p *processes) await(s *process) {
	p.t.Helper()
	require.Eventually(p.t, func() bool {
		code, _, err := p.ask(s, http.MethodGet, "/keys/nothing")
		return err == nil && code == http.StatusNotFound
	}, patience, pollEach, "server %s doesn't answer", s.id)
}

// ask sends a request, and returns the answer's code and its value.
func (p *processes) ask(s *process, method, path string) (code int, v value, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+s.web+path, nil)
	if err != nil {
		return 0, v, err
	}
	w, err := p.client.Do(r)
	if err != nil {
		return 0, v, err
	}
	defer func() { _ = w.Body.Close() }() // an error would lose nothing
	if w.StatusCode != http.StatusOK {
		_, err := io.Copy(io.Discard, w.Body)
		return w.StatusCode, v, err
	}
	return w.StatusCode, v, json.NewDecoder(w.Body).Decode(&v)
}
