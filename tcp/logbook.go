package tcp

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/e17579a5/raft"
)

// A server that is down or set up wrongly fails again and again in the same way, and so does a
// client that has nothing to do here. The log gets a line when a cause is new, and then one for
// each repeatAfter in which it came again: the last one, with the number of those that were left
// out.
const (
	repeatAfter = time.Minute
	maxRemarks  = 1024 // how many causes are told apart at a time
	maxLines    = 256  // how many lines wait for the logger
)

// closePatience is how long Close waits for calls of the user's functions that have nothing to do
// any more: Dial and the logger.
const closePatience = time.Second

// A logbook writes lines to the user's logger. It calls the logger in a goroutine of its own, which
// exists while there is something to write. So a logger that blocks holds up nobody, and one that
// panics ends nothing. Lines that don't fit are left out.
type logbook struct {
	logger *slog.Logger
	node   string // set by Start

	mu      sync.Mutex
	seen    map[cause]*remark
	lines   []slog.Record
	missed  int           // lines that didn't fit
	writing chan struct{} // closed when the goroutine ends; nil if there is none
	closed  bool
}

// A remark is a cause of which there was a line within the last repeatAfter.
type remark struct {
	timer   *time.Timer
	last    slog.Record // of those that were left out
	leftOut int
}

// A line is something to be logged.
type line struct {
	level slog.Level
	text  string        // what has happened; it is constant
	about raft.ServerID // the member that it is about; empty for any other server
	err   error
	more  []slog.Attr
}

// put logs a line, or leaves it out if there was one with the same cause not long ago.
func (b *logbook) put(l line) {
	record := slog.NewRecord(time.Now(), l.level, l.text, 0)
	record.AddAttrs(slog.String("node", b.node))
	record.AddAttrs(l.more...)
	if l.err != nil {
		record.AddAttrs(slog.Any("error", l.err))
	}
	var panicked *raft.PanicError
	_ = guard("an error", func() error { // which may be the user's
		if errors.As(l.err, &panicked) {
			record.AddAttrs(slog.String("stack", string(panicked.Stack)))
		}
		return nil
	})
	key := cause{l.text, l.about, kindOf(l.err)}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	if b.seen[key] == nil && len(b.seen) >= maxRemarks {
		key = cause{text: l.text} // all that can't be told apart are one
	}
	if r := b.seen[key]; r != nil {
		r.last, r.leftOut = record, r.leftOut+1
		return
	}
	if b.seen == nil {
		b.seen = make(map[cause]*remark)
	}
	b.seen[key] = &remark{timer: time.AfterFunc(repeatAfter, func() { b.repeat(key) })}
	b.write(record)
}

// repeat logs the last of the lines with that cause that were left out, or forgets the cause if
// there were none.
func (b *logbook) repeat(key cause) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.seen[key]
	switch {
	case b.closed:
	case r.leftOut == 0:
		delete(b.seen, key)
	default:
		r.last.AddAttrs(slog.Int("left_out", r.leftOut-1))
		b.write(r.last)
		r.leftOut, r.last = 0, slog.Record{}
		r.timer.Reset(repeatAfter)
	}
}

// write has a line written. The caller holds mu.
func (b *logbook) write(record slog.Record) {
	if len(b.lines) >= maxLines {
		b.missed++
		return
	}
	b.lines = append(b.lines, record)
	if b.writing == nil {
		b.writing = make(chan struct{})
		go b.drain()
	}
}

// drain calls the logger with each line. If the logger ends the goroutine, another one goes on.
func (b *logbook) drain() {
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.lines) > 0 {
			go b.drain()
			return
		}
		close(b.writing)
		b.writing = nil
	}()
	for {
		record, ok := b.take()
		if !ok {
			return
		}
		_ = guard("Logger", func() error { // there is nowhere else to say that it has failed
			ctx := context.Background()
			if !b.logger.Enabled(ctx, record.Level) {
				return nil
			}
			return b.logger.Handler().Handle(ctx, record)
		})
	}
}

// take returns the next line.
func (b *logbook) take() (slog.Record, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.lines) == 0 {
		return slog.Record{}, false
	}
	record := b.lines[0]
	b.lines = b.lines[1:]
	if b.missed > 0 {
		record.AddAttrs(slog.Int("missed", b.missed))
		b.missed = 0
	}
	return record, true
}

// close ends the logbook. What is being written gets until the deadline; if the logger blocks for
// longer, the rest is thrown away, and the goroutine ends when the logger returns.
func (b *logbook) close(deadline <-chan time.Time) {
	b.mu.Lock()
	b.closed = true
	for _, r := range b.seen {
		r.timer.Stop()
	}
	b.seen = nil
	writing := b.writing
	b.mu.Unlock()
	if writing == nil {
		return
	}
	select {
	case <-writing:
	case <-deadline:
		b.mu.Lock()
		defer b.mu.Unlock()
		b.lines = nil
	}
}

// peerAttr names a server in the log.
func peerAttr(id raft.ServerID) slog.Attr { return slog.String("peer", string(id)) }
