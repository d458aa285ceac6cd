package raft

import (
	"errors"
	"log/slog"
	"strconv"

	"github.com/e17579a5/raft/internal/logbook"
)

// A diary has lines written to Config.Logger. The Logger is called in a goroutine of its own
// (logbook.Book): so it may block, panic, end its goroutine or call the node, and nobody else
// notices. A failure that repeats gets one line a minute.
type diary struct{ book *logbook.Book }

// newDiary returns the diary of a node, in a group.
func newDiary(config *Config, group GroupID) diary {
	attrs := []slog.Attr{slog.String("node", string(config.ID))}
	if group != "" {
		attrs = append(attrs, slog.String("group", string(group)))
	}
	return diary{logbook.New(config.Logger, attrs...)}
}

// Info tells something that repeats nothing. args are keys and values, as for a slog.Logger.
func (d diary) Info(text string, args ...any) { d.put(slog.LevelInfo, text, args) }

// Warn tells that something has failed, or takes long, and that the node goes on.
func (d diary) Warn(text string, args ...any) { d.put(slog.LevelWarn, text, args) }

// Error tells of a failure that somebody has to do something about.
func (d diary) Error(text string, args ...any) { d.put(slog.LevelError, text, args) }

// put has a line written. The values of "peer" and "err" tell its cause from others.
func (d diary) put(level slog.Level, text string, args []any) {
	line := logbook.Line{Level: level, Text: text, News: level == slog.LevelInfo}
	var record slog.Record
	record.Add(args...)
	stack := ""
	record.Attrs(func(a slog.Attr) bool {
		line.Attrs = append(line.Attrs, a)
		switch a.Key {
		case "peer":
			line.About = a.Value.String()
		case "err":
			err, _ := a.Value.Any().(error)
			line.Kind, stack = logbook.Kind(err, whichTrouble), stackOf(err)
		}
		return true
	})
	if stack != "" {
		line.Attrs = append(line.Attrs, slog.String("stack", stack))
	}
	d.book.Put(line)
}

// troubles are the errors that Status.Trouble tells, which are of one type.
var troubles = [...]error{
	ErrBootstrapMismatch, ErrOtherIncarnation, ErrRolledBack, ErrRemoved, ErrOtherCluster, ErrOutdated, ErrMoved, ErrNoCluster,
}

// whichTrouble tells them apart.
func whichTrouble(err error) string {
	for i, trouble := range troubles {
		if err == trouble {
			return strconv.Itoa(i)
		}
	}
	return ""
}

// stackOf returns the stack of the panic in an error, or "". The error may be the user's, and so
// may be a panic of its own.
func stackOf(err error) (stack string) {
	_ = guard("an error", func() error {
		var panicked *PanicError
		if errors.As(err, &panicked) {
			stack = string(panicked.Stack)
		}
		return nil
	})
	return stack
}
