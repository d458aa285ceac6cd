package sim

import (
	"fmt"
	"io"

	"github.com/e17579a5/raft/wire"
)

// The transcript of a run of hosts is one timeline of all groups and processes. A line of a group begins
// with its number, and is that of a World's transcript, of this group alone. A line of a process says what
// happens to the process, or what its Book sends.

// Transcript performs a run with given parameters and writes its transcript.
func (h *Hosts) Transcript(out io.Writer, p Params, groups int) (Result, HostStats) {
	h.out = out
	defer func() {
		h.out = nil
		h.all(func(w *World) { w.trace = nil })
	}()
	r, stats := h.RunParams(p, groups)
	h.all(func(w *World) { w.trace.broken(w) })
	if r.Violation != nil {
		fmt.Fprintf(out, "*** %v\n", r.Violation)
	}
	return r, stats
}

// observes lets a world tell what happens in it, if anybody wants to know.
func (h *Hosts) observes(w *World) {
	w.trace = nil
	if h.out == nil {
		return
	}
	w.trace = &recorder{messages: map[flight]int{}, see: func(s *Step) {
		if s.Kind != StepMiss && s.Kind != StepFault {
			fmt.Fprintf(h.out, "g%d ", w.group)
			s.print(h.out)
		}
	}}
}

// tells tells what happens to a process.
func (h *Hosts) tells(i int, format string, args ...any) {
	if h.out != nil {
		fmt.Fprintf(h.out, "   %11.3f  process %d %s\n", float64(h.now)/1e6, i+1, fmt.Sprintf(format, args...))
	}
}

// heartbeatText returns the content of a message of a process in a few words.
func heartbeatText(m *wire.Message) string {
	b := m.ProcessHeartbeat()
	text := fmt.Sprintf("%s: round %d, answers %d", m.To, b.Round, b.AnsweredRound)
	for i := range b.Stands {
		text += fmt.Sprintf(", leads %s in t%d", b.Stands[i].Group, b.Stands[i].Term)
	}
	return text
}
