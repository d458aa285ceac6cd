package raft_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

var update = flag.Bool("update", false, "write the transcripts in testdata anew; read the diff before you commit it")

// TestTranscripts plays the stories in testdata/*.transcript. A story consists of commands, each
// after a "> ", and of what the cores then did:
//
//	> cluster N [OPTION]   start the servers a, b, …, which are to found a cluster: with leases for
//	                       "lease", with one entry in each append for "one"
//	> elect S              let S's election timeout pass, and deliver everything
//	> timeout S            let S's next deadline pass
//	> propose S TEXT       a caller proposes at S
//	> read S               a caller reads at S
//	> open S               a caller opens a session at S
//	> call S ID N L TEXT   a caller proposes command N of the session ID at S, for a client that still
//	                       waits for the commands from L on
//	> deliver [KIND] [S→T] deliver the oldest message, of a kind or on a way if given
//	> drop [KIND] [S→T]    lose all such messages
//	> settle               deliver messages until there are none
//	> pass N               let N heartbeat intervals pass, deliver everything, say only what came of it
//	> cut S, heal S        lose everything to and from S; stop that
//	> part S T, part S→T   lose everything between S and T, or from S to T
//	> join                 stop all parting
//	> transfer S T         ask at S for a transfer of the leadership to T
//	> lease-read S         a caller reads at S, by a lease if there is one
//	> lost S T             S hears that the process of T is gone
//	> heartbeat S          let S's next heartbeat be due
//	> campaign S           elect S, but lose its appends
//	> wait S               let the time pass, at S, until S may vote
//	> slow S, finish S     let S's writes wait from now on; do those that wait
//	> restart S            crash S and start it from its disk
//	> snapshot S           somebody asks for a snapshot at S
//	> stream S→T N         the stream of a snapshot begins, if it hasn't, and brings N bytes
//	> break S→T            the stream of a snapshot breaks
//	> status               show every server
//	> spare S              start a server that waits to be added
//	> wipe S               start S anew on an empty disk
//	> set S A B C?         a caller at S asks for these members; those with a ? are learners
//	> replace S A          a caller at S asks for the present disk of A to count
//	> members              show the configurations in each log
//
// The rest is the transcript. A line "a→b AppendRequest …" is a message that left a server. A line
// "a: …" is something else that happened at a server.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.transcript")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".transcript"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			played := play(t, string(text))
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(played), 0o666))
				return
			}
			require.Equal(t, string(text), played, "go test -run TestTranscripts -update . writes it anew")
		})
	}
}

// play repeats the commands and comments of a story, and fills in what happens.
func play(t *testing.T, story string) string {
	p := &player{t: t}
	for line := range strings.Lines(story) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "> "):
			p.out.WriteString(line + "\n")
			p.command(strings.Fields(line[2:]))
		case strings.HasPrefix(line, "#"):
			p.out.WriteString(line + "\n")
		case line == "":
			p.out.WriteString("\n")
		}
	}
	return p.out.String()
}

// player plays one story.
type player struct {
	t    *testing.T
	c    *cores
	out  strings.Builder
	seen map[raft.ServerID]*shown
}

// shown is what the transcript has already told of a server.
type shown struct {
	status           raft.CoreStatus
	applied, answers int
	starts           uint64
}

// command performs a command, and writes what came of it.
func (p *player) command(words []string) {
	does, known := actions[words[0]]
	require.True(p.t, known, "unknown command: %q", words)
	id := raft.ServerID("")
	if len(words) > 1 {
		id = raft.ServerID(words[1])
	}
	does(p, id, words)
	switch words[0] {
	case "elect", "campaign", "settle", "pass":
		p.tell(true)
	default:
		p.tell(false)
	}
}

// An action performs a command of a story. id is the first server that the command names, and words
// are all its words, its name included.
type action func(p *player, id raft.ServerID, words []string)

// actions are the commands of stories. TestTranscripts says what each of them does.
var actions = map[string]action{
	"cluster":    (*player).cluster,
	"elect":      func(p *player, id raft.ServerID, _ []string) { p.c.elect(id) },
	"campaign":   func(p *player, id raft.ServerID, _ []string) { p.c.electWithout(id, wire.KindAppendRequest) },
	"timeout":    func(p *player, id raft.ServerID, _ []string) { p.tick(id, p.c.servers[id].core.Deadline()) },
	"heartbeat":  func(p *player, id raft.ServerID, _ []string) { p.tick(id, p.c.now+raft.Instant(heartbeat)) },
	"wait":       func(p *player, id raft.ServerID, _ []string) { p.tick(id, p.c.status(id).QuietUntil) },
	"propose":    (*player).propose,
	"open":       (*player).open,
	"call":       (*player).callInSession,
	"read":       func(p *player, id raft.ServerID, _ []string) { p.at(id, func(c *raft.Core) { c.Read(p.c.now) }) },
	"lease-read": func(p *player, id raft.ServerID, _ []string) { p.at(id, func(c *raft.Core) { c.ReadByLease(p.c.now) }) },
	"deliver":    func(p *player, _ raft.ServerID, words []string) { p.deliver(words[1:]) },
	"drop":       (*player).drop,
	"settle":     func(p *player, _ raft.ServerID, _ []string) { p.c.settle() },
	"pass": func(p *player, _ raft.ServerID, words []string) {
		p.c.pass(time.Duration(words[1][0]-'0') * heartbeat)
	},
	"cut":      func(p *player, id raft.ServerID, _ []string) { p.c.servers[id].cut = true },
	"heal":     func(p *player, id raft.ServerID, _ []string) { p.c.servers[id].cut = false },
	"part":     (*player).part,
	"join":     func(p *player, _ raft.ServerID, _ []string) { p.c.join() },
	"lost":     (*player).lost,
	"transfer": (*player).transfer,
	"slow":     func(p *player, id raft.ServerID, _ []string) { p.c.servers[id].slowDisk = true },
	"finish":   func(p *player, id raft.ServerID, _ []string) { p.c.finishWrites(id) },
	"restart":  func(p *player, id raft.ServerID, _ []string) { p.c.restart(id) },
	"spare": func(p *player, id raft.ServerID, _ []string) {
		p.c.spare(id)
		p.seen[id] = &shown{}
	},
	"wipe": func(p *player, id raft.ServerID, _ []string) {
		p.c.wipe(id)
		p.seen[id] = &shown{}
	},
	"snapshot": func(p *player, id raft.ServerID, _ []string) { p.c.snapshot(id) },
	"stream":   (*player).stream,
	"break":    (*player).breakStreams,
	"set":      (*player).setMembers,
	"replace":  (*player).replace,
	"members":  (*player).members,
	"status":   func(p *player, _ raft.ServerID, _ []string) { p.status() },
}

// at hands an event to a server's core, and performs what the core wants done.
func (p *player) at(id raft.ServerID, event func(c *raft.Core)) {
	event(p.c.servers[id].core)
	p.c.drain(id)
}

// tick lets a server's time pass up to an instant, which may be over already.
func (p *player) tick(id raft.ServerID, to raft.Instant) {
	p.c.now = max(p.c.now, to)
	p.at(id, func(c *raft.Core) { c.Tick(p.c.now) })
}

func (p *player) cluster(_ raft.ServerID, words []string) {
	p.c = newCoresWith(p.t, int(words[1][0]-'0'), func(config *raft.CoreConfig) {
		switch words[len(words)-1] {
		case "lease":
			config.MaxLease, config.ClockDrift = lease, 200*time.Millisecond
		case "one":
			config.MaxAppendBytes = 1
		}
	})
	p.seen = map[raft.ServerID]*shown{}
	for _, id := range p.c.ids {
		p.seen[id] = &shown{}
	}
}

func (p *player) propose(id raft.ServerID, words []string) {
	p.at(id, func(c *raft.Core) { c.Propose(p.c.now, []byte(strings.Join(words[2:], " "))) })
}

func (p *player) open(id raft.ServerID, _ []string) {
	limits := wire.AppendSessionLimits(nil, wire.SessionLimits{Sessions: 2, Bytes: 1000})
	p.at(id, func(c *raft.Core) {
		c.ProposeEntry(p.c.now, raft.Proposal{Kind: wire.EntryOpenSession, Data: limits})
	})
}

func (p *player) callInSession(id raft.ServerID, words []string) {
	command := raft.SessionCommand{}
	require.NoError(p.t, command.Session.UnmarshalText([]byte(words[2])))
	command.Sequence, command.Lowest = uint64(words[3][0]-'0'), uint64(words[4][0]-'0')
	data := wire.AppendSessionCommand(nil, &command, []byte(strings.Join(words[5:], " ")))
	p.at(id, func(c *raft.Core) {
		c.ProposeEntry(p.c.now, raft.Proposal{Kind: wire.EntrySessionCommand, Data: data})
	})
}

func (p *player) drop(_ raft.ServerID, words []string) {
	for range p.c.take(p.matching(words[1:])) {
		p.out.WriteString("lost\n")
	}
}

func (p *player) part(_ raft.ServerID, words []string) {
	from, to, one := strings.Cut(words[1], "→")
	if !one {
		to = words[2]
		p.c.part(raft.ServerID(to), raft.ServerID(from))
	}
	p.c.part(raft.ServerID(from), raft.ServerID(to))
}

func (p *player) lost(id raft.ServerID, words []string) {
	p.at(id, func(c *raft.Core) { c.Lost(p.c.now, raft.ServerID(words[2])) })
}

func (p *player) transfer(id raft.ServerID, words []string) {
	p.at(id, func(c *raft.Core) { c.Call(p.c.now, transferTo(raft.ServerID(words[2]))) })
}

func (p *player) stream(_ raft.ServerID, words []string) {
	from, to, _ := strings.Cut(words[1], "→")
	bytes, err := strconv.Atoi(words[2])
	require.NoError(p.t, err)
	p.c.bring(raft.ServerID(from), raft.ServerID(to), uint64(bytes))
}

func (p *player) breakStreams(_ raft.ServerID, words []string) {
	from, to, _ := strings.Cut(words[1], "→")
	for _, st := range p.c.streams {
		if string(st.from) == from && string(st.send.Header.To) == to {
			p.c.breakStream(st)
		}
	}
}

func (p *player) setMembers(id raft.ServerID, words []string) {
	p.at(id, func(c *raft.Core) { c.Call(p.c.now, set(words[2:]...)) })
}

func (p *player) replace(id raft.ServerID, words []string) {
	member := raft.Member{Server: raft.Server{ID: raft.ServerID(words[2])}}
	p.at(id, func(c *raft.Core) {
		c.Call(p.c.now, wire.Call{Kind: wire.CallReplace, Members: []raft.Member{member}})
	})
}

func (p *player) members(raft.ServerID, []string) {
	for _, id := range p.c.ids {
		fmt.Fprintf(&p.out, "%s: %s\n", id, strings.Join(p.c.configurations(id), " | "))
	}
}

// matching returns a function that says whether a message is of a kind and on a way, if they are
// given.
func (p *player) matching(words []string) func(wire.Message) bool {
	return func(m wire.Message) bool {
		for _, word := range words {
			if from, to, way := strings.Cut(word, "→"); way {
				if string(m.From) != from || string(m.To) != to {
					return false
				}
			} else if m.Kind().String() != word {
				return false
			}
		}
		return true
	}
}

func (p *player) deliver(words []string) {
	found := false
	messages := p.c.take(func(m wire.Message) bool {
		if found || !p.matching(words)(m) {
			return false
		}
		found = true
		return true
	})
	require.True(p.t, found, "no message to deliver: %q", words)
	p.c.deliver(messages[0])
}

// tell writes what is new: what changed in the servers, and, unless it is to be quiet, the messages
// on the network and the writes in progress.
func (p *player) tell(quiet bool) {
	for _, id := range p.c.ids {
		s, old := p.c.servers[id], p.seen[id]
		now := s.core.Status()
		if old.starts != now.Start {
			*old = shown{status: raft.CoreStatus{Role: "follower", Term: now.Term}, starts: now.Start}
			fmt.Fprintf(&p.out, "%s: start %d in term %d, log to %d\n", id, wire.StartCount(now.Start), now.Term, now.Last)
		}
		if now.Role != old.status.Role || now.Term != old.status.Term {
			fmt.Fprintf(&p.out, "%s: %s in term %d\n", id, now.Role, now.Term)
		}
		if now.Commit != old.status.Commit {
			fmt.Fprintf(&p.out, "%s: commit %d\n", id, now.Commit)
		}
		for _, e := range s.applied[old.applied:] {
			switch e.Kind {
			case wire.EntryCommand:
				fmt.Fprintf(&p.out, "%s: apply %d %q\n", id, e.Index, e.Data)
			case wire.EntryOpenSession:
				fmt.Fprintf(&p.out, "%s: session %v\n", id, raft.SessionID{Term: e.Term, Index: e.Index})
			case wire.EntrySessionCommand:
				command, data, err := wire.DecodeSessionCommand(e.Data)
				require.NoError(p.t, err)
				fmt.Fprintf(&p.out, "%s: meets %d %q, command %d of session %v\n",
					id, e.Index, data, command.Sequence, command.Session)
			}
		}
		for _, text := range s.told {
			fmt.Fprintf(&p.out, "%s: %s\n", id, text)
		}
		s.told = nil
		for _, a := range s.answers[old.answers:] {
			fmt.Fprintf(&p.out, "%s: answer %s\n", id, answerText(a))
		}
		if !quiet && len(s.writes) > 0 {
			fmt.Fprintf(&p.out, "%s: %d write in progress\n", id, len(s.writes))
		}
		*old = shown{status: now, applied: len(s.applied), answers: len(s.answers), starts: now.Start}
	}
	if !quiet {
		for _, m := range p.c.network {
			fmt.Fprintf(&p.out, "  %s\n", messageText(&m))
		}
	}
}

func (p *player) status() {
	for _, id := range p.c.ids {
		s := p.c.status(id)
		fmt.Fprintf(&p.out, "%s: %-9s term %d, last %d (term %d), stable %d, commit %d, applied %d\n",
			id, s.Role, s.Term, s.Last, s.LastTerm, s.Stable, s.Commit, s.Applied)
	}
}

func answerText(a raft.Answer) string {
	switch {
	case a.Err != nil:
		return a.Err.Error()
	case a.Call && a.Index == 0:
		return "done"
	case a.Read:
		return fmt.Sprintf("read at %d", a.Index)
	case a.Call:
		return fmt.Sprintf("members as of %d", a.Index)
	}
	return fmt.Sprintf("%q at %d", a.Result, a.Index)
}

// leaseText says which lease is asked for or promised, and nothing for none.
func leaseText(format string, lease time.Duration) string {
	if lease == 0 {
		return ""
	}
	return fmt.Sprintf(format, lease.Milliseconds())
}

func messageText(m *wire.Message) string {
	text := fmt.Sprintf("%s→%s %v term %d", m.From, m.To, m.Kind(), m.Term)
	switch m.Kind() {
	case wire.KindPreVoteRequest, wire.KindVoteRequest:
		last := m.PreVoteRequest().Last
		if m.Kind() == wire.KindVoteRequest {
			last = m.VoteRequest().Last
		}
		text += fmt.Sprintf(", log ends at %d (term %d)", last.Index, last.Term)
	case wire.KindPreVoteResponse, wire.KindVoteResponse:
		text += fmt.Sprintf(", granted %v", m.PreVoteResponse().Granted || m.VoteResponse().Granted)
	case wire.KindAppendRequest:
		r := m.AppendRequest()
		text += fmt.Sprintf(", after %d (term %d), %d entries, commit %d",
			r.Previous.Index, r.Previous.Term, len(r.Entries), r.Commit)
	case wire.KindAppendResponse:
		r := m.AppendResponse()
		if r.Accepted {
			return text + fmt.Sprintf(", matches to %d", r.Index)
		}
		text += fmt.Sprintf(", nothing at %d, look at %d (term %d)", r.Index, r.Agree.Index, r.Agree.Term)
	case wire.KindHeartbeat:
		r := m.Heartbeat()
		text += fmt.Sprintf(", round %d, commit %d", r.Round, r.Commit) + leaseText(", asks for a lease of %d ms", r.Lease)
	case wire.KindHeartbeatResponse:
		r := m.HeartbeatResponse()
		text += fmt.Sprintf(", round %d, durable to %d, received to %d", r.Round, r.Durable, r.Received)
		text += leaseText(", promises %d ms", r.Lease)
	case wire.KindSnapshotRequest:
		r := m.SnapshotRequest()
		text += fmt.Sprintf(", snapshot %d (term %d) of %d bytes, attempt %d",
			r.Snapshot.Index, r.Snapshot.Term, r.Bytes, r.Attempt)
	case wire.KindSnapshotResponse:
		r := m.SnapshotResponse()
		text += fmt.Sprintf(", snapshot %d from %d on, attempt %d", r.Snapshot.Index, r.Offset, r.Attempt)
	case wire.KindReadRequest:
		text += fmt.Sprintf(", number %d", m.ReadRequest().Number)
	case wire.KindReadResponse:
		r := m.ReadResponse()
		text += fmt.Sprintf(", number %d, index %d", r.Number, r.Index)
	case wire.KindForwardRequest:
		text += fmt.Sprintf(", number %d", m.ForwardRequest().Lowest)
	}
	return text
}
