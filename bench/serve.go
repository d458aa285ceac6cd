package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

// In some cells each server is a process of its own, which can be killed or stopped as a whole,
// with its connections and with everything that its library runs. This program starts itself as
// such a server. The order for the server is in the environment; requests and answers go over the
// server's standard input and output, each a line of JSON.

// serverVariable is the environment variable that has a serverOrder. It makes this program a
// server.
const serverVariable = "RAFT_BENCH_SERVER"

// A serverOrder says which server of which cluster a process is.
type serverOrder struct {
	Peer    string
	Server  int
	Servers int
	Options Options
	Hosts   *HostOptions `json:",omitempty"` // of a server of many groups; Options are empty then
}

// Requests to a server.
const (
	doStatus = "status" // say whether it leads, and what it has applied
	doProbe  = "probe"  // propose as soon as it leads, and answer when the command was acknowledged
	doLoad   = "load"   // run clients
	doCancel = "cancel" // end probes and loads
	doIdle   = "idle"   // say what it uses while it does nothing
	doClose  = "close"  // hand over, if it leads, and end

	// These are requests to a server of many groups.
	doMark  = "mark"  // remember the leader and the term of each group
	doWatch = "watch" // answer when each group that a server led at the last mark has another leader
	doState = "state" // say what was applied in each group
	doShut  = "shut"  // hand over what it leads and close the server, but not the process
)

// A serverRequest is a request to a server.
type serverRequest struct {
	Number           int
	Do               string
	Clients, Payload int           `json:",omitempty"` // for a load
	Commands         int           `json:",omitempty"` // for a load: how many commands; 0 means no limit
	Warmup, Duration time.Duration `json:",omitempty"` // for a load, or for doing nothing: how long
	Pause            time.Duration `json:",omitempty"` // for a load on many groups: how long a client rests after each answer
	Lost             int           `json:",omitempty"` // for a watch: the server that is lost
	Profile          string        `json:",omitempty"` // for doing nothing: the file for a CPU profile of server 0
}

// limit returns how many commands each client of a load makes at most; 0 means no limit.
func (r serverRequest) limit() uint64 {
	if r.Commands == 0 {
		return 0
	}
	return uint64(max(1, r.Commands/r.Clients))
}

// A serverAnswer is a server's answer to a request.
type serverAnswer struct {
	Number  int
	Error   string             `json:",omitempty"`
	Leads   bool               `json:",omitempty"`
	Applied uint64             `json:",omitempty"` // how many commands it has applied
	Chain   uint64             `json:",omitempty"` // the hash chain over these commands
	Figures map[string]float64 `json:",omitempty"` // of a load, or of doing nothing

	// Led is how many groups this server leads, Known of how many it knows the leader, and Moved of how
	// many the leader is another one than at the last mark. Times are
	// the times at which this server was seen to lead the groups of a watch, in Unix nanoseconds, and
	// Split says how many of them are led in a later term than the next one.
	Led, Known, Moved, Split int     `json:",omitempty"`
	Times                    []int64 `json:",omitempty"`
	// Groups says what was applied in each group, or what the clients of a load were answered.
	Groups []groupState `json:",omitempty"`
}

// serve runs the server of an order until the input ends, or until the server was asked to close.
func serve(order string, in io.Reader, out io.Writer) error {
	var o serverOrder
	if err := json.Unmarshal([]byte(order), &o); err != nil {
		return err
	}
	peers, err := selectPeers(o.Peer)
	if err != nil {
		return err
	}
	if o.Hosts != nil {
		return serveHost(peers[0], o, in, out)
	}
	for range o.Servers {
		m := new(Machine)
		m.more.Store(new(machineExtras))
		o.Options.Machines = append(o.Options.Machines, m)
	}
	cluster, err := peers[0].New(o.Options)
	if err != nil {
		return err
	}
	server, err := cluster.Start(o.Server)
	if err != nil {
		return err
	}
	s := &served{cluster: cluster, server: server, machine: o.Options.Machines[o.Server], clients: o.Options.Clients}
	return answerAll(in, out, s.answer)
}

// served is a server that answers requests.
type served struct {
	cluster Cluster
	server  Server
	machine *Machine
	clients int
}

// answerAll answers requests, many at a time. It ends when the input ends, which is also when the
// process at the other end of the input has ended, or when it was asked to close. The channel that
// answer is given is closed by doCancel, for the requests that run then; later requests have another.
func answerAll(in io.Reader, out io.Writer, answer func(serverRequest, <-chan struct{}) serverAnswer) error {
	var mu sync.Mutex // for the encoder
	decoder, encoder := json.NewDecoder(in), json.NewEncoder(out)
	closed := make(chan error, 1)
	failed := make(chan error, 1)
	go func() {
		cancelled := make(chan struct{})
		for {
			var r serverRequest
			if err := decoder.Decode(&r); err != nil {
				failed <- err
				return
			}
			until := cancelled
			if r.Do == doCancel {
				close(cancelled)
				cancelled = make(chan struct{})
			}
			go func() {
				a := answer(r, until)
				a.Number = r.Number
				mu.Lock()
				err := encoder.Encode(a)
				mu.Unlock()
				if r.Do == doClose {
					closed <- err
				}
			}()
		}
	}()
	select {
	case err := <-closed:
		return err
	case err := <-failed:
		return err
	}
}

// answer carries out a request.
func (s *served) answer(r serverRequest, cancelled <-chan struct{}) (a serverAnswer) {
	var err error
	switch r.Do {
	case doStatus:
		a.Leads, a.Applied, a.Chain = s.server.Leads(), s.machine.count.Load(), s.machine.more.Load().across.Load()
	case doProbe:
		err = s.probe(cancelled)
	case doLoad:
		a.Figures, err = s.load(r, cancelled)
	case doIdle:
		a.Figures, err = idle(r.Duration)
	case doCancel:
	case doClose:
		err = s.close()
	default:
		err = fmt.Errorf("no request %q", r.Do)
	}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

// errCancelled says that a request was cancelled.
var errCancelled = errors.New("cancelled")

// probeTimeout bounds one attempt to propose.
const probeTimeout = 5 * time.Second

// probe waits until this server leads and a command that it has proposed was acknowledged.
func (s *served) probe(cancelled <-chan struct{}) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-cancelled:
			cancel()
		case <-ctx.Done():
		}
	}()
	command := binary.LittleEndian.AppendUint64(nil, rand.Uint64())
	for attempt := uint64(0); ; attempt++ {
		if poll(ctx, s.server.Leads) != nil {
			return errCancelled
		}
		trying, tried := context.WithTimeout(ctx, probeTimeout)
		client := rand.IntN(s.clients) // probably no client of an earlier attempt, which may still be answered
		_, err := s.server.Propose(trying, client, binary.LittleEndian.AppendUint64(command[:8], attempt))
		tried()
		if err == nil {
			return nil
		}
	}
}

// load runs clients at this server, which leads. It ends after a time, or when the clients have
// made all their commands, or when it is cancelled.
func (s *served) load(r serverRequest, cancelled <-chan struct{}) (map[string]float64, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	g := &group{cluster: s.cluster, leader: s.server}
	l := startLoad(ctx, g.leader, loadConfig{clients: r.Clients, payload: r.Payload, limit: r.limit()})
	err := l.wait(ctx, r.Warmup)
	before := takeUsage(s.cluster, "")
	l.phase.Store(measuring)
	if err == nil {
		timer := time.NewTimer(r.Duration)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-cancelled:
		case <-l.done:
		case err = <-l.failed:
		}
	}
	used := takeUsage(s.cluster, "").since(before)
	if err != nil {
		cancel()
	}
	if stopped := l.stop(); err == nil {
		err = stopped
	}
	if err != nil {
		return nil, err
	}
	var figures result
	err = l.report(&figures, used)
	return figures.Figures, err
}

// handOverTimeout bounds how long a leader tries to hand over.
const handOverTimeout = 10 * time.Second

// close hands the leadership over, if this server leads, and closes the server. If the hand-over
// fails, the cluster elects a leader without it.
func (s *served) close() error {
	if s.server.Leads() {
		ctx, cancel := context.WithTimeout(context.Background(), handOverTimeout)
		_ = s.server.HandOver(ctx)
		cancel()
	}
	return s.server.Close()
}

// serveIfOrdered makes this process a server if it was started as one. It then doesn't return.
func serveIfOrdered() {
	order, ordered := os.LookupEnv(serverVariable)
	if !ordered {
		return
	}
	if err := serve(order, os.Stdin, os.Stdout); err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, "bench: server:", err)
		os.Exit(1)
	}
	os.Exit(0)
}
