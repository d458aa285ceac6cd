package diagram

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/sim"
	"github.com/e17579a5/raft/wire"
)

// A run is the data that the page's program gets. It names servers, steps, messages and entries by
// their places in the lists, from 0. The place -1 means that there is none.
type run struct {
	Servers    int         `json:"servers"`
	Seed       int64       `json:"seed"`
	Repeat     string      `json:"repeat,omitempty"`
	Violation  *violation  `json:"violation,omitempty"`
	Parameters []parameter `json:"parameters"`
	Counts     []parameter `json:"counts"`
	Entries    []entry     `json:"entries"`
	Messages   []message   `json:"messages"`
	Steps      []step      `json:"steps"`
}

type violation struct {
	Name    string `json:"name"`
	Meaning string `json:"meaning"`
	Detail  string `json:"detail"`
	Server  int    `json:"server"`
}

type parameter struct {
	Name  string `json:"name"`
	Value int64  `json:"value"`
}

// An entry is one that stood in the log of any server.
type entry struct {
	Index raft.Index `json:"i"`
	Term  raft.Term  `json:"t"`
	Kind  string     `json:"kind"`
	Text  string     `json:"text"` // a short form
	Full  string     `json:"full"`
}

type message struct {
	From      int       `json:"from"`
	To        int       `json:"to"`
	Kind      string    `json:"kind"`
	Term      raft.Term `json:"term"`
	Short     string    `json:"short"` // the text on the arrow
	Text      string    `json:"text"`
	Sent      int       `json:"sent"`           // the step in which it was sent
	Delivered []int     `json:"at,omitempty"`   // the steps in which it was delivered; a duplicate has more than one
	Fate      string    `json:"fate,omitempty"` // "cut", "lost" or "down", if it didn't arrive
	FateAt    int       `json:"fateAt,omitempty"`
}

type step struct {
	Kind    string   `json:"k"`
	Inside  bool     `json:"in,omitempty"`
	At      int64    `json:"at"` // in nanoseconds
	Until   int64    `json:"until,omitempty"`
	Text    string   `json:"text"`
	Label   string   `json:"label,omitempty"` // a short form of Text
	Server  int      `json:"s"`
	Peer    int      `json:"p"`
	Message int      `json:"m"` // the message that is delivered
	Sent    []int    `json:"sent,omitempty"`
	Cut     bool     `json:"cut,omitempty"` // links from Peer to Server are cut or mended
	Answers []told   `json:"answers,omitempty"`
	Notes   []string `json:"notes,omitempty"` // what was written and answered, in words

	States    []state     `json:"states,omitempty"` // of the servers whose state has changed
	Logs      []logChange `json:"logs,omitempty"`
	Damage    []damage    `json:"damage,omitempty"`
	Committed []int       `json:"committed,omitempty"` // entries that a leader was the first to commit
}

type told struct {
	Operation int64  `json:"op"`
	Read      bool   `json:"read,omitempty"`
	Outcome   string `json:"outcome"` // "done", "refused" or "unknown"
	Text      string `json:"text"`
}

type state struct {
	Server  int           `json:"s"`
	Role    string        `json:"role"` // may also be "down"
	Term    raft.Term     `json:"term"`
	Vote    raft.ServerID `json:"vote,omitempty"`
	Applied raft.Index    `json:"a"`
	Commit  raft.Index    `json:"c"`
	Stable  raft.Index    `json:"d"`
	Last    raft.Index    `json:"l"`
	Writes  int           `json:"w,omitempty"`
	Wiped   bool          `json:"wiped,omitempty"`
	Lost    string        `json:"lost,omitempty"` // the entries whose bytes the disk has lost, such as "5-7 9"
	Full    bool          `json:"full,omitempty"` // its disk is
}

type logChange struct {
	Server  int        `json:"s"`
	After   raft.Index `json:"after"`
	Entries []int      `json:"entries"`
}

// A builder makes the data of a page from a trace.
type builder struct {
	run     *run
	entries map[entry]int
	states  []state
}

func newRun(t *sim.Trace, repeat string) *run {
	p := t.Result.Params
	b := &builder{
		run:     &run{Servers: p.All(), Seed: p.Seed, Repeat: repeat, Entries: []entry{}, Messages: []message{}, Steps: []step{}},
		entries: map[entry]int{},
		states:  make([]state, p.All()),
	}
	if v := t.Result.Violation; v != nil {
		b.run.Violation = &violation{v.Name, sim.Meaning(v.Name), v.Detail, v.Server}
	}
	p.Each(func(name string, value int64) {
		b.run.Parameters = append(b.run.Parameters, parameter{name, value})
	})
	s := &t.Result.Stats
	b.run.Counts = []parameter{
		{"events at cores", int64(s.Events)}, {"messages", int64(s.Messages)}, {"dropped", int64(s.Dropped)},
		{"elections", int64(s.Elections)}, {"crashes", int64(s.Crashes)}, {"restarts", int64(s.Restarts)},
		{"writes", int64(s.Writes)}, {"lost writes", int64(s.Lost)}, {"truncations", int64(s.Truncations)},
		{"commands committed", int64(s.Commands)}, {"answered", int64(s.Answered)}, {"refused", int64(s.Refused)},
		{"unknown", int64(s.Unknown)}, {"reads", int64(s.Reads)},
		{"entries whose bytes a disk has lost", int64(s.LostEntries)}, {"stored again", int64(s.Repaired)},
	}
	for i := range t.Steps {
		b.step(i, &t.Steps[i])
	}
	return b.run
}

var stepKinds = map[sim.StepKind]string{
	sim.StepBegin: "begin", sim.StepEnd: "end", sim.StepFault: "fault", sim.StepMiss: "miss",
}

// step adds a step to the run.
func (b *builder) step(number int, s *sim.Step) {
	to := step{
		Kind: stepKinds[s.Kind], Inside: s.Inside, At: s.At, Until: s.Until, Text: s.Text, Server: s.Server, Peer: -1,
		Message: s.Delivered - 1, Label: label(s),
	}
	if s.Kind == sim.StepEvent || s.Kind == sim.StepBroken {
		to.Kind = s.Event.Op.String()
	}
	if s.Kind == sim.StepBroken && s.Server < 0 {
		to.Kind = "end"
	}
	switch s.Event.Op {
	case sim.OpDeliver, sim.OpArrive, sim.OpLost, sim.OpTransfer, sim.OpProbe, sim.OpCut, sim.OpJoin:
		to.Peer = int(s.Event.Peer)
	}
	for _, m := range s.Sent {
		to.Sent = append(to.Sent, len(b.run.Messages))
		b.message(number, &m.Content)
	}
	b.fates(number, s)
	for i := range s.Answers {
		to.Answers = append(to.Answers, answer(&s.Answers[i]))
	}
	to.Notes = s.Effects[min(len(s.Sent), len(s.Effects)):]
	b.changes(&to, s)
	b.run.Steps = append(b.run.Steps, to)
}

// fates notes which messages arrived and which got lost in a step.
func (b *builder) fates(number int, s *sim.Step) {
	if s.Delivered > 0 {
		m := &b.run.Messages[s.Delivered-1]
		if s.Kind == sim.StepMiss {
			m.Fate, m.FateAt = "down", number
		} else {
			m.Delivered = append(m.Delivered, number)
		}
	}
	for _, f := range s.Lost {
		if f.Message == 0 {
			continue
		}
		m := &b.run.Messages[f.Message-1]
		m.Fate, m.FateAt = "lost", number
		if f.Cut {
			m.Fate = "cut"
		}
	}
}

// changes notes which states and logs changed in a step.
func (b *builder) changes(to *step, s *sim.Step) {
	for i := range s.Servers {
		from := &s.Servers[i]
		now := state{i, from.Role, from.Term, from.Vote, from.Applied, from.Commit, from.Stable, from.Last, from.Writes, from.Wiped, RangesText(from.LostRanges), from.Full}
		if !from.Up {
			now.Role = "down"
		}
		if now != b.states[i] {
			b.states[i] = now
			to.States = append(to.States, now)
		}
	}
	for i := range s.Logs {
		c := &s.Logs[i]
		to.Logs = append(to.Logs, logChange{c.Server, c.After, b.places(c.Entries)})
	}
	for i := range s.Damage {
		to.Damage = append(to.Damage, newDamage(&s.Damage[i]))
	}
	if len(s.Committed) > 0 {
		to.Committed = b.places(s.Committed)
	}
}

// places returns the places of entries in the list of all entries. It adds those that are new to
// the list.
func (b *builder) places(entries []raft.Entry) []int {
	places := make([]int, 0, len(entries))
	for i := range entries {
		e := newEntry(&entries[i])
		place, known := b.entries[e]
		if !known {
			place = len(b.run.Entries)
			b.entries[e] = place
			b.run.Entries = append(b.run.Entries, e)
		}
		places = append(places, place)
	}
	return places
}

func newEntry(e *raft.Entry) entry {
	n := entry{Index: e.Index, Term: e.Term, Kind: e.Kind.String()}
	n.Text, n.Full = EntryText(e)
	return n
}

// EntryText returns the text in the cell of an entry, and the full one that says all about it.
func EntryText(e *raft.Entry) (short, full string) {
	switch e.Kind {
	case wire.EntryNoOp:
		short = "∅"
	case wire.EntryConfiguration:
		short = "conf"
	default:
		short = string(e.Origin.Server) + "." + strconv.FormatUint(e.Number, 10)
		if printable(e.Data) {
			short = firstRunes(string(e.Data), 8)
		}
	}
	full = fmt.Sprintf("index %d, term %d: %v", e.Index, e.Term, e.Kind)
	if e.Number != 0 {
		full += fmt.Sprintf(" %d of server %s, start %s", e.Number, e.Origin.Server, wire.ShowStart(e.Origin.Start))
	}
	if len(e.Data) > 0 && e.Kind == wire.EntryCommand {
		full += ", " + dataText(e.Data)
	}
	return short, full
}

// shownData is the number of bytes of a command that the page shows.
const shownData = 40

// dataText shows a command as text if it is printable, and in hexadecimal digits otherwise.
func dataText(data []byte) string {
	cut := data[:min(len(data), shownData)]
	more := ""
	if len(cut) < len(data) {
		more = fmt.Sprintf("… (%d bytes)", len(data))
	}
	if printable(cut) {
		return strconv.Quote(string(cut)) + more
	}
	return "0x" + hex.EncodeToString(cut) + more
}

// firstRunes returns the first runes of a text: as many as there is room for.
func firstRunes(text string, most int) string {
	runes := []rune(text)
	return string(runes[:min(len(runes), most)])
}

// printable reports whether a command can be shown as text.
func printable(data []byte) bool {
	return len(data) > 0 && utf8.Valid(data) &&
		!slices.ContainsFunc([]rune(string(data)), func(r rune) bool { return !strconv.IsPrint(r) })
}

func (b *builder) message(number int, m *wire.Message) {
	b.run.Messages = append(b.run.Messages, message{
		From: serverOf(m.From), To: serverOf(m.To), Kind: m.Kind().String(), Term: m.Term,
		Short: MessageText(m), Text: sim.MessageText(m), Sent: number,
	})
}

// serverOf returns the number of a server from its ID in the simulator, which is "1" or higher. It
// returns -1 for another ID.
func serverOf(id raft.ServerID) int {
	n, err := strconv.Atoi(string(id))
	if err != nil {
		return -1
	}
	return n - 1
}

// MessageText returns the text on the arrow of a message.
func MessageText(m *wire.Message) string {
	switch m.Kind() {
	case wire.KindPreVoteRequest:
		return fmt.Sprintf("pre-vote t%d?", m.Term)
	case wire.KindPreVoteResponse:
		return fmt.Sprintf("pre-vote t%d %s", m.Term, verdict(m.PreVoteResponse().Granted))
	case wire.KindVoteRequest:
		return fmt.Sprintf("vote t%d?", m.Term)
	case wire.KindVoteResponse:
		return fmt.Sprintf("vote t%d %s", m.Term, verdict(m.VoteResponse().Granted))
	case wire.KindAppendRequest:
		r := m.AppendRequest()
		if len(r.Entries) == 0 {
			return fmt.Sprintf("probe %d c%d", r.Previous.Index, r.Commit)
		}
		return fmt.Sprintf("append (%d…%d] c%d", r.Previous.Index, r.Entries[len(r.Entries)-1].Index, r.Commit)
	case wire.KindAppendResponse:
		r := m.AppendResponse()
		return fmt.Sprintf("up to %d %s", r.Index, verdict(r.Accepted))
	case wire.KindHeartbeat:
		return fmt.Sprintf("♥ c%d", m.Heartbeat().Commit)
	case wire.KindHeartbeatResponse:
		return fmt.Sprintf("♥ up to %d", m.HeartbeatResponse().Durable)
	case wire.KindTimeoutNow:
		return "campaign now"
	case wire.KindForwardRequest:
		return fmt.Sprintf("forward +%d", len(m.ForwardRequest().Commands))
	case wire.KindForwardResponse:
		return "refused"
	case wire.KindReadRequest:
		return fmt.Sprintf("read %d?", m.ReadRequest().Number)
	case wire.KindReadResponse:
		return fmt.Sprintf("read at %d", m.ReadResponse().Index)
	case wire.KindRepairRequest:
		r := m.RepairRequest()
		return fmt.Sprintf("needs %s t%d", rangeText(wire.Range{First: r.First, Last: r.Last}, "…"), r.Term)
	case wire.KindRepairResponse:
		return repairText(m)
	case wire.KindSnapshotPull:
		return fmt.Sprintf("snapshot of %d?", m.SnapshotPull().Least)
	case wire.KindCallRequest:
		return m.CallRequest().Call.String()
	case wire.KindCallResponse:
		return "call " + verdict(m.CallResponse().Done)
	}
	return m.Kind().String()
}

func verdict(yes bool) string {
	if yes {
		return "✓"
	}
	return "✗"
}

// label says in a word or two what a step is. For a delivery it returns "": the arrow says it.
func label(s *sim.Step) string {
	e := &s.Event
	switch s.Kind {
	case sim.StepFault:
		return s.Text
	case sim.StepMiss:
		return ""
	}
	switch e.Op {
	case sim.OpExpire:
		return "timeout"
	case sim.OpPersist:
		return "on disk"
	case sim.OpApply:
		return "applied"
	case sim.OpPropose:
		if printable(e.Data) {
			return fmt.Sprintf("command %d %s", e.N, firstRunes(string(e.Data), 32))
		}
		return fmt.Sprintf("command %d", e.N)
	case sim.OpOpen:
		return fmt.Sprintf("opens a session for client %d", e.Peer)
	case sim.OpClose:
		return fmt.Sprintf("closes the session of client %d", e.Peer)
	case sim.OpCall:
		return fmt.Sprintf("command %d of client %d", e.Label, e.Peer)
	case sim.OpQuery:
		return fmt.Sprintf("read %d", e.N)
	case sim.OpCancel:
		return fmt.Sprintf("gives up %d", e.N)
	case sim.OpLost:
		return fmt.Sprintf("loses %d", e.Peer+1)
	case sim.OpTransfer:
		return fmt.Sprintf("told by %d", e.Peer+1)
	case sim.OpProbe:
		return fmt.Sprintf("probed by %d", e.Peer+1)
	case sim.OpCut, sim.OpJoin:
		return fmt.Sprintf("%v %d→%d", e.Op, e.Peer+1, e.Server+1)
	case sim.OpLose:
		first, last := e.LostEntries()
		return "loses " + rangeText(wire.Range{First: first, Last: last}, "…")
	case sim.OpWipe:
		return "new disk"
	case sim.OpImage:
		return "image taken"
	case sim.OpPutBack:
		return "older image"
	case sim.OpLogBack:
		return "older log"
	case sim.OpMachineBack:
		return "older machine"
	case sim.OpArrive:
		return "waits"
	case sim.OpMove:
		return "moves"
	case sim.OpChange:
		return e.ChangeText()
	case sim.OpDeliver, sim.OpDrain:
		return ""
	}
	return e.Op.String()
}

func answer(a *sim.Told) told {
	t := told{Operation: a.Operation, Read: a.Read, Outcome: "done"}
	what := "command"
	switch {
	case a.Read:
		what = "read"
	case a.Call:
		what = "change"
	}
	switch {
	case a.Err == nil:
		t.Text = fmt.Sprintf("%s %d is answered at index %d", what, a.Operation, a.Index)
		return t
	case errors.Is(a.Err, raft.ErrOutcomeUnknown):
		t.Outcome = "unknown"
	default:
		t.Outcome = "refused"
	}
	t.Text = fmt.Sprintf("%s %d is answered: %v", what, a.Operation, a.Err)
	return t
}
