// Package process runs the program under test in processes of its own, for tests that kill, stop and
// start it again. A Group is the processes of a test, and a Cluster three servers that find each other.
// On Linux a process ends with its test, in whatever way that ends; the tests run there alone.
//
// The program is the test binary: Main makes it that. So the processes run exactly the code under
// test, with the race detector if that is on, and nothing has to be built for them.
package process

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"
)

// These are the deadlines of the tests with processes. They only bound how long a failure takes.
const (
	Patience = 60 * time.Second
	PollEach = 5 * time.Millisecond
)

// variable is one of the environment. It names the program that the test binary is.
const variable = "RAFT_TEST_PROGRAM"

// Main is for TestMain. In a process that has a command of Command, it is the program of that name. In
// any other process it runs the tests.
func Main(m *testing.M, programs map[string]func()) {
	name := os.Getenv(variable)
	if name == "" {
		os.Exit(m.Run())
	}
	program := programs[name]
	if program == nil {
		fmt.Fprintf(os.Stderr, "%s: there is no program %q\n", variable, name)
		os.Exit(2)
	}
	program()
	os.Exit(0)
}

// Command returns a command that runs a program of Main, with these arguments.
func Command(t testing.TB, program string, arguments ...string) *exec.Cmd {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(binary, arguments...)
	command.Env = append(os.Environ(), variable+"="+program)
	return command
}

// Await waits until something holds. It looks at least once, and then each PollEach, and fails the test
// after Patience.
func Await(t testing.TB, holds func() bool, what string, arguments ...any) {
	t.Helper()
	for late := time.Now().Add(Patience); !holds(); <-time.After(PollEach) {
		if time.Now().After(late) {
			t.Fatalf("after %v: %s", Patience, fmt.Sprintf(what, arguments...))
		}
	}
}

// Request sends a request, and returns the status of the answer. If that is 200, the body is read as
// JSON into answer, unless that is nil.
func Request(client *http.Client, method, url string, answer any) (status int, err error) {
	r, err := http.NewRequestWithContext(context.Background(), method, url, nil)
	if err != nil {
		return 0, err
	}
	w, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer func() { _ = w.Body.Close() }() // an error would lose nothing
	if w.StatusCode != http.StatusOK || answer == nil {
		_, err := io.Copy(io.Discard, w.Body)
		return w.StatusCode, err
	}
	return w.StatusCode, json.NewDecoder(w.Body).Decode(answer)
}
