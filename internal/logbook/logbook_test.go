package logbook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A pen is a handler that keeps what it gets, in words, and calls a function before.
type pen struct {
	slog.Handler
	before func()
	attrs  []slog.Attr
	lines  []string
}

func (p *pen) Enabled(context.Context, slog.Level) bool { return true }
func (p *pen) WithAttrs(attrs []slog.Attr) slog.Handler {
	p.attrs = append(p.attrs, attrs...)
	return p
}
func (p *pen) Handle(_ context.Context, r slog.Record) error {
	if p.before != nil {
		p.before()
	}
	line := r.Message
	for _, a := range p.attrs {
		line += " " + a.String()
	}
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	p.lines = append(p.lines, line)
	return nil
}

// closed closes a book, and says how long that took.
func closed(b *Book) time.Duration {
	start := time.Now()
	b.Close(time.After(Patience))
	return time.Since(start)
}

func TestOneCauseGetsOneLineAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pen{}
		b := New(slog.New(p), slog.String("node", "a"))
		for i := range 100 {
			b.Put(Line{Text: "x", About: "b", Attrs: []slog.Attr{slog.Int("i", i)}})
			time.Sleep(999 * time.Millisecond)
		}
		b.Put(Line{Text: "x", About: "c"})
		b.Put(Line{Text: "x", About: "b", Kind: "another"})
		b.Put(Line{Text: "x", About: "b", News: true})
		time.Sleep(2 * time.Minute)
		b.Put(Line{Text: "x", About: "b", Attrs: []slog.Attr{slog.Int("i", 100)}})
		require.Zero(t, closed(b))
		require.True(t, b.AtRest())
		require.Equal(t, []string{
			"x node=a i=0", "x node=a i=60 left_out=59", "x node=a", "x node=a", "x node=a", "x node=a i=99 left_out=38", "x node=a i=100",
		}, p.lines)
		b.Put(Line{Text: "late"})
		require.True(t, b.AtRest())
	})
}

// A logger that blocks holds up nobody, what doesn't fit is counted, and Close has patience for a
// while.
func TestLoggerThatBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := &pen{before: func() { <-release }}
		b := New(slog.New(p))
		b.Put(Line{Text: "0"})
		synctest.Wait()
		for i := range maxLines + 5 {
			b.Put(Line{Text: fmt.Sprint(i + 1)})
		}
		release <- struct{}{}
		release <- struct{}{}
		synctest.Wait()
		require.Equal(t, []string{"0", "1 missed=5"}, p.lines)
		require.Equal(t, Patience, closed(b))
		close(release)
		synctest.Wait()
		require.True(t, b.AtRest())
		require.Len(t, p.lines, 3, "what was in the logger's hands")
	})
}

// A logger may panic, end its goroutine, or log itself.
func TestLoggerThatMisbehaves(t *testing.T) {
	for name, act := range map[string]func(*Book){
		"panics":             func(*Book) { panic("boom") },
		"ends its goroutine": func(*Book) { runtime.Goexit() },
		"logs":               func(b *Book) { b.Put(Line{Text: "within"}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &pen{}
				b := New(slog.New(p))
				calls := 0
				p.before = func() { calls++; act(b) }
				for i := range 10 {
					b.Put(Line{Text: fmt.Sprint(i)})
				}
				synctest.Wait()
				require.GreaterOrEqual(t, calls, 10)
				require.Zero(t, closed(b))
				require.True(t, b.AtRest())
			})
		})
	}
}

// There is room for so many causes; the rest share one.
func TestCausesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(slog.New(&pen{}))
		for i := range 3 * maxRemarks {
			b.Put(Line{Text: "x", About: fmt.Sprint(i)})
		}
		b.mu.Lock()
		require.LessOrEqual(t, len(b.seen), maxRemarks+1)
		b.mu.Unlock()
		closed(b)
		require.True(t, b.AtRest())
	})
}

type number int

func (number) Error() string { return time.Now().String() }

type nasty struct{}

func (nasty) Error() string { return "" }
func (nasty) Unwrap() error { panic("boom") }

func TestKindsOfErrors(t *testing.T) {
	timed := func() error { return fmt.Errorf("at %v: %w", time.Now(), errors.New(time.Now().String())) }
	require.Equal(t, Kind(timed(), nil), Kind(timed(), nil))
	require.NotEqual(t, Kind(timed(), nil), Kind(errors.New("x"), nil))
	require.Equal(t, Kind(number(1), nil), Kind(number(1), nil))
	require.NotEqual(t, Kind(number(1), nil), Kind(number(2), nil))
	require.Equal(t, "an error that panics", Kind(nasty{}, nil))
	require.Equal(t, "", Kind(nil, nil))
	known := errors.New("known")
	more := func(err error) string { return fmt.Sprint(err == known) }
	require.NotEqual(t, Kind(known, more), Kind(errors.New("known"), more))
	require.NotEqual(t, Kind(errors.Join(known, number(1)), more), Kind(errors.Join(known, number(2)), more))
}
