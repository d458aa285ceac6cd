package sim

import (
	"errors"
	"fmt"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// MaxServers is the greatest number of servers in a simulated cluster.
const MaxServers = 7

// Params say what one run is like. Each seed draws its own parameters (see Swarm). If all runs had
// the same, frequent faults would hide rarer ones. Times are in nanoseconds, chances in
// thousandths, sizes in bytes.
type Params struct {
	Seed    int64 // decides all luck in the run
	Servers int64 // how many servers found the cluster: 1 to MaxServers
	Spares  int64 // how many more servers wait to be added; with Servers no more than MaxServers

	// Settings of the cores (raft.CoreConfig).
	Heartbeat, Election                       int64
	MaxUncommitted, MaxUnapplied, MaxWaiting  int64
	MaxPending, MaxAppend, LargeAppend        int64
	WindowMessages, WindowBytes, Tail, Writes int64
	WriteBytes                                int64

	// The network. A message takes Delay to Delay+Jitter, and with the chance Slow up to DelaySlow
	// more.
	Delay, Jitter, Slow, DelaySlow int64
	Loss, Duplicate, Reorder       int64

	// The disks. A write takes from WriteTime to three times of it, and more for the bytes of its
	// entries: each takes its time at Throughput bytes a second, or none if that is 0. Throughput
	// counts as a fault: without faults it is no bound. Merge is the chance that all
	// queued writes are written together. Keep is the chance, for each queued write in turn, that
	// it survives a crash; the first write that doesn't ends the series.
	WriteTime, Throughput, Merge, Keep int64

	// The time that a batch takes to be applied, and that a fetch takes.
	ApplyTime, FetchTime int64

	// Hold is the chance that the effects of an event stay in the core. They are drained within
	// HoldTime then.
	Hold, HoldTime int64

	// Drift bounds the rate of a clock: it runs at most so many millionths faster or slower than
	// time.
	Drift int64

	// The clients. They begin an operation about every ClientTime. Reads is the chance that it is a
	// read. Cancels is the chance that the client gives it up, after ClientWait at most. A command
	// has up to CommandSize bytes.
	ClientTime, Reads, Cancels, ClientWait, CommandSize int64

	// LeaseReads and StaleReads are the chances that a read may use a lease or may be stale. A
	// stale read sees a state that is ReadAge old at most. Fences is the chance that a command is
	// fenced.
	LeaseReads, StaleReads, ReadAge, Fences int64

	// MaxLease is the longest lease (see raft.CoreConfig). ShortLeases is a set of servers, one bit
	// each, that know of only half of it. Priorities are the priorities of the servers, two bits
	// each.
	MaxLease, ShortLeases, Priorities int64
	// Sessions is the number of clients with sessions, 8 at most. InSession is the chance that an
	// operation belongs to one of them. The servers keep MaxSessions sessions, with SessionBytes of
	// results.
	Sessions, InSession, MaxSessions, SessionBytes int64

	// Compare is 1 if the servers compare fingerprints of their results.
	Compare int64

	// Older is a set of servers, one bit each, that begin with an older version. A server is
	// upgraded at one of eight crashes, on average.
	Older int64

	// Keys is 1 if the servers draw keys for their cluster, by which members are told from strangers.
	Keys int64

	// ChangeTime is about the time from one change of the members to the next; 0 means that clients
	// ask for none.
	ChangeTime int64

	// The faults. One begins about every FaultTime and lasts for about FaultSpan. FaultKinds is the
	// set of kinds that happen, one bit for each (see FaultNames). A crashed server comes back
	// after about DownTime.
	FaultTime, FaultSpan, FaultKinds, DownTime int64

	// HostKinds is the set of kinds of faults that happen to processes which serve several groups, one
	// bit for each (see HostFaultNames).
	HostKinds int64

	// LoseTime is about the time from one loss of entries' bytes on a disk to the next, 0 for none
	// (not on a real log). LoseAll is 1 if a disk may lose what no other disk holds.
	LoseTime, LoseAll int64

	// Scrub is how many bytes of its log a server reads in a second to see whether any are lost, 0 for
	// none. ScrubPause is the time between two passes.
	Scrub, ScrubPause int64

	// After says with what the run begins: 0 with nothing, 1 with the recovered survivor of a
	// cluster that has lost its majority, 2 with a snapshot that was exported from another cluster.
	// Before is the seed of the run of that cluster.
	After, Before int64

	// Events is the number of events at cores after which the faults stop.
	Events int64
	// Found is 1 if the cluster is founded before the faults begin.
	Found int64
	// Freeze is 1 if not all faults end: a minority of the servers stays as it is for good, and the
	// others must make progress without them.
	Freeze int64

	// The snapshots: settings of the cores; the time that it takes to store a snapshot, and the
	// chance that the disk has no room for it (not on a real log); the bytes of one piece of a
	// stream, the time that a piece takes, and the chance that the stream breaks at it.
	SnapshotMin, SnapshotFactor, SnapshotRetain int64
	// Reserve is raft.CoreConfig.ReserveBytes, and says that the disks know their room (not real
	// logs); 0 says that they don't. Ballast is 1 if a disk that is full always has room for
	// snapshots. Brim is a set of servers, one bit each, whose disks stay full when the faults end.
	Reserve, Ballast, Brim               int64
	StoreTime, StoreFail                 int64
	StreamPiece, StreamTime, StreamBreak int64

	// Durable is the chance that the state machine makes its own state durable after a batch; 0
	// means that it keeps its state in memory only.
	Durable int64

	// WAL is 1 if every server keeps its state in a real log (package wal) on a simulated file
	// system, in segments of Segment bytes. It is 0 if the disks are models of such a log.
	WAL, Segment int64
}

// All returns the number of servers, spares included.
func (p *Params) All() int { return int(p.Servers + p.Spares) }

// A param is a field of Params together with its name in a schedule's file.
type param struct {
	name  string
	value *int64
}

func (p *Params) all() []param {
	return []param{
		{"seed", &p.Seed}, {"servers", &p.Servers}, {"spares", &p.Spares}, {"change-time", &p.ChangeTime},
		{"heartbeat", &p.Heartbeat}, {"election", &p.Election},
		{"max-uncommitted", &p.MaxUncommitted}, {"max-unapplied", &p.MaxUnapplied},
		{"max-waiting", &p.MaxWaiting}, {"max-pending", &p.MaxPending}, {"max-append", &p.MaxAppend}, {"large-append", &p.LargeAppend},
		{"window-messages", &p.WindowMessages}, {"window-bytes", &p.WindowBytes},
		{"tail", &p.Tail}, {"writes", &p.Writes}, {"write-bytes", &p.WriteBytes},
		{"delay", &p.Delay}, {"jitter", &p.Jitter}, {"slow", &p.Slow}, {"delay-slow", &p.DelaySlow},
		{"loss", &p.Loss}, {"duplicate", &p.Duplicate}, {"reorder", &p.Reorder},
		{"write-time", &p.WriteTime}, {"throughput", &p.Throughput}, {"merge", &p.Merge}, {"keep", &p.Keep},
		{"apply-time", &p.ApplyTime}, {"fetch-time", &p.FetchTime},
		{"hold", &p.Hold}, {"hold-time", &p.HoldTime}, {"drift", &p.Drift},
		{"client-time", &p.ClientTime}, {"reads", &p.Reads}, {"cancels", &p.Cancels},
		{"client-wait", &p.ClientWait}, {"command-size", &p.CommandSize},
		{"sessions", &p.Sessions}, {"in-session", &p.InSession}, {"max-sessions", &p.MaxSessions}, {"session-bytes", &p.SessionBytes}, {"older", &p.Older}, {"after", &p.After}, {"before", &p.Before}, {"compare", &p.Compare},
		{"fault-time", &p.FaultTime}, {"fault-span", &p.FaultSpan}, {"fault-kinds", &p.FaultKinds}, {"host-kinds", &p.HostKinds},
		{"down-time", &p.DownTime}, {"events", &p.Events}, {"found", &p.Found}, {"freeze", &p.Freeze},
		{"snapshot-min", &p.SnapshotMin}, {"snapshot-factor", &p.SnapshotFactor}, {"snapshot-retain", &p.SnapshotRetain},
		{"reserve", &p.Reserve}, {"ballast", &p.Ballast}, {"brim", &p.Brim},
		{"store-time", &p.StoreTime}, {"store-fail", &p.StoreFail},
		{"stream-piece", &p.StreamPiece}, {"stream-time", &p.StreamTime}, {"stream-break", &p.StreamBreak},
		{"durable", &p.Durable},
		{"lose-time", &p.LoseTime}, {"lose-all", &p.LoseAll}, {"scrub", &p.Scrub}, {"scrub-pause", &p.ScrubPause}, {"keys", &p.Keys}, {"wal", &p.WAL}, {"segment", &p.Segment},
		{"lease-reads", &p.LeaseReads}, {"stale-reads", &p.StaleReads}, {"read-age", &p.ReadAge}, {"fences", &p.Fences},
		{"max-lease", &p.MaxLease}, {"short-leases", &p.ShortLeases}, {"priorities", &p.Priorities},
	}
}

// Each calls f with each parameter that isn't 0 and its name in a schedule's file.
func (p Params) Each(f func(name string, value int64)) {
	for _, parameter := range p.all() {
		if *parameter.value != 0 {
			f(parameter.name, *parameter.value)
		}
	}
}

// Set sets the parameter with a name as Each names it. It returns an error if no parameter is called
// so.
func (p *Params) Set(name string, value int64) error {
	for _, parameter := range p.all() {
		if parameter.name == name {
			*parameter.value = value
			return nil
		}
	}
	return fmt.Errorf("no parameter is called %q", name)
}

// CheckServers returns an error if a cluster can't have so many servers and spares.
func (p *Params) CheckServers() error {
	if p.Servers < 1 || p.Servers > MaxServers || p.Spares < 0 || p.Spares > MaxServers-p.Servers {
		return fmt.Errorf("%d servers and %d spares; 1 to %d are possible", p.Servers, p.Spares, MaxServers)
	}
	return nil
}

// Calm returns parameters without any fault or chance. Schedules that are written by hand start
// from them.
func Calm(seed uint64, servers int) Params {
	ms := int64(time.Millisecond)
	return Params{
		Seed: int64(seed), Servers: int64(servers),
		Heartbeat: 100 * ms, Election: 1000 * ms,
		MaxUncommitted: 64 << 20, MaxUnapplied: 64 << 20, MaxWaiting: 64 << 20,
		MaxPending: 1 << 16, MaxAppend: 256 << 10, LargeAppend: wire.LargeMessage,
		WindowMessages: 256, WindowBytes: 4 << 20, Tail: 16 << 20, Writes: 1, WriteBytes: 2 << 20,
		Delay: ms, WriteTime: ms, Keep: 500, ApplyTime: ms / 10, FetchTime: ms / 10, HoldTime: ms,
		ClientTime: 50 * ms, Reads: 200, ClientWait: 1000 * ms, CommandSize: 32,
		MaxSessions: 100, SessionBytes: 1 << 20,
		FaultTime: 1000 * ms, FaultSpan: 1000 * ms, DownTime: 500 * ms,
		Events: 2000, Found: 1, Segment: 4 << 10,
		SnapshotMin: 64 << 20, SnapshotFactor: 4, SnapshotRetain: 1 << 30,
		StoreTime: ms, StreamPiece: 16, StreamTime: ms,
	}
}

// Swarm returns the parameters that a seed draws.
func Swarm(seed uint64) Params {
	n := uint64(0)
	next := func() uint64 { n++; return luck(seed).draw(luckParams, 0, 0, n) }
	p := Calm(seed, int(pick(next(), 3, 3, 3, 3, 3, 3, 3, 3, 3, 5, 5, 5, 5, 5, 4, 4, 2, 6, 7, 1)))
	p.drawCores(next)
	p.drawSurroundings(next)
	p.drawClients(luck(seed), next)

	p.FaultTime = p.Election * pick(next(), 1, 2, 4, 8) / 4
	p.FaultSpan = p.Election * pick(next(), 1, 2, 4, 8, 12) / 4
	p.FaultKinds = swarmFaults(next())
	p.DownTime = p.Election * pick(next(), 1, 2, 4, 12) / 8
	p.Events = 1500 + below(next(), 2500)
	p.Found = pick(next(), 1, 1, 1, 1, 0)
	p.Freeze = pick(next(), 0, 0, 1)
	p.MaxLease = pick(next(), 0, 0, p.Election/4, p.Election/2, p.Election, p.Election)
	if h := luck(seed).draw(luckParams, 0, 3, 0); h%4 == 0 {
		p.ShortLeases = int64(mix(h) & 0x7f)
	}
	p.LeaseReads = pick(next(), 0, 300, 800)
	p.StaleReads = pick(next(), 0, 100, 200)
	p.ReadAge = pick(next(), p.Delay, p.Heartbeat, 2*p.Election)
	p.Fences = pick(next(), 0, 0, 100, 500)
	p.Priorities = pick(next(), 0, 0, int64(next()&0x3fff), int64(next()&0x3fff))
	wal := next()%8 == 0
	p.SnapshotMin = pick(next(), 200, 1000, 5000, 20_000, 64<<20)
	p.SnapshotFactor = pick(next(), 1, 4, 20)
	p.SnapshotRetain = pick(next(), 500, 10_000, 1<<30)
	p.StoreTime = pick(next(), 1000, p.Heartbeat/10, p.Election/2, 2*p.Election)
	p.StoreFail = pick(next(), 0, 0, 100, 500)
	p.StreamPiece = pick(next(), 1, 5, 10, 1000)
	p.StreamTime = pick(next(), p.Heartbeat/100, p.Heartbeat/10, p.Heartbeat/2)
	p.StreamBreak = pick(next(), 0, 0, 30, 200)
	p.Durable = pick(next(), 0, 0, 0, 100, 1000)
	if wal {
		p = p.WithWAL()
	}
	if next()%2 == 0 {
		p.Spares = min(pick(next(), 0, 1, 2, 3, 4), MaxServers-p.Servers)
		p.ChangeTime = p.Election * pick(next(), 1, 3, 10, 30)
		if h := luck(seed).draw(luckParams, 0, 4, 0); h%8 == 1 {
			p = p.withLargeSnapshots(h)
		}
	}
	if h := luck(seed).draw(luckParams, 0, 5, 0); h%2 == 0 {
		p.WriteBytes = pick(mix(h+1), 1, 300, 2000, 2<<20)
		p.Throughput = pick(mix(h+2), 0, 1<<20, 4<<20, 20<<20)
	}
	p = p.drawDamage(seed).drawRoom(seed)
	if h := luck(seed).draw(luckParams, 0, 6, 0); h%32 == 0 {
		return p.withOverload(h)
	} else if h%16 == 1 {
		return p.undisturbed(h)
	}
	if h := luck(seed).draw(luckParams, 0, 4, 0); h%16 == 0 && p.WAL == 0 {
		p.After, p.Before = 1+int64(mix(h)%2), int64(mix(h+1)>>1)
		p.Older = 0 // the heritage may need this version
		if p.ChangeTime == 0 {
			p.ChangeTime = p.Election // a survivor that is alone needs other servers
		}
	}
	return p
}

// drawCores draws the settings of the cores.
func (p *Params) drawCores(next func() uint64) {
	ms := int64(time.Millisecond)
	p.Heartbeat = pick(next(), 10*ms, 50*ms, 100*ms)
	p.Election = p.Heartbeat * pick(next(), 2, 3, 5, 5, 10)
	p.MaxUncommitted = pick(next(), 1000, 20_000, 64<<20, 64<<20)
	p.MaxUnapplied = pick(next(), 1000, 20_000, 64<<20, 64<<20)
	p.MaxWaiting = pick(next(), 1000, 20_000, 64<<20, 64<<20)
	p.MaxPending = pick(next(), 2, 10, 100, 1<<16)
	p.MaxAppend = pick(next(), 1, 300, 2000, 256<<10)
	p.WindowMessages = pick(next(), 1, 2, 5, 256)
	p.WindowBytes = pick(next(), 1, 1000, 10_000, 4<<20)
	p.Tail = pick(next(), 1, 500, 5000, 16<<20)
	p.Writes = pick(next(), 1, 1, 2, 4)
}

// drawSurroundings draws the network, the disks, the other lanes and the clocks.
func (p *Params) drawSurroundings(next func() uint64) {
	p.Delay = pick(next(), p.Heartbeat/1000, p.Heartbeat/100, p.Heartbeat/20, p.Heartbeat/5)
	p.Jitter = pick(next(), 0, p.Delay/10, p.Delay, 5*p.Delay)
	p.Slow = pick(next(), 0, 0, 10, 50)
	p.DelaySlow = pick(next(), p.Heartbeat, p.Election, 5*p.Election)
	p.Loss = pick(next(), 0, 0, 0, 10, 50, 200)
	p.Duplicate = pick(next(), 0, 0, 0, 10, 100)
	p.Reorder = pick(next(), 0, 0, 0, 100, 1000)

	p.WriteTime = pick(next(), p.Heartbeat/1000, p.Heartbeat/100, p.Heartbeat/10, p.Heartbeat/3)
	p.Merge = pick(next(), 0, 0, 300, 1000)
	p.Keep = pick(next(), 0, 500, 500, 900)
	p.ApplyTime = pick(next(), 1000, p.Heartbeat/100, p.Heartbeat/10)
	p.FetchTime = pick(next(), 1000, p.Heartbeat/100, p.Heartbeat/3)
	p.Hold = pick(next(), 0, 0, 100, 500)
	p.HoldTime = pick(next(), p.Delay, p.Heartbeat/10)
	p.Drift = pick(next(), 0, 1000, 100_000, 300_000)
}

// drawClients draws what clients do, the sessions that they have, and which servers are of an older
// version.
func (p *Params) drawClients(l luck, next func() uint64) {
	p.ClientTime = p.Election / pick(next(), 2, 5, 10, 20, 40)
	p.Reads = pick(next(), 0, 100, 300, 600)
	p.Cancels = pick(next(), 0, 0, 200, 600)
	p.ClientWait = pick(next(), p.Delay, p.Heartbeat, 2*p.Election)
	p.CommandSize = pick(next(), 8, 32, 32, 400)

	h := l.draw(luckParams, 0, 2, 0)
	p.Sessions = pick(mix(h+1), 0, 1, 3, maxClients)
	p.InSession = pick(mix(h+2), 200, 500, 900)
	p.MaxSessions = pick(mix(h+3), 1, 2, 5, 100)
	p.SessionBytes = pick(mix(h+4), 1, 200, 500, 1<<20)
	p.Compare = int64(mix(h+7) % 2)
	if mix(h+8)%8 != 0 {
		p.Keys = keysDrawn
	}
	p.LargeAppend = pick(mix(h+10), 1, 300, 1000, wire.LargeMessage)
	if mix(h+5)%4 == 0 {
		p.Older = int64(mix(h+6) & (1<<MaxServers - 1))
	}
}

// withOverload returns p with disks that are slow, clients that want ten times of what they do, and
// nothing else that is wrong.
func (p Params) withOverload(h uint64) Params {
	o := Overloaded(uint64(p.Seed), int(p.Servers), pick(mix(h+1), 1<<20, 4<<20, 20<<20), pick(mix(h+2), 1<<10, 4<<10, 16<<10))
	o.Heartbeat = pick(mix(h+3), 10, 50) * int64(time.Millisecond)
	o.Election = o.Heartbeat * pick(mix(h+4), 5, 10)
	o.Delay, o.WriteTime, o.StoreTime = o.Heartbeat/100, o.Heartbeat/pick(mix(h+5), 10, 100), o.Heartbeat/10
	o.Writes, o.Tail = pick(mix(h+6), 1, 1, 2), pick(mix(h+7), 5000, 16<<20)
	o.MaxAppend, o.WindowBytes = pick(mix(h+8), 2000, 256<<10), pick(mix(h+9), 10_000, 4<<20)
	o.Events = p.Events
	return o
}

// withLargeSnapshots returns p with snapshots that new servers receive for a long time: for longer
// than a leader waits for a server that gets nothing. It also makes everything else rare, so that
// there is time for that.
func (p Params) withLargeSnapshots(h uint64) Params {
	p.Election = p.Heartbeat * pick(mix(h+1), 2, 3)
	p.MaxLease = min(p.MaxLease, p.Election)
	p.SnapshotMin, p.SnapshotFactor, p.StoreTime = 200, 20, p.Heartbeat/10
	p.StreamPiece, p.StreamTime = pick(mix(h+2), 5, 10, 20), p.Election/pick(mix(h+3), 1, 2, 4)
	p.StreamBreak = pick(mix(h+4), 0, 0, 30)
	p.ClientTime = p.Election / pick(mix(h+5), 1, 2, 5)
	p.ChangeTime = p.Election * pick(mix(h+6), 10, 30)
	p.FaultTime = p.Election * pick(mix(h+7), 10, 20, 40)
	return p
}

// drawDamage returns p with disks that lose bytes, in some runs, and servers that look for that.
func (p Params) drawDamage(seed uint64) Params {
	if h := luck(seed).draw(luckParams, 0, 7, 0); h%4 == 0 {
		p.LoseTime = p.Election * pick(mix(h+1), 1, 2, 8, 32) / 4
		p.LoseAll = pick(mix(h+2), 0, 0, 0, 0, 0, 0, 0, 1)
	}
	if h := luck(seed).draw(luckParams, 0, 8, 0); h%2 == 0 {
		p.Scrub = pick(mix(h+1), 50_000, 1<<20, 16<<20) * int64(time.Second) / (10 * p.Heartbeat)
		p.ScrubPause = p.Election * pick(mix(h+2), 1, 3, 8)
	}
	return p
}

// drawRoom returns p with disks that know their room, or without the fault that fills them.
func (p Params) drawRoom(seed uint64) Params {
	if h := luck(seed).draw(luckParams, 0, 9, 0); h%4 == 0 && p.WAL == 0 {
		return p.withRoom(h)
	}
	p.FaultKinds &^= 1 << faultFill
	return p
}

// withRoom returns p with disks that know their room. In most of these runs they fill up.
func (p Params) withRoom(h uint64) Params {
	p.Reserve = pick(mix(h+1), 2000, 4000, 8000)
	p.Ballast = pick(mix(h+2), 0, 1, 1)
	if mix(h+6)%3 == 0 {
		p.Brim, p.Ballast = int64((mix(h+7)|mix(h+8))&(1<<MaxServers-1)), 1
	}
	if mix(h+3)%4 != 0 {
		p.FaultKinds |= 1 << faultFill
		p.ClientTime = p.Election / pick(mix(h+4), 10, 40, 80)
		p.Reads = min(p.Reads, 300)
	}
	if mix(h+5)%2 == 0 { // snapshots are hardly taken but for the sake of room
		p.SnapshotMin = 64 << 20
	}
	return p
}

// WithWAL returns p with real logs on the disks, and with the faults that only those can have.
func (p Params) WithWAL() Params {
	h := luck(p.Seed).draw(luckParams, 0, 1, 0)
	p.WAL, p.Segment = 1, pick(mix(h+1), 4<<10, 4<<10, 16<<10, 64<<10)
	kinds := int64(mix(h+2)) & (1<<numDiskFaults - 1) << numFaults
	if mix(h+3)%2 != 0 {
		kinds &^= 1 << faultRot
	}
	p.FaultKinds = p.FaultKinds&(1<<numFaults-1) | kinds
	return p
}

// WithModel returns p with models of logs on the disks.
func (p Params) WithModel() Params {
	p.WAL = 0
	p.FaultKinds &= 1<<numFaults - 1
	return p
}

// fill replaces the settings of the cores that are 0 by those of Calm.
func (p *Params) fill() {
	p.Spares = max(min(p.Spares, MaxServers-p.Servers), 0)
	calm := Calm(uint64(p.Seed), int(p.Servers))
	to, from := p.settings(), calm.settings()
	for i := range to {
		if *to[i] == 0 {
			*to[i] = *from[i]
		}
	}
}

// settings returns the settings of the cores.
func (p *Params) settings() []*int64 {
	return []*int64{
		&p.Heartbeat, &p.Election, &p.MaxUncommitted, &p.MaxUnapplied, &p.MaxWaiting, &p.MaxPending,
		&p.MaxAppend, &p.LargeAppend, &p.WindowMessages, &p.WindowBytes, &p.Tail, &p.Writes, &p.WriteBytes, &p.MaxSessions, &p.SessionBytes,
		&p.SnapshotMin, &p.SnapshotFactor, &p.SnapshotRetain, &p.StreamPiece,
	}
}

// MaxEvents bounds the events of the phases without faults. A run that needs more makes no
// progress.
const MaxEvents = 200_000

// config returns the settings of one server's core. It names a bound on the drift between two
// clocks. The clocks of a run keep to that bound, and now and then two of them differ by just that
// much.
func (p *Params) config(server int) raft.CoreConfig {
	drift := (2*p.Drift*int64(time.Second) + 999_999 - p.Drift) / (1_000_000 - p.Drift)
	lease := p.MaxLease
	if p.ShortLeases>>server&1 != 0 {
		lease /= 2
	}
	return raft.CoreConfig{
		MaxLease: time.Duration(lease), ClockDrift: time.Duration(drift), Priority: int(p.priority(server)),
		Heartbeat: time.Duration(p.Heartbeat), ElectionTimeout: time.Duration(p.Election),
		MaxUncommittedBytes: int(p.MaxUncommitted), MaxUnappliedBytes: int(p.MaxUnapplied),
		MaxPendingBytes: int(p.MaxWaiting), MaxPending: int(p.MaxPending),
		MaxAppendBytes: int(p.MaxAppend), LargeAppend: int(p.LargeAppend), WindowMessages: int(p.WindowMessages),
		WindowBytes: int(p.WindowBytes), TailBytes: int(p.Tail), MaxWrites: int(p.Writes), MaxWriteBytes: int(p.WriteBytes),
		SnapshotMinBytes: int(p.SnapshotMin), SnapshotFactor: int(p.SnapshotFactor), SnapshotRetainBytes: int(p.SnapshotRetain),
		ScrubBytesPerSecond: int(p.Scrub), ScrubPause: time.Duration(p.ScrubPause),
		ReserveBytes: int(p.Reserve),
	}
}

// startable reports whether a core accepts these settings.
func (p Params) startable() bool {
	p.fill()
	config := p.config(0)
	config.ID, config.Incarnation = "1", 1
	_, err := raft.NewCore(config)
	return !errors.Is(err, raft.ErrConfig)
}
