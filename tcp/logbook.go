package tcp

import (
	"errors"
	"log/slog"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/logbook"
)

// closePatience is how long Close waits for calls of the user's functions that have nothing to do
// any more: Dial and the logger.
const closePatience = logbook.Patience

// A log has lines written to the user's logger (logbook.Book). A client that has nothing to do here
// fails again and again, and so does a server that is set up wrongly: one cause gets one line a
// minute.
type log struct{ book *logbook.Book }

// A line is something to be logged.
type line struct {
	level slog.Level
	text  string        // what has happened; it is constant
	about raft.ServerID // the member that it is about; empty for any other server
	err   error
	more  []slog.Attr
}

// put logs a line, or leaves it out if there was one with the same cause not long ago. What
// happened, the member and the kind of the error make a cause.
func (g *log) put(l line) {
	attrs := l.more
	if l.err != nil {
		attrs = append(attrs, slog.Any("err", l.err))
	}
	var panicked *raft.PanicError
	_ = guard("an error", func() error { // which may be the user's
		if errors.As(l.err, &panicked) {
			attrs = append(attrs, slog.String("stack", string(panicked.Stack)))
		}
		return nil
	})
	g.book.Put(logbook.Line{Level: l.level, Text: l.text, Attrs: attrs, About: string(l.about), Kind: kindOf(l.err)})
}

// peerAttr names a server in the log.
func peerAttr(id raft.ServerID) slog.Attr { return slog.String("peer", string(id)) }
