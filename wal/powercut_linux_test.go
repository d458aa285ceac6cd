package wal_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wal/internal/forgetful"
)

var (
	powerCuts    = flag.Int("power-cuts", 0, "how many power cuts a real file system goes through in TestPowerCuts")
	powerCutSeed = flag.Uint64("power-cut-seed", 1, "decides what a power cut leaves")
)

// powerPart is a variable of the environment. It makes TestServerThatLosesPower a server with its
// log in this folder.
const powerPart = "RAFT_WAL_TEST_FOLDER"

// The server's clients, how many they are, and how large their commands are.
const (
	powerClients = 8
	diskSize     = 64 << 20
)

// A tallies is a state machine that knows the last command of each client. The commands of a client
// have consecutive numbers, and it says so if one is missing or comes twice.
type tallies struct {
	mu   sync.Mutex
	Last [powerClients]uint64
	Err  string
}

func (m *tallies) Apply(entries []raft.Entry, results [][]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range entries {
		client, number := entries[i].Data[0], binary.LittleEndian.Uint64(entries[i].Data[1:])
		if number != m.Last[client]+1 && m.Err == "" {
			m.Err = fmt.Sprintf("client %d: command %d after %d", client, number, m.Last[client])
		}
		m.Last[client] = number
	}
}

func (m *tallies) Snapshot() (io.WriterTo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	text, err := json.Marshal(m)
	return writerTo(text), err
}

func (m *tallies) Restore(r io.Reader) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return json.NewDecoder(r).Decode(m)
}

// startTallies starts a server that is alone, with its log in a folder. Snapshots come often, and
// segments are small: so their files are made, used again and removed all the time.
func startTallies(folder string) (*raft.Node, *tallies, error) {
	log, err := wal.Open(folder, wal.Options{SegmentSize: 64 << 10})
	if err != nil {
		return nil, nil, err
	}
	machine := new(tallies)
	node, err := raft.Start(raft.Config{
		ID: "a", Machine: machine, Storage: log, Transport: memory.NewNetwork(memory.Options{}).Join("a"),
		Bootstrap: []raft.Server{{ID: "a"}}, SnapshotMinBytes: 100 << 10, SnapshotFactor: 1, Logger: slog.New(slog.DiscardHandler),
	})
	return node, machine, err
}

// TestPowerCuts cuts the power of a real file system, again and again, while a server works on it.
// The file system is ext4, on a block device that forgets what wasn't flushed. What such a cut
// leaves is mounted, so that the file system repairs itself. The log in it is sound, and a server
// that starts from it knows every command that was acknowledged before the cut.
//
//	go test ./wal -run TestPowerCuts -v -power-cuts 100
func TestPowerCuts(t *testing.T) {
	if *powerCuts == 0 {
		t.Skip("it takes a while, the right to mount, /dev/fuse and a loop device: -power-cuts 100")
	}
	luck := rand.New(rand.NewPCG(*powerCutSeed, 0))
	disk := forgetful.NewDisk(diskSize)
	folder := t.TempDir()
	shown, mounted := filepath.Join(folder, "shown"), filepath.Join(folder, "mounted")
	require.NoError(t, os.Mkdir(shown, 0o700))
	require.NoError(t, os.Mkdir(mounted, 0o700))
	path, stop, err := disk.Serve(shown)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, stop()) })
	run(t, "mkfs.ext4", "-q", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", path)
	run(t, "mount", "-o", "loop", path, mounted)
	t.Cleanup(func() { run(t, "umount", mounted) })
	server := startPowered(t, filepath.Join(mounted, "log"))

	all := 0
	for cut := range *powerCuts {
		var known [powerClients]uint64
		image := server.wait(t, disk.Cut(forgetful.Cut{
			Writes: 1 + luck.IntN(500), Luck: luck.Uint64, Before: func() { known = server.acknowledged() },
		}))
		found := recovered(t, filepath.Join(folder, "image"), image.Bytes, cut)
		for client, last := range known {
			require.GreaterOrEqual(t, found[client], last, "cut %d: what was acknowledged to client %d is lost", cut, client)
		}
		all += image.Unflushed
	}
	writes, flushes := disk.Counts()
	t.Logf("%d cuts; %d writes and %d flushes of the disk; %d writes not flushed at the cuts; acknowledged: %v",
		*powerCuts, writes, flushes, all, server.acknowledged())
}

// run runs a command.
func run(t *testing.T, name string, arguments ...string) {
	t.Helper()
	out, err := exec.Command(name, arguments...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, arguments, out)
}

// recovered starts a server from what a power cut has left, and returns what the server knows of
// each client.
func recovered(t *testing.T, path string, image []byte, cut int) [powerClients]uint64 {
	require.NoError(t, os.WriteFile(path, image, 0o600))
	folder := path + ".mounted"
	require.NoError(t, os.Mkdir(folder, 0o700))
	run(t, "mount", "-o", "loop", path, folder)
	defer func() {
		run(t, "umount", folder)
		require.NoError(t, os.Remove(folder))
	}()
	log := filepath.Join(folder, "log")
	report, err := wal.Inspect(log, wal.Options{}, nil)
	require.NoError(t, err, "cut %d", cut)
	require.NoError(t, report.Err, "cut %d", cut)
	require.Empty(t, report.Damage, "cut %d", cut)
	node, machine, err := startTallies(log)
	require.NoError(t, err, "cut %d", cut)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, node.Read(ctx), "cut %d", cut)
	require.NoError(t, node.Close(ctx), "cut %d", cut)
	require.Empty(t, machine.Err, "cut %d", cut)
	return machine.Last
}

// A powered is a server in a process of its own, and what it has acknowledged.
type powered struct {
	known [powerClients]atomic.Uint64
	ended chan struct{} // closed when it has ended
}

// startPowered starts a server. The end of the test kills it.
func startPowered(t *testing.T, folder string) *powered {
	command := exec.Command(os.Args[0], "-test.run=^TestServerThatLosesPower$")
	command.Env = append(os.Environ(), powerPart+"="+folder)
	command.Stderr = os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	output, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	p := &powered{ended: make(chan struct{})}
	t.Cleanup(func() {
		require.NoError(t, command.Process.Kill())
		<-p.ended
		_ = command.Wait() // the error is that it was killed
	})
	go func() {
		defer close(p.ended)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			var client, number uint64
			if _, err := fmt.Sscanf(lines.Text(), "acknowledged: %d %d", &client, &number); err != nil {
				continue
			}
			p.known[client].Store(number)
		}
	}()
	return p
}

// wait waits for the image of a cut.
func (p *powered) wait(t *testing.T, image <-chan forgetful.Image) forgetful.Image {
	select {
	case i := <-image:
		return i
	case <-p.ended:
		require.Fail(t, "the server has ended")
	case <-time.After(time.Minute):
		require.Fail(t, "the server stands still")
	}
	return forgetful.Image{}
}

// acknowledged returns the last command of each client that was acknowledged.
func (p *powered) acknowledged() (known [powerClients]uint64) {
	for client := range known {
		known[client] = p.known[client].Load()
	}
	return known
}

// TestServerThatLosesPower is the server of TestPowerCuts, until it is killed.
func TestServerThatLosesPower(t *testing.T) {
	folder := os.Getenv(powerPart)
	if folder == "" {
		t.Skip("it is a part of another test")
	}
	node, _, err := startTallies(folder)
	require.NoError(t, err)
	ended := make(chan error)
	for client := range powerClients {
		go func() {
			luck := rand.New(rand.NewPCG(uint64(client), 0))
			for number := uint64(1); ; number++ {
				command := binary.LittleEndian.AppendUint64([]byte{byte(client)}, number)
				command = append(command, make([]byte, luck.IntN(4000))...)
				if _, err := node.Propose(t.Context(), command); err != nil {
					ended <- err
				}
				fmt.Printf("acknowledged: %d %d\n", client, number)
			}
		}()
	}
	require.NoError(t, errors.Join(<-ended, node.Err()))
}
