package typed_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/typed"
)

// ErrPoor is an error of the purse.
var ErrPoor = errors.New("there isn't so much in it")

// A Purse is a replicated sum, which never falls below 0.
type Purse struct{ Sum int }

// Apply adds an amount, which may be negative.
func (p *Purse) Apply(amount int) (int, error) {
	if p.Sum+amount < 0 {
		return 0, fmt.Errorf("take %d of %d: %w", -amount, p.Sum, ErrPoor)
	}
	p.Sum += amount
	return p.Sum, nil
}

// A command, its result and its error have Go types. An error of Apply is a result: it is the same on
// every server, and comes back to the caller as what it was.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	purse := new(Purse)
	options := typed.Options[int, int]{Errors: typed.Errors{"poor": ErrPoor}}
	node, err := options.Start(purse, raft.Config{
		ID: "a", Storage: memory.NewStorage(), Transport: memory.NewNetwork(memory.Options{}).Join("a"),
		Bootstrap: []raft.Server{{ID: "a"}}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, amount := range []int{5, -7} {
		switch sum, err := node.Propose(ctx, amount); {
		case errors.Is(err, ErrPoor):
			fmt.Println("refused:", err)
		case errors.Is(err, raft.ErrNotApplied): // it is safe to propose it again
			log.Fatal(err)
		case err != nil: // it may have been applied: use a session to be sure
			log.Fatal(err)
		default:
			fmt.Println("sum:", sum)
		}
	}
	if err := node.Read(ctx, func() { fmt.Println("read:", purse.Sum) }); err != nil {
		log.Fatal(err)
	}
	if err := node.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// sum: 5
	// refused: take 7 of 5: there isn't so much in it
	// read: 5
}

// A Set and a Remove are the commands of a store, each with fields of its own. A later version may
// have more of them, and gives these a level of their own.
type (
	Command interface{ name() string }
	Set     struct{ Key, Value string }
	Remove  struct{ Key string }
)

func (s Set) name() string    { return s.Key }
func (r Remove) name() string { return r.Key }

// Commands of several types are one interface.
func ExampleSum() {
	commands := typed.Sum(
		typed.CaseOf[Command]("set", typed.JSON[Set]()),
		typed.CaseOf[Command]("remove", typed.JSON[Remove]()),
	)
	var command Command = Remove{"x"}
	b, err := commands.Append(nil, &command)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%q\n", b)
	fmt.Println(commands.Decode([]byte("\x04copy{}"), &command))
	// Output:
	// "\x06remove{\"Key\":\"x\"}"
	// "copy" is no case of typed_test.Command that this version knows
}
