package raft_test

import (
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A scene is a cluster of bare cores, and the server that gets messages from outside.
type scene struct {
	*cores
	victim raft.ServerID
}

// scenes are the states in which a server can be when a message from outside comes. Each is made
// with keys and without.
var scenes = []func(c *cores) raft.ServerID{
	func(*cores) raft.ServerID { return "a" }, // leads
	func(*cores) raft.ServerID { return "b" }, // follows
	func(c *cores) raft.ServerID { // waits for a leader
		c.servers["b"].core.Lost(c.now, "a")
		return "b"
	},
	func(c *cores) raft.ServerID { // asks for pre-votes
		c.tick("b")
		return "b"
	},
	func(c *cores) raft.ServerID { // asks for votes
		c.tick("b")
		for _, m := range c.take(is(wire.KindPreVoteRequest)) {
			c.servers["c"].core.Lost(c.now, "a")
			m.To = "c"
			c.deliver(m)
		}
		for _, m := range c.take(is(wire.KindPreVoteResponse)) {
			c.deliver(m)
		}
		return "b"
	},
	func(c *cores) raft.ServerID { // a learner
		c.spareLike("d")
		c.change("a", wire.Call{Kind: wire.CallAdd, Members: []raft.Member{{Server: named("d").Server, Role: raft.Learner}}})
		c.pass(2 * heartbeat)
		return "d"
	},
	func(c *cores) raft.ServerID { c.halfway(); return "a" }, // leads in a joint configuration
	func(c *cores) raft.ServerID { c.halfway(); return "b" }, // follows in it
	func(c *cores) raft.ServerID { // hands over
		c.servers["b"].cut = true
		c.servers["a"].core.Call(c.now, wire.Call{Kind: wire.CallTransfer, Members: []raft.Member{named("b")}})
		return "a"
	},
	func(c *cores) raft.ServerID { c.sendsSnapshot(); return "a" },
	func(c *cores) raft.ServerID { // receives a snapshot
		c.sendsSnapshot()
		if len(c.streams) > 0 {
			c.bring("a", "c", 10)
		}
		return "c"
	},
	func(c *cores) raft.ServerID { // knows that its disk went back
		was := c.image("b")
		c.propose("a", "second")
		c.pass(2 * heartbeat)
		c.putBack("b", was)
		c.pass(4 * heartbeat)
		return "b"
	},
	func(c *cores) raft.ServerID { c.spareLike("d"); return "d" }, // waits to be added
	func(c *cores) raft.ServerID { // waits for the identity of a new server
		c.spareLike("d")
		c.servers["d"].cut = true
		c.servers["a"].core.Call(c.now, wire.Call{Kind: wire.CallAdd, Members: []raft.Member{named("d")}})
		return "a"
	},
	func(c *cores) raft.ServerID { // tells a server that it was removed
		c.lost = func(m *wire.Message) bool { return m.To == "c" }
		c.change("a", set("a", "b"))
		return "a"
	},
	func(c *cores) raft.ServerID { // was removed
		c.change("a", set("a", "b"))
		c.pass(election)
		return "c"
	},
	func(c *cores) raft.ServerID { // is about to found a cluster
		fresh := newKeyed(c.t, 3)
		*c = *fresh
		return "b"
	},
	func(c *cores) raft.ServerID { c.withoutBytes(); return "c" }, // has lost bytes
	func(c *cores) raft.ServerID { // was elected, and repairs its log
		c.withoutBytes()
		for range 40 {
			c.pass(election / 4)
			for _, id := range c.ids {
				if c.status(id).Role == "recovering" {
					return id
				}
			}
		}
		return "a"
	},
}

// spareLike starts a server that waits to be added, and draws keys if the others do.
func (c *cores) spareLike(id raft.ServerID) {
	c.spare(id)
	if c.servers["a"].config.KeyLuck != [32]byte{} {
		c.servers[id].config.KeyLuck = [32]byte{id[0]}
	}
	c.start(id)
}

// halfway leaves a cluster in a joint configuration: a is about to remove c, and nobody answers.
func (c *cores) halfway() {
	c.lost = func(m *wire.Message) bool {
		return m.Kind() == wire.KindAppendResponse || m.Kind() == wire.KindHeartbeatResponse
	}
	c.servers["a"].core.Call(c.now, set("a", "b"))
	c.drain("a")
	c.settle()
}

// sendsSnapshot lets a begin to send a snapshot to c.
func (c *cores) sendsSnapshot() {
	c.servers["c"].cut = true
	for _, command := range []string{"two", "three"} {
		c.propose("a", command)
		c.snapshot("a")
	}
	c.servers["c"].cut = false
	c.pass(4 * heartbeat)
}

// withoutBytes lets all disks lose the command, and starts all servers again.
func (c *cores) withoutBytes() {
	for _, id := range c.ids {
		c.lose(id, c.status(id).Last)
		c.start(id)
	}
}

// A script is the bytes from which a fuzzer makes messages.
type script struct{ b []byte }

// next returns the next byte, and 0 at the end.
func (s *script) next() byte {
	if len(s.b) == 0 {
		return 0
	}
	b := s.b[0]
	s.b = s.b[1:]
	return b
}

// number returns a number: one that is near what the server knows, or any.
func (s *script) number(near ...uint64) uint64 {
	switch b := s.next(); {
	case b < 128:
		return near[int(b)%len(near)] + uint64(s.next()%5) - 2
	case b < 192:
		return uint64(s.next())
	default:
		return uint64(1) << (b % 64)
	}
}

// fill gives the fields of a body values.
func (s *script) fill(v reflect.Value, c *scene) {
	shown := c.status(c.victim)
	near := []uint64{
		uint64(shown.Last), uint64(shown.Commit), uint64(shown.Term), uint64(shown.LastTerm), shown.Start, uint64(shown.Applied), 3,
	}
	for i := range v.NumField() {
		switch f := v.Field(i).Addr().Interface().(type) {
		case *[]raft.Entry:
			for j := range int(s.next() % 4) {
				*f = append(*f, s.entry(c, near, j))
			}
		case *raft.Entry:
			*f = s.entry(c, near, 0)
			f.Kind = wire.EntryConfiguration
			f.Data = s.configuration(c)
		case *[]uint64:
			for range s.next() % 3 {
				*f = append(*f, s.number(near...))
			}
		case *[]raft.Server:
			if s.next()%2 == 0 {
				*f = c.servers[c.victim].config.Bootstrap
			}
		case **wire.Call:
			*f = &wire.Call{Kind: wire.CallKind(s.next() % 7), Members: []raft.Member{s.member(c)}}
		case *raft.ServerID:
			*f = s.server()
		default:
			switch field := v.Field(i); field.Kind() {
			case reflect.Bool:
				field.SetBool(s.next()%2 == 1)
			case reflect.Uint64:
				field.SetUint(s.number(near...))
			case reflect.Int64:
				field.SetInt(int64(s.number(near...) &^ (1 << 63)))
			case reflect.Uint8:
				field.SetUint(uint64(s.next()))
			case reflect.Struct:
				s.fill(field, c)
			}
		}
	}
}

func (s *script) server() raft.ServerID {
	return []raft.ServerID{"a", "b", "c", "d", "x", "y"}[s.next()%6]
}

func (s *script) member(c *scene) raft.Member {
	m := named(s.server())
	if other := c.servers[m.ID]; other != nil && s.next()%4 != 0 {
		m.Incarnation = other.core.Status().Incarnation
	}
	if s.next()%4 == 0 {
		m.Role = raft.MemberRole(1 + s.next()%3)
	}
	return m
}

// configuration returns the bytes of a configuration: one that may follow that of the server, or
// any other.
func (s *script) configuration(c *scene) []byte {
	next := raft.Configuration{Cluster: c.status(c.victim).Cluster}
	if latest := c.status(c.victim).Configuration; latest != nil && s.next()%2 == 0 {
		next = *latest
		if s.next()%2 == 0 {
			next.Old = latest.Members
		}
	}
	if s.next()%2 == 0 {
		next.Members = nil
		for _, id := range []raft.ServerID{"a", "b", "c", "d", "x"} {
			if m := s.member(c); s.next()%2 == 0 {
				m.ID = id
				next.Members = append(next.Members, m)
			}
		}
	}
	if s.next()%4 == 0 {
		next.Keys = []wire.ClusterKey{{s.next() | 1}}
	}
	return wire.AppendConfiguration(nil, &next)
}

func (s *script) entry(c *scene, near []uint64, after int) raft.Entry {
	e := raft.Entry{
		Index: c.status(c.victim).Last + raft.Index(1+after), Term: raft.Term(s.number(near[2:4]...)),
		Kind: wire.EntryKind(s.next() % 8), Origin: raft.Origin{Server: s.server(), Start: s.number(near[4])}, Number: s.number(1),
	}
	if s.next()%4 == 0 {
		e.Index = raft.Index(s.number(near[:2]...)) + raft.Index(after)
	}
	switch e.Kind {
	case wire.EntryConfiguration:
		e.Data = s.configuration(c)
	case wire.EntryOpenSession:
		e.Data = wire.AppendSessionLimits(nil, wire.SessionLimits{Sessions: 3, Bytes: 100})
	case wire.EntryCommand:
		e.Data = []byte{s.next()}
	}
	return e
}

// message returns the next message to a server from outside.
func (s *script) message(c *scene) wire.Message {
	kinds := wire.Kinds()
	m := emptyMessage(kinds[int(s.next())%len(kinds)])
	body := reflect.New(reflect.TypeOf(m.Body())).Elem()
	s.fill(body, c)
	m = messageOf(body)
	shown := c.status(c.victim)
	m.From, m.To, m.Cluster = s.server(), c.victim, shown.Cluster
	if s.next()%8 == 0 {
		m.Cluster = raft.ClusterID{s.next() % 2}
	}
	if other := c.servers[m.From]; other != nil && s.next()%4 != 0 {
		m.FromIncarnation, m.FromStart = other.core.Status().Incarnation, other.core.Status().Start
	} else {
		m.FromIncarnation, m.FromStart = raft.Incarnation(s.next()), s.number(shown.Start)
	}
	if s.next()%4 != 0 {
		m.ToIncarnation = shown.Incarnation
	}
	m.Term = raft.Term(s.number(uint64(shown.Term)))
	return m
}

// FuzzReceive sends messages from outside to a server in all kinds of states: of servers that never
// were members, that were, or that are and say what can't be. No message breaks an invariant, and
// if the transport knows the sender for a stranger, the server is as it was.
func FuzzReceive(f *testing.F) {
	for i := range scenes {
		for kind := range wire.Kinds() {
			script := []byte{byte(2*i + kind%2), byte(kind), 200, 3, byte(kind), 0, 1, 0, 0, 1, 2, 2, 1, 1}
			f.Add(binary.LittleEndian.AppendUint64(script, 0x0102010201020102*uint64(kind+1)))
		}
	}
	f.Fuzz(receiveAnything)
}

// TestReceiveAnything does the same with scripts that chance has written.
func TestReceiveAnything(t *testing.T) {
	runs := 1500
	if testing.Short() {
		runs = 200
	}
	luck := uint64(1)
	for range runs {
		script := make([]byte, 100)
		for i := range script {
			luck = luck*6364136223846793005 + 1442695040888963407
			script[i] = byte(luck >> 56)
		}
		receiveAnything(t, script)
		if t.Failed() {
			t.Fatalf("the script was %q", script)
		}
	}
}

// receiveAnything makes a cluster and messages from a script, and delivers the messages.
func receiveAnything(t *testing.T, b []byte) {
	s := &script{b}
	choice := int(s.next())
	keyed := choice%2 == 0
	c := &scene{cores: newCoresWith(t, 3, func(config *raft.CoreConfig) {
		if keyed {
			config.KeyLuck = [32]byte{config.ID[0]}
		}
	})}
	c.elect("a")
	c.propose("a", "first")
	c.pass(2 * heartbeat)
	c.victim = scenes[choice/2%len(scenes)](c.cores)
	c.drain(c.victim)
	victim := c.servers[c.victim]
	for i := 0; len(s.b) > 0 && i < 8; i++ {
		if s.next()%8 == 0 {
			c.tick(c.victim)
		}
		m := s.message(c)
		if keyed && len(victim.keys) > 0 && s.next()%2 == 0 && m.Kind() != wire.KindIdentityResponse {
			m.Stranger = true
			changesNothing(t, victim.core, c.now, m)
		}
		if m.Kind() == wire.KindSnapshotStream && s.next()%2 == 0 {
			c.opened++
			victim.core.StreamOpened(c.now, c.opened, m)
		} else {
			victim.core.Receive(c.now, m)
		}
		require.NoError(t, victim.core.Check(), "%v", m)
		c.drain(c.victim)
		c.network = nil
	}
}
