package raft

import (
	"errors"
	"log/slog"
	"strconv"
	"time"

	"github.com/e17579a5/raft/internal/logbook"
)

// A diary has lines written to Config.Logger. The Logger is called in a goroutine of its own
// (logbook.Book): so it may block, panic, end its goroutine or call the node, and nobody else
// notices. A failure that repeats gets one line a minute. The groups of a host write into its book.
type diary struct {
	book  *logbook.Book
	group GroupID // "" unless the book is a host's, and the lines are of one of its groups
}

// newDiary returns the diary of a node that stands alone.
func newDiary(id ServerID, logger *slog.Logger) diary {
	return diary{book: logbook.New(logger, slog.String("node", string(id)))}
}

// newHostDiary returns the diary of a host.
func newHostDiary(config *HostConfig) diary {
	return diary{book: logbook.NewForMany(config.Logger, slog.String("node", string(config.ID)))}
}

// of returns the diary of a group of a host.
func (d diary) of(group GroupID) diary { return diary{d.book, group} }

// close ends the diary, unless others write into its book. It waits until the lines are written, or for
// a Logger that blocks up to logbook.Patience.
func (d diary) close() {
	if d.group != "" {
		return
	}
	patience := time.NewTimer(logbook.Patience)
	defer patience.Stop()
	d.book.Close(patience.C)
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
	if d.group != "" {
		line.Attrs = append(line.Attrs, slog.String("group", string(d.group)))
	}
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
	if d.group != "" {
		line.About = string(d.group) + "\x00" + line.About
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
