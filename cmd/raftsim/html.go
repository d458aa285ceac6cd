package main

import (
	"fmt"

	"github.com/e17579a5/raft/rafttest/diagram"
	"github.com/e17579a5/raft/rafttest/link"
	"github.com/e17579a5/raft/rafttest/sim"
)

// draw performs a run again and writes its diagram, if the flag -html is set. repeat is the command
// that repeats the run. It also prints the link to the page on which the run is replayed.
func (s *settings) draw(w *sim.World, repeat string, replayed link.Run, run func(*sim.World) sim.Result) error {
	if s.html == "" {
		return nil
	}
	trace := w.Trace(run)
	if err := diagram.WriteFile(s.html, &trace, repeat); err != nil {
		return err
	}
	fmt.Printf("diagram: %s\n", s.html)
	printLink(replayed)
	return nil
}

// printLink prints the link to the page on which a run is replayed.
func printLink(run link.Run) {
	address, err := run.URL()
	if err != nil {
		fmt.Printf("no link to a replay: %v; the page of raftlab opens what -out writes\n", err)
		return
	}
	fmt.Printf("replay: %s\n(while go run ./cmd/raftlab runs)\n", address)
}
