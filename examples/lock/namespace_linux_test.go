package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/examples/lock/client"
	"github.com/e17579a5/raft/httpapi"
)

// namespacePart is a variable of the environment of the process that has the network of
// TestPartitions.
const namespacePart = "LOCK_TEST_NETWORK"

// TestPartitions: three servers and a holder are each in a network namespace of its own, and a real
// kernel carries their packets over a bridge. First the leader is cut off: the holder keeps its lock
// by the others. Then the holder is cut off: another one gets the lock, and when the network works
// again, the store refuses what the first one writes.
func TestPartitions(t *testing.T) {
	if os.Getenv(namespacePart) != "" {
		partition(t)
		return
	}
	if testing.Short() {
		t.Skip("it takes 10 s")
	}
	t.Parallel() // it mostly waits
	for _, tool := range []string{"unshare", "ip", "bridge"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("network namespaces need ", tool)
		}
	}
	if out, err := exec.Command("unshare", "-nm", "ip", "link", "add", "br0", "type", "bridge").CombinedOutput(); err != nil {
		t.Skipf("no network namespace, or no bridge in it, can be made here: %v: %s", err, out)
	}
	command := exec.Command("unshare", "-nm", os.Args[0], "-test.run=^TestPartitions$", "-test.v")
	command.Env = append(os.Environ(), namespacePart+"=1")
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // nobody outlives the test
	out, err := command.CombinedOutput()
	t.Log(string(out))
	require.NoError(t, err)
}

// The addresses in the network of TestPartitions: servers 1 to 3, the holder 4, and the test itself,
// which has the store.
const (
	subnet   = "10.9.1."
	testHost = subnet + "100"
)

// A namespaced is a process in its network namespace.
type namespaced struct {
	port    string // of the bridge
	command *exec.Cmd
	in      io.Writer
	lines   chan string
}

// system runs a command.
func system(t *testing.T, name string, arguments ...string) {
	t.Helper()
	out, err := exec.Command(name, arguments...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, arguments, out)
}

// startNamespaced starts the program in a network namespace with an address, connected to the bridge.
func startNamespaced(t *testing.T, number int, environment []string, args ...string) *namespaced {
	s := &namespaced{port: fmt.Sprint("port", number), lines: make(chan string, 1000)}
	script := fmt.Sprintf(`echo here; read line; ip link set lo up && ip addr add %s%d/24 dev eth0 && ip link set eth0 up && exec "$0" "$@"`, subnet, number)
	s.command = exec.Command("unshare", append([]string{"-n", "sh", "-c", script, os.Args[0]}, args...)...)
	s.command.Env = append(os.Environ(), environment...)
	s.command.Stderr = os.Stderr
	s.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := s.command.StdinPipe()
	require.NoError(t, err)
	out, err := s.command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, s.command.Start())
	t.Cleanup(func() {
		_ = s.command.Process.Kill() // it may have ended
		_ = s.command.Wait()
	})
	s.in = in
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.lines <- lines.Text()
		}
	}()
	require.Equal(t, "here", s.line(t))
	system(t, "ip", "link", "add", s.port, "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprintf("/proc/%d/ns/net", s.command.Process.Pid))
	system(t, "ip", "link", "set", s.port, "master", "br0", "up")
	_, err = fmt.Fprintln(in, "go on")
	require.NoError(t, err)
	return s
}

func (s *namespaced) line(t *testing.T) string {
	t.Helper()
	select {
	case line := <-s.lines:
		return line
	case <-time.After(patience):
		require.FailNow(t, "a process says nothing")
		return ""
	}
}

// tell gives a holder a line, and returns what it answers.
func (s *namespaced) tell(t *testing.T, line string) string {
	t.Helper()
	_, err := fmt.Fprintln(s.in, line)
	require.NoError(t, err)
	return s.line(t)
}

// cut lets no packets through, and heal does again.
func (s *namespaced) cut(t *testing.T) {
	system(t, "bridge", "link", "set", "dev", s.port, "state", "disabled")
}

func (s *namespaced) heal(t *testing.T) {
	system(t, "bridge", "link", "set", "dev", s.port, "state", "forwarding")
}

// partition is the process that has the network.
func partition(t *testing.T) {
	system(t, "ip", "link", "set", "lo", "up")
	system(t, "ip", "link", "add", "br0", "type", "bridge")
	system(t, "ip", "addr", "add", testHost+"/24", "dev", "br0")
	system(t, "ip", "link", "set", "br0", "up")
	data := t.TempDir()
	serve, store, err := startStore(testHost+":0", filepath.Join(data, "store"))
	require.NoError(t, err)
	storing, stop := context.WithCancel(t.Context())
	stored := make(chan error, 1)
	go func() { stored <- serve(storing) }()
	defer func() {
		stop()
		require.NoError(t, <-stored)
	}()
	var peers, web []string
	for i, id := range []string{"a", "b", "c"} {
		peers = append(peers, fmt.Sprintf("%s=%s%d:7101", id, subnet, i+1))
		web = append(web, fmt.Sprintf("%s%d:8180", subnet, i+1))
	}
	var servers []*namespaced
	for i, id := range []string{"a", "b", "c"} {
		servers = append(servers, startNamespaced(t, i+1, []string{asProgram + "=1"},
			"-id", id, "-peers", strings.Join(peers, ","), "-http", web[i], "-data", data, "-timeout", "1s"))
	}
	const lease = 4 * time.Second
	holder := startNamespaced(t, 4, []string{
		asProgram + "=" + asHolder, holderServers + "=" + strings.Join(web, ","), holderStore + "=" + store.String(), holderLease + "=" + lease.String(),
	})
	var low uint64
	_, err = fmt.Sscanf(holder.line(t), "holds %d", &low)
	require.NoError(t, err)

	leader := leaderAmong(t, web)
	servers[leader].cut(t)
	<-time.After(lease + time.Second) // without the others, the lease would be over
	require.Equal(t, "believes true", holder.tell(t, "look"))
	require.Equal(t, "wrote 200 <nil>", holder.tell(t, "write early"))
	servers[leader].heal(t)

	began := time.Now()
	holder.cut(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	second, err := newClient(t, web).Acquire(ctx, "x", client.Terms{Lease: 30 * time.Second})
	require.NoError(t, err)
	took := time.Since(began)
	require.Greater(t, second.Token(), low)
	status, err := write(store.String(), "x", second.Token(), "by the second")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, client.ErrLeaseOver.Error(), holder.tell(t, "cause"), "who is cut off notices by its own clock")
	holder.heal(t)
	require.Equal(t, "wrote 409 <nil>", holder.tell(t, "write late"))
	require.True(t, second.Held())
	require.NoError(t, second.Release(ctx))
	t.Logf("lease %v: the lock of a holder that was cut off was granted again after %v", lease, took)
}

// leaderAmong waits until one of the servers says that it leads, and returns its number.
func leaderAmong(t *testing.T, web []string) (leader int) {
	asking := &http.Client{Timeout: time.Second}
	p := &processes{t: t, http: asking}
	require.Eventually(t, func() bool {
		for i := range web {
			var is httpapi.Status
			if _, err := p.get(&process{web: web[i]}, "/status", &is); err == nil && is.Role == "leader" {
				leader = i
				return true
			}
		}
		return false
	}, patience, pollEach, "nobody leads")
	return leader
}
