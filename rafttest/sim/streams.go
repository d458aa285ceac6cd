package sim

import (
	"errors"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A stream brings the bytes of a snapshot from one server to another. The number of bytes that are
// written and not taken yet is bounded.
//
//	sender's side:    data[:written] was written
//	receiver's side:  data[:arrived] was taken
type stream struct {
	number   uint64 // in the run; the receiver knows the stream by this number
	sending  uint64 // the sender's number for the stream
	from, to int8
	// the lives of the two servers that the stream connects
	fromLife, toLife uint32

	header           wire.Message
	meta             raft.SnapshotMeta
	open             bool // the sender has opened its snapshot, and the header is on its way
	data             []byte
	written, arrived int
	failed           error // why the sender can't send
	opened           bool  // the receiver's core knows of the stream
	accepted         bool
	storing          bool  // the receiver has all bytes and makes them durable
	syncs            int64 // the syncs after which they are durable

	// broken says that nothing more arrives. Each side learns of it by itself.
	broken                bool
	senderEnds, takerEnds bool // this side is done with the stream
	planned               [2]bool
}

// A partial is the part of a snapshot that a server has received so far.
type partial struct {
	stream  uint64 // the last stream that has brought some of it
	meta    raft.SnapshotMeta
	content []byte
	writer  raft.SnapshotWriter // only on a real log
	err     error
}

// streamPipe bounds the pieces that are on their way between the two sides of a stream.
const streamPipe = 3

var errStream = errors.New("stream broken")

// connectStreams does what a core asks for about streams.
func (w *World) connectStreams(i int, e *raft.Effects) {
	s := &w.servers[i]
	for _, number := range e.StopSends {
		for _, st := range w.streams {
			if int(st.from) == i && st.fromLife == s.life && st.sending == number {
				st.broken, st.senderEnds = true, true
			}
		}
	}
	if e.DiscardIncoming {
		w.discard(s)
	}
	for j := range e.Streams {
		w.judge(s, &e.Streams[j])
	}
	for j := range e.Sends {
		w.connect(i, &e.Sends[j])
	}
	w.sweepStreams()
}

// connect notes that a server is to open a stream. It opens it when it gets to that: the snapshot may
// be damaged or replaced by then.
func (w *World) connect(i int, send *raft.SendSnapshot) {
	s := &w.servers[i]
	to := serverOf(send.Header.To)
	w.checkMessage(i, &send.Header)
	if w.violation != nil {
		return
	}
	w.streamCount++
	st := &stream{
		number: w.streamCount, sending: send.Stream, from: int8(i), to: int8(to),
		fromLife: s.life, toLife: w.servers[to].life, header: send.Header, meta: send.Meta,
	}
	w.stats.Streams++
	if send.Header.SnapshotStream().Offset > 0 {
		w.stats.Resumed++
	}
	w.feeds(st)
	w.streams = append(w.streams, st)
}

// open lets the sender of a stream open the snapshot.
func (w *World) open(st *stream) {
	s, i := &w.servers[st.from], int(st.from)
	head := st.header.SnapshotStream()
	content, err := w.readSnapshot(s, &st.meta)
	st.open = true
	switch {
	case err != nil && errors.Is(err, raft.ErrCorrupt) && !s.hit() && !s.disk.spoiled:
		w.fail(Recovery, i, "the snapshot is damaged though its disk isn't: %v", err)
	case err != nil:
		st.failed, st.takerEnds = err, true
	case uint64(len(content)) != head.Bytes || head.Offset > head.Bytes:
		w.fail(SnapshotSound, i, "a snapshot of %d bytes is sent as one of %d bytes, from %d on", len(content), head.Bytes, head.Offset)
	default:
		st.data = content[head.Offset:]
	}
}

// judge carries out what a receiver's core has decided about a stream.
func (w *World) judge(s *server, v *raft.StreamVerdict) {
	for _, st := range w.streams {
		if st.number != v.Stream || int(st.to) != w.index(s) {
			continue
		}
		if !v.Accepted {
			st.broken = true
			if !st.accepted {
				st.takerEnds = true
			}
			return
		}
		if !w.checkMeta(w.index(s), &v.Meta) {
			return
		}
		st.accepted = true
		if v.Offset == 0 {
			w.discard(s)
			s.partial = &partial{meta: v.Meta}
			if d := s.disk.wal; d != nil {
				s.partial.writer, s.partial.err = d.storage.CreateSnapshot(v.Meta)
			}
		}
		if s.partial == nil || uint64(len(s.partial.content)) != v.Offset || s.partial.meta.Index != v.Meta.Index || s.partial.meta.Term != v.Meta.Term {
			w.fail(SnapshotSound, w.index(s), "a stream goes on at %d of another snapshot", v.Offset)
			return
		}
		s.partial.stream = st.number
		return
	}
}

// discard throws away what a server has received of a snapshot.
func (w *World) discard(s *server) {
	if s.partial != nil && s.partial.writer != nil {
		_ = s.partial.writer.Abort() // opening the log removes what it leaves behind
	}
	s.partial = nil
}

// whole reports whether a stream can still bring something.
func (w *World) whole(st *stream) bool {
	return !st.broken && w.servers[st.from].life == st.fromLife && w.servers[st.to].life == st.toLife &&
		w.servers[st.from].up && w.servers[st.to].up
}

// sweepStreams forgets the streams with which both sides are done.
func (w *World) sweepStreams() {
	kept := w.streams[:0]
	for _, st := range w.streams {
		from, to := &w.servers[st.from], &w.servers[st.to]
		if !from.up || from.life != st.fromLife {
			st.senderEnds = true
		}
		if !to.up || to.life != st.toLife {
			st.takerEnds = true
		}
		if !st.senderEnds || !st.takerEnds {
			kept = append(kept, st)
		}
	}
	clear(w.streams[len(kept):])
	w.streams = kept
}

// oldestStream returns the first stream between two servers with which one side isn't done: the
// side for which ended is asked. It returns nil if there is none.
func (w *World) oldestStream(from, to int8, ended func(*stream) bool) *stream {
	w.sweepStreams()
	for _, st := range w.streams {
		if st.from == from && st.to == to && !ended(st) {
			return st
		}
	}
	return nil
}

// streamSent lets the sender of a stream write n more bytes, or notice how the stream has ended.
func (w *World) streamSent(e *Event, s *server) bool {
	st := w.oldestStream(e.Server, e.Peer, func(st *stream) bool { return st.senderEnds })
	if st == nil {
		return false
	}
	now, n := w.local(s), int(max(e.N, 1))
	switch {
	case !st.open && w.whole(st):
		w.open(st)
	case st.failed != nil:
		st.senderEnds = true
		s.core.SnapshotSent(now, st.sending, st.failed)
	case !w.whole(st):
		st.broken, st.senderEnds = true, true
		s.core.SnapshotSent(now, st.sending, errStream)
	case st.written == len(st.data):
		st.senderEnds = true
		s.core.SnapshotSent(now, st.sending, nil)
	default:
		room := st.arrived + streamPipe*n - st.written
		n = min(n, room, len(st.data)-st.written)
		if n <= 0 {
			return false
		}
		st.written += n
		w.fed(st, now)
		s.core.SnapshotMoved(now, st.sending, st.header.SnapshotStream().Offset+uint64(st.written))
	}
	return true
}

// streamArrives lets the receiver of a stream take n more bytes, or notice that the stream has
// begun or ended.
func (w *World) streamArrives(e *Event, s *server) bool {
	st := w.oldestStream(e.Peer, e.Server, func(st *stream) bool { return st.takerEnds })
	if st == nil {
		return false
	}
	now := w.local(s)
	if !st.open && w.whole(st) {
		return false // nothing has come yet
	}
	if st.opened && st.accepted {
		return w.receive(st, s, int(max(e.N, 1)))
	}
	switch {
	case st.opened:
		return false // the receiver's core hasn't decided yet
	case !w.whole(st):
		st.broken, st.takerEnds = true, true
	default:
		st.opened, s.reached[st.from] = true, true
		w.speaks(w.index(s), &st.header)
		s.core.StreamOpened(now, st.number, w.marked(s, &st.header))
	}
	return true
}

// receive stores bytes of a snapshot.
func (w *World) receive(st *stream, s *server, n int) bool {
	now, p := w.local(s), s.partial
	if p != nil && p.stream != st.number {
		p = nil // this one was discarded, and there is another one
	}
	end := func(end raft.StreamEnd) bool {
		st.takerEnds, st.broken = true, true
		held := uint64(0)
		if p != nil {
			held = uint64(len(p.content))
		}
		if end != raft.StreamBroken && p != nil {
			w.discard(s)
		}
		s.core.StreamEnded(now, st.number, held, end)
		return true
	}
	n = min(n, st.written-st.arrived)
	switch {
	case p == nil:
		return end(raft.StreamBroken)
	case p.err != nil:
		w.stats.SnapshotsFailed++
		return end(raft.StreamFailed)
	case st.storing:
		if d := s.disk.wal; d != nil {
			d.fs.Settle(st.syncs)
		}
		w.checkBytes(w.index(s), &p.meta, p.content, -1)
		s.disk.stored = append(s.disk.stored, w.file(&p.meta, p.content))
		w.stats.Received++
		p.writer = nil // the writer has committed
		return end(raft.StreamComplete)
	case !w.whole(st):
		return end(raft.StreamBroken)
	case n > 0:
		piece := st.data[st.arrived : st.arrived+n]
		if !s.snapshotFits(n) {
			p.err = errNoRoom
		}
		p.content = append(p.content, piece...)
		st.arrived += n
		if p.writer != nil {
			_, p.err = p.writer.Write(piece)
		}
		s.core.StreamMoved(now, st.number, uint64(len(p.content)))
	case st.arrived == len(st.data):
		st.storing = true
		if p.writer != nil {
			p.err = p.writer.Commit()
			st.syncs = s.disk.wal.fs.Issued()
		}
	default:
		return false
	}
	return true
}

// breakStreams breaks all streams from one server to another. It reports whether there was any.
func (w *World) breakStreams(e *Event) bool {
	broke := false
	for _, st := range w.streams {
		if st.from == e.Peer && st.to == e.Server && !st.broken {
			st.broken, broke = true, true
		}
	}
	if broke {
		w.stats.Broken++
	}
	return broke
}
