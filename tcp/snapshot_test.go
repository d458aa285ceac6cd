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
	snapshotBytes = flag.Int64("snapshot-bytes", 8<<20, "how large the snapshot is that TestSnapshotUnderLoad sends; 1073741824 is what is measured")
	snapshotDir   = flag.String("snapshot-dir", "", "where TestSnapshotUnderLoad keeps its logs; a temporary directory by default")
)

// A bulk is a state machine whose snapshots are large, though it is small itself: so what is measured is the library's memory.
// Its commands add up; its snapshots are the sum and many bytes that follow from it.
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

// fill fills b with what a snapshot holds from an offset on.
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

// A peak is the most memory that was seen to be in use for objects on the heap.
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

// A cutter is a transport whose first stream is cut after some bytes.
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
		return n, errCut // or else the rest may have been written before the connection is closed
	}
	return n, err
}

func (s *cutStream) Close() error {
	defer s.cut()
	return s.WriteCloser.Close()
}

// loaded is a cluster over loopback with its logs on a disk.
type loaded struct {
	t       *testing.T
	servers []raft.Server
	dirs    map[raft.ServerID]string
	nodes   map[raft.ServerID]*raft.Node
	cutters map[raft.ServerID]*cutter
	peak    peak
}

func (l *loaded) start(id raft.ServerID, transport *tcp.Transport) {
	store, err := wal.Open(l.dirs[id], wal.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(l.t, err)
	l.cutters[id] = &cutter{Transport: transport, after: *snapshotBytes / 2}
	node, err := raft.Start(raft.Config{
		ID: id, Machine: &bulk{size: *snapshotBytes, peak: &l.peak}, Storage: store, Transport: l.cutters[id], Bootstrap: l.servers,
		// The machine that runs the tests may be busy: an election would be its doing.
		Heartbeat: 100 * time.Millisecond, ElectionTimeout: 3 * time.Second,
		Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(l.t, err)
	l.nodes[id] = node
	l.t.Cleanup(func() { require.NoError(l.t, node.Close(context.Background())) })
}

// A server that was away while the log was compacted is sent a snapshot while clients work: memory stays bounded, nobody is
// elected, and when the connection is cut in the middle, the transfer goes on where it was.
//
//	go test ./tcp -run TestSnapshotUnderLoad -v -timeout 1h -snapshot-bytes 1073741824 -snapshot-dir DIR
func TestSnapshotUnderLoad(t *testing.T) {
	l := &loaded{t: t, dirs: map[raft.ServerID]string{}, nodes: map[raft.ServerID]*raft.Node{}, cutters: map[raft.ServerID]*cutter{}}
	dir := *snapshotDir
	if dir == "" {
		dir = t.TempDir()
	} else {
		require.NoError(t, os.MkdirAll(dir, 0o777))
	}
	transports := map[raft.ServerID]*tcp.Transport{}
	for _, id := range []raft.ServerID{"a", "b", "c"} {
		transport, err := tcp.Listen("127.0.0.1:0", tcp.Options{})
		require.NoError(t, err)
		transports[id] = transport
		l.dirs[id] = filepath.Join(dir, string(id))
		l.servers = append(l.servers, raft.Server{ID: id, Address: transport.Addr().String()})
	}
	for _, s := range l.servers {
		l.start(s.ID, transports[s.ID])
	}
	ctx := t.Context()
	propose := func(id raft.ServerID) {
		_, err := l.nodes[id].Propose(ctx, make([]byte, 100))
		require.NoError(t, err)
	}
	propose("c")
	require.NoError(t, l.nodes["c"].Close(ctx))
	for range 2 { // the log is forgotten up to the first one with the second one
		propose("a")
		for _, id := range []raft.ServerID{"a", "b"} {
			require.NoError(t, l.nodes[id].Read(ctx))
			_, err := l.nodes[id].Snapshot(ctx)
			require.NoError(t, err)
		}
	}
	before := l.nodes["a"].Status()
	runtime.GC() // what other tests have left isn't this one's
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
				if _, err := node.Propose(ctx, make([]byte, 100)); err != nil {
					t.Error(err)
					return
				}
				commands.Add(1)
				l.peak.look()
			}
		})
	}
	began := time.Now()
	transport, err := tcp.Listen(l.servers[2].Address, tcp.Options{})
	require.NoError(t, err)
	l.start("c", transport)
	require.NoError(t, l.nodes["c"].Read(ctx))
	took := time.Since(began)
	close(stop)
	clients.Wait()

	after := l.nodes["a"].Status()
	require.Equal(t, before.Term, after.Term, "nobody was elected")
	require.Equal(t, before.Leader, after.Leader)
	require.GreaterOrEqual(t, l.nodes["c"].Status().Snapshot, before.Snapshot, "it came by a snapshot")
	sent, streams := int64(0), int32(0)
	for _, c := range l.cutters {
		sent += c.bytes.Load()
		streams += c.streams.Load()
	}
	require.EqualValues(t, 2, streams, "one was cut, and one went on")
	require.Less(t, sent, *snapshotBytes+*snapshotBytes/4+1<<20, "it went on where it was")
	require.Less(t, l.peak.bytes.Load(), 2*baseline+64<<20, "memory is bounded, however large the snapshot is")
	t.Logf("snapshot %d bytes, sent %d in %d streams in %v; commands meanwhile %d; heap at most %d bytes, at first %d",
		*snapshotBytes, sent, streams, took.Round(time.Millisecond), commands.Load(), l.peak.bytes.Load(), baseline)
}
