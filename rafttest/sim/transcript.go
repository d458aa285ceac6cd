package sim

import (
	"fmt"
	"io"
	"strings"

	"github.com/e17579a5/raft"
)

// A transcript is the steps of a run as a text. It has a line for each event. The line has a column
// for each server with its role, its term, and applied/commit/stable/last. The server to which the
// event happens is marked. What the server sends and begins to write follows.

// Transcript replays a schedule and writes its transcript. With details it also writes each event
// within those in which time passes by itself.
func (w *World) Transcript(out io.Writer, s *Schedule, details bool) Result {
	return w.transcribe(out, details, func(w *World) Result { return w.Replay(s) })
}

// TranscriptOf performs a run with given parameters and writes its transcript.
func (w *World) TranscriptOf(out io.Writer, p Params, details bool) Result {
	return w.transcribe(out, details, func(w *World) Result { return w.RunParams(p) })
}

func (w *World) transcribe(out io.Writer, details bool, run func(*World) Result) Result {
	r := w.observed(func(s *Step) {
		if s.Kind != StepMiss && s.Kind != StepFault && (details || !s.Inside && s.Kind != StepBegin) {
			s.print(out)
		}
	}, run)
	if r.Violation != nil {
		fmt.Fprintf(out, "*** %v\n", r.Violation)
	}
	return r
}

// print prints a step as one line.
func (s *Step) print(out io.Writer) {
	fmt.Fprintf(out, "%11.3f  %-46s", float64(s.At)/1e6, s.Text)
	for i := range s.Servers {
		mark := " "
		if i == s.Server {
			mark = "•"
		}
		fmt.Fprintf(out, " │%s%-17s", mark, s.Servers[i].text())
	}
	if len(s.Effects) > 0 {
		fmt.Fprintf(out, " │ %s", strings.Join(s.Effects, "; "))
	}
	fmt.Fprintln(out)
}

// text describes a server in a few characters.
func (s *ServerState) text() string {
	if !s.Up {
		return fmt.Sprintf("– t%d %d", s.Term, s.Last)
	}
	role := map[string]string{"follower": "F", "pre-candidate": "P", "candidate": "C", leads: "L"}[s.Role]
	return fmt.Sprintf("%s%d %d/%d/%d/%d", role, s.Term, s.Applied, s.Commit, s.Stable, s.Last)
}

// describe says what an event is.
func describe(e *Event, m *raft.Message) string {
	text := e.String()
	if m != nil {
		text = deliverText(m)
	}
	if e.Op == OpChange {
		text = fmt.Sprintf("change %d %d %s", e.Server+1, e.N, e.ChangeText())
	}
	if at := strings.Index(text, " at="); at >= 0 {
		text = text[:at]
	}
	if at := strings.Index(text, " data="); at >= 0 {
		text = text[:at] + " " + Show(e.Data)
	}
	if e.Hold {
		text += " (held)"
	}
	return text
}

func deliverText(m *raft.Message) string {
	return fmt.Sprintf("deliver %s>%s %s", m.From, m.To, MessageText(m))
}

// writeText says what a write holds.
func writeText(write *raft.Write) string {
	text := fmt.Sprintf("writes #%d t%d", write.Number, write.State.Term)
	if write.State.Vote != "" {
		text += " vote " + string(write.State.Vote)
	}
	if n := len(write.Entries); n > 0 {
		text += fmt.Sprintf(" (%d…%d]", write.Entries[0].Index-1, write.Entries[n-1].Index)
	}
	if write.Snapshot != nil {
		text += fmt.Sprintf(" snapshot %d/t%d", write.Snapshot.Index, write.Snapshot.Term)
	}
	if write.Compact > 0 {
		text += fmt.Sprintf(" compact %d", write.Compact)
	}
	return text
}

// answerText says what answer a caller gets.
func answerText(a *raft.Answer) string {
	what := "answers command"
	switch {
	case a.Read:
		what = "answers read"
	case a.Call:
		what = "answers change"
	}
	if a.Err != nil {
		return fmt.Sprintf("%s %d: %v", what, a.Number, a.Err)
	}
	return fmt.Sprintf("%s %d at %d", what, a.Number, a.Index)
}

// MessageText returns the content of a message in a few words.
func MessageText(m *raft.Message) string {
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
	case raft.SnapshotRequest:
		b += fmt.Sprintf(" %d/t%d of %d bytes, attempt %d", m.Index, m.LogTerm, m.Size, m.Round)
	case raft.SnapshotResponse:
		b += fmt.Sprintf(" %d/t%d from %d, attempt %d", m.Index, m.LogTerm, m.Offset, m.Round)
	case raft.Fingerprints:
		b += fmt.Sprintf(" to %d", m.Index)
	case raft.SnapshotStream:
		b += fmt.Sprintf(" %d/t%d from %d of %d bytes, attempt %d", m.Index, m.LogTerm, m.Offset, m.Size, m.Round)
	case raft.ReadRequest:
		b += fmt.Sprintf(" to %d", m.Number)
	case raft.ReadResponse:
		b += fmt.Sprintf(" to %d index %d", m.Number, m.Index)
	case raft.CallRequest:
		b += fmt.Sprintf(" %d: %v", m.Numbers[0], m.Call)
	case raft.CallResponse:
		b += fmt.Sprintf(" %d%s", m.Number, granted(m))
	}
	return b
}

func granted(m *raft.Message) string {
	if m.Granted {
		return " granted"
	}
	return " refused"
}
