package main

import (
	"fmt"

	"github.com/e17579a5/raft/rafttest/diagram"
	"github.com/e17579a5/raft/rafttest/sim"
)

// draw performs a run again and writes its diagram, if the flag -html is set. repeat is the command
// that repeats the run.
func (s *settings) draw(w *sim.World, repeat string, run func(*sim.World) sim.Result) error {
	if s.html == "" {
		return nil
	}
	trace := w.Trace(run)
	if err := diagram.WriteFile(s.html, &trace, repeat); err != nil {
		return err
	}
	fmt.Printf("diagram: %s\n", s.html)
	return nil
}
