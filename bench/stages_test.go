package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// stateful returns a machine that has ballast and has applied some commands.
func stateful(commands int) *Machine {
	m := new(Machine)
	m.more.Store(&machineExtras{ballast: newBallast(200_000)})
	for i := range commands {
		m.Apply(binary.LittleEndian.AppendUint64(nil, uint64(i)))
	}
	return m
}

// snapshotOf returns the snapshot of a machine.
func snapshotOf(t *testing.T, m *Machine) []byte {
	state := m.capture()
	m.Apply([]byte("this comes after the snapshot"))
	var b bytes.Buffer
	n, err := state.WriteTo(&b)
	require.NoError(t, err)
	require.EqualValues(t, b.Len(), n)
	return b.Bytes()
}

// TestSnapshot: a machine that was restored from a snapshot goes on as the captured machine did,
// from the moment of the capture.
func TestSnapshot(t *testing.T) {
	snapshot := snapshotOf(t, stateful(10))
	restored, same := stateful(3), stateful(10)
	require.NoError(t, restored.restore(bytes.NewReader(snapshot)))
	require.EqualValues(t, 10, restored.more.Load().restored.Load())
	for _, m := range []*Machine{restored, same} {
		m.Apply([]byte("one more"))
	}
	l := &load{clients: []*client{{answered: 11, sum: same.sum}}}
	require.NoError(t, l.check([]*Machine{same, restored}))
	require.Equal(t, same.more.Load().across.Load(), restored.more.Load().across.Load())

	restored.more.Load().ballast[100_000]++
	require.ErrorIs(t, l.check([]*Machine{same, restored}), errWrongState, "the check must look at the ballast")
}

// TestSnapshotRefused: a snapshot that is malformed or of another size is refused and changes
// nothing. A machine without ballast has small snapshots.
func TestSnapshotRefused(t *testing.T) {
	snapshot := snapshotOf(t, stateful(10))
	other := bytes.Clone(snapshot)
	binary.LittleEndian.PutUint64(other[5*8:], 1<<40)
	for name, wrong := range map[string][]byte{
		"empty": nil, "cut in its header": snapshot[:20], "cut": snapshot[:len(snapshot)-1],
		"too long": append(bytes.Clone(snapshot), 0), "of another size": other,
	} {
		m := stateful(3)
		require.Error(t, m.restore(bytes.NewReader(wrong)), name)
		require.EqualValues(t, 3, m.count.Load(), name)
	}
	require.ErrorIs(t, new(Machine).restore(bytes.NewReader(snapshot)), errWrongState)
	plain, same := new(Machine), new(Machine)
	plain.Apply([]byte("one"))
	require.NoError(t, same.restore(bytes.NewReader(snapshotOf(t, plain))))
	require.EqualValues(t, 1, same.count.Load())
}

// TestSnapshotWriteFails: a snapshot that wasn't written completely isn't counted.
func TestSnapshotWriteFails(t *testing.T) {
	m := stateful(1)
	state := m.capture()
	reader, writer := io.Pipe()
	go func() {
		_, _ = io.CopyN(io.Discard, reader, 100_000)
		_ = reader.CloseWithError(io.ErrShortWrite)
	}()
	_, err := state.WriteTo(writer)
	require.ErrorIs(t, err, io.ErrShortWrite)
	require.Zero(t, m.more.Load().saved.Load())
}

// TestStall: a sync waits in the stalled part of a second, and at no other time.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		took := func(s *stall) time.Duration {
			begin := time.Now()
			s.hold()
			return time.Since(begin)
		}
		s := new(stall)
		require.Zero(t, took(s), "not begun")
		s.begin()
		require.Equal(t, stallFor, took(s))
		require.Zero(t, took(s), "the stall is over")
		time.Sleep(stallEvery - stallFor + time.Millisecond)
		require.Equal(t, stallFor-time.Millisecond, took(s))
		require.EqualValues(t, 2, s.held.Load())
		time.Sleep(stallEvery - stallFor)
		s.end()
		require.Zero(t, took(s), "ended")
		require.Zero(t, took(nil))
	})
}

// A fakeService is a cluster in one piece. Its servers take and install snapshots, or hold up
// syncs, as a test wants.
type fakeService struct {
	fakePeer
	turn    chan struct{} // a lock for which goroutines of a bubble may wait durably
	options Options
	log     [][]byte
	// snapshot takes a snapshot of a machine. install gives a server that starts again its state.
	// sync, if it isn't nil, is called for each command.
	snapshot func(*Machine) error
	install  func(to, from *Machine, log [][]byte)
	sync     func(Options)
}

func (f *fakeService) New(o Options) (Cluster, error) {
	f.options, f.turn = o, make(chan struct{}, 1)
	return f, nil
}

func (f *fakeService) Start(i int) (Server, error) {
	f.turn <- struct{}{}
	defer func() { <-f.turn }()
	if len(f.log) > 0 {
		time.Sleep(10 * time.Millisecond)
		f.install(f.options.Machines[i], f.options.Machines[0], f.log)
	}
	return fakeServer{f, i}, nil
}

func (*fakeService) Syncs() (uint64, bool) { return 0, false }
func (*fakeService) Close() error          { return nil }

// fakeServer is a server of a fakeService. The first one leads.
type fakeServer struct {
	*fakeService
	number int
}

func (s fakeServer) Leads() bool                   { return s.number == 0 }
func (fakeServer) Read(context.Context, int) error { return nil }
func (fakeServer) HandOver(context.Context) error  { return nil }
func (s fakeServer) Snapshot(context.Context) error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	return s.snapshot(s.options.Machines[s.number])
}

func (s fakeServer) Propose(_ context.Context, _ int, command []byte) (uint64, error) {
	time.Sleep(time.Millisecond)
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if s.sync != nil {
		s.sync(s.options)
	}
	s.log = append(s.log, bytes.Clone(command))
	return applyAll(s.options.Machines, command), nil
}

// measureService measures a cell with a fake service, in the virtual time of a bubble.
func measureService(t *testing.T, f *fakeService, measure func(context.Context, Peer, runConfig, *result) error) (r result, err error) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		err = measure(t.Context(), f, runConfig{
			mode: inMemory, servers: 3, load: loadConfig{clients: 4, payload: minPayload},
			warmup: 10 * time.Millisecond, duration: 800 * time.Millisecond, state: 1 << 20, dir: dir,
		}, &r)
	})
	return r, err
}

// takeNow takes a snapshot of a machine.
func takeNow(m *Machine) error {
	time.Sleep(10 * time.Millisecond)
	_, err := m.capture().WriteTo(io.Discard)
	return err
}

// installNow gives a machine the state of another one.
func installNow(to, from *Machine, _ [][]byte) {
	var b bytes.Buffer
	_, err := from.capture().WriteTo(&b)
	if err = errors.Join(err, to.restore(&b)); err != nil {
		panic(err)
	}
}

// TestSnapshotsCell: the check of the run covers snapshots that were taken and installed. A part of
// the run without a snapshot is an error.
func TestSnapshotsCell(t *testing.T) {
	r, err := measureService(t, &fakeService{snapshot: takeNow, install: installNow}, measureSnapshots)
	require.NoError(t, err)
	require.GreaterOrEqual(t, r.Figures["taken"], 3.0)
	require.EqualValues(t, snapshotInstalls, r.Figures["installed"])
	require.Positive(t, r.Figures["installing_p99_ratio"])

	_, err = measureService(t, &fakeService{snapshot: func(*Machine) error { return nil }, install: installNow}, measureSnapshots)
	require.ErrorIs(t, err, errNoSnapshotTaken)

	full := errors.New("the disk is full")
	_, err = measureService(t, &fakeService{snapshot: func(*Machine) error { return full }, install: installNow}, measureSnapshots)
	require.ErrorIs(t, err, full)

	_, err = measureService(t, &fakeService{snapshot: takeNow, install: func(to, _ *Machine, log [][]byte) {
		for _, command := range log {
			to.Apply(command)
		}
	}}, measureSnapshots)
	require.ErrorContains(t, err, "has caught up without a snapshot")

	_, err = measureService(t, &fakeService{snapshot: takeNow, install: func(to, from *Machine, log [][]byte) {
		installNow(to, from, log)
		to.chain++
	}}, measureSnapshots)
	require.ErrorIs(t, err, errWrongState)
}

// TestSlowDiskCell: syncs that are held up at the follower are reported. A part of the run in which
// none was held up is an error.
func TestSlowDiskCell(t *testing.T) {
	r, err := measureService(t, &fakeService{sync: func(o Options) { o.stall(1).hold() }}, measureSlowDisk)
	require.NoError(t, err)
	require.EqualValues(t, 1, r.Figures["held"])
	require.InDelta(t, 0.375, r.Figures["kept"], 0.01, "it stood still for 500 of 800 ms")

	_, err = measureService(t, &fakeService{sync: func(o Options) { o.stall(2).hold() }}, measureSlowDisk)
	require.ErrorContains(t, err, "no sync was held up")
}

// TestStages: a client that fails ends its stage, and whatever runs beside it.
func TestStages(t *testing.T) {
	gone := errors.New("leader gone")
	err := measureStages(t.Context(), fakePeer(func([]*Machine, []byte) (uint64, error) { return 0, gone }),
		runConfig{mode: inMemory, servers: 3, load: loadConfig{clients: 1, payload: minPayload}, dir: t.TempDir()}, Options{},
		func(s *stages) error {
			_, err := s.stage(t.Context(), func(ctx context.Context, _ *meter) error {
				<-ctx.Done()
				return ctx.Err()
			})
			return err
		})
	require.ErrorIs(t, err, gone)
}

// TestPrime: logs are filled with as many bytes as were asked for, however few clients there are.
// The check covers these commands like all others.
func TestPrime(t *testing.T) {
	for _, clients := range []int{1, primeClients, 2 * primeClients} {
		machines := []*Machine{new(Machine), new(Machine), new(Machine)}
		var mu sync.Mutex
		seen := make(map[string]bool)
		server := &fakeCluster{machines: machines, propose: func(machines []*Machine, command []byte) (uint64, error) {
			mu.Lock()
			defer mu.Unlock()
			seen[string(command)] = true
			return applyAll(machines, command), nil
		}}
		l := newLoad(server, loadConfig{clients: clients, payload: minPayload, limit: 3})
		require.NoError(t, l.prime(t.Context(), 100*primePayload-1))
		l.start(t.Context())
		require.NoError(t, l.wait(t.Context(), time.Minute))
		require.NoError(t, l.check(machines))
		answered, _ := l.totals()
		require.EqualValues(t, 100+3*clients, answered)
		require.Len(t, seen, int(answered), "no two commands are the same")
	}
}
