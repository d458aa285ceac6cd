package sim

import (
	"fmt"
	"io"
	"strings"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
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
		fmt.Fprintf(out, " │%s%-17s", mark, s.Servers[i].Text())
	}
	if len(s.Effects) > 0 {
		fmt.Fprintf(out, " │ %s", strings.Join(s.Effects, "; "))
	}
	fmt.Fprintln(out)
}

// Text describes a server in a few characters, as the columns of a transcript do.
func (s *ServerState) Text() string {
	disk := ""
	if s.Lost > 0 {
		disk = fmt.Sprintf(" !%d", s.Lost)
	}
	if s.Full {
		disk += " full"
	}
	if !s.Up {
		return fmt.Sprintf("– t%d %d%s", s.Term, s.Last, disk)
	}
	role := map[string]string{"follower": "F", "pre-candidate": "P", "candidate": "C", recovers: "R", leads: "L"}[s.Role]
	return fmt.Sprintf("%s%d %d/%d/%d/%d%s", role, s.Term, s.Applied, s.Commit, s.Stable, s.Last, disk)
}

// describe says what an event is.
func describe(e *Event, m *wire.Message) string {
	text := e.String()
	if m != nil {
		text = deliverText(m)
	}
	if e.Op == OpChange {
		text = fmt.Sprintf("change %d %d %s", e.Server+1, e.N, e.ChangeText())
	}
	if e.Op == OpLose {
		first, last := e.LostEntries()
		text = fmt.Sprintf("lose %d entries %d to %d", e.Server+1, first, last)
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

func deliverText(m *wire.Message) string {
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
	for i := range write.Repairs {
		text += fmt.Sprintf(" repairs %d", write.Repairs[i].Index)
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
func MessageText(m *wire.Message) string {
	b := fmt.Sprintf("%v t%d", m.Kind(), m.Term)
	switch m.Kind() {
	case wire.KindPreVoteRequest:
		b += " last " + placeText(m.PreVoteRequest().Last)
	case wire.KindVoteRequest:
		b += " last " + placeText(m.VoteRequest().Last)
	case wire.KindPreVoteResponse:
		b += granted(m.PreVoteResponse().Granted)
	case wire.KindVoteResponse:
		b += granted(m.VoteResponse().Granted)
	case wire.KindAppendRequest:
		r := m.AppendRequest()
		b += fmt.Sprintf(" after %s +%d commit %d", placeText(r.Previous), len(r.Entries), r.Commit)
	case wire.KindAppendResponse:
		r := m.AppendResponse()
		b += fmt.Sprintf(" %d%s", r.Index, granted(r.Accepted))
		if !r.Accepted {
			b += " hint " + placeText(r.Agree)
		}
	case wire.KindHeartbeat:
		r := m.Heartbeat()
		b += fmt.Sprintf(" round %d commit %d", r.Round, r.Commit)
	case wire.KindHeartbeatResponse:
		r := m.HeartbeatResponse()
		b += fmt.Sprintf(" round %d matched %d, %d", r.Round, r.Durable, r.Received)
		if r.Room > 0 {
			b += fmt.Sprintf(" room %d", r.Room-1)
		}
		if r.Full {
			b += ", full"
		}
	case wire.KindSnapshotRequest:
		r := m.SnapshotRequest()
		b += fmt.Sprintf(" %s of %d bytes, attempt %d", placeText(r.Snapshot), r.Bytes, r.Attempt)
	case wire.KindSnapshotResponse:
		r := m.SnapshotResponse()
		b += fmt.Sprintf(" %s from %d, attempt %d", placeText(r.Snapshot), r.Offset, r.Attempt)
		if r.Refused != 0 {
			b += fmt.Sprintf(", refused: %v", r.Refused)
		}
	case wire.KindSnapshotStream:
		r := m.SnapshotStream()
		b += fmt.Sprintf(" %s from %d of %d bytes, attempt %d", placeText(r.Snapshot), r.Offset, r.Bytes, r.Attempt)
	case wire.KindKnown:
		r := m.Known()
		b += fmt.Sprintf(" start %s, led %d, back %v", wire.ShowStart(r.Start), r.Led, r.Back)
	case wire.KindRepairRequest:
		r := m.RepairRequest()
		b += fmt.Sprintf(" %d…%d/t%d", r.First, r.Last, r.Term)
	case wire.KindRepairResponse:
		b += repairText(m)
	case wire.KindSnapshotPull:
		b += fmt.Sprintf(" of %d at least, from %d", m.SnapshotPull().Least, m.SnapshotPull().Offset)
	case wire.KindFingerprints:
		b += fmt.Sprintf(" to %d", m.Fingerprints().Index)
	default:
		b += requestText(m)
	}
	return b
}

// repairText says what the answer to a request for lost bytes brings.
func repairText(m *wire.Message) string {
	r := m.RepairResponse()
	switch {
	case len(r.Entries) > 0:
		return fmt.Sprintf(" +%d from %d", len(r.Entries), r.Entries[0].Index)
	case r.Lacks.Index > 0:
		return " doesn't hold " + placeText(r.Lacks)
	case r.Snapshot > 0:
		return fmt.Sprintf(" %d is in the snapshot of %d", r.First, r.Snapshot)
	}
	return fmt.Sprintf(" nothing of %d", r.First)
}

// requestText says what a message says that is about what callers ask for.
func requestText(m *wire.Message) string {
	switch m.Kind() {
	case wire.KindForwardRequest:
		r := m.ForwardRequest()
		return fmt.Sprintf(" +%d from %d", len(r.Commands), r.Lowest)
	case wire.KindForwardResponse:
		r := m.ForwardResponse()
		if r.Why != 0 {
			return fmt.Sprintf(" refused %v: %v", r.Refused, r.Why)
		}
		return fmt.Sprintf(" refused %v", r.Refused)
	case wire.KindReadRequest:
		return fmt.Sprintf(" to %d", m.ReadRequest().Number)
	case wire.KindReadResponse:
		r := m.ReadResponse()
		return fmt.Sprintf(" to %d index %d", r.Number, r.Index)
	case wire.KindCallRequest:
		r := m.CallRequest()
		return fmt.Sprintf(" %d: %v", r.Number, r.Call)
	case wire.KindCallResponse:
		r := m.CallResponse()
		return fmt.Sprintf(" %d%s", r.Number, granted(r.Done))
	}
	return ""
}

func placeText(p wire.Place) string { return fmt.Sprintf("%d/t%d", p.Index, p.Term) }

func granted(yes bool) string {
	if yes {
		return " granted"
	}
	return " refused"
}
