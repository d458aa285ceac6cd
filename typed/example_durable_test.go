package typed_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/typed"
)

// A chest is a sum in a file, which is replaced as a whole: with the index and the bytes that Save
// gets. So after a crash all three are those of one call of Save.
type chest struct {
	path  string
	state struct {
		Sum     int
		Applied raft.Index
		Beside  []byte
	}
	applied int // how many commands were applied since the start
}

func (c *chest) Apply(amount int) (int, error) {
	c.state.Sum += amount
	c.applied++
	return c.state.Sum, nil
}

func (c *chest) Snapshot() (io.WriterTo, error) { return captured(c.state.Sum), nil }

func (c *chest) Restore(r io.Reader) error {
	_, err := fmt.Fscan(r, &c.state.Sum)
	return err
}

// A captured is the sum at the time of a snapshot.
type captured int

func (c captured) WriteTo(w io.Writer) (int64, error) {
	n, err := fmt.Fprint(w, int(c))
	return int64(n), err
}

func (c *chest) load() (raft.Index, []byte, error) {
	data, err := os.ReadFile(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &c.state)
	}
	return c.state.Applied, c.state.Beside, err
}

func (c *chest) save(applied raft.Index, beside []byte) error {
	c.state.Applied = applied
	if beside != nil { // else it is as it was
		c.state.Beside = append([]byte(nil), beside...)
	}
	data, err := json.Marshal(c.state)
	if err != nil {
		return err
	}
	file, err := os.Create(c.path + ".new")
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), c.path)
}

// A Machine with a file or a database of its own goes on from there after a restart. It isn't replayed
// from the log.
func ExampleStart_durable() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	storage := memory.NewStorage()
	for range 2 {
		machine := &chest{path: filepath.Join(dir, "chest")}
		node, err := typed.Start(machine, raft.Config{
			ID: "a", Storage: storage, Transport: memory.NewNetwork(memory.Options{}).Join("a"),
			Durable:   &raft.DurableMachine{Load: machine.load, Save: machine.save},
			Bootstrap: []raft.Server{{ID: "a"}}, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			log.Fatal(err)
		}
		sum, err := node.Propose(ctx, 5)
		if err != nil {
			log.Fatal(err)
		}
		if err := node.Close(ctx); err != nil {
			log.Fatal(err)
		}
		fmt.Printf("sum %d, applied since the start: %d\n", sum, machine.applied)
		storage = storage.Reopen()
	}
	// Output:
	// sum 5, applied since the start: 1
	// sum 10, applied since the start: 1
}
