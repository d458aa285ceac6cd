package sim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/e17579a5/raft"
)

// A held is what a state machine has captured. It counts: a capture must be closed exactly once,
// and not be written after that.
type held struct {
	r      *replica
	inner  io.WriterTo
	closed bool
	bytes  int64 // number of bytes that were written
}

// hold returns a capture of a replica with the checks around it.
func (r *replica) hold(captured io.WriterTo) io.WriterTo {
	r.open++
	r.last = &held{r: r, inner: captured}
	return r.last
}

// WriteTo implements io.WriterTo.
func (h *held) WriteTo(to io.Writer) (int64, error) {
	if h.closed {
		h.r.w.fail(SnapshotSound, h.r.server, "a capture of the state machine is written after it was closed")
	}
	n, err := h.inner.WriteTo(to)
	h.bytes += n
	return n, err
}

// Close implements io.Closer.
func (h *held) Close() error {
	if h.closed {
		h.r.w.fail(SnapshotSound, h.r.server, "a capture of the state machine is closed twice")
		return nil
	}
	h.closed = true
	h.r.open--
	return release(h.inner)
}

// release closes what a state machine has captured, if it is an io.Closer.
func release(captured io.WriterTo) error {
	if closer, ok := captured.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

// release closes what a server has captured, and checks that nothing else is open.
func (w *World) release(s *server) {
	if s.capture != nil && s.capture.state != nil {
		s.capture.err = errors.Join(s.capture.err, s.capture.state.Close())
	}
	if s.replica.open != 0 {
		w.fail(SnapshotSound, w.index(s), "%d captures of the state machine were never closed", s.replica.open)
		s.replica.open = 0
	}
}

// A captured is the first snapshot of an index.
type captured struct {
	hash   uint64 // of the bytes; 0 if there is none
	bytes  []byte
	head   int // number of the bytes that aren't of the state machine
	server int // that captured it, from 0
}

// capturedAt returns the first snapshot of an index.
func (g *ghost) capturedAt(i raft.Index) *captured {
	for raft.Index(len(g.captures)) < i {
		g.captures = append(g.captures, captured{})
	}
	return &g.captures[i-1]
}

// state returns what the state machine has written of a snapshot of the same index.
func (c *captured) state(content []byte) []byte { return content[min(c.head, len(content)):] }

// checkBytes checks that all snapshots of an index have the same bytes. head is the number of bytes
// that aren't of the state machine, and -1 for a snapshot that wasn't captured here.
func (w *World) checkBytes(i int, meta *raft.SnapshotMeta, content []byte, head int) {
	known, h := w.ghost.capturedAt(meta.Index), hashBytes(content)|1
	switch {
	case known.hash == 0:
		*known = captured{h, content, max(head, 0), i}
	case known.hash != h:
		w.fail(ReplicasEqual, i, "the snapshot of index %d is other bytes here than one captured at server %d: %s",
			meta.Index, known.server+1, Difference(known.state(content), known.state(known.bytes)))
	}
}

// Difference says how two pieces of bytes differ: it shows the first ones, and those around the
// first that differs.
func Difference(got, want []byte) string {
	if bytes.Equal(got, want) {
		return "the state machine's parts are equal: " + Show(got)
	}
	at := 0
	for at < len(got) && at < len(want) && got[at] == want[at] {
		at++
	}
	text := fmt.Sprintf("%s of %d bytes, want %s of %d bytes; they differ from byte %d on", Show(got), len(got), Show(want), len(want), at)
	if at < shown/2 {
		return text
	}
	from := at - shown/4
	return text + fmt.Sprintf(": there %s, want %s", Show(got[from:]), Show(want[from:]))
}

// origin says of which snapshot a server's state was restored, or "" if it was of none.
func (r *replica) origin() string {
	if r.restored == 0 {
		return ""
	}
	return fmt.Sprintf("; this copy was restored from the snapshot of index %d, captured at server %d",
		r.restored, r.w.ghost.capturedAt(r.restored).server+1)
}

// notes adds to the current step of a trace what happens to a user's state machine.
func (w *World) notes(format string, arguments ...any) {
	if s := w.user() && w.trace != nil && w.trace.current() != nil; s {
		step := w.trace.current()
		step.Effects = append(step.Effects, fmt.Sprintf(format, arguments...))
	}
}

// ofSize shows bytes with their number.
func ofSize(b []byte) string {
	return strings.TrimSpace(fmt.Sprintf("%d bytes %s", len(b), Show(b)))
}
