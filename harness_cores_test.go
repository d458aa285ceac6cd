package raft_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// cores is a cluster of bare Cores for tests of single rules. The test decides which message
// arrives, which disk has finished and when time passes. Unless the test says otherwise, everything
// happens at once and in order.
type cores struct {
	t       *testing.T
	now     raft.Instant
	ids     []raft.ServerID
	servers map[raft.ServerID]*server
	network []wire.Message           // sent and not delivered, oldest first
	streams []*stream                // the ones that bring snapshots
	opened  uint64                   // how many streams so far
	starts  uint32                   // how many starts of servers so far
	parted  []way                    // where everything is lost
	lost    func(*wire.Message) bool // what else is lost; nil for nothing
}

// A way leads from one server to another.
type way struct{ from, to raft.ServerID }

// part loses every message on a way from now on. join ends that on all ways.
func (c *cores) part(from, to raft.ServerID) { c.parted = append(c.parted, way{from, to}) }
func (c *cores) join()                       { c.parted = nil }

// arrives says whether a message isn't lost on its way.
func (c *cores) arrives(m *wire.Message) bool {
	return !slices.Contains(c.parted, way{m.From, m.To}) && (c.lost == nil || !c.lost(m))
}

// server is one Core with its disk.
type server struct {
	core    *raft.Core
	config  raft.CoreConfig
	saved   raft.DurableState
	log     []raft.Entry // on the disk
	writes  []raft.Write // handed out and not yet done
	applier *raft.Applier
	applied []raft.Entry
	answers []raft.Answer
	fetches []raft.Fetch
	servers []raft.Server // where messages may go
	keys    []wire.ClusterKey

	slowDisk  bool // writes wait until finishWrites
	lame      bool // its state machine applies nothing
	hungReads bool // fetches aren't answered
	cut       bool // messages to and from it are lost
	// size is how many bytes of entries the disk may hold, those that are forgotten not counted; 0
	// for a storage that doesn't say how much room it has.
	size uint64

	snapshots
	gone map[raft.Index]bool // the entries whose bytes the disk has lost
}

const (
	heartbeat = 10 * time.Millisecond
	election  = 100 * time.Millisecond
)

// newCores starts the servers a, b, c, …, which are to found a cluster.
func newCores(t *testing.T, n int) *cores {
	return newCoresWith(t, n, func(*raft.CoreConfig) {})
}

// newCoresWith does the same, with changed settings.
func newCoresWith(t *testing.T, n int, change func(*raft.CoreConfig)) *cores {
	c := &cores{t: t, servers: map[raft.ServerID]*server{}}
	var list []raft.Server
	for i := range n {
		id := raft.ServerID(rune('a' + i))
		c.ids = append(c.ids, id)
		list = append(list, raft.Server{ID: id, Address: string(id) + ":1"})
	}
	for i, id := range c.ids {
		c.servers[id] = &server{config: raft.CoreConfig{
			ID: id, Bootstrap: list, Seed: 1, Incarnation: raft.Incarnation(100 + i),
			Heartbeat: heartbeat, ElectionTimeout: election,
		}}
		change(&c.servers[id].config)
		c.start(id)
	}
	return c
}

// spare starts servers that wait to be added to a cluster.
func (c *cores) spare(ids ...raft.ServerID) {
	for _, id := range ids {
		c.ids = append(c.ids, id)
		c.servers[id] = &server{config: raft.CoreConfig{
			ID: id, Seed: 1, Incarnation: raft.Incarnation(100 + len(c.ids)), Heartbeat: heartbeat, ElectionTimeout: election,
		}}
		c.start(id)
	}
}

// start starts a server from its disk. The others that it reaches tell it at once what they know of
// that disk.
func (c *cores) start(id raft.ServerID) {
	s := c.servers[id]
	config := s.config
	config.Now = c.now
	c.starts++
	if config.StartLuck == 0 {
		config.StartLuck = c.starts
	}
	config.Saved = raft.Saved{State: s.saved, Last: raft.Index(len(s.log))}
	s.load(&config.Saved, s.log)
	for i := int(s.base); i < len(s.log); i++ {
		e := s.log[i]
		if i == int(s.base) || s.log[i-1].Term != e.Term {
			config.Saved.Runs = append(config.Saved.Runs, raft.TermRun{First: e.Index, Term: e.Term})
		}
		if e.Kind == wire.EntryConfiguration && e.Index > config.Saved.Snapshot.Index {
			config.Saved.Configurations = append(config.Saved.Configurations, e)
		}
	}
	config.Saved.Lost = s.lostRanges()
	core, err := raft.NewCore(config)
	require.NoError(c.t, err)
	*s = server{
		core: core, config: s.config, saved: s.saved, log: s.log, gone: s.gone, size: s.size,
		applier: raft.NewApplier(&mute{}, core.Origin()), snapshots: s.restarted(),
	}
	if config.CompareResults {
		s.applier.CompareResults()
	}
	c.drain(id)
	for _, kind := range []wire.Kind{wire.KindStarted, wire.KindKnown} {
		for _, m := range c.take(is(kind)) {
			c.deliver(m)
		}
	}
}

// restart crashes a server and starts it again. The writes that its disk hasn't finished are lost.
func (c *cores) restart(id raft.ServerID) { c.start(id) }

// drain performs a core's effects, except that it doesn't deliver its messages.
func (c *cores) drain(id raft.ServerID) {
	s := c.servers[id]
	for n, again := 0, true; again; n++ {
		require.Less(c.t, n, 5000, "effects without end at server %s", id)
		c.tellRoom(s)
		var e raft.Effects
		s.core.Drain(&e)
		again = false
		if e.Servers != nil {
			s.servers = e.Servers
		}
		if e.Keys != nil {
			s.keys = e.Keys
		}
		for _, m := range e.Messages {
			if !s.cut && c.arrives(&m) && (m.ToAddress == "" || m.ToAddress == string(m.To)+":1") {
				c.network = append(c.network, m)
			}
		}
		s.answers = append(s.answers, e.Answers...)
		s.fetches = append(s.fetches, e.Fetches...)
		for _, f := range e.Fetches {
			if s.hungReads {
				continue
			}
			c.fetch(s, f)
			again = true
		}
		if e.Write.Number != 0 {
			s.writes = append(s.writes, e.Write)
			if !s.slowDisk {
				c.persist(id)
				again = true
			}
		}
		again = c.drainSnapshots(id, &e) || again
		for _, entries := range e.Apply {
			if s.lame {
				continue
			}
			s.applied = append(s.applied, entries...)
			batch, err := s.applier.Apply(entries)
			require.NoError(c.t, err)
			s.core.Applied(c.now, batch)
			again = true
		}
		require.NoError(c.t, s.core.Check(), "server %s", id)
	}
}

// persist lets a disk do everything that it was given.
func (c *cores) persist(id raft.ServerID) {
	s := c.servers[id]
	for _, w := range s.writes {
		s.saved = w.State
		c.named(s, &w)
		s.repair(&w)
		if len(w.Entries) > 0 {
			s.log = append(s.log[:w.Entries[0].Index-1:w.Entries[0].Index-1], w.Entries...)
		}
		s.core.Persisted(c.now, w.Number)
	}
	s.writes = nil
}

// finishWrites lets a slow disk do the writes that wait. Later writes wait again.
func (c *cores) finishWrites(id raft.ServerID) {
	c.persist(id)
	c.drain(id)
}

// deliver delivers one message.
func (c *cores) deliver(m wire.Message) {
	if s := c.servers[m.To]; s != nil && !s.cut {
		s.core.Receive(c.now, m)
		c.drain(m.To)
	}
}

// settle delivers messages until there are none.
func (c *cores) settle() {
	for i := 0; len(c.network) > 0; i++ {
		require.Less(c.t, i, 10000, "messages without end")
		m := c.network[0]
		c.network = c.network[1:]
		c.deliver(m)
	}
}

// take removes from the network the messages that a test wants to look at, and returns them. It
// keeps the others.
func (c *cores) take(wanted func(wire.Message) bool) []wire.Message {
	var taken, kept []wire.Message
	for _, m := range c.network {
		if wanted(m) {
			taken = append(taken, m)
		} else {
			kept = append(kept, m)
		}
	}
	c.network = kept
	return taken
}

// pass lets time pass in steps of a heartbeat interval, and delivers everything.
func (c *cores) pass(d time.Duration) {
	for end := c.now + raft.Instant(d); c.now < end; {
		c.now += raft.Instant(heartbeat / 2)
		for _, id := range c.ids {
			c.servers[id].core.Tick(c.now)
			c.drain(id)
		}
		c.settle()
	}
}

// elect lets a server win an election by timeout, while the time of the others stands still.
func (c *cores) elect(id raft.ServerID) {
	for _, m := range c.electWithout(id, 0) {
		c.deliver(m)
	}
	c.settle()
}

// tick lets a core act on the time. If its driver serves many groups, it lets the core campaign as soon as
// it waits for that.
func tick(core *raft.Core, now raft.Instant) {
	core.Tick(now)
	if core.Deadline() == raft.Instant(math.MaxInt64) {
		core.MayCampaign(now)
		core.Tick(now)
	}
}

// electWithout does the same, but it withholds the messages of one kind and returns them.
func (c *cores) electWithout(id raft.ServerID, kind wire.Kind) []wire.Message {
	s := c.servers[id]
	var withheld []wire.Message
	for range 40 { // after a start it asks first what the others know of its disk
		if due := s.core.Deadline(); due != raft.Instant(math.MaxInt64) {
			c.now = max(c.now, due)
		}
		tick(s.core, c.now)
		c.drain(id)
		for len(c.network) > 0 {
			withheld = append(withheld, c.take(is(kind))...)
			if len(c.network) > 0 {
				m := c.network[0]
				c.network = c.network[1:]
				c.deliver(m)
			}
		}
		if s.core.Status().Role == "leader" {
			return withheld
		}
	}
	require.Fail(c.t, "not elected", "server %s is %s", id, s.core.Status().Role)
	return nil
}

// leader returns the leader of the highest term.
func (c *cores) leader() raft.ServerID {
	var found raft.ServerID
	var term raft.Term
	for _, id := range c.ids {
		if s := c.servers[id].core.Status(); s.Role == "leader" && s.Term > term {
			found, term = id, s.Term
		}
	}
	return found
}

// propose proposes a command at a server, and delivers everything.
func (c *cores) propose(id raft.ServerID, command string) uint64 {
	number := c.servers[id].core.Propose(c.now, []byte(command))
	c.drain(id)
	c.settle()
	return number
}

// status returns a server's status.
func (c *cores) status(id raft.ServerID) raft.CoreStatus { return c.servers[id].core.Status() }

// commands returns the commands that a server has applied.
func (c *cores) commands(id raft.ServerID) []string {
	commands := []string{}
	for _, e := range c.servers[id].applied {
		if e.Kind == wire.EntryCommand {
			commands = append(commands, string(e.Data))
		}
	}
	return commands
}

// letter names servers for AppendState, each by its letter.
func letter(id raft.ServerID) byte {
	if id == "" {
		return 0
	}
	return id[0]
}
