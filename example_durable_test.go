package raft_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// A purse is a number in a file. Its file holds the number with the index and the bytes that Save
// gets, and is replaced as a whole: so after a crash all three are those of one call of Save.
type purse struct {
	path  string
	state struct {
		Sum     int64
		Applied raft.Index
		Beside  []byte
	}
	applied int // how many commands were applied since the start
}

func (p *purse) Apply(entries []raft.Entry, results [][]byte) {
	for i, e := range entries {
		add, err := strconv.ParseInt(string(e.Data), 10, 64)
		if err != nil {
			results[i] = []byte("not a number")
			continue
		}
		p.state.Sum += add
		p.applied++
		results[i] = strconv.AppendInt(nil, p.state.Sum, 10)
	}
}

func (p *purse) Snapshot() (io.WriterTo, error) { return written(p.state.Sum), nil }

func (p *purse) Restore(r io.Reader) error {
	_, err := fmt.Fscan(r, &p.state.Sum)
	return err
}

func (p *purse) load() (raft.Index, []byte, error) {
	data, err := os.ReadFile(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &p.state)
	}
	return p.state.Applied, p.state.Beside, err
}

func (p *purse) save(applied raft.Index, beside []byte) error {
	p.state.Applied = applied
	if beside != nil { // else it is as it was
		p.state.Beside = append([]byte(nil), beside...)
	}
	data, err := json.Marshal(p.state)
	if err != nil {
		return err
	}
	file, err := os.Create(p.path + ".new")
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
	return os.Rename(file.Name(), p.path)
}

// A state machine with a file or a database of its own goes on from there after a restart. It isn't
// replayed from the log.
func ExampleDurableMachine() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	storage := memory.NewStorage()
	for range 2 {
		machine := &purse{path: filepath.Join(dir, "purse")}
		config := aloneInMemory(machine)
		config.Storage = storage
		config.Durable = &raft.DurableMachine{Load: machine.load, Save: machine.save}
		node, err := raft.Start(config)
		if err != nil {
			log.Fatal(err)
		}
		sum, err := node.Propose(ctx, []byte("5"))
		if err != nil {
			log.Fatal(err)
		}
		closeNodes(ctx, node)
		fmt.Printf("sum %s, applied since the start: %d\n", sum, machine.applied)
		storage = storage.Reopen()
	}
	// Output:
	// sum 5, applied since the start: 1
	// sum 10, applied since the start: 1
}
