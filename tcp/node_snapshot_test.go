package tcp_test

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wal"
)

var (
	snapshotBytes = flag.Int64("snapshot-bytes", 8<<20, "the size in bytes of the snapshot that the tests under load send; measurements use 1073741824")
	snapshotDir   = flag.String("snapshot-dir", "", "where the tests under load keep their logs; a temporary directory by default")
)

// A bulk is a state machine whose snapshots are large although its state is small. So the memory
// that is measured is that of the library. Its commands add up; a snapshot is the sum, and many
// bytes that follow from it.
type bulk struct {
	mu   sync.Mutex
	sum  uint64
	size int64
	peak *peak
}

func (m *bulk) Apply(entries []raft.Entry, results [][]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range entries {
		m.sum += uint64(len(entries[i].Data))
		results[i] = binary.LittleEndian.AppendUint64(nil, m.sum)
	}
}

func (m *bulk) Snapshot() (io.WriterTo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &bulkSnapshot{sum: m.sum, size: m.size, peak: m.peak}, nil
}

type bulkSnapshot struct {
	sum  uint64
	size int64
	peak *peak
}

// fill fills b with the bytes of the snapshot from the offset at on.
func (s *bulkSnapshot) fill(b []byte, at int64) {
	for i := 0; i+8 <= len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], (s.sum+uint64(at)+uint64(i))*0x9e3779b97f4a7c15)
	}
}

func (s *bulkSnapshot) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(binary.LittleEndian.AppendUint64(nil, s.sum))
	written := int64(n)
	buffer := make([]byte, 64<<10)
	for at := int64(0); at < s.size && err == nil; at += int64(len(buffer)) {
		s.fill(buffer, at)
		n, err = w.Write(buffer[:min(int64(len(buffer)), s.size-at)])
		written += int64(n)
		s.peak.look()
	}
	return written, err
}

func (m *bulk) Restore(r io.Reader) error {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sum = binary.LittleEndian.Uint64(head[:])
	s := bulkSnapshot{sum: m.sum}
	got, want := make([]byte, 64<<10), make([]byte, 64<<10)
	for at := int64(0); ; {
		n, err := io.ReadFull(r, got)
		s.fill(want, at)
		if string(got[:n]) != string(want[:n]) {
			return fmt.Errorf("the snapshot is another one at %d", at)
		}
		at += int64(n)
		m.peak.look()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			m.size = at
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// A peak is the most memory for objects on the heap that was seen in use, in bytes.
type peak struct{ bytes atomic.Uint64 }

func (p *peak) look() {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	for now := sample[0].Value.Uint64(); ; {
		before := p.bytes.Load()
		if now <= before || p.bytes.CompareAndSwap(before, now) {
			return
		}
	}
}

// A cutter is a transport that cuts its first stream after some bytes.
type cutter struct {
	raft.Transport
	after   int64
	streams atomic.Int32
	bytes   atomic.Int64
}

func (c *cutter) OpenStream(ctx context.Context, to raft.ServerID) (io.WriteCloser, error) {
	ctx, cut := context.WithCancel(ctx)
	w, err := c.Transport.OpenStream(ctx, to)
	if err != nil {
		cut()
		return nil, err
	}
	s := &cutStream{WriteCloser: w, of: c, cut: cut}
	if c.streams.Add(1) == 1 {
		s.after = c.after
	}
	return s, nil
}

var errCut = errors.New("cut by the test")

type cutStream struct {
	io.WriteCloser
	of    *cutter
	cut   func()
	after int64 // 0 for never
	bytes int64
}

func (s *cutStream) Write(b []byte) (int, error) {
	n, err := s.WriteCloser.Write(b)
	s.of.bytes.Add(int64(n))
	if s.bytes += int64(n); s.after > 0 && s.bytes >= s.after {
		s.cut()
		return n, errCut // otherwise the rest may be written before the connection is closed
	}
	return n, err
}

func (s *cutStream) Close() error {
	defer s.cut()
	return s.WriteCloser.Close()
}

// A loaded is a cluster over loopback whose logs are on a disk.
type loaded struct {
	t        *testing.T
	dir      string
	founders []raft.Server
	nodes    map[raft.ServerID]*raft.Node
	cutters  map[raft.ServerID]*cutter
	peak     peak

	mu       sync.Mutex
	received []raft.SnapshotTrace // the streams that servers have taken
}

// newLoaded founds a cluster of a, b and c.
func newLoaded(t *testing.T) *loaded {
	l := &loaded{t: t, dir: *snapshotDir, nodes: map[raft.ServerID]*raft.Node{}, cutters: map[raft.ServerID]*cutter{}}
	if l.dir == "" {
		l.dir = t.TempDir()
	} else {
		l.dir = filepath.Join(l.dir, t.Name())
		require.NoError(t, os.MkdirAll(l.dir, 0o777))
	}
	transports := map[raft.ServerID]*tcp.Transport{}
	for _, id := range []raft.ServerID{"a", "b", "c"} {
		transports[id] = l.listen("127.0.0.1:0")
		l.founders = append(l.founders, raft.Server{ID: id, Address: transports[id].Addr().String()})
	}
	for _, s := range l.founders {
		l.start(s, transports[s.ID], l.founders)
	}
	l.propose("c")
	return l
}

func (l *loaded) listen(address string) *tcp.Transport {
	transport, err := tcp.Listen(address, tcp.Options{})
	require.NoError(l.t, err)
	return transport
}

func (l *loaded) start(s raft.Server, transport *tcp.Transport, founders []raft.Server) {
	store, err := wal.Open(filepath.Join(l.dir, string(s.ID)), wal.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(l.t, err)
	l.cutters[s.ID] = &cutter{Transport: transport, after: *snapshotBytes / 2}
	node, err := raft.Start(raft.Config{
		ID: s.ID, Address: s.Address, Bootstrap: founders,
		Machine: &bulk{size: *snapshotBytes, peak: &l.peak}, Storage: store, Transport: l.cutters[s.ID],
		// The computer that runs the tests may be busy. That alone must not cause an election.
		Heartbeat: 100 * time.Millisecond, ElectionTimeout: 3 * time.Second,
		Logger: slog.New(slog.DiscardHandler),
		Trace: &raft.Trace{Snapshot: func(s raft.SnapshotTrace) {
			if s.Kind == "received" {
				l.mu.Lock()
				l.received = append(l.received, s)
				l.mu.Unlock()
			}
		}},
	})
	require.NoError(l.t, err)
	l.nodes[s.ID] = node
	l.t.Cleanup(func() { closeAtRest(l.t, node, transport) })
}

func (l *loaded) propose(id raft.ServerID) {
	_, err := l.nodes[id].Propose(l.t.Context(), make([]byte, 100))
	require.NoError(l.t, err)
}

// forget lets servers forget the beginning of the log.
func (l *loaded) forget(ids ...raft.ServerID) {
	for range 2 { // the second snapshot lets them forget the log up to the first
		l.propose("a")
		for _, id := range ids {
			require.NoError(l.t, l.nodes[id].Read(l.t.Context()))
			_, err := l.nodes[id].Snapshot(l.t.Context())
			require.NoError(l.t, err)
		}
	}
}

// work lets clients propose at a and b while transfer brings a snapshot to a server. It requires
// that memory stays bounded, that nobody is elected, and that the transfer goes on where it was
// after its connection was cut in the middle.
func (l *loaded) work(id raft.ServerID, transfer func()) {
	t := l.t
	before := l.nodes["a"].Status()
	runtime.GC() // the garbage of other tests doesn't count
	l.peak.bytes.Store(0)
	l.peak.look()
	baseline := l.peak.bytes.Load()

	stop := make(chan struct{})
	var clients sync.WaitGroup
	var commands atomic.Int64
	for i := range 4 {
		node := l.nodes[[]raft.ServerID{"a", "b"}[i%2]]
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := node.Propose(t.Context(), make([]byte, 100)); err != nil {
					t.Error(err)
					return
				}
				commands.Add(1)
				l.peak.look()
			}
		})
	}
	began := time.Now()
	transfer()
	require.NoError(t, l.nodes[id].Read(t.Context()))
	took := time.Since(began)
	close(stop)
	clients.Wait()

	after := l.nodes["a"].Status()
	require.Equal(t, before.Term, after.Term, "nobody was elected")
	require.Equal(t, before.Leader, after.Leader)
	require.GreaterOrEqual(t, l.nodes[id].Status().Snapshot, before.Snapshot, "it came by a snapshot")
	require.Positive(t, commands.Load())
	sent, streams := int64(0), int32(0)
	for _, c := range l.cutters {
		sent += c.bytes.Load()
		streams += c.streams.Load()
	}
	require.EqualValues(t, 2, streams, "one was cut, and one went on")
	l.mu.Lock()
	received := l.received
	l.mu.Unlock()
	require.Len(t, received, 2)
	require.Zero(t, received[0].Offset)
	require.Equal(t, received[0].Bytes, received[1].Offset, "it went on where it was")
	require.GreaterOrEqual(t, received[1].Offset+received[1].Bytes, uint64(*snapshotBytes))
	require.Less(t, l.peak.bytes.Load(), 2*baseline+64<<20, "memory is bounded, however large the snapshot is")
	t.Logf("snapshot %d bytes, sent %d in %d streams in %v; commands meanwhile %d, terms %d to %d; heap at most %d bytes, at first %d",
		*snapshotBytes, sent, streams, took.Round(time.Millisecond), commands.Load(), before.Term, after.Term, l.peak.bytes.Load(), baseline)
}

// A server that was away while the log was compacted gets a snapshot while clients work.
//
//	go test ./tcp -run TestSnapshotUnderLoad -v -timeout 1h \
//		-snapshot-bytes 1073741824 -snapshot-dir DIR
func TestSnapshotUnderLoad(t *testing.T) {
	l := newLoaded(t)
	require.NoError(t, l.nodes["c"].Close(t.Context()))
	l.forget("a", "b")
	l.work("c", func() { l.start(l.founders[2], l.listen(l.founders[2].Address), l.founders) })
}

// A new server becomes a voter of a cluster that has forgotten the beginning of its log, while
// clients work.
//
//	go test ./tcp -run TestJoinUnderLoad -v -timeout 1h \
//		-snapshot-bytes 1073741824 -snapshot-dir DIR
func TestJoinUnderLoad(t *testing.T) {
	l := newLoaded(t)
	l.forget("a", "b", "c")
	transport := l.listen("127.0.0.1:0")
	d := raft.Server{ID: "d", Address: transport.Addr().String()}
	l.start(d, transport, nil)
	l.work("d", func() {
		_, err := l.nodes["b"].AddServer(t.Context(), d)
		require.NoError(t, err)
	})
	members := l.nodes["d"].Status().Members
	require.Len(t, members, 4)
	require.Equal(t, d, members[3].Server)
	require.Equal(t, raft.Voter, members[3].Role)
}
