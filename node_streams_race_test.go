package raft_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// A misfortune decides what goes wrong with snapshots on their way, by a seed. It has an end.
type misfortune struct {
	mu   sync.Mutex
	luck *rand.Rand
	over bool

	halfOpen, broken, replaced, refused, received int // how often each has happened

	unfinished int   // snapshots that are neither stored nor given up
	astray     error // of a stream that was accepted and doesn't fit to what is stored
}

// below returns a random number from 0 to n-1, and 0 once all is well.
func (m *misfortune) below(n int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.over {
		return 0
	}
	return m.luck.IntN(n)
}

func (m *misfortune) wait(atMost time.Duration) { time.Sleep(time.Duration(m.below(int(atMost) + 1))) }

func (m *misfortune) count(n *int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	*n++
}

// A sluggish storage is slow with snapshots. When one is opened at last, another may have taken its
// place.
type sluggish struct {
	*disk
	misfortune *misfortune
}

func (s *sluggish) OpenSnapshot() (raft.SnapshotMeta, io.ReadCloser, error) {
	before, r, err := s.disk.OpenSnapshot()
	if err != nil {
		return before, r, err
	}
	_ = r.Close() // only its place counts
	s.misfortune.wait(2 * electionTimeout)
	meta, r, err := s.disk.OpenSnapshot()
	if meta.Index != before.Index {
		s.misfortune.count(&s.misfortune.replaced)
	}
	return meta, r, err
}

func (s *sluggish) CreateSnapshot(meta raft.SnapshotMeta) (raft.SnapshotWriter, error) {
	s.misfortune.wait(electionTimeout / 2)
	w, err := s.disk.CreateSnapshot(meta)
	if err == nil {
		s.misfortune.finished(-1)
	}
	return &sluggishWriter{w, s.misfortune}, err
}

// open returns how many snapshots are being written.
func (m *misfortune) open() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.unfinished
}

// finished notes that n snapshots less are being written.
func (m *misfortune) finished(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unfinished -= n
}

type sluggishWriter struct {
	raft.SnapshotWriter
	misfortune *misfortune
}

func (w *sluggishWriter) Write(b []byte) (int, error) {
	w.misfortune.wait(electionTimeout / 4)
	return w.SnapshotWriter.Write(b)
}

// Commit fails now and then, for want of room.
func (w *sluggishWriter) Commit() error {
	w.misfortune.wait(electionTimeout)
	if w.misfortune.below(8) == 1 {
		w.misfortune.count(&w.misfortune.refused)
		return errFull
	}
	err := w.SnapshotWriter.Commit()
	if err == nil {
		w.misfortune.finished(1)
	}
	return err
}

func (w *sluggishWriter) Abort() error {
	w.misfortune.finished(1)
	return w.SnapshotWriter.Abort()
}

// A treacherous transport has streams that break, or that stay half open: the sender's side ends,
// and the receiver never hears of it.
type treacherous struct {
	raft.Transport
	misfortune *misfortune
}

func (t *treacherous) OpenStream(ctx context.Context, to raft.ServerID) (io.WriteCloser, error) {
	t.misfortune.wait(electionTimeout / 2)
	s := &treacherousStream{misfortune: t.misfortune, ctx: ctx, fate: t.misfortune.below(3), left: t.misfortune.below(3000)}
	var under context.Context
	under, s.cut = context.WithCancel(context.WithoutCancel(ctx))
	if s.fate != fateHalfOpen {
		context.AfterFunc(ctx, s.cut)
	}
	w, err := t.Transport.OpenStream(under, to)
	if err != nil {
		s.cut()
		return nil, err
	}
	s.WriteCloser = w
	return s, nil
}

// What becomes of a stream. Other fates leave it whole.
const (
	fateWhole = iota
	fateBreaks
	fateHalfOpen
)

type treacherousStream struct {
	io.WriteCloser
	misfortune *misfortune
	ctx        context.Context
	cut        context.CancelFunc
	fate, left int
	ended      bool
}

func (s *treacherousStream) Write(b []byte) (int, error) {
	s.misfortune.wait(electionTimeout / 4)
	if s.fate == fateWhole || len(b) <= s.left {
		s.left -= len(b)
		return s.WriteCloser.Write(b)
	}
	switch s.fate {
	case fateBreaks:
		s.misfortune.count(&s.misfortune.broken)
		s.ended = true
		s.cut()
	case fateHalfOpen:
		s.misfortune.count(&s.misfortune.halfOpen)
		s.ended = true
		<-s.ctx.Done()
	default:
		return s.WriteCloser.Write(b)
	}
	return 0, errors.New("broken")
}

func (s *treacherousStream) Close() error {
	if s.fate == fateHalfOpen && s.ended {
		return nil
	}
	err := s.WriteCloser.Close()
	s.cut()
	return err
}

// Streams of snapshots race with whatever else happens: snapshots that take the place of those that
// are being sent, streams that break or stay half open, leaders that change, nodes that stop and
// start again. In the end each server has what was acknowledged, in order, no node has failed, and
// no goroutine is left.
func TestStreamsRace(t *testing.T) {
	var all misfortune
	for seed := range uint64(10) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &misfortune{luck: rand.New(rand.NewPCG(seed, 1))}
				raceStreams(t, m, seed)
				all.received += m.received
				all.halfOpen += m.halfOpen
				all.broken += m.broken
				all.replaced += m.replaced
				all.refused += m.refused
			})
		})
	}
	require.Positive(t, min(all.halfOpen, all.broken, all.replaced, all.refused, all.received), "%d half open, %d broken, %d replaced, %d refused, %d received",
		all.halfOpen, all.broken, all.replaced, all.refused, all.received)
}

// A race is one such run.
type race struct {
	*cluster
	misfortune *misfortune
	nodesMu    sync.Mutex // guards the nodes
	clients    sync.WaitGroup
	// acknowledged are the commands of the client at each server, in order.
	acknowledged map[raft.ServerID][]string
}

// raceStreams performs one such run.
func raceStreams(t *testing.T, m *misfortune, seed uint64) {
	c := newCluster(t, 3, memory.Faults{})
	c.network = memory.NewNetwork(memory.Options{Seed: seed, Faults: memory.Faults{MaxDelay: 20 * time.Millisecond, Loss: float64(seed%3) / 50}})
	c.adjust = func(config *raft.Config) {
		config.SnapshotMinBytes, config.SnapshotFactor, config.SnapshotRetainBytes = 500, 1, 4000
		config.Storage = &sluggish{c.disks[config.ID], m}
		config.Transport = &treacherous{config.Transport, m}
		config.Trace = &raft.Trace{Snapshot: m.told}
		config.ScrubBytesPerSecond = -1 // its reads would draw from the luck of the streams
	}
	r := &race{cluster: c, misfortune: m, acknowledged: map[raft.ServerID][]string{}}
	for _, id := range c.ids {
		c.start(id)
	}
	ctx, stop := context.WithCancel(t.Context())
	var mu sync.Mutex
	for _, id := range c.ids {
		r.clients.Go(func() {
			commands := r.work(ctx, id)
			mu.Lock()
			defer mu.Unlock()
			r.acknowledged[id] = commands
		})
	}
	r.clients.Go(func() { r.takeSnapshots(ctx) })
	for range 8 {
		r.suffer(c.ids[m.below(len(c.ids))])
	}
	m.mu.Lock()
	m.over = true
	m.mu.Unlock()
	stop()
	r.clients.Wait()
	r.settle()
}

// told notes what a node tells about a snapshot.
func (m *misfortune) told(s raft.SnapshotTrace) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case s.Kind != "received":
	case s.Err == nil:
		m.received++
	case strings.Contains(s.Err.Error(), "are stored"):
		m.astray = s.Err
	}
}

// node returns a node. Another may have taken its place soon.
func (r *race) node(id raft.ServerID) *raft.Node {
	r.nodesMu.Lock()
	defer r.nodesMu.Unlock()
	return r.nodes[id]
}

// work proposes one command after the other at a server, and returns those that were acknowledged.
func (r *race) work(ctx context.Context, id raft.ServerID) (acknowledged []string) {
	for n := 0; ctx.Err() == nil; n++ {
		command := fmt.Sprint(id, n, strings.Repeat(" more", r.misfortune.below(100)))
		within, cancel := context.WithTimeout(ctx, 3*electionTimeout)
		if _, err := r.node(id).Propose(within, []byte(command)); err == nil {
			acknowledged = append(acknowledged, command)
		}
		cancel()
		time.Sleep(electionTimeout / 20)
	}
	return acknowledged
}

// takeSnapshots is an operator who wants a snapshot again and again.
func (r *race) takeSnapshots(ctx context.Context) {
	for ctx.Err() == nil {
		within, cancel := context.WithTimeout(ctx, electionTimeout)
		_, _ = r.node(r.ids[r.misfortune.below(len(r.ids))]).Snapshot(within) // it may fail: the server is in trouble
		cancel()
		time.Sleep(electionTimeout / 5)
	}
}

// suffer cuts a server off, or stops it, for a while.
func (r *race) suffer(id raft.ServerID) {
	if r.misfortune.below(2) == 0 {
		r.network.Isolate(id)
		r.misfortune.wait(10 * electionTimeout)
		r.network.Heal()
	} else {
		r.close(id)
		r.misfortune.wait(10 * electionTimeout)
		r.nodesMu.Lock()
		r.start(id)
		r.nodesMu.Unlock()
	}
	r.misfortune.wait(10 * electionTimeout)
}

// settle demands that all is well in the end.
func (r *race) settle() {
	t := r.t
	for _, id := range r.ids {
		require.NoError(t, r.nodes[id].Read(within(t, 100*electionTimeout)), "at %s", id)
	}
	time.Sleep(20 * electionTimeout) // what is under way comes to its end, commands of clients that have gone too
	want := r.machines["a"].applied()
	for _, commands := range r.acknowledged {
		next := 0
		for _, command := range want {
			if next < len(commands) && command == commands[next] {
				next++
			}
		}
		require.Equal(t, len(commands), next, "every acknowledged command was applied, in order")
	}
	for _, id := range r.ids {
		require.NoError(t, r.nodes[id].Err())
		require.Equal(t, want, r.machines[id].applied(), "at %s", id)
	}
	require.NoError(t, r.misfortune.astray)
	require.Zero(t, r.misfortune.unfinished, "snapshots that are neither stored nor given up")
	for _, id := range r.ids {
		r.close(id)
	}
}

// A first lets only the first stream through, up to the number of bytes after which it breaks.
type first struct{ *fragile }

func (f first) OpenStream(ctx context.Context, to raft.ServerID) (io.WriteCloser, error) {
	f.mu.Lock()
	opened := f.streams
	f.mu.Unlock()
	if opened > 0 {
		return nil, errors.New("no way")
	}
	return f.fragile.OpenStream(ctx, to)
}

// A node that stops while it has half of a snapshot, and waits for the rest, leaves nothing open in
// its storage.
func TestStoppedNodeLetsGoOfHalfASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &misfortune{over: true}
		c := newCluster(t, 3, memory.Faults{})
		c.adjust = func(config *raft.Config) {
			config.Transport = first{&fragile{Transport: config.Transport, after: 100 << 10}}
			if config.ID == "c" {
				config.Storage = &sluggish{c.disks["c"], m}
			}
		}
		away(t, c, 200<<10)
		c.start("c")
		time.Sleep(5 * electionTimeout)
		require.Equal(t, 1, m.open())
		c.close("c")
		synctest.Wait()
		require.Zero(t, m.open())
	})
}
