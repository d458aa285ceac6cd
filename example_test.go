package raft_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// A tally is a replicated number. A command is what to add to it, in digits; the result is the sum.
type tally struct{ value atomic.Int64 }

func (t *tally) Apply(entries []raft.Entry, results [][]byte) {
	for i, e := range entries {
		add, err := strconv.ParseInt(string(e.Data), 10, 64)
		if err != nil {
			results[i] = []byte("not a number") // the same on every server
			continue
		}
		results[i] = strconv.AppendInt(nil, t.value.Add(add), 10)
	}
}

func (t *tally) Snapshot() (io.WriterTo, error) {
	return nil, errors.New("a tally is replayed from its log")
}

func (t *tally) Restore(io.Reader) error {
	return errors.New("a tally is replayed from its log")
}

// Three servers in one process, on an in-memory network and in-memory disks.
func ExampleStart() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	network := memory.NewNetwork(memory.Options{})
	servers := []raft.Server{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	tallies, nodes := make([]tally, len(servers)), make([]*raft.Node, len(servers))
	for i, server := range servers {
		node, err := raft.Start(raft.Config{
			ID: server.ID, Machine: &tallies[i], Storage: memory.NewStorage(), Transport: network.Join(server.ID),
			Bootstrap: servers, Logger: slog.New(slog.DiscardHandler),
			Heartbeat: 20 * time.Millisecond, ElectionTimeout: 100 * time.Millisecond,
		})
		if err != nil {
			log.Fatal(err)
		}
		defer func() {
			if err := node.Close(ctx); err != nil {
				log.Print(err)
			}
		}()
		nodes[i] = node
	}

	for _, node := range nodes { // any server will do
		sum, err := node.Propose(ctx, []byte("5"))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("sum:", string(sum))
	}
	if err := nodes[2].Read(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("c has", tallies[2].value.Load())
	// Output:
	// sum: 5
	// sum: 10
	// sum: 15
	// c has 15
}

// newTally starts a cluster of one server.
func newTally() (*raft.Node, *tally) {
	machine := &tally{}
	node, err := raft.Start(raft.Config{
		ID: "a", Machine: machine, Storage: memory.NewStorage(), Transport: memory.NewNetwork(memory.Options{}).Join("a"),
		Bootstrap: []raft.Server{{ID: "a"}}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		log.Fatal(err)
	}
	return node, machine
}

// The error of Propose says what became of the command.
func ExampleNode_Propose() {
	node, _ := newTally()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tell := func(result []byte, err error) {
		switch {
		case err == nil:
			fmt.Println("applied:", string(result))
		case errors.Is(err, raft.ErrNotApplied):
			fmt.Println("not applied, and safe to propose again")
		case errors.Is(err, raft.ErrOutcomeUnknown):
			fmt.Println("applied or not: look before proposing again")
		}
	}
	tell(node.Propose(ctx, []byte("7")))
	if err := node.Close(ctx); err != nil {
		log.Fatal(err)
	}
	tell(node.Propose(ctx, []byte("7")))
	// Output:
	// applied: 7
	// not applied, and safe to propose again
}

// Read makes reading the local state linearizable.
func ExampleNode_Read() {
	node, machine := newTally()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := node.Propose(ctx, []byte("3")); err != nil {
		log.Fatal(err)
	}
	if err := node.Read(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(machine.value.Load())
	if err := node.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Output: 3
}

func ExampleNode_Status() {
	node, _ := newTally()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := node.Read(ctx); err != nil { // waits for a leader
		log.Fatal(err)
	}
	status := node.Status()
	fmt.Println(status.ID, "is", status.Role, "of term", status.Term)
	for _, member := range status.Members {
		fmt.Println("member", member.ID, member.Role)
	}
	if err := node.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// a is leader of term 1
	// member a voter
}

// The state of a running cluster is exported, and a new cluster begins with it.
func ExampleNode_ExportSnapshot() {
	ctx := context.Background()
	start := func(id raft.ServerID, from func() (io.ReadCloser, error)) (*raft.Node, *words) {
		machine := &words{}
		node, err := raft.Start(raft.Config{
			ID: id, Machine: machine, Storage: memory.NewStorage(), Transport: memory.NewNetwork(memory.Options{}).Join(id),
			Bootstrap: []raft.Server{{ID: id}}, BootstrapFrom: from, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			log.Fatal(err)
		}
		return node, machine
	}
	old, _ := start("old", nil)
	if _, err := old.Propose(ctx, []byte("hello")); err != nil {
		log.Fatal(err)
	}
	var file bytes.Buffer // or an os.File
	if _, err := old.ExportSnapshot(ctx, &file); err != nil {
		log.Fatal(err)
	}

	fresh, state := start("fresh", func() (io.ReadCloser, error) { return io.NopCloser(&file), nil })
	if err := fresh.Read(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("the new cluster begins with", string(*state))
	for _, node := range []*raft.Node{old, fresh} {
		if err := node.Close(ctx); err != nil {
			log.Fatal(err)
		}
	}
	// Output: the new cluster begins with hello
}

// words is a state machine that keeps what was proposed, one behind the other.
type words []byte

func (w *words) Apply(entries []raft.Entry, results [][]byte) {
	for _, e := range entries {
		*w = append(*w, e.Data...)
	}
}

func (w *words) Snapshot() (io.WriterTo, error) { return bytes.NewReader(bytes.Clone(*w)), nil }

func (w *words) Restore(r io.Reader) (err error) {
	*w, err = io.ReadAll(r)
	return err
}

// A trace measures what a node does. Its functions must not block.
func ExampleTrace() {
	var writes, commands atomic.Int64
	node, err := raft.Start(raft.Config{
		ID: "a", Machine: &tally{}, Storage: memory.NewStorage(), Transport: memory.NewNetwork(memory.Options{}).Join("a"),
		Bootstrap: []raft.Server{{ID: "a"}}, Logger: slog.New(slog.DiscardHandler),
		Trace: &raft.Trace{
			Wrote: func(w raft.WriteTrace) { writes.Add(1) }, // w.Took goes into a histogram
			Answered: func(a raft.AnswerTrace) {
				if a.Kind == "command" && a.Err == nil {
					commands.Add(1)
				}
			},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	for range 3 {
		if _, err := node.Propose(context.Background(), []byte("1")); err != nil {
			log.Fatal(err)
		}
	}
	if err := node.Close(context.Background()); err != nil {
		log.Fatal(err)
	}
	fmt.Println(commands.Load(), "commands; written:", writes.Load() > 0)
	// Output: 3 commands; written: true
}

// Events tell who leads, from now on and whenever that changes.
func ExampleNode_Events() {
	node, _ := newTally()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for event := range node.Events(ctx) {
		switch e := event.(type) {
		case raft.Leadership:
			if !e.Ready {
				continue // whoever it is, it isn't this server yet
			}
			fmt.Println("this server leads in term", e.Term)
			go func() {
				if err := node.Close(ctx); err != nil {
					log.Print(err)
				}
			}()
		case raft.Stopped:
			fmt.Println("stopped:", e.Err)
		}
	}
	// Output:
	// this server leads in term 1
	// stopped: <nil>
}

// The error of a call tells what became of it, and who leads.
func ExampleCallError() {
	network := memory.NewNetwork(memory.Options{})
	node, err := raft.Start(raft.Config{
		ID: "a", Machine: &tally{}, Storage: memory.NewStorage(), Transport: network.Join("a"),
		Bootstrap: []raft.Server{{ID: "a"}, {ID: "b"}}, Logger: slog.New(slog.DiscardHandler), // and b is down
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err = node.Propose(ctx, []byte("1"))
	if failed, ok := errors.AsType[*raft.CallError](err); ok {
		fmt.Println("not applied:", errors.Is(err, raft.ErrNotApplied))
		fmt.Printf("leader: %q at %q\n", failed.Leadership.Leader, failed.Leadership.LeaderAddress)
	}
	if err := node.Close(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// not applied: true
	// leader: "" at ""
}

// A status explains why there is no leader, and what calls wait for.
func ExampleStatus() {
	node, err := raft.Start(raft.Config{
		ID: "a", Machine: &tally{}, Storage: memory.NewStorage(), Transport: memory.NewNetwork(memory.Options{}).Join("a"),
		Bootstrap: []raft.Server{{ID: "a"}, {ID: "b"}}, Logger: slog.New(slog.DiscardHandler), // and b is down
		ElectionTimeout: time.Minute, // so that it still waits when it is asked, on however busy a machine
	})
	if err != nil {
		log.Fatal(err)
	}
	status := node.Status()
	if status.NoLeader != nil {
		fmt.Println("no leader:", status.NoLeader.Reason)
	}
	if status.Command == nil {
		fmt.Println("no command waits")
	}
	if err := node.Close(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// no leader: this server waits for its election timeout
	// no command waits
}

// Done and Err tell a supervisor that a node has stopped, and why.
func ExampleNode_Done() {
	node, _ := newTally()
	go func() {
		<-node.Done()
		if err := node.Err(); err != nil {
			log.Fatal(err) // the disk or the state machine failed
		}
	}()
	if err := node.Close(context.Background()); err != nil {
		log.Fatal(err)
	}
	<-node.Done()
	fmt.Println("closed:", node.Err())
	// Output: closed: <nil>
}

// A server does what only the leader is to do, once for each leadership, and stops when that ends.
func ExampleNode_WhileLeader() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	node, err := raft.Start(raft.Config{
		ID: "a", Machine: new(tally), Storage: memory.NewStorage(),
		Transport: memory.NewNetwork(memory.Options{}).Join("a"),
		Bootstrap: []raft.Server{{ID: "a"}}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() {
		if err := node.Close(ctx); err != nil {
			log.Print(err)
		}
	}()

	err = node.WhileLeader(ctx, func(ctx context.Context, term raft.Term) error {
		// Proposed with this ctx, a command is applied in this term or never.
		sum, err := node.Propose(ctx, []byte("5"))
		if err != nil {
			return err
		}
		fmt.Println("term", term, "sum", string(sum))
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: term 1 sum 5
}

// A dashboard is content with what was true a while ago, and says when.
func ExampleNode_StaleRead() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	sums := new(tally)
	node, err := raft.Start(raft.Config{
		ID: "a", Machine: sums, Storage: memory.NewStorage(),
		Transport: memory.NewNetwork(memory.Options{}).Join("a"),
		Bootstrap: []raft.Server{{ID: "a"}}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() {
		if err := node.Close(ctx); err != nil {
			log.Print(err)
		}
	}()
	if _, err := node.Propose(ctx, []byte("5")); err != nil {
		log.Fatal(err)
	}

	age, err := node.StaleRead(ctx, time.Minute)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("at most a minute ago:", age <= time.Minute, "sum", sums.value.Load())
	// Output: at most a minute ago: true sum 5
}
