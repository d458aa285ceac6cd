package sim

import (
	"fmt"
	"io"
	"strings"

	"github.com/e17579a5/raft"
)

// A transcript writes what happens in a run for a person to read: a line for each event, with a column for each
// server that shows its role, its term, and applied/commit/stable/last; the server to which the event
// happens is marked. What it sends and begins to write follows.
type transcript struct {
	out     io.Writer
	inside  bool // print what happens in macro events too
	lines   []*line
	current *line
}

// A line is one event; macro events hold others.
type line struct {
	at      int64
	what    string
	server  int
	effects []string
}

// Transcript replays a schedule and writes what happens. With details it also shows each event of those in
// which time passes by itself.
func (w *World) Transcript(out io.Writer, s *Schedule, details bool) Result {
	return w.traced(out, details, func() Result { return w.Replay(s) })
}

// TranscriptOf does a run with given parameters and writes what happens.
func (w *World) TranscriptOf(out io.Writer, p Params, details bool) Result {
	return w.traced(out, details, func() Result { return w.RunParams(p) })
}

func (w *World) traced(out io.Writer, details bool, run func() Result) Result {
	w.trace = &transcript{out: out, inside: details}
	defer func() { w.trace = nil }()
	r := run()
	w.trace.flush(w)
	if r.Violation != nil {
		fmt.Fprintf(out, "*** %v\n", r.Violation)
	}
	return r
}

// begin notes that an event is about to happen.
func (t *transcript) begin(w *World, e *Event, m *raft.Message) {
	l := &line{at: w.now, what: describe(w, e, m), server: int(e.Server)}
	if e.Op.alone() {
		l.server = -1
	}
	t.lines = append(t.lines, l)
	t.current = l
	if e.Op == OpFound || e.Op == OpPass || e.Op == OpSettle {
		if t.inside {
			t.print(w, l)
		}
	}
}

// end notes that it has happened, or couldn't.
func (t *transcript) end(w *World, happened bool) {
	l := t.lines[len(t.lines)-1]
	t.lines = t.lines[:len(t.lines)-1]
	nested := len(t.lines) > 0
	if happened && (!nested || t.inside) {
		l.at = w.now
		t.print(w, l)
	}
	t.current = nil
	if nested {
		t.current = t.lines[len(t.lines)-1]
	}
}

// flush prints what was going on when the run ended in a panic.
func (t *transcript) flush(w *World) {
	for _, l := range t.lines {
		l.what += " !"
		t.print(w, l)
	}
	t.lines = nil
}

// delivered says which message it is that a delivery delivers.
func (t *transcript) delivered(m *raft.Message) { t.current.what = deliverText(m) }

// sent notes a message.
func (t *transcript) sent(m *raft.Message) {
	if t.current != nil && t.current.server >= 0 {
		t.current.effects = append(t.current.effects, "→"+string(m.To)+" "+messageText(m))
	}
}

// wrote notes a write that is handed out.
func (t *transcript) wrote(write *raft.Write) {
	if t.current == nil || t.current.server < 0 {
		return
	}
	text := fmt.Sprintf("writes #%d t%d", write.Number, write.State.Term)
	if write.State.Vote != "" {
		text += " vote " + string(write.State.Vote)
	}
	if n := len(write.Entries); n > 0 {
		text += fmt.Sprintf(" (%d…%d]", write.Entries[0].Index-1, write.Entries[n-1].Index)
	}
	t.current.effects = append(t.current.effects, text)
}

// answered notes what a caller is told.
func (t *transcript) answered(a *raft.Answer) {
	if t.current == nil || t.current.server < 0 {
		return
	}
	what := "answers command"
	if a.Read {
		what = "answers read"
	}
	text := fmt.Sprintf("%s %d at %d", what, a.Number, a.Index)
	if a.Err != nil {
		text = fmt.Sprintf("%s %d: %v", what, a.Number, a.Err)
	}
	t.current.effects = append(t.current.effects, text)
}

// print prints a line.
func (t *transcript) print(w *World, l *line) {
	fmt.Fprintf(t.out, "%11.3f  %-46s", float64(l.at)/1e6, l.what)
	for i := 0; i < w.n; i++ {
		mark := " "
		if i == l.server {
			mark = "•"
		}
		fmt.Fprintf(t.out, " │%s%-17s", mark, w.servers[i].text())
	}
	if len(l.effects) > 0 {
		fmt.Fprintf(t.out, " │ %s", strings.Join(l.effects, "; "))
	}
	fmt.Fprintln(t.out)
}

// text describes a server in a few characters.
func (s *server) text() string {
	if !s.up {
		return fmt.Sprintf("– t%d %d", s.disk.state.Term, s.disk.last())
	}
	role := map[string]string{"follower": "F", "pre-candidate": "P", "candidate": "C", leads: "L"}[s.status.role]
	now := &s.status
	return fmt.Sprintf("%s%d %d/%d/%d/%d", role, now.term, now.applied, now.commit, now.stable, now.last)
}

// describe says what an event is.
func describe(w *World, e *Event, m *raft.Message) string {
	text := e.String()
	if m != nil {
		text = deliverText(m)
	}
	if at := strings.Index(text, " at="); at >= 0 {
		text = text[:at]
	}
	if e.Hold {
		text += " (held)"
	}
	return text
}

func deliverText(m *raft.Message) string {
	return fmt.Sprintf("deliver %s>%s %s", m.From, m.To, messageText(m))
}

// messageText says what a message says.
func messageText(m *raft.Message) string {
	b := fmt.Sprintf("%v t%d", m.Kind, m.Term)
	switch m.Kind {
	case raft.PreVoteRequest, raft.VoteRequest:
		b += fmt.Sprintf(" last %d/t%d", m.Index, m.LogTerm)
	case raft.PreVoteResponse, raft.VoteResponse:
		b += granted(m)
	case raft.AppendRequest:
		b += fmt.Sprintf(" after %d/t%d +%d commit %d", m.Index, m.LogTerm, len(m.Entries), m.Commit)
	case raft.AppendResponse:
		b += fmt.Sprintf(" %d%s", m.Index, granted(m))
		if !m.Granted {
			b += fmt.Sprintf(" hint %d/t%d", m.Hint, m.LogTerm)
		}
	case raft.Heartbeat:
		b += fmt.Sprintf(" round %d commit %d", m.Round, m.Commit)
	case raft.HeartbeatResponse:
		b += fmt.Sprintf(" round %d matched %d, %d", m.Round, m.Index, m.Hint)
	case raft.ForwardRequest:
		b += fmt.Sprintf(" +%d from %d", len(m.Entries), m.Number)
	case raft.ForwardResponse:
		b += fmt.Sprintf(" refused %v", m.Numbers)
	case raft.ReadRequest:
		b += fmt.Sprintf(" to %d", m.Number)
	case raft.ReadResponse:
		b += fmt.Sprintf(" to %d index %d", m.Number, m.Index)
	}
	return b
}

func granted(m *raft.Message) string {
	if m.Granted {
		return " granted"
	}
	return " refused"
}
