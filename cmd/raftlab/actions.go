package main

import (
	"errors"
	"fmt"

	"github.com/e17579a5/raft"
)

// A request asks for an action: on a server, or on the line from a server to another one, or with a
// value.
type request struct {
	Action string        `json:"action"`
	Server raft.ServerID `json:"server"`
	To     raft.ServerID `json:"to"`
	Value  string        `json:"value"`
}

// What an action is on.
const (
	onServer = "server"
	onLine   = "line" // from a server to another one
	onAll    = "all"
)

// An action is something that the page can do. Each has a button and a key there.
type action struct {
	Name  string `json:"name"`
	Key   string `json:"key"`
	Label string `json:"label"`
	Group string `json:"group"` // the heading of its button
	On    string `json:"on"`
	Means string `json:"means"` // in a sentence
	// Fault is the fault that the action begins, or ends if the server has it; "" if it isn't of
	// that kind.
	Fault string `json:"fault"`

	do func(b *lab, s, to *server) error
	// takes says that it takes its time. The page doesn't wait for it; it waits for all others, so
	// that they are performed in the order in which they were asked for.
	takes duration
}

// A duration says how long an action takes.
type duration int

const (
	noTime   duration = iota // nothing is waited for
	someTime                 // for a process that ends, or for other servers
)

// damages is how many commands rot at a time.
const damages = 3

// actions are all of them, in the order of the page.
var actions = []action{
	{"kill", "k", "kill", "process", onServer, "ends the process at once, as SIGKILL does", "", func(b *lab, s, _ *server) error { return s.kill() }, noTime},
	{"stop", "q", "stop", "process", onServer, "closes the node: a leader hands over first", "", func(b *lab, s, _ *server) error { return s.close() }, someTime},
	{"restart", "r", "start", "process", onServer, "starts a process; kills the one that runs before", "", func(b *lab, s, _ *server) error { return s.restart() }, someTime},
	{"pause", "p", "pause", "process", onServer, "stops the process as SIGSTOP does, or lets it go on", "paused", togglePause, noTime},

	{"slow", "w", "slow", "disk", onServer, fmt.Sprintf("each sync takes %v longer", slowSync), "slow", func(b *lab, s, _ *server) error { toggle(&s.disk.slow); return nil }, noTime},
	{"stuck", "h", "hang", "disk", onServer, "no call to the disk returns", "stuck", func(b *lab, s, _ *server) error { s.disk.stuck.set(!s.disk.stuck.isShut()); return nil }, noTime},
	{"full", "f", "fill", "disk", onServer, "no file grows, and what is freed is taken by somebody else", "full", func(b *lab, s, _ *server) error { toggle(&s.disk.full); return nil }, noTime},
	{"rot", "x", "rot", "disk", onServer, fmt.Sprintf("flips bits in %d entries of the log; they are noticed when they are read: by the scrubber in a minute or so, or at a start", damages), "", rot, noTime},
	{"fail", "e", "fail", "disk", onServer, "the next sync fails with an I/O error", "failing", func(b *lab, s, _ *server) error { toggle(&s.disk.failing); return nil }, noTime},
	{"lose", "l", "lose", "disk", onServer, "kills the process, removes the disk, and starts on an empty one", "", func(b *lab, s, _ *server) error { return s.lose() }, someTime},
	{"putback", "b", "put back", "disk", onServer, "kills the process, puts the disk back to what it was at the last start, and starts", "", func(b *lab, s, _ *server) error { return s.putBack() }, someTime},

	{"isolate", "i", "isolate", "network", onServer, "cuts all lines of the server, or makes them whole", "isolated", isolate, noTime},
	{"cut", "c", "cut", "network", onLine, "cuts the line between two servers, or makes it whole", "", cut, noTime},
	{"oneway", "o", "one way", "network", onLine, "cuts the line from the server to the other one only", "", func(b *lab, s, to *server) error {
		l := b.network.line(s.id, to.id)
		l.cut.set(!l.cut.isShut())
		return nil
	}, noTime},
	{"lag", "g", "lag", "network", onLine, fmt.Sprintf("makes the line slower by %v in each direction", slowLine), "", lag, noTime},

	{"lead", "t", "lead", "members", onServer, "hands the leadership over to the server", "", func(b *lab, s, _ *server) error { return b.transfer(s) }, someTime},
	{"replace", "n", "replace", "members", onServer, "makes the server's new disk count in place of the lost one", "", func(b *lab, s, _ *server) error { return b.replace(s) }, someTime},
	{"remove", "d", "remove", "members", onServer, "removes the server from the cluster", "", func(b *lab, s, _ *server) error { return b.remove(s) }, someTime},
	{"add", "a", "add a server", "cluster", onAll, "starts another server and makes it a voter", "", func(b *lab, _, _ *server) error { _, err := b.add(); return err }, someTime},
	{"heal", "z", "heal all", "cluster", onAll, "ends all faults, and starts what is down", "", func(b *lab, _, _ *server) error { b.heal(); return nil }, noTime},
	{"load", "u", "load", "clients", onAll, "lets the clients ask for more or less", "", nil, noTime},
	{"stale", "v", "stale reads", "clients", onAll, "lets the clients read without asking the leader, so that the judge has something to find", "", func(b *lab, _, _ *server) error { toggle(&b.clients.stale); return nil }, noTime},
	{"pardon", "j", "judge anew", "clients", onAll, "forgets what the judge has found", "", func(b *lab, _, _ *server) error { b.judge.pardon(); return nil }, noTime},
}

// toggle turns a flag over.
func toggle(flag interface {
	Load() bool
	Store(bool)
}) {
	flag.Store(!flag.Load())
}

func togglePause(_ *lab, s, _ *server) error {
	state, _ := s.state()
	return s.pause(state != statePaused)
}

// errNothingToRot says that a disk holds no entry that could be damaged.
var errNothingToRot = errors.New("its log holds no command yet that could rot")

func rot(b *lab, s, _ *server) error {
	changed, err := s.disk.rot(damages)
	if err == nil && changed == 0 {
		return errNothingToRot
	}
	return err
}

// isolate cuts all lines of a server, or makes them whole if all of them are cut.
func isolate(b *lab, s, _ *server) error {
	whole := !b.isolated(s)
	for _, other := range b.others(s) {
		b.network.line(s.id, other.id).cut.set(whole)
		b.network.line(other.id, s.id).cut.set(whole)
	}
	return nil
}

// isolated says whether all lines of a server are cut.
func (b *lab) isolated(s *server) bool {
	others := b.others(s)
	for _, other := range others {
		if !b.network.line(s.id, other.id).cut.isShut() || !b.network.line(other.id, s.id).cut.isShut() {
			return false
		}
	}
	return len(others) > 0
}

// cut cuts the line between two servers in both directions, or makes it whole if any of it is cut.
func cut(b *lab, s, to *server) error {
	there, back := b.network.line(s.id, to.id), b.network.line(to.id, s.id)
	whole := there.cut.isShut() || back.cut.isShut()
	there.cut.set(!whole)
	back.cut.set(!whole)
	return nil
}

func lag(b *lab, s, to *server) error {
	there, back := b.network.line(s.id, to.id), b.network.line(to.id, s.id)
	slow := there.slow.Load()
	there.slow.Store(!slow)
	back.slow.Store(!slow)
	return nil
}

// perform performs a request, and tells what became of it.
func (b *lab) perform(r request) error {
	a, s, to, err := b.resolve(r)
	if err != nil {
		return err
	}
	text := a.Label
	switch {
	case a.Name == "load":
		text += ": " + r.Value
	case a.On == onLine:
		text += " " + string(r.Server) + "–" + string(r.To)
	}
	b.tell(actEvent, r.Server, text)
	if a.Name == "load" {
		err = b.clients.setLoad(r.Value)
	} else {
		err = a.do(b, s, to)
	}
	if err != nil {
		b.tell(troubleEvent, r.Server, a.Label+": "+reason(err))
	}
	return err
}

// resolve finds what a request names.
func (b *lab) resolve(r request) (a *action, s, to *server, err error) {
	for i := range actions {
		if actions[i].Name == r.Action {
			a = &actions[i]
		}
	}
	if a == nil {
		return nil, nil, nil, fmt.Errorf("there is no action %q", r.Action)
	}
	if a.On == onServer || a.On == onLine {
		if s, err = b.find(r.Server); err != nil {
			return nil, nil, nil, err
		}
	}
	if a.On == onLine {
		if to, err = b.find(r.To); err != nil {
			return nil, nil, nil, err
		}
		if s == to {
			return nil, nil, nil, fmt.Errorf("%s has no line to itself", r.Server)
		}
	}
	return a, s, to, nil
}
