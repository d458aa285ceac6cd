package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// A process is a server that runs in a process of its own.
type process struct {
	command *exec.Cmd
	input   io.WriteCloser
	ended   chan struct{} // closed when its output has ended

	mu      sync.Mutex
	numbers int
	waiting map[int]chan serverAnswer
	noise   tail
}

// tail keeps the end of what is written to it, at most tailSize bytes.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	t.text = t.text[max(0, len(t.text)-tailSize):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.text))
}

// startProcess starts a process with a server.
func startProcess(order serverOrder) (*process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(order)
	if err != nil {
		return nil, err
	}
	p := &process{command: exec.Command(program), ended: make(chan struct{}), waiting: make(map[int]chan serverAnswer)}
	p.command.Env = append(os.Environ(), serverVariable+"="+string(text))
	p.command.Stderr = &p.noise
	p.command.SysProcAttr = &syscall.SysProcAttr{}
	endWithParent(p.command.SysProcAttr)
	if p.input, err = p.command.StdinPipe(); err != nil {
		return nil, err
	}
	output, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	go p.receive(output)
	return p, nil
}

// receive hands out answers until the output of the process ends.
func (p *process) receive(output io.Reader) {
	decoder := json.NewDecoder(output)
	for {
		var a serverAnswer
		if err := decoder.Decode(&a); err != nil {
			close(p.ended)
			return
		}
		p.mu.Lock()
		answer := p.waiting[a.Number]
		delete(p.waiting, a.Number)
		p.mu.Unlock()
		if answer != nil {
			answer <- a
		}
	}
}

// errProcessEnded says that a process ended before it answered.
var errProcessEnded = errors.New("the process of a server has ended")

// ask sends a request, and returns the channel that gets the answer.
func (p *process) ask(r serverRequest) (<-chan serverAnswer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.numbers++
	r.Number = p.numbers
	answer := make(chan serverAnswer, 1)
	p.waiting[r.Number] = answer
	return answer, json.NewEncoder(p.input).Encode(r)
}

// call sends a request and waits for its answer.
func (p *process) call(ctx context.Context, r serverRequest) (serverAnswer, error) {
	answer, err := p.ask(r)
	if err != nil {
		return serverAnswer{}, fmt.Errorf("%s: %w: %s", r.Do, err, p.noise.String())
	}
	select {
	case a := <-answer:
		if a.Error != "" {
			return a, fmt.Errorf("%s: %s", r.Do, a.Error)
		}
		return a, nil
	case <-p.ended:
		return serverAnswer{}, fmt.Errorf("%s: %w: %s", r.Do, errProcessEnded, p.noise.String())
	case <-ctx.Done():
		return serverAnswer{}, fmt.Errorf("%s: %w", r.Do, ctx.Err())
	}
}

// kill ends the process at once, even if it is stopped, and waits for its end.
func (p *process) kill() {
	_ = p.command.Process.Kill() // it may have ended already
	<-p.ended
	_ = p.command.Wait() // the error would be that it was killed
}

// A fleet is a cluster whose servers are processes.
type fleet struct {
	order     serverOrder // the order of all servers, without the number of the server
	processes []*process  // nil for a server that doesn't run
}

// These are the limits of a fleet's patience.
const (
	fleetTimeout = 60 * time.Second // until one server leads and all have applied as much
	statusEvery  = 2 * time.Millisecond
)

// withFleet starts a cluster of processes, calls f when the cluster has a leader, and ends all
// processes.
func withFleet(ctx context.Context, p Peer, c runConfig, f func(*fleet) error) error {
	return inDirectory(c.dir, func(dir string) error {
		dir, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		addresses, err := freeAddresses(c.servers)
		if err != nil {
			return err
		}
		fl := &fleet{
			order: serverOrder{Peer: p.Name(), Servers: c.servers, Options: Options{
				Mode: onDisk, Dir: dir, Clients: max(c.load.clients, fleetClients), Election: c.election, Addresses: addresses,
			}},
			processes: make([]*process, c.servers),
		}
		defer fl.close()
		for i := range fl.processes {
			if err := fl.start(i); err != nil {
				return err
			}
		}
		if _, err := fl.settle(ctx); err != nil {
			return err
		}
		return f(fl)
	})
}

// start starts a server that doesn't run.
func (f *fleet) start(i int) (err error) {
	order := f.order
	order.Server = i
	f.processes[i], err = startProcess(order)
	return err
}

// close kills all processes.
func (f *fleet) close() {
	for _, p := range f.processes {
		if p != nil {
			p.kill()
		}
	}
}

// settle waits until exactly one server leads and all have applied as many commands as the others,
// and returns the leader. Servers that have then applied different commands are an error.
func (f *fleet) settle(ctx context.Context) (leader int, err error) {
	ctx, cancel := context.WithTimeout(ctx, fleetTimeout)
	defer cancel()
	for {
		var leaders []int
		var last []serverAnswer
		same := true
		for i, p := range f.processes {
			if p == nil {
				continue
			}
			a, err := p.call(ctx, serverRequest{Do: doStatus})
			if err != nil {
				return 0, fmt.Errorf("server %d: %w (the others before it: %+v)", i, err, last)
			}
			if a.Leads {
				leaders = append(leaders, i)
			}
			same = same && (len(last) == 0 || a.Applied == last[0].Applied)
			last = append(last, a)
		}
		if len(leaders) == 1 && same {
			for _, a := range last {
				if a.Chain != last[0].Chain {
					return 0, fmt.Errorf("%w: the servers have applied different commands: %+v", errWrongState, last)
				}
			}
			return leaders[0], nil
		}
		if err := wait(ctx, statusEvery); err != nil {
			return 0, fmt.Errorf("the servers don't settle: %+v: %w", last, err)
		}
	}
}

// applied returns how many commands a server has applied.
func (f *fleet) applied(ctx context.Context, i int) (uint64, error) {
	a, err := f.processes[i].call(ctx, serverRequest{Do: doStatus})
	return a.Applied, err
}

// wait waits for a time.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
