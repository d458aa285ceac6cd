package main

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
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/internal/buildtest"
)

// stepPatience bounds how long a command of the manual may take.
const stepPatience = 60 * time.Second

// TestOperatingManual does what docs/operating.md says, with real processes, and compares what comes
// out. It founds a cluster, adds a server, replaces one, removes one, moves them, takes a backup and
// founds another cluster with it, and recovers after two of three disks are gone.
func TestOperatingManual(t *testing.T) {
	for _, program := range []string{"bash", "curl", "openssl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("the manual needs %s: %v", program, err)
		}
	}
	text, err := os.ReadFile("../../docs/operating.md")
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "raft") // the path of a socket must be short
	require.NoError(t, err)
	s := startShell(t, dir)
	for name, source := range map[string]string{"raft": "./cmd/raft", "counter": "./examples/counter"} {
		require.NoError(t, os.Symlink(buildtest.Build(t, "../..", nil, source), filepath.Join(dir, name)))
	}
	manual, addresses := onOwnPorts(t, string(text))
	begin := time.Now()
	for _, step := range stepsOf(manual) {
		if strings.Contains(step.command, "recover plan a") && !strings.Contains(step.command, "recover apply") {
			begin = time.Now()
		}
		got, code := s.run(step.command)
		require.Regexp(t, patternOf(step.output), plain(got), "line %d: %s\n%s", step.line, step.command, got)
		require.Zero(t, code, "line %d: %s\n%s", step.line, step.command, got)
		if strings.Contains(step.command, "until curl -sf "+addresses["127.0.0.1:8001"]+"/counter") {
			t.Logf("from the plan of the recovery to the first answer: %v", time.Since(begin))
			require.Less(t, time.Since(begin), time.Minute)
		}
	}
}

// A step is a command of the manual, with its output.
type step struct {
	line            int
	command, output string
}

// stepsOf returns the commands of all blocks.
func stepsOf(manual string) (steps []step) {
	inside := false
	number := 0
	for line := range strings.SplitSeq(manual, "\n") {
		number++
		command, isCommand := strings.CutPrefix(line, "$ ")
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```console"
		case inside && isCommand:
			steps = append(steps, step{line: number, command: command})
		case inside:
			steps[len(steps)-1].output += line + "\n"
		}
	}
	return steps
}

// onOwnPorts gives each address of the manual one that is free on this machine, at a loopback address of
// the test's own.
func onOwnPorts(t *testing.T, manual string) (string, map[string]string) {
	host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	own := map[string]string{}
	var held []io.Closer
	manual = regexp.MustCompile(`127\.0\.0\.1:\d{4}\b`).ReplaceAllStringFunc(manual, func(address string) string {
		if own[address] == "" {
			listener := listenSomewhere(t, host)
			held = append(held, listener)
			own[address] = listener.Addr().String()
		}
		return own[address]
	})
	for _, listener := range held {
		require.NoError(t, listener.Close())
	}
	// This one counts addresses by what they begin with.
	moved := own["127.0.0.1:7021"] + `\|` + own["127.0.0.1:7022"] + `\|` + own["127.0.0.1:7023"]
	return strings.ReplaceAll(manual, "grep -c 127.0.0.1:702)", "grep -c '"+moved+"')"), own
}

// listenSomewhere listens at a port below those that the system gives to connections.
func listenSomewhere(t *testing.T, host string) net.Listener {
	for range 1000 {
		listener, err := net.Listen("tcp", fmt.Sprintf("%s:%d", host, 10_000+rand.IntN(20_000)))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		require.NoError(t, err)
		return listener
	}
	require.FailNow(t, "no port is free")
	return nil
}

// token finds what is another one each time, and what could be taken for that: addresses, exit codes and
// the counter's value, which are compared as they are.
var token = regexp.MustCompile(`127\.\d+\.\d+\.\d+:\d+|exit code \d|"value":\d+|\b[0-9a-f]{16,}\b|\b\d+\b| +`)

// plain returns a text in which names that are drawn, numbers and blanks are all the same.
func plain(text string) string {
	return token.ReplaceAllStringFunc(text, func(found string) string {
		switch {
		case found[0] == ' ':
			return " "
		case strings.HasPrefix(found, "127."), strings.HasPrefix(found, "exit"), strings.HasPrefix(found, `"value"`):
			return found
		case len(found) >= 16:
			return "NAME"
		}
		return "NUMBER"
	})
}

// patternOf returns the pattern of an output of the manual: a line with … stands for any lines, and …
// in a line for anything there.
func patternOf(output string) string {
	pattern := regexp.QuoteMeta(plain(output))
	pattern = regexp.MustCompile("(?m)^…\n").ReplaceAllString(pattern, `(?s:.*)`)
	return "^" + strings.ReplaceAll(pattern, "…", ".*") + "$"
}

// A shell carries out one command after the other.
type shell struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
}

// startShell starts a shell in a folder, which is removed with all that the shell has started.
func startShell(t *testing.T, dir string) *shell {
	command := exec.Command("bash")
	command.Dir = dir
	command.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), environment+"=", "LC_ALL=C")
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := command.StdinPipe()
	require.NoError(t, err)
	out, into, err := os.Pipe()
	require.NoError(t, err)
	command.Stdout, command.Stderr = into, into
	require.NoError(t, command.Start())
	require.NoError(t, into.Close())
	t.Cleanup(func() {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) // the shell and what it has started
		_ = command.Wait()
		_ = out.Close()
		if logs, err := filepath.Glob(filepath.Join(dir, "*.log")); err == nil && t.Failed() {
			for _, name := range logs {
				text, err := os.ReadFile(name)
				t.Logf("%s: %v\n%s", name, err, text[max(0, len(text)-2000):])
			}
		}
		removeSoon(t, dir)
	})
	return &shell{t: t, in: in, out: bufio.NewReader(out)}
}

// removeSoon removes a folder. Processes that were killed may still end.
func removeSoon(t *testing.T, dir string) {
	require.Eventually(t, func() bool { return os.RemoveAll(dir) == nil }, stepPatience, 10*time.Millisecond)
}

// run carries out a command, and returns what it and its children have printed, and its exit code.
func (s *shell) run(command string) (out string, code int) {
	s.t.Helper()
	const end = "the end of the command, exit code "
	_, err := fmt.Fprintf(s.in, "%s\necho '%s'$?\n", command, end)
	require.NoError(s.t, err)
	type result struct {
		out  string
		code int
		err  error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		for {
			line, err := s.out.ReadString('\n')
			if before, after, found := strings.Cut(line, end); found {
				_, r.err = fmt.Sscan(after, &r.code)
				r.out += before
				done <- r
				return
			}
			if r.out += line; err != nil {
				r.err = err
				done <- r
				return
			}
		}
	}()
	select {
	case r := <-done:
		require.NoError(s.t, r.err, "%s\n%s", command, r.out)
		if r.out != "" && !strings.HasSuffix(r.out, "\n") {
			r.out += "\n"
		}
		return r.out, r.code
	case <-time.After(stepPatience):
		require.FailNow(s.t, "a command of the manual doesn't end", command)
		return "", 0
	}
}

// TestManualHasAllCodes: the manual says of each code and of each alert what it means.
func TestManualHasAllCodes(t *testing.T) {
	text, err := os.ReadFile("../../docs/operating.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(text), "## What an error means")
	require.True(t, found)
	table, alerts, found := strings.Cut(table, "## What an alert means")
	require.True(t, found)
	rules, err := os.ReadFile("../../metrics/prometheus/alerts.yml")
	require.NoError(t, err)
	names := regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllSubmatch(rules, -1)
	require.Greater(t, len(names), 20)
	for _, alert := range names {
		require.Contains(t, alerts, "`"+string(alert[1])+"`")
	}
	codes := map[string]bool{}
	for _, pattern := range []string{"../../httpapi/*.go", "../../admin/*.go"} {
		names, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			source, err := os.ReadFile(name)
			require.NoError(t, err)
			for _, found := range regexp.MustCompile(`(?:(?:Code(?::|, \w+\.Outcome =| =)|http\.Status\w+,) |unavailable\()"([a-z_]+)"`).FindAllSubmatch(source, -1) {
				codes[string(found[1])] = true
			}
		}
	}
	require.Contains(t, codes, "no_leader")
	require.Contains(t, codes, "forbidden")
	require.Contains(t, codes, "bad_key")
	require.Greater(t, len(codes), 30)
	for code := range codes {
		require.Contains(t, table, "`"+code+"`")
	}
}
