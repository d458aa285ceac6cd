package wal_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// fleetPatience bounds how long a failure takes.
const fleetPatience = 3 * time.Minute

// A fleet is three servers in processes of their own, with their logs on the real file system and
// their connections over loopback, and all that their clients were told.
type fleet struct {
	t        *testing.T
	folder   string
	election time.Duration // the servers' election timeout
	servers  []*fleetServer
	all      []raft.Server

	mu           sync.Mutex
	acknowledged map[uint64]uint64 // the command's place
	refused      map[uint64]bool   // they never come to be applied
}

// A fleetServer is one of them.
type fleetServer struct {
	raft.Server
	number, life int
	folder       string // of its log
	stdin        io.WriteCloser
	answers      chan string
	process      chan int      // gets the number of the process when it has started
	pid          int           // 0 while it isn't known
	ended        chan struct{} // closed when the process has ended
	end          *ledgerEnd    // nil if it was killed
	repaired     int64         // in its lives before this one
	last         ledgerStatus  // what it said last in this life
}

// startFleet starts three servers with an election timeout.
func startFleet(t *testing.T, election time.Duration) *fleet {
	f := &fleet{t: t, folder: t.TempDir(), election: election, acknowledged: map[uint64]uint64{}, refused: map[uint64]bool{}}
	host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	for number, id := range []raft.ServerID{"a", "b", "c"} {
		listener, err := net.Listen("tcp", host+":0")
		require.NoError(t, err)
		address := listener.Addr().String()
		require.NoError(t, listener.Close())
		f.all = append(f.all, raft.Server{ID: id, Address: address})
		f.servers = append(f.servers, &fleetServer{Server: f.all[number], number: number, folder: filepath.Join(f.folder, string(id))})
	}
	t.Cleanup(f.cleanUp)
	for _, s := range f.servers {
		f.start(s, f.all)
	}
	return f
}

// cleanUp kills what still runs, and shows what the servers have logged if the test has failed.
func (f *fleet) cleanUp() {
	for _, s := range f.servers {
		if s.ended != nil {
			f.kill(s)
		}
		if f.t.Failed() {
			log, err := os.ReadFile(s.folder + ".log")
			f.t.Logf("server %s: ended %+v, %v\n%s", s.ID, s.end, err, log[max(0, len(log)-3000):])
		}
	}
}

// start starts a server that isn't running, by itself or as the argument of another command.
func (f *fleet) start(s *fleetServer, founders []raft.Server, by ...string) {
	f.t.Helper()
	settings, err := json.Marshal(ledgerSettings{
		Folder: s.folder, Self: s.Server, Founders: founders, Number: s.number, Life: s.life, Election: f.election,
	})
	require.NoError(f.t, err)
	s.life++
	s.repaired += s.last.Repaired
	s.last, s.end, s.pid = ledgerStatus{}, nil, 0
	arguments := append(by, os.Args[0], "-test.run=^TestServerWithALedger$", "-test.timeout=0")
	command := exec.Command(arguments[0], arguments[1:]...)
	command.Env = append(os.Environ(), ledgerPart+"="+string(settings))
	log, err := os.OpenFile(s.folder+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(f.t, err)
	command.Stderr = log
	s.stdin, err = command.StdinPipe()
	require.NoError(f.t, err)
	output, err := command.StdoutPipe()
	require.NoError(f.t, err)
	require.NoError(f.t, command.Start())
	require.NoError(f.t, log.Close())
	s.answers, s.process, s.ended = make(chan string, 1), make(chan int, 1), make(chan struct{})
	go f.listen(s, command, output)
}

// listen takes what a server tells, until it has ended.
func (f *fleet) listen(s *fleetServer, command *exec.Cmd, output io.Reader) {
	defer close(s.ended)
	for lines := bufio.NewScanner(output); lines.Scan(); {
		what, value, _ := strings.Cut(lines.Text(), ": ")
		switch what {
		case "started":
			if pid, err := strconv.Atoi(value); err == nil {
				s.process <- pid
			}
		case "answer":
			s.answers <- value
		case "ended":
			if end := new(ledgerEnd); json.Unmarshal([]byte(value), end) == nil {
				s.end = end
			}
		case "acknowledged", "refused":
			f.note(what, value)
		}
	}
	_ = command.Wait() // whether it was killed is known
}

// note notes what a client was told.
func (f *fleet) note(what, value string) {
	var numbers []uint64
	if json.Unmarshal([]byte(value), &numbers) != nil {
		return // it was killed in the middle of the line
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if what == "refused" {
		f.refused[numbers[0]] = true
		return
	}
	f.acknowledged[numbers[0]] = numbers[1]
}

// kill ends a server as a power cut ends a process.
func (f *fleet) kill(s *fleetServer) {
	f.t.Helper()
	if s.pid == 0 {
		select {
		case s.pid = <-s.process:
		case <-s.ended:
			return
		}
	}
	select {
	case <-s.ended:
	default:
		_ = syscall.Kill(s.pid, syscall.SIGKILL) // it may just have ended
	}
	f.awaitEnd(s)
}

// close ends a server as it should be ended.
func (f *fleet) close(s *fleetServer) {
	f.t.Helper()
	_, _ = io.WriteString(s.stdin, "end\n") // if it has ended already, that is seen below
	f.awaitEnd(s)
	require.Equal(f.t, &ledgerEnd{}, s.end, "server %s", s.ID)
}

// awaitEnd waits until a server has ended.
func (f *fleet) awaitEnd(s *fleetServer) {
	f.t.Helper()
	select {
	case <-s.ended:
	case <-time.After(fleetPatience):
		require.FailNow(f.t, "a server doesn't end", "%s, process %d", s.ID, s.pid)
	}
}

// order gives a server an order. It returns false if the server ends before it answers.
func (f *fleet) order(s *fleetServer, order string, answer any) bool {
	f.t.Helper()
	_, _ = io.WriteString(s.stdin, order+"\n") // if it has ended, that is seen below
	select {
	case text := <-s.answers:
		require.NoError(f.t, json.Unmarshal([]byte(text), answer))
		return true
	case <-s.ended:
		return false
	case <-time.After(fleetPatience):
		require.FailNow(f.t, "a server doesn't answer", "%s: %s", s.ID, order)
	}
	return false
}

// status asks a server how it is. It returns false if the server has ended.
func (f *fleet) status(s *fleetServer) (ledgerStatus, bool) {
	f.t.Helper()
	var status ledgerStatus
	if !f.order(s, "status", &status) {
		return s.last, false
	}
	s.last = status
	return status, true
}

// await waits until something holds.
func (f *fleet) await(holds func() bool, what string, arguments ...any) {
	f.t.Helper()
	for late := time.Now().Add(fleetPatience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(late) {
			for _, s := range f.servers {
				f.t.Logf("%s: %+v, ended %+v", s.ID, s.last, s.end)
			}
			require.FailNow(f.t, fmt.Sprintf(what, arguments...))
		}
	}
}

// count returns how many commands were acknowledged.
func (f *fleet) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.acknowledged)
}

// goOn waits until more commands are acknowledged. Each of them was proposed after the call, or was
// under way.
func (f *fleet) goOn() {
	f.t.Helper()
	before := f.count()
	f.await(func() bool { return f.count() > before+20 }, "no command is acknowledged")
}

// sound waits until a server has applied what the others know to be committed, and lacks nothing.
// It returns false if the server ends, or says that its disk went back.
func (f *fleet) sound(s *fleetServer) (sound bool) {
	f.t.Helper()
	commit, lives := raft.Index(0), true
	for _, other := range f.servers {
		if status, ok := f.status(other); ok && other != s {
			commit = max(commit, status.Commit)
		}
	}
	f.await(func() bool {
		var status ledgerStatus
		status, lives = f.status(s)
		sound = status.Applied >= commit && status.Lost == 0 && status.SnapshotDamage == "" && status.Trouble == ""
		return sound || !lives || status.RolledBack
	}, "server %s isn't sound", s.ID)
	return sound && lives
}

// replace gives a server an empty disk, as a person does when its own can't be used any more.
func (f *fleet) replace(s *fleetServer) {
	f.t.Helper()
	require.NoError(f.t, os.RemoveAll(s.folder))
	f.start(s, nil)
	f.await(func() bool {
		answer := ""
		for _, other := range f.servers {
			if other != s && f.order(other, "replace "+string(s.ID), &answer) && answer == "" {
				return true
			}
		}
		return false
	}, "server %s isn't replaced", s.ID)
	require.True(f.t, f.sound(s), "server %s, replaced", s.ID)
}

// compare stops the clients. It demands that all servers have applied the same commands, that each
// acknowledged one is among them at its place, and that none is there twice or was refused.
func (f *fleet) compare() {
	f.t.Helper()
	for _, s := range f.servers {
		answer := ""
		require.True(f.t, f.order(s, "quiet", &answer), "server %s has ended", s.ID)
	}
	f.requireSame()
	for _, s := range f.servers { // what their disks hold is the same
		f.close(s)
		f.start(s, nil)
	}
	for _, s := range f.servers {
		answer := ""
		require.True(f.t, f.order(s, "quiet", &answer), "server %s has ended", s.ID)
	}
	f.requireSame()
	for _, s := range f.servers {
		f.close(s)
	}
}

// requireSame is compare without the restarts.
func (f *fleet) requireSame() {
	f.t.Helper()
	f.await(func() bool {
		first, _ := f.status(f.servers[0])
		for _, s := range f.servers {
			if status, _ := f.status(s); status.Leader == "" || status.Applied != first.Applied || status.Applied != status.Last {
				return false
			}
		}
		return true
	}, "the servers have applied different entries")
	var lists [3][]uint64
	for i, s := range f.servers {
		answer, name := "", s.folder+".list"
		require.True(f.t, f.order(s, "list "+name, &answer))
		require.Empty(f.t, answer)
		text, err := os.ReadFile(name)
		require.NoError(f.t, err)
		require.NoError(f.t, json.Unmarshal(text, &lists[i]))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	times := map[uint64]int{}
	for _, command := range lists[0] {
		times[command]++
		require.Equal(f.t, 1, times[command], "command %x", command)
		require.False(f.t, f.refused[command], "command %x was refused, and is applied", command)
	}
	for command, at := range f.acknowledged {
		require.Less(f.t, at, uint64(len(lists[0])), "command %x", command)
		require.Equal(f.t, command, lists[0][at], "at %d", at)
	}
	for i := range lists {
		require.True(f.t, slices.Equal(lists[0], lists[i]), "servers a and %s have applied different commands", f.servers[i].ID)
	}
}
