package raft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/e17579a5/raft/wire"
)

// send sends the current snapshot to another server in a stream, and reports how it went.
func (t *transfers) send(ctx context.Context, send SendSnapshot) {
	defer t.life.leave()
	start, sent := stopwatchFor(t.trace.Snapshot != nil), uint64(0)
	err := guard("snapshot", func() (err error) {
		sent, err = t.stream(ctx, &send)
		return err
	})
	t.traceSnapshot(SnapshotTrace{
		Kind: "sent", Peer: send.Header.To, Index: send.Meta.Index, Bytes: sent, Offset: send.Header.SnapshotStream().Offset, Err: err,
	}, start)
	if err != nil && ctx.Err() == nil {
		t.logger.Warn("raft: snapshot not sent", "peer", send.Header.To, "index", send.Meta.Index, "err", err)
	}
	_ = t.inbox.report(func(l *loop, now Instant) { // an error says that the node has stopped
		l.snapshots.sends[send.Stream]()
		delete(l.snapshots.sends, send.Stream)
		l.core.SnapshotSent(now, send.Stream, err)
	})
}

// stream writes a snapshot to a stream. It returns how many bytes it wrote, without those before
// the offset. Its error tells whether the stream broke (errStream) or the snapshot can't be read.
func (t *transfers) stream(ctx context.Context, send *SendSnapshot) (sent uint64, err error) {
	leave, err := t.enterSend(ctx, send)
	if err != nil {
		return 0, streamBroken(err)
	}
	defer leave()
	reader, err := t.open(&send.Meta)
	if err != nil {
		return 0, err
	}
	defer reader.Close()
	if _, err := io.CopyN(io.Discard, &stoppableReader{reader, ctx}, int64(send.Header.SnapshotStream().Offset)); err != nil {
		return 0, shortSnapshot(err)
	}
	stream, err := t.config.Transport.OpenStream(ctx, send.Header.To)
	if err != nil {
		return 0, streamBroken(err)
	}
	header := send.Header
	header.Group = t.group
	if err = writeStreamHeader(stream, &header); err == nil {
		sent, err = t.copy(ctx, send, reader, stream)
	}
	if closing := stream.Close(); err == nil && closing != nil {
		err = streamBroken(closing)
	}
	return sent, err
}

// copy copies the rest of a snapshot, at the rate that is allowed. It returns how many bytes it
// copied.
func (t *transfers) copy(ctx context.Context, send *SendSnapshot, from io.Reader, into io.Writer) (sent uint64, err error) {
	head := send.Header.SnapshotStream()
	offset, size := head.Offset, head.Bytes
	pace := newPace(t.perSecond)
	defer pace.stop()
	progress := t.newProgress(func(c *Core, now Instant, at uint64) { c.SnapshotMoved(now, send.Stream, at) }, offset)
	buffer := make([]byte, min(streamBuffer, pace.piece))
	for offset < size {
		k, err := io.ReadFull(from, buffer[:min(uint64(len(buffer)), size-offset)])
		if err != nil {
			return sent, shortSnapshot(err)
		}
		if err := pace.wait(ctx, k); err != nil {
			return sent, streamBroken(err)
		}
		if _, err := into.Write(buffer[:k]); err != nil {
			return sent, streamBroken(err)
		}
		offset, sent = offset+uint64(k), sent+uint64(k)
		progress.reached(offset)
	}
	return sent, nil
}

// shortSnapshot makes the error of a snapshot that can't be read. A snapshot that has fewer bytes
// than it had is damaged.
func shortSnapshot(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: the snapshot ends too early", ErrCorrupt)
	}
	return err
}

// errStream says that a stream is broken, by whatever name its transport calls that.
var errStream = errors.New("raft: stream broken")

func streamBroken(err error) error { return fmt.Errorf("%w: %v", errStream, err) }

// A pace keeps a stream within a rate.
type pace struct {
	perSecond, piece int
	timer            *time.Timer
}

// pieces is how many pieces are sent in a second when the rate is low.
const pieces = 20

func newPace(perSecond int) *pace {
	p := &pace{perSecond: perSecond, piece: streamBuffer}
	if perSecond > 0 {
		p.piece = max(perSecond/pieces, 1)
		p.timer = time.NewTimer(0)
	}
	return p
}

// wait waits until so many bytes may be sent after those before.
func (p *pace) wait(ctx context.Context, bytes int) error {
	if p.timer == nil {
		return nil
	}
	select {
	case <-p.timer.C:
		p.timer.Reset(time.Duration(bytes) * time.Second / time.Duration(p.perSecond))
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *pace) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
}

// A streamProgress reports from time to time how far a stream has come.
type streamProgress struct {
	t      *transfers
	report func(c *Core, now Instant, at uint64)
	at     uint64
	since  time.Time
}

func (t *transfers) newProgress(report func(c *Core, now Instant, at uint64), at uint64) *streamProgress {
	return &streamProgress{t: t, report: report, at: at, since: time.Now()}
}

// reached notes how far the stream has come.
func (p *streamProgress) reached(at uint64) {
	if at-p.at < reportEvery && time.Since(p.since) < p.t.config.Heartbeat {
		return
	}
	p.at, p.since = at, time.Now()
	// An error says that the node has stopped.
	_ = p.t.inbox.report(func(l *loop, now Instant) { p.report(l.core, now, at) })
}

// A receiver is this server's side of the streams that other servers open. At most one of them
// stores a snapshot at a time.
type receiver struct {
	mu       sync.Mutex
	last     uint64
	arrivals map[uint64]*arrival // nil before the first one

	// storing holds a token while a goroutine stores, and guards the fields below it. A disk or a
	// stream may keep that goroutine for long. It is nil before the first one; mu guards that.
	storing chan struct{}
	writer  SnapshotWriter // nil while nothing is stored
	begun   uint64         // the stream with which writer began
	held    uint64
	// discarded is the last stream that was accepted when something was thrown away. A stream that was
	// accepted before that may begin to store later.
	discarded uint64
}

// An arrival is a stream that another server has opened.
type arrival struct {
	verdict  chan *StreamVerdict // gets the first verdict
	stream   io.Closer
	accepted bool
}

// arrive gives a stream its number.
func (r *receiver) arrive(stream io.Closer) (uint64, *arrival) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	a := &arrival{verdict: make(chan *StreamVerdict, 1), stream: stream}
	if r.arrivals == nil {
		r.arrivals = make(map[uint64]*arrival)
	}
	r.arrivals[r.last] = a
	return r.last, a
}

func (r *receiver) depart(number uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.arrivals, number)
}

// judge tells a stream what becomes of it. If the stream was accepted before and is refused now, it
// is closed, which ends the goroutine that reads from it.
func (r *receiver) judge(v *StreamVerdict) {
	r.mu.Lock()
	a := r.arrivals[v.Stream]
	closes := a != nil && a.accepted && !v.Accepted
	if a != nil && !a.accepted {
		a.accepted = v.Accepted
		verdict := *v
		a.verdict <- &verdict // there is room: a stream gets only one verdict before it is accepted
	}
	r.mu.Unlock()
	if closes {
		_ = a.stream.Close() // the stream breaks, and is meant to
	}
}

// discard throws away what was stored, if a stream up to this number has begun it.
func (r *receiver) discard(t *transfers, upTo uint64) {
	defer t.life.leave()
	if !r.enter(t) {
		return
	}
	defer r.leave(t)
	r.discarded = max(r.discarded, upTo)
	if r.begun <= upTo {
		r.abort(t)
	}
}

// enter waits until no other goroutine stores. It reports false if the node stops before that.
func (r *receiver) enter(t *transfers) bool {
	r.mu.Lock()
	if r.storing == nil {
		r.storing = make(chan struct{}, 1)
	}
	r.mu.Unlock()
	select {
	case r.storing <- struct{}{}:
		return true
	case <-t.life.stops.wait():
		return false
	}
}

// leave lets others store. If the node has stopped meanwhile, nobody goes on with what is stored.
func (r *receiver) leave(t *transfers) {
	<-r.storing
	if t.life.stops.given() {
		r.stop(t)
	}
}

// unused says whether nothing was ever stored.
func (r *receiver) unused() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.storing == nil
}

// stop throws away what was stored, because the node stops. A goroutine that is storing does that
// itself when it leaves.
func (r *receiver) stop(t *transfers) {
	select {
	case r.storing <- struct{}{}:
		r.abort(t)
		<-r.storing
	default:
	}
}

// abort throws away what was stored.
func (r *receiver) abort(t *transfers) {
	if r.writer == nil {
		return
	}
	writer := r.writer
	r.writer, r.held = nil, 0
	if err := guard("storage", writer.Abort); err != nil && !t.life.stops.given() {
		t.logger.Warn("raft: received snapshot not removed", "err", err)
	}
}

// take receives a snapshot from a stream, if the core wants it. A goroutine of the transport runs
// it.
func (t *transfers) take(from ServerID, stream io.ReadCloser) {
	header, err := readStreamHeader(stream)
	if err != nil {
		t.logger.Warn("raft: stream refused", "peer", from, "err", err)
		_ = stream.Close() // nobody is left to be told of an error
		return
	}
	t.takeStream(from, header, stream)
}

// takeStream receives a snapshot from a stream, behind its header.
func (t *transfers) takeStream(from ServerID, header wire.Message, stream io.ReadCloser) {
	defer func() { _ = stream.Close() }() // nobody is left to be told of an error
	if header.From != from {
		err := fmt.Errorf("its header is of server %q", header.From)
		t.logger.Warn("raft: stream refused", "peer", from, "err", err)
		return
	}
	number, a := t.receiver.arrive(stream)
	defer t.receiver.depart(number)
	leave, ok := t.enterReceive(from)
	if !ok {
		return // its sender asks again, and is told when to come
	}
	defer leave()
	if t.inbox.report(func(l *loop, now Instant) { l.core.StreamOpened(now, number, header) }) != nil {
		return
	}
	var verdict *StreamVerdict
	select {
	case verdict = <-a.verdict:
	case <-t.life.stops.wait():
		return
	}
	if !verdict.Accepted {
		return
	}
	start := stopwatchFor(t.trace.Snapshot != nil)
	held, end := uint64(0), StreamBroken
	err := guard("storage", func() (err error) {
		held, end, err = t.receiver.receive(t, verdict, stream)
		return err
	})
	if err != nil && !t.life.stops.given() {
		t.logger.Warn("raft: snapshot not received", "peer", from, "index", verdict.Meta.Index, "bytes", held, "err", err)
	}
	t.traceSnapshot(SnapshotTrace{
		Kind: "received", Peer: from, Index: verdict.Meta.Index, Bytes: max(held, verdict.Offset) - verdict.Offset, Offset: verdict.Offset, Err: err,
	}, start)
	// An error says that the node has stopped.
	_ = t.inbox.report(func(l *loop, now Instant) { l.core.StreamEnded(now, number, held, end) })
}

// receive stores what a stream brings. It makes the snapshot durable when all of it has come.
func (r *receiver) receive(t *transfers, v *StreamVerdict, stream io.Reader) (held uint64, end StreamEnd, err error) {
	if !r.enter(t) {
		return 0, StreamFailed, errStopping
	}
	defer r.leave(t)
	failed := true // unless all has come, or only the stream has broken
	defer func() {
		if failed {
			r.abort(t)
			held, end = 0, StreamFailed
		}
	}()
	if v.Offset == 0 {
		r.abort(t)
		if r.writer, err = t.config.Storage.CreateSnapshot(v.Meta); err != nil {
			r.writer = nil
			return 0, StreamFailed, err
		}
		r.begun = v.Stream
	}
	if r.writer == nil || r.held != v.Offset {
		return 0, StreamFailed, fmt.Errorf("the stream begins after %d bytes of the snapshot, but %d are stored", v.Offset, r.held)
	}
	progress := t.newProgress(func(c *Core, now Instant, at uint64) { c.StreamMoved(now, v.Stream, at) }, r.held)
	buffer := make([]byte, streamBuffer)
	for r.held < v.Size {
		k, reading := stream.Read(buffer[:min(uint64(len(buffer)), v.Size-r.held)])
		if t.life.stops.given() {
			return 0, StreamFailed, errStopping
		}
		if k > 0 {
			if _, err := r.writer.Write(buffer[:k]); err != nil {
				return 0, StreamFailed, err
			}
			r.held += uint64(k)
			progress.reached(r.held)
		}
		if reading != nil && r.held < v.Size {
			if failed = false; r.held == 0 || r.begun <= r.discarded {
				r.abort(t) // nobody goes on with it
			}
			return r.held, StreamBroken, reading
		}
	}
	if err := r.writer.Commit(); err != nil {
		return 0, StreamFailed, err
	}
	failed = false
	held, r.writer, r.held = r.held, nil, 0
	return held, StreamComplete, nil
}

// A stream begins with its header: a length of 4 bytes, little endian, and a message of that many.
const (
	streamLength    = 4
	maxStreamHeader = 1 << 20
)

func writeStreamHeader(w io.Writer, header *wire.Message) error {
	frame := wire.AppendMessage(make([]byte, streamLength), header)
	length := len(frame) - streamLength
	for i := range streamLength {
		frame[i] = byte(length >> (8 * i))
	}
	if _, err := w.Write(frame); err != nil {
		return streamBroken(err)
	}
	return nil
}

func readStreamHeader(r io.Reader) (wire.Message, error) {
	var prefix [streamLength]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		return wire.Message{}, err
	}
	length := 0
	for i := range streamLength {
		length |= int(prefix[i]) << (8 * i)
	}
	if length <= 0 || length > maxStreamHeader {
		return wire.Message{}, fmt.Errorf("%w: a stream's header has %d bytes, not 1 to %d", wire.ErrMalformed, length, maxStreamHeader)
	}
	// Memory is taken for what comes, not for what the length says.
	frame, err := io.ReadAll(io.LimitReader(r, int64(length)))
	if err != nil {
		return wire.Message{}, err
	}
	return wire.DecodeMessage(frame)
}
