package wal_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wal"
)

// ledgerPart is a variable of the environment. It makes TestServerWithALedger one of the servers of
// a fleet, and holds its ledgerSettings.
const ledgerPart = "RAFT_WAL_TEST_LEDGER"

// ledgerSettings are what a server of a fleet is told when it starts.
type ledgerSettings struct {
	Folder   string // of its log
	Self     raft.Server
	Founders []raft.Server // empty for a server that waits to be added
	Number   int           // of the server in its fleet
	Life     int           // how often it was started before
	Election time.Duration // the election timeout
}

// A ledger is a state machine that remembers all commands in their order. The result of a command is
// its place among them.
type ledger struct {
	mu       sync.Mutex
	commands []uint64
}

func (m *ledger) Apply(entries []raft.Entry, results [][]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range entries {
		results[i] = binary.LittleEndian.AppendUint64(nil, uint64(len(m.commands)))
		m.commands = append(m.commands, binary.LittleEndian.Uint64(entries[i].Data))
	}
}

func (m *ledger) Snapshot() (io.WriterTo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := make([]byte, 0, 8*len(m.commands))
	for _, command := range m.commands {
		b = binary.LittleEndian.AppendUint64(b, command)
	}
	return writerTo(b), nil
}

func (m *ledger) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.commands = nil
	for command := range slices.Chunk(b, 8) {
		m.commands = append(m.commands, binary.LittleEndian.Uint64(command))
	}
	return nil
}

// A ledgerStatus is what a server of a fleet says of itself.
type ledgerStatus struct {
	Role                    string
	Leader                  raft.ServerID
	Applied, Commit, Last   raft.Index
	Snapshot                raft.Index
	Lost                    int    // ranges of entries whose bytes it lacks
	Trouble, SnapshotDamage string // "" for none
	RolledBack              bool
	// Repaired is how many entries were written once more since the start. Passes is how often it has
	// begun to read its log in search of damage.
	Repaired, Passes int64
}

// A ledgerEnd says why a server of a fleet has ended.
type ledgerEnd struct {
	Err     string // "" if it was asked to
	Corrupt bool   // it is raft.ErrCorrupt
}

// A ledgerServer is a server in a process of its own, with clients that propose commands all the
// time. It takes orders from its standard input, one a line, and answers each with a line. It tells
// on its standard output what became of the commands.
type ledgerServer struct {
	settings ledgerSettings
	machine  ledger
	node     *raft.Node
	quiet    chan struct{} // closed when the clients are to stop
	clients  sync.WaitGroup
	repaired atomic.Int64
	passes   atomic.Int64
	scrubbed raft.Index // how far the present pass has come; the catch-up lane uses it
}

// TestServerWithALedger is a server of a fleet, until it is told to end.
func TestServerWithALedger(t *testing.T) {
	text := os.Getenv(ledgerPart)
	if text == "" {
		t.Skip("it is a part of other tests")
	}
	s := &ledgerServer{quiet: make(chan struct{})}
	require.NoError(t, json.Unmarshal([]byte(text), &s.settings))
	s.tell("started", os.Getpid())
	err := s.run()
	end := ledgerEnd{Corrupt: errors.Is(err, raft.ErrCorrupt)}
	if err != nil {
		end.Err = err.Error()
	}
	s.tell("ended", end)
	os.Exit(0) // clients may still wait for a node that has stopped
}

// tell writes a line for the fleet.
func (s *ledgerServer) tell(what string, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s: %s\n", what, text)
}

// run runs the server until it is told to end, or has to.
func (s *ledgerServer) run() error {
	log, err := wal.Open(s.settings.Folder, wal.Options{SegmentSize: 256 << 10})
	if err != nil {
		return err
	}
	transport, err := tcp.Listen(s.settings.Self.Address, tcp.Options{})
	if err != nil {
		return errors.Join(err, log.Close())
	}
	s.node, err = raft.Start(raft.Config{
		ID: s.settings.Self.ID, Address: s.settings.Self.Address, Bootstrap: s.settings.Founders,
		Machine: &s.machine, Storage: log, Transport: transport,
		Heartbeat: s.settings.Election / 10, ElectionTimeout: s.settings.Election,
		SnapshotMinBytes: 1 << 20, SnapshotFactor: 1, TailBytes: 64 << 10, ScrubBytesPerSecond: 1 << 30,
		Trace: &raft.Trace{Fetched: s.fetched, Wrote: s.wrote},
	})
	if err != nil {
		return errors.Join(err, transport.Close(), log.Close())
	}
	for client := range 2 {
		s.clients.Go(func() { s.propose(client) })
	}
	orders := make(chan string)
	go func() {
		defer close(orders)
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			orders <- lines.Text()
		}
	}()
	for {
		select {
		case <-s.node.Done():
			return s.node.Err()
		case order, ok := <-orders:
			if !ok {
				return errors.New("the test has ended")
			}
			if order == "end" {
				return errors.Join(s.node.Close(context.Background()), log.Close())
			}
			s.obey(order)
		}
	}
}

// fetched counts how often the server has begun to read its log in search of damage.
func (s *ledgerServer) fetched(f raft.FetchTrace) {
	if !f.Scrub {
		return
	}
	at := f.After
	if f.Snapshot != 0 { // it comes behind the log
		at = ^raft.Index(0)
	}
	if at < s.scrubbed {
		s.passes.Add(1)
	}
	s.scrubbed = at
}

// wrote counts the entries whose bytes were lost and came back.
func (s *ledgerServer) wrote(w raft.WriteTrace) { s.repaired.Add(int64(w.Repairs)) }

// obey carries out an order and answers it.
func (s *ledgerServer) obey(order string) {
	words := strings.Fields(order)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	switch words[0] {
	case "status":
		s.tell("answer", s.status())
	case "quiet":
		close(s.quiet)
		s.clients.Wait()
		s.tell("answer", "")
	case "list":
		s.machine.mu.Lock()
		defer s.machine.mu.Unlock()
		text, err := json.Marshal(s.machine.commands)
		if err = errors.Join(err, os.WriteFile(words[1], text, 0o600)); err != nil {
			s.tell("answer", err.Error())
			return
		}
		s.tell("answer", "")
	case "replace":
		if _, err := s.node.Replace(ctx, raft.Server{ID: raft.ServerID(words[1])}); err != nil {
			s.tell("answer", err.Error())
			return
		}
		s.tell("answer", "")
	}
}

// status says how the server is.
func (s *ledgerServer) status() ledgerStatus {
	n := s.node.Status()
	status := ledgerStatus{
		Role: n.Role, Leader: n.Leader, Applied: n.Applied, Commit: n.Commit, Last: n.Last, Snapshot: n.Snapshot,
		RolledBack: errors.Is(n.Trouble, raft.ErrRolledBack), Repaired: s.repaired.Load(), Passes: s.passes.Load(),
	}
	if n.Damage != nil {
		status.Lost = len(n.Damage.Lost)
	}
	if n.Trouble != nil {
		status.Trouble = n.Trouble.Error()
	}
	if n.SnapshotTrouble != nil {
		status.SnapshotDamage = n.SnapshotTrouble.Error()
	}
	return status
}

// propose is a client. It proposes one command after the other, each with a number of its own, and
// tells what has become of it.
func (s *ledgerServer) propose(client int) {
	first := uint64(s.settings.Number)<<56 | uint64(s.settings.Life)<<36 | uint64(client)<<32
	for number := first; ; number++ {
		select {
		case <-s.quiet:
			return
		case <-s.node.Done():
			return
		case <-time.After(2 * time.Millisecond):
		}
		command := binary.LittleEndian.AppendUint64(nil, number)
		command = append(command, make([]byte, number%7*400)...)
		for i := 8; i < len(command); i++ {
			command[i] = byte(number) + byte(i)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		result, err := s.node.Propose(ctx, command)
		cancel()
		switch {
		case err == nil:
			fmt.Printf("acknowledged: [%d,%d]\n", number, binary.LittleEndian.Uint64(result))
		case errors.Is(err, raft.ErrNotApplied):
			fmt.Printf("refused: [%d]\n", number)
		}
	}
}
