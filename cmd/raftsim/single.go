package main

import (
	"fmt"
	"os"

	"github.com/e17579a5/raft/rafttest/sim"
)

func single(s *settings) error {
	w := sim.NewWorld(sim.Options{})
	r := w.RunParams(s.params(s.seed))
	fmt.Printf("%+v\n", r.Stats)
	if r.Violation != nil {
		return r.Violation
	}
	return nil
}

func replay(s *settings) error {
	text, err := os.ReadFile(s.replay)
	if err != nil {
		return err
	}
	var schedule sim.Schedule
	if err := schedule.UnmarshalText(text); err != nil {
		return err
	}
	r := sim.NewWorld(sim.Options{}).Replay(&schedule)
	if r.Violation != nil {
		return r.Violation
	}
	return nil
}
