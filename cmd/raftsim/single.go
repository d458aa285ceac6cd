package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/e17579a5/raft/rafttest/link"
	"github.com/e17579a5/raft/rafttest/sim"
)

// single performs the run of one seed. It cuts a failure down to the events that it takes.
func single(s *settings) error {
	w := sim.NewWorld(sim.Options{})
	p := s.params(s.seed)
	live := func(w *sim.World) sim.Result { return w.RunParams(p) }
	r := live(w)
	if r.Violation == nil {
		if s.verbose {
			r = w.TranscriptOf(os.Stdout, p, true)
		}
		if err := s.draw(w, s.command(s.seed), link.Run{Params: p, Step: -1}, live); err != nil {
			return err
		}
		fmt.Printf("seed %d: %d events, %d leaders committed, hash %016x: no violation\n%+v\n",
			s.seed, r.Stats.Events, r.Stats.Leaders, r.Hash, r.Stats)
		return nil
	}
	if s.html == "" {
		s.html = filepath.Join(os.TempDir(), fmt.Sprintf("raftsim-%d.html", s.seed))
	}
	schedule := w.Record(live)
	fmt.Printf("seed %d: %v\n%d events of the schedule, of which %d reached a core\n",
		s.seed, r.Violation, r.Violation.Step, r.Stats.Events)
	var proof sim.Proof
	if s.shrink {
		schedule, proof = w.Shrink(schedule, sim.DefaultBudget)
	}
	return s.report(w, s.seed, &schedule, proof, r.Violation)
}

// report prints a failure, writes it to the files that the flags name, and returns it.
func (s *settings) report(w *sim.World, seed uint64, schedule *sim.Schedule, proof sim.Proof, violation *sim.Violation) error {
	// A failure that is not shortened is drawn as it ran: in a schedule, pauses and stalls would
	// show only as gaps.
	repeat, drawn := s.command(seed), func(w *sim.World) sim.Result { return w.RunParams(s.params(seed)) }
	replayed := link.Run{Params: s.params(seed), Told: violation.Error(), Step: -1}
	if s.shrink {
		if shortened := w.Replay(schedule).Violation; shortened != nil {
			replayed = link.Run{Schedule: schedule, Told: shortened.Error(), Step: -1}
		}
		drawn = func(w *sim.World) sim.Result { return w.Replay(schedule) }
		fmt.Printf("shortened to %d events: %v\n", len(schedule.Events), proof)
		fmt.Println("columns are servers: role and term, applied/commit/stable/last")
	}
	if s.verbose || s.shrink {
		w.Transcript(os.Stdout, schedule, s.verbose && !s.shrink)
	}
	if s.out != "" {
		text, err := schedule.MarshalText()
		if err != nil {
			return err
		}
		if err := os.WriteFile(s.out, text, 0o644); err != nil {
			return err
		}
		repeat = "go run ./cmd/raftsim -v -replay " + s.out
		fmt.Println(repeat)
	}
	if s.html == "" {
		printLink(replayed)
	}
	if err := s.draw(w, repeat, replayed, drawn); err != nil {
		return err
	}
	return violation
}

// replay repeats a schedule from a file.
func replay(s *settings) error {
	text, err := os.ReadFile(s.replay)
	if err != nil {
		return err
	}
	var schedule sim.Schedule
	if err := schedule.UnmarshalText(text); err != nil {
		return fmt.Errorf("%s: %w", s.replay, err)
	}
	var out io.Writer = io.Discard
	if s.verbose {
		out = os.Stdout
	}
	w := sim.NewWorld(sim.Options{})
	r := w.Transcript(out, &schedule, false)
	repeat := "go run ./cmd/raftsim -v -replay " + s.replay
	replayed := link.Run{Schedule: &schedule, Step: -1}
	if r.Violation != nil {
		replayed.Told = r.Violation.Error()
	}
	if err := s.draw(w, repeat, replayed, func(w *sim.World) sim.Result { return w.Replay(&schedule) }); err != nil {
		return err
	}
	if r.Violation != nil {
		return r.Violation
	}
	fmt.Printf("%s: %d events, hash %016x: no violation\n", s.replay, r.Stats.Events, r.Hash)
	return nil
}
