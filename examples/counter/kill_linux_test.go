package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/internal/process"
)

// These flags make the long version:
//
//	go test ./examples/counter -run TestLeaderKilledUnderLoad -v -timeout 30m -kills 50 -stops 20 -pause 3s -quiet 2000
var (
	kills = flag.Int("kills", 3, "how many times the leader is killed")
	stops = flag.Int("stops", 1, "how many times the leader is stopped, to go on later")
	pause = flag.Duration("pause", 1700*time.Millisecond, "for how long the leader is stopped")
	quiet = flag.Int("quiet", 100, "how many operations must be answered between two faults")
)

const (
	loadClients = 8
	// maxAmount is so large that different sets of amounts almost never have the same sum, and so
	// small that millions of amounts add up to an int64.
	maxAmount = 1 << 42
)

// TestLeaderKilledUnderLoad: clients use all of three processes while the leader is killed or
// stopped again and again. No increment that was acknowledged is lost, none that was refused is
// applied, none is applied twice, and all clients see them in the order in which they happened.
//
// SIGKILL leaves the page cache as it is: the test doesn't show what a power cut does to files.
func TestLeaderKilledUnderLoad(t *testing.T) {
	t.Parallel()
	requireNothingLost(t, startProcesses(t, ""))
}

// TestLeaderKilledAmongStrangers: this is the same with certificates, while strangers who have
// certificates of the same authority connect to the ports of the servers all the time.
func TestLeaderKilledAmongStrangers(t *testing.T) {
	t.Parallel()
	certs := newCertificates(t, "a", "b", "c")
	p := startProcesses(t, certs.folder)
	besiege(t, p, certs)
	requireNothingLost(t, p)
}

// requireNothingLost has clients use the servers while these are killed and stopped.
func requireNothingLost(t *testing.T, p *processes) {
	p.value(p.Servers[0])
	l := startLoad(t, p)

	faults := slices.Concat(slices.Repeat([]string{"kill"}, *kills), slices.Repeat([]string{"stop"}, *stops))
	rand.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
	var failovers []time.Duration
	killed, stopped := 0, 0
	for _, fault := range faults {
		l.awaitAnswers(*quiet)
		leader := p.LeaderByStatus()
		if fault == "kill" {
			if killed++; killed%3 == 0 {
				killAll(p, l, leader)
			} else {
				failovers = append(failovers, killLeader(p, l, leader))
			}
			continue
		}
		paused := []*process.Process{leader}
		if stopped++; stopped%4 == 0 { // now and then the cluster has no quorum
			paused = append(paused, p.Others(leader)[0])
		}
		for _, s := range paused {
			s.Pause()
		}
		<-time.After(*pause)
		for _, s := range paused {
			s.Resume()
		}
		for _, s := range paused {
			p.value(s)
		}
	}
	l.awaitAnswers(*quiet)
	seen := l.stop()

	last := p.value(p.Servers[0])
	p.requireValue(last)
	applied, err := seen.check(last)
	require.NoError(t, err)
	counts := map[outcome]int{}
	reads := 0
	for _, o := range seen {
		if o.amount == 0 {
			reads++
		} else {
			counts[o.outcome]++
		}
	}
	require.Positive(t, counts[acknowledged])
	slices.Sort(failovers)
	t.Logf("%d kills, %d stops of %v: %d increments acknowledged, %d refused, %d unknown (%d of them applied), %d reads",
		*kills, *stops, *pause, counts[acknowledged], counts[refused], counts[unknown], applied, reads)
	if len(failovers) > 0 {
		t.Logf("from a kill of the leader alone to the next answer: median %v, worst %v", failovers[len(failovers)/2], failovers[len(failovers)-1])
	}
}

// killLeader kills the leader, starts it again, and returns for how long no server answered.
func killLeader(p *processes, l *load, leader *process.Process) time.Duration {
	leader.Kill()
	failover := l.awaitAnswers(1)
	leader.Start()
	p.value(leader)
	return failover
}

// killAll kills the leader a moment after all others, which come back before it does. Commands that
// it took in that moment are nowhere but at this leader: the others' sockets were closed. It must
// not have said that such a command is applied.
func killAll(p *processes, l *load, leader *process.Process) {
	others := p.Others(leader)
	for _, s := range others {
		s.Kill()
	}
	<-time.After(200 * time.Millisecond)
	leader.Kill()
	for _, s := range others {
		s.Start()
	}
	l.awaitAnswers(1)
	leader.Start()
	p.value(leader)
}

// TestAllProcessesEnd: what was acknowledged survives the end of all processes at once, whether
// they end cleanly or not.
func TestAllProcessesEnd(t *testing.T) {
	t.Parallel()
	p := startProcesses(t, "")
	l := startLoad(t, p)
	for _, end := range []func(*process.Process){(*process.Process).Terminate, (*process.Process).Kill} {
		l.awaitAnswers(*quiet)
		for _, s := range p.Servers {
			end(s)
		}
		for _, s := range p.Servers {
			s.Start()
		}
	}
	l.awaitAnswers(*quiet)
	seen := l.stop()
	last := p.value(p.Servers[0])
	p.requireValue(last)
	_, err := seen.check(last)
	require.NoError(t, err)
	for _, s := range p.Servers {
		s.Terminate()
	}
}

// load is clients that add and read at random servers, each one operation after another, and
// remember all of them.
type load struct {
	t       *testing.T
	p       *processes
	begin   time.Time
	cancel  context.CancelFunc
	clients sync.WaitGroup

	mu      sync.Mutex
	history history
	broken  error // an answer that no server should give
	// answers is how many operations were answered with a value, and latest is when the latest of
	// them began. They show that a cluster is well again.
	answers int
	latest  time.Duration
}

func startLoad(t *testing.T, p *processes) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{t: t, p: p, begin: time.Now(), cancel: cancel}
	for range loadClients {
		l.clients.Go(func() { l.run(ctx) })
	}
	t.Cleanup(func() {
		cancel()
		l.clients.Wait()
	})
	return l
}

// stop ends the load and returns what the clients saw.
func (l *load) stop() history {
	l.t.Helper()
	l.cancel()
	l.clients.Wait()
	require.NoError(l.t, l.broken)
	return l.history
}

// awaitAnswers waits for n answers, at least one of them to an operation that began after the call,
// and returns how long that took.
func (l *load) awaitAnswers(n int) time.Duration {
	l.t.Helper()
	answered := func() (int, time.Duration) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.answers, l.latest
	}
	had, _ := answered()
	from := time.Since(l.begin)
	process.Await(l.t, func() bool {
		answers, latest := answered()
		return answers >= had+n && latest > from
	}, "the cluster answers no more")
	return time.Since(l.begin) - from
}

// run is one client. When ctx ends, it still waits for the request that is under way.
func (l *load) run(ctx context.Context) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 1500 * time.Millisecond}
	for ctx.Err() == nil {
		o := operation{begin: time.Since(l.begin)}
		if rand.IntN(8) > 0 {
			o.amount = 1 + rand.Int64N(maxAmount)
		}
		err := l.operate(client, &o)
		o.end = time.Since(l.begin)
		l.add(o, err)
		if o.outcome != acknowledged {
			<-time.After(process.PollEach)
		}
	}
}

// add remembers an operation.
func (l *load) add(o operation, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history = append(l.history, o)
	l.broken = errors.Join(l.broken, err)
	if o.outcome == acknowledged {
		l.answers++
		l.latest = max(l.latest, o.begin)
	}
}

// operate carries out one operation and fills in its outcome. It returns an error if the server's
// answer is one that no server should give.
func (l *load) operate(client *http.Client, o *operation) error {
	url := "http://" + l.p.Servers[rand.IntN(len(l.p.Servers))].Address + "/counter"
	var w *http.Response
	var err error
	if o.amount > 0 {
		w, err = client.Post(url, "application/json", strings.NewReader(fmt.Sprintf(`{"add": %d}`, o.amount)))
	} else {
		w, err = client.Get(url)
	}
	o.outcome = unknown
	if err != nil {
		if failed := (*net.OpError)(nil); errors.As(err, &failed) && failed.Op == "dial" {
			o.outcome = refused // it was never sent
		}
		return nil
	}
	defer func() { _ = w.Body.Close() }() // an error would lose nothing
	var answer struct {
		Value   *int64
		Error   string
		Outcome string
	}
	if err := json.NewDecoder(w.Body).Decode(&answer); err != nil {
		return nil // the server died while it answered
	}
	switch {
	case w.StatusCode == http.StatusOK && answer.Value != nil:
		o.outcome, o.value = acknowledged, *answer.Value
	case w.StatusCode == http.StatusServiceUnavailable && answer.Outcome == "not applied" && answer.Error != "":
		o.outcome = refused
	case w.StatusCode == http.StatusGatewayTimeout && answer.Outcome == "unknown" && answer.Error != "":
	default:
		return fmt.Errorf("%s: %+v", w.Status, answer)
	}
	return nil
}
