package pebblestate_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/durable/pebblestate"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/typed"
)

// ErrPoor is an error of Accounts.
var ErrPoor = errors.New("there isn't so much in it")

// A Payment is the command: an amount, which may be negative.
type Payment struct {
	Account string
	Amount  int64
}

// Accounts are sums by name, in a pebble database. Its Snapshot and Restore are those of the machine in
// it, its Apply is the one of package typed.
type Accounts struct{ *pebblestate.Machine }

// Apply implements typed.Machine. What it returns is the result, a refusal or not; that the database
// fails is no result, and stops the server (Change).
func (a Accounts) Apply(p Payment) (after int64, refused error) {
	a.Change(func(batch *pebble.Batch) error {
		before, err := sumOf(batch, p.Account)
		if err != nil {
			return err
		}
		if after = before + p.Amount; after < 0 {
			after, refused = 0, fmt.Errorf("take %d of %d: %w", -p.Amount, before, ErrPoor)
			return nil
		}
		return batch.Set([]byte("account/"+p.Account), binary.AppendVarint(nil, after), nil)
	})
	return after, refused
}

// Sum returns what is in an account, as of the last command that was saved.
func (a Accounts) Sum(account string) (sum int64, err error) {
	err = a.View(func(shown pebble.Reader) error {
		sum, err = sumOf(shown, account)
		return err
	})
	return sum, err
}

func sumOf(from pebble.Reader, account string) (int64, error) {
	value, closer, err := from.Get([]byte("account/" + account))
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	sum, _ := binary.Varint(value)
	return sum, closer.Close()
}

var options = typed.Options[Payment, int64]{Errors: typed.Errors{"poor": ErrPoor}}

// A machine of package typed whose state is in a database. The second time it goes on from there.
func ExampleMachine_Change() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	storage := memory.NewStorage() // a real server has one of package wal, opened before the database
	for range 2 {
		machine, err := pebblestate.Open(filepath.Join(dir, "state"), nil, pebblestate.Options{})
		if err != nil {
			log.Fatal(err)
		}
		accounts := Accounts{machine}
		node, err := options.Start(accounts, raft.Config{
			ID: "a", Storage: storage, Transport: memory.NewNetwork(memory.Options{}).Join("a"),
			Durable: machine.Durable(), Bootstrap: []raft.Server{{ID: "a"}}, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			log.Fatal(err)
		}
		for _, amount := range []int64{5, -20} {
			switch sum, err := node.Propose(ctx, Payment{"ada", amount}); {
			case errors.Is(err, ErrPoor):
				fmt.Println("refused:", err)
			case err != nil:
				log.Fatal(err)
			default:
				fmt.Println("sum:", sum)
			}
		}
		if err := node.Raft().Read(ctx); err != nil {
			log.Fatal(err)
		}
		sum, err := accounts.Sum("ada") // while commands are applied
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("read:", sum)
		if err := errors.Join(node.Close(ctx), machine.Close()); err != nil { // the database last
			log.Fatal(err)
		}
		storage = storage.Reopen()
	}
	// Output:
	// sum: 5
	// refused: take 20 of 5: there isn't so much in it
	// read: 5
	// sum: 10
	// refused: take 20 of 10: there isn't so much in it
	// read: 10
}
