// Package logbook writes lines to a logger of the user's, so that the logger can hold up nobody and
// end nothing, and so that one cause doesn't fill the log.
package logbook

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// A server that is down or set up wrongly fails again and again in the same way. The log gets a
// line when a cause is new, and then one for each repeatAfter in which it came again: the last one,
// with the number of those that were left out.
const (
	repeatAfter = time.Minute
	maxRemarks  = 1024 // how many causes are told apart at a time
	maxLines    = 256  // how many lines wait for the logger
	many        = 64   // how many times as many of both there are in a book for many
)

// Patience is how long Close waits for a logger that blocks.
const Patience = time.Second

// A Book writes lines to a logger. It calls the logger in a goroutine of its own, which exists
// while there is something to write. So a logger that blocks holds up nobody, and one that panics
// ends nothing. Lines that don't fit are left out. Any goroutine may call the methods, also one
// that runs in the logger.
type Book struct {
	logger *slog.Logger
	times  int // how many times maxRemarks and maxLines it has
	// Attrs begin each line. They are set before the first line.
	Attrs []slog.Attr
	// handler is the logger's, with Attrs; nil before the first line. Only the goroutine uses it.
	handler slog.Handler

	mu      sync.Mutex
	seen    map[cause]*remark
	lines   []slog.Record
	missed  int           // lines that didn't fit
	writing chan struct{} // closed when the goroutine ends; nil if there is none
	closed  bool
}

// New returns a book that writes to a logger.
func New(logger *slog.Logger, attrs ...slog.Attr) *Book {
	return &Book{logger: logger, times: 1, Attrs: attrs}
}

// NewForMany returns a book into which many write, so that it has more room.
func NewForMany(logger *slog.Logger, attrs ...slog.Attr) *Book {
	return &Book{logger: logger, times: many, Attrs: attrs}
}

// A Line is something to be logged.
type Line struct {
	Level slog.Level
	Text  string // what has happened; it is constant
	Attrs []slog.Attr

	// About and Kind tell lines of the same Text apart. About is what the line is about, such as a
	// server's name, and Kind the kind of its error (Kind).
	About, Kind string
	// News says that the line repeats none, whatever was logged before.
	News bool
}

// A cause is what lines have in common that repeat each other.
type cause struct{ text, about, kind string }

// A remark is a cause of which there was a line within the last repeatAfter.
type remark struct {
	timer   *time.Timer
	last    slog.Record // of those that were left out
	leftOut int
}

// Put logs a line, or leaves it out if there was one with the same cause not long ago.
func (b *Book) Put(l Line) {
	record := slog.NewRecord(time.Now(), l.Level, l.Text, 0)
	record.AddAttrs(l.Attrs...)
	key := cause{l.Text, l.About, l.Kind}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	if l.News {
		b.write(record)
		return
	}
	if b.seen[key] == nil && len(b.seen) >= b.times*maxRemarks {
		key = cause{text: l.Text} // all that can't be told apart are one
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
func (b *Book) repeat(key cause) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.seen[key]
	switch {
	case b.closed:
	case r.leftOut == 0:
		if delete(b.seen, key); len(b.seen) == 0 {
			b.seen = nil
		}
	default:
		r.last.AddAttrs(slog.Int("left_out", r.leftOut-1))
		b.write(r.last)
		r.leftOut, r.last = 0, slog.Record{}
		r.timer.Reset(repeatAfter)
	}
}

// write has a line written. The caller holds mu.
func (b *Book) write(record slog.Record) {
	if len(b.lines) >= b.times*maxLines {
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
func (b *Book) drain() {
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
		b.hand(record)
	}
}

// take returns the next line.
func (b *Book) take() (slog.Record, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.lines) == 0 {
		return slog.Record{}, false
	}
	record := b.lines[0]
	if b.lines = b.lines[1:]; len(b.lines) == 0 {
		b.lines = nil // nothing is kept between lines that are few and far between
	}
	if b.missed > 0 {
		record.AddAttrs(slog.Int("missed", b.missed))
		b.missed = 0
	}
	return record, true
}

// hand gives a line to the logger. There is nowhere to say that the logger has failed or panicked.
func (b *Book) hand(record slog.Record) {
	defer func() { _ = recover() }()
	if b.handler == nil {
		b.handler = b.logger.Handler().WithAttrs(b.Attrs)
	}
	ctx := context.Background()
	if b.handler.Enabled(ctx, record.Level) {
		_ = b.handler.Handle(ctx, record)
	}
}

// Close ends the book. What is being written gets until the deadline; if the logger blocks for
// longer, the rest is thrown away, and the goroutine ends when the logger returns.
func (b *Book) Close(deadline <-chan time.Time) {
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

// AtRest says whether the book, which was closed, keeps nothing: no line, no timer and no
// goroutine.
func (b *Book) AtRest() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.lines) == 0 && len(b.seen) == 0 && b.writing == nil
}
