package raft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Snapshots have goroutines of their own, which come and go:
//
//	goroutine         owns                          ends when
//	────────────────  ────────────────────────────  ──────────────────────────────────────────────
//	transfers.store   a captured state, of which    the state is written, or the node stops
//	                  there is one at a time
//	transfers.send    a stream to another server    all is sent, the stream breaks, or the core or
//	                                                the node stops it
//	transfers.take    a stream from another server  all has come, the stream breaks, or the core or
//	                                                the node stops it
//	receiver.discard  nothing                       what was received is thrown away; at the end of
//	                                                the node, Node.discardReceived does that
//
// transfers.take runs in a goroutine of the transport, the others in goroutines of the node. They
// report to the loop as the lanes do, and decide nothing. Those of streams are in node_streams.go.

// streamBuffer is how many bytes of a snapshot are read or written at a time. On a slow connection
// a piece must get through well before the stream is given up as standing still.
const streamBuffer = 16 << 10

// reportEvery is after how many bytes of a stream its progress is reported. If a heartbeat interval
// passes first, it is reported then.
const reportEvery = 1 << 20

// transfers bring snapshots to and fro: from the state machine into the storage, and from one
// server to another.
type transfers struct {
	*Node
	perSecond int // Config.SnapshotBytesPerSecond
	receiver  receiver
}

// errStopping ends the work that a stopping node doesn't wait for.
var errStopping = errors.New("raft: the node is stopping")

// takeSnapshot captures the state, and leaves it to another goroutine to write it to the storage.
// If the state can't be captured, that is no failure of the node.
func (n *Node) takeSnapshot(meta *SnapshotMeta) {
	start := stopwatchFor(n.trace.Snapshot != nil)
	captured, err := n.lanes.applier.Snapshot(meta.Index)
	if err != nil {
		n.transfers.taken(meta, 0, start, err)
		return
	}
	n.life.enter()
	go n.transfers.store(meta, captured, start)
}

// store writes a captured state to the storage, while the state machine goes on to apply.
func (t *transfers) store(meta *SnapshotMeta, captured *Capture, start time.Time) {
	defer t.life.leave()
	size, err := uint64(0), errSnapshotCut
	defer func() { t.taken(meta, size, start, err) }() // also when WriteTo ends the goroutine
	err = guard("snapshot", func() (err error) {
		size, err = t.write(meta, captured)
		return err
	})
}

// write writes a captured state into the storage and returns its size. It closes the capture and
// ends the snapshot's writer, also when the state machine panics or ends the goroutine.
func (t *transfers) write(meta *SnapshotMeta, captured *Capture) (size uint64, err error) {
	defer func() { err = errors.Join(err, captured.Close()) }()
	into, err := t.config.Storage.CreateSnapshot(*meta)
	if err != nil {
		return 0, err
	}
	committed := false
	defer func() {
		if !committed {
			err = errors.Join(err, into.Abort())
		}
	}()
	counted := &countingWriter{to: into, ctx: t.life.context(), took: t.takes()}
	if _, err = captured.WriteTo(counted); err != nil {
		return 0, err
	}
	if err = captured.Close(); err != nil { // before the disk is waited for
		return 0, err
	}
	if counted.full != nil {
		return 0, counted.missing(counted.full)
	}
	if err = into.Commit(); outOfRoom(err) {
		return 0, counted.missing(err)
	} else if err != nil {
		return 0, err
	}
	committed = true
	return counted.bytes, nil
}

// errSnapshotCut says that the state machine ended the goroutine that was writing its snapshot.
var errSnapshotCut = errors.New("raft: the state machine ended the goroutine that was writing its snapshot")

// taken reports whether a snapshot was taken.
func (t *transfers) taken(meta *SnapshotMeta, size uint64, start time.Time, err error) {
	t.traceSnapshot(SnapshotTrace{Kind: "taken", Index: meta.Index, Bytes: size, Err: err}, start)
	if h := t.snapshots; h != nil {
		h.takes.done(t.Node)
	}
	if err != nil {
		if !t.life.stops.given() {
			t.logger.Error("raft: snapshot not taken", "index", meta.Index, "err", err)
		}
		t.inbox.report(func(l *loop, now Instant) { l.core.SnapshotFailed(now, err) })
		return
	}
	t.logger.Info("raft: snapshot taken", "index", meta.Index, "term", meta.Term, "bytes", size)
	t.inbox.report(func(l *loop, now Instant) { l.core.SnapshotTaken(now, size) })
}

// A countingWriter counts the bytes that go through it. It fails once ctx has ended. When there is no
// room for more, it goes on to count, so that it is known how much is missing.
type countingWriter struct {
	to            io.Writer
	ctx           context.Context
	bytes, stored uint64
	full          error // why the rest wasn't stored
	took          *take // is told that bytes move; nil for none
}

// missing says how much room a snapshot needs.
func (w *countingWriter) missing(err error) error {
	return fmt.Errorf("raft: the snapshot has %d bytes, and there was room for %d of them: %w", w.bytes, w.stored, err)
}

func (w *countingWriter) Write(b []byte) (int, error) {
	if w.ctx.Err() != nil {
		return 0, errStopping
	}
	w.took.moves()
	if w.full != nil {
		w.bytes += uint64(len(b))
		return len(b), nil
	}
	n, err := w.to.Write(b)
	if outOfRoom(err) {
		w.full, n, err = err, len(b), nil
	} else {
		w.stored += uint64(n)
	}
	w.bytes += uint64(n)
	return n, err
}

// restoreSnapshot restores the state machine from the current snapshot. If that fails, the node
// stops: nobody knows what the state is.
func (n *Node) restoreSnapshot(meta *SnapshotMeta) error {
	start := stopwatchFor(n.trace.Snapshot != nil)
	err := n.patiently(func() error {
		reader, err := n.transfers.open(meta)
		if err == nil {
			err = n.lanes.applier.Restore(meta.Index, meta.Term, &stoppableReader{reader, n.life.context()})
			err = errors.Join(err, reader.Close())
		}
		return err
	})
	n.transfers.traceSnapshot(SnapshotTrace{Kind: "restored", Index: meta.Index, Err: err}, start)
	if err != nil {
		return because(fmt.Errorf("raft: restore snapshot %d", meta.Index), err)
	}
	n.logger.Info("raft: snapshot restored", "index", meta.Index, "term", meta.Term)
	n.inbox.report(func(l *loop, now Instant) { l.core.Restored(now) })
	return nil
}

// open opens the current snapshot. The error is ErrNoSnapshot if it isn't the expected one any
// more.
func (t *transfers) open(meta *SnapshotMeta) (io.ReadCloser, error) {
	found, reader, err := t.config.Storage.OpenSnapshot()
	if err != nil {
		return nil, err
	}
	if found.Index != meta.Index || found.Term != meta.Term {
		return nil, errors.Join(ErrNoSnapshot, reader.Close())
	}
	return reader, nil
}

// A stoppableReader reads until ctx ends.
type stoppableReader struct {
	from io.Reader
	ctx  context.Context
}

func (r *stoppableReader) Read(b []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, errStopping
	}
	return r.from.Read(b)
}

// Snapshot takes a snapshot now. The node takes snapshots by itself (Config.SnapshotMinBytes), so
// this is for a service that wants one at a certain moment, before a backup for instance. The
// snapshot covers at least what was applied when Snapshot was called; if the current one does so
// already, none is taken. Snapshot returns the index that the current snapshot covers. The log up
// to the snapshot may be forgotten from then on.
//
// After an error the old snapshot and the log are as they were. The error wraps that of the state
// machine or of the storage, ErrNoSnapshot while nothing was applied yet, ErrOverloaded, ErrClosed,
// ErrStopped with the failure that stopped the node, or ctx.Err(): then the snapshot may still be
// taken later.
func (n *Node) Snapshot(ctx context.Context) (Index, error) {
	if err := ctx.Err(); err != nil {
		return 0, snapshotNotTaken(err)
	}
	answer := make(chan SnapshotAnswer, 1)
	var number uint64 // only the loop uses it
	err := n.inbox.report(func(l *loop, now Instant) {
		number = l.core.Snapshot(now)
		if l.snapshots.calls == nil {
			l.snapshots.calls = make(map[uint64]chan SnapshotAnswer)
		}
		l.snapshots.calls[number] = answer
	})
	if err != nil {
		return 0, snapshotNotTaken(err)
	}
	select {
	case a := <-answer:
		if a.Err != nil {
			return 0, snapshotNotTaken(a.Err)
		}
		return a.Index, nil
	case <-ctx.Done():
		_ = n.inbox.report(func(l *loop, _ Instant) { // an error says that the node has stopped
			l.core.CancelSnapshot(number)
			delete(l.snapshots.calls, number)
		})
		return 0, snapshotNotTaken(ctx.Err())
	case <-n.life.done.wait():
		return 0, snapshotNotTaken(n.inbox.reason())
	}
}

func snapshotNotTaken(reason error) error {
	return because(errors.New("raft: snapshot not taken"), reason)
}
