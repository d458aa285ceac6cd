package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errNoUsage says that the system doesn't tell what a process uses.
var errNoUsage = errors.New("this system doesn't tell what a process uses")

// measureIdle lets servers, each in a process of its own, do nothing, and reports what they use
// meanwhile.
func measureIdle(ctx context.Context, p Peer, c runConfig, r *result) error {
	return withFleet(ctx, p, c, func(f *fleet) error {
		leader, err := f.settle(ctx)
		if err != nil {
			return err
		}
		if err := wait(ctx, c.warmup); err != nil {
			return err
		}
		var answers []<-chan serverAnswer
		for _, p := range f.processes {
			a, err := p.ask(serverRequest{Do: doIdle, Duration: c.duration})
			if err != nil {
				return err
			}
			answers = append(answers, a)
		}
		for i, answer := range answers {
			var a serverAnswer
			select {
			case a = <-answer:
			case <-f.processes[i].ended:
				return fmt.Errorf("server %d: %w: %s", i, errProcessEnded, f.processes[i].noise.String())
			case <-ctx.Done():
				return ctx.Err()
			}
			if a.Error != "" {
				return fmt.Errorf("server %d: %s", i, a.Error)
			}
			for name, v := range a.Figures {
				r.set(name, r.Figures[name]+v/float64(c.servers))
				if i == leader {
					r.set("leader_"+name, v)
				}
			}
		}
		now, err := f.settle(ctx)
		if err == nil && now != leader {
			err = fmt.Errorf("server %d led at the beginning, and server %d in the end", leader, now)
		}
		return err
	})
}

// idle reports what this process uses in a time in which nobody sends it a request.
func idle(d time.Duration) (map[string]float64, error) {
	begin := time.Now()
	cpu, known := processCPU()
	switches, counted := processSwitches()
	time.Sleep(d)
	took := time.Since(begin).Seconds()
	cpuNow, _ := processCPU()
	switchesNow, _ := processSwitches()
	if !known || !counted {
		return nil, errNoUsage
	}
	return map[string]float64{
		"cpu_percent": 100 * (cpuNow - cpu).Seconds() / took,
		"switches":    float64(switchesNow-switches) / took,
	}, nil
}
