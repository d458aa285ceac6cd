package rafttest_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
)

// errCalled is the failure of a call that should not fail.
var errCalled = errors.New("a failure for no reason")

// A saboteur makes calls of a storage fail that come from one place in the suite. It notes all
// places.
type saboteur struct {
	mu     sync.Mutex
	places map[string]bool
	fails  string // the place
}

// aside matches the functions of the suite that stand around a check, or between it and what it
// calls.
var aside = regexp.MustCompile(`^(TestStorage|TestStateMachine|perform\[|\(?\*?watch|timed|guarded|together|\(\*storageSession\)\.within)`)

// place returns the lines of the suite from which a call comes.
func place() string {
	pcs := make([]uintptr, 40)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	var place strings.Builder
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		if name, ok := strings.CutPrefix(f.Function, "github.com/e17579a5/raft/rafttest."); ok && !aside.MatchString(name) {
			fmt.Fprintf(&place, "%s:%d ", name, f.Line)
		}
	}
	return strings.TrimSpace(place.String())
}

// check returns the check to which a place belongs.
func check(place string) string {
	name, _, _ := strings.Cut(place[strings.LastIndex(place, " ")+1:], ":")
	return name
}

// called returns the error of a call: err, or errCalled at the place that is to fail.
func (s *saboteur) called(err error) error {
	from := place()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		return err
	}
	s.places[from] = true
	if s.fails == from {
		return errCalled
	}
	return nil
}

// disk returns a disk in memory. It can be opened only in the check of the place that is to fail,
// unless that is in a goroutine: the other checks end at once.
func (s *saboteur) disk() rafttest.Disk {
	disk := with(rafttest.MemoryDisk, s.flaw)()
	open := disk.Open
	disk.Open = func() (raft.Storage, error) {
		if is := check(s.fails); strings.HasPrefix(is, "init.") && is != check(place()) {
			return nil, io.ErrNoProgress
		}
		return open()
	}
	return disk
}

// flaw lets a storage ask the saboteur what each call returns.
func (s *saboteur) flaw(f *flawed) {
	f.load = func() (raft.Saved, error) {
		saved, err := f.Storage.Load()
		return saved, s.called(err)
	}
	f.write = func(w raft.Write) error { return s.called(f.Storage.Write(w)) }
	f.entries = func(after, last raft.Index, n int) ([]raft.Entry, error) {
		entries, err := f.Storage.Entries(after, last, n)
		return entries, s.called(err)
	}
	f.create = func(meta raft.SnapshotMeta) (raft.SnapshotWriter, error) {
		w, err := f.Storage.CreateSnapshot(meta)
		return sabotagedWriter{w, s}, s.called(err)
	}
	f.open = func() (raft.SnapshotMeta, io.ReadCloser, error) {
		meta, r, err := f.Storage.OpenSnapshot()
		return meta, sabotagedReader{r, s}, s.called(err)
	}
	f.close = func() error { return s.called(f.Storage.Close()) }
}

type sabotagedWriter struct {
	raft.SnapshotWriter
	s *saboteur
}

func (w sabotagedWriter) Write(b []byte) (int, error) {
	n, err := w.SnapshotWriter.Write(b)
	return n, w.s.called(err)
}

func (w sabotagedWriter) Commit() error { return w.s.called(w.SnapshotWriter.Commit()) }

func (w sabotagedWriter) Abort() error { return w.s.called(w.SnapshotWriter.Abort()) }

type sabotagedReader struct {
	io.ReadCloser
	s *saboteur
}

func (r sabotagedReader) Read(b []byte) (int, error) {
	n, err := r.ReadCloser.Read(b)
	if err := r.s.called(err); err != nil {
		return 0, err // io.ReadFull ignores an error that comes with all bytes
	}
	return n, nil
}

func (r sabotagedReader) Close() error { return r.s.called(r.ReadCloser.Close()) }

// TestStorageConvictsAnyFailure demands that TestStorage convicts a storage of which any call
// fails, wherever in the suite it comes from, but for the calls that may fail.
func TestStorageConvictsAnyFailure(t *testing.T) {
	s := &saboteur{places: map[string]bool{}}
	require.NoError(t, rafttest.TestStorage(with(rafttest.MemoryDisk, s.flaw)))
	require.Greater(t, len(s.places), 100)
	passed := map[string]bool{} // lines through which a failure has passed
	for _, place := range slices.Sorted(maps.Keys(s.places)) {
		if !slices.ContainsFunc(strings.Fields(place), func(line string) bool { return !passed[line] }) {
			continue
		}
		switch {
		case strings.HasPrefix(place, "(*storageSession).crash:"): // a dead storage
		case strings.HasPrefix(place, "checkCloseUnderLoad.func"): // a write while the storage is closed
		case strings.Contains(place, "checkConcurrency.func"): // another run may not come there
		case strings.Contains(place, "openEither:"): // one of two models is enough
		case strings.HasPrefix(place, "checkClose:"): // some of the calls after Close, which must fail
		default:
			one := &saboteur{places: map[string]bool{}, fails: place}
			require.ErrorIs(t, rafttest.TestStorage(one.disk), errCalled, "at %s", place)
			for line := range strings.FieldsSeq(place) {
				passed[line] = true
			}
		}
	}
}

// A sabotagedMachine is a census whose calls fail at one place of the suite.
type sabotagedMachine struct {
	raft.StateMachine
	s *saboteur
}

func (m sabotagedMachine) Snapshot() (io.WriterTo, error) {
	captured, err := m.StateMachine.Snapshot()
	return sabotagedCapture{captured.(*censusWriter), m.s}, m.s.called(err)
}

func (m sabotagedMachine) Restore(r io.Reader) error { return m.s.called(m.StateMachine.Restore(r)) }

type sabotagedCapture struct {
	*censusWriter
	s *saboteur
}

func (c sabotagedCapture) WriteTo(w io.Writer) (int64, error) {
	n, err := c.censusWriter.WriteTo(w)
	return n, c.s.called(err)
}

func (c sabotagedCapture) Close() error { return c.s.called(c.censusWriter.Close()) }

// TestStateMachineConvictsAnyFailure demands that TestStateMachine convicts a state machine of
// which any call fails, wherever in the suite it comes from.
func TestStateMachineConvictsAnyFailure(t *testing.T) {
	run := func(s *saboteur) error {
		return rafttest.TestStateMachine(func() raft.StateMachine { return sabotagedMachine{newCensus("")(), s} }, word)
	}
	s := &saboteur{places: map[string]bool{}}
	require.NoError(t, run(s))
	require.Greater(t, len(s.places), 30)
	for _, place := range slices.Sorted(maps.Keys(s.places)) {
		require.ErrorIs(t, run(&saboteur{places: map[string]bool{}, fails: place}), errCalled, "at %s", place)
	}
}
