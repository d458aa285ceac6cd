package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// floorPeer is no library but a bound: a fixed leader and followers that do the same work as a
// Raft cluster and nothing of Raft. A command is framed, appended, synced in all files, acknowledged over
// TCP, applied at all servers, and answered when a majority of them has synced it.
// There are no terms, elections, checks of what was received before, retries or restarts.
// It says how far from the limit of this machine the others are, and is only ever changed to be faster.
type floorPeer struct{}

func (floorPeer) Name() string  { return floorName }
func (floorPeer) Modes() []Mode { return []Mode{onDisk, inMemory} }

func (floorPeer) Settings(mode Mode) string {
	s := "No library: a fixed leader and nothing of Raft. Records of length, CRC-32C, client and command are framed once,\n" +
		"and the same bytes go to the files and the followers. Whoever is woken yields once and takes all that has gathered.\n"
	if mode == inMemory {
		return s + "In memory, a follower is a goroutine that is handed the bytes as they are; there are no checksums."
	}
	return s + "One file per server, filled with zeros beforehand and written round and round, one write and one fdatasync per batch."
}

// A record is the length of what follows the checksum, the checksum of that, the client, and the command.
const (
	floorClient = 4
	floorHeader = 8 + floorClient
	// floorChunkSize is what a chunk of the log holds, if no command is larger.
	floorChunkSize = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errFloorRecord says that a record arrived damaged.
var errFloorRecord = errors.New("damaged record")

// A floorCluster is the leader with its log, and its followers.
type floorCluster struct {
	machines []*Machine
	clients  []floorWaiter
	log      *floorLog
	inMemory bool
	disks    []*floorDisk // nil in mode memory
	network  []interface{ Close() error }

	// stored is how many records each server has made durable. Whoever raises it calls advance.
	stored []atomic.Uint64

	// applying is held by who applies at the leader; applied is how many records it has applied, parts
	// what was taken from the log, parts[part] where it is, and rest what is left of that.
	applying sync.Mutex
	applied  uint64
	parts    [][]byte
	part     int
	rest     []byte

	stop    chan struct{}
	running sync.WaitGroup
	failing sync.Once
	err     error
	failed  chan struct{}
}

// A floorWaiter is where a client waits, and where it frames its records.
type floorWaiter struct {
	answer chan uint64
	failed chan struct{} // closed as the cluster's is: a channel that all of them wait for is a lock that all of them take
	header [floorHeader]byte
	_      [32]byte // waiters share no cache line
}

// Readers of the leader's log: its machine, its disk in mode disk, and a follower each, from
// floorToFollowers on for server 1.
const (
	floorToMachine = iota
	floorToDisk
	floorToFollowers
)

func (floorPeer) Lacks(a Ability) string { return "the floor has no " + string(a) }

// floorStarting is a floorCluster before its goroutines. There is one server to be started, which is all of them.
type floorStarting struct {
	options Options
	cluster *floorCluster
}

func (floorPeer) New(o Options) (Cluster, error) { return &floorStarting{options: o}, nil }

// Start starts everything with the first server. There is nothing to elect.
func (s *floorStarting) Start(server int) (_ Server, err error) {
	if server > 0 {
		return floorFollower{}, nil
	}
	o := s.options
	c := &floorCluster{
		machines: o.Machines,
		inMemory: o.Mode == inMemory,
		clients:  make([]floorWaiter, o.Clients),
		stored:   make([]atomic.Uint64, o.servers()),
		stop:     make(chan struct{}),
		failed:   make(chan struct{}),
	}
	s.cluster = c
	for i := range c.clients {
		c.clients[i].answer = make(chan uint64, 1)
		c.clients[i].failed = make(chan struct{})
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	c.log = newFloorLog(o.servers()-1, o.Mode)
	if o.Mode == inMemory {
		for i := 1; i < o.servers(); i++ {
			c.follow(floorToFollowers+i-1, c.followInMemory(i))
		}
		return c, nil
	}
	for i := range o.servers() {
		d, err := openFloorDisk(filepath.Join(o.Dir, fmt.Sprint(i)))
		if err != nil {
			return nil, err
		}
		c.disks = append(c.disks, d)
	}
	c.follow(floorToDisk, c.lead)
	for i := 1; i < o.servers(); i++ {
		if err := c.connect(i); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (s *floorStarting) Syncs() (uint64, bool) {
	var total uint64
	for _, d := range s.cluster.disks {
		total += d.syncs.Load()
	}
	return total, s.options.Mode == onDisk
}

func (*floorStarting) Close() error { return nil }

// floorFollower stands for a follower, which is a part of the first server.
type floorFollower struct{}

// errFloor says that the floor can't do what it is asked for.
var errFloor = errors.New("the floor does nothing but append")

func (floorFollower) Leads() bool                                          { return false }
func (floorFollower) Propose(context.Context, int, []byte) (uint64, error) { return 0, errFloor }
func (floorFollower) Read(context.Context, int) error                      { return errFloor }
func (floorFollower) Snapshot(context.Context) error                       { return errFloor }
func (floorFollower) HandOver(context.Context) error                       { return errFloor }
func (floorFollower) Close() error                                         { return nil }

func (*floorCluster) Leads() bool                     { return true }
func (*floorCluster) Read(context.Context, int) error { return errFloor }
func (*floorCluster) Snapshot(context.Context) error  { return errFloor }
func (*floorCluster) HandOver(context.Context) error  { return errFloor }

// Propose frames and appends the command, and waits for its result.
func (c *floorCluster) Propose(ctx context.Context, client int, command []byte) (uint64, error) {
	w := &c.clients[client]
	header := w.header[:]
	binary.LittleEndian.PutUint32(header[0:], uint32(floorClient+len(command)))
	binary.LittleEndian.PutUint32(header[8:], uint32(client))
	if !c.inMemory {
		sum := crc32.Update(crc32.Checksum(header[8:], castagnoli), castagnoli, command)
		binary.LittleEndian.PutUint32(header[4:], sum)
	}
	c.log.append(header, command)
	select {
	case result := <-w.answer:
		return result, nil
	case <-w.failed:
		return 0, c.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (c *floorCluster) Close() error {
	close(c.stop)
	var errs []error
	for _, n := range c.network {
		errs = append(errs, n.Close())
	}
	c.running.Wait()
	for _, d := range c.disks {
		errs = append(errs, d.file.Close())
	}
	return errors.Join(errs...)
}

// fail ends all waits.
func (c *floorCluster) fail(err error) {
	c.failing.Do(func() {
		c.err = err
		close(c.failed)
		for i := range c.clients {
			close(c.clients[i].failed)
		}
	})
}

// follow starts a goroutine that gives do all that has gathered in the log, again and again. The
// slices are good until do returns; end is how many records the log has up to there.
func (c *floorCluster) follow(reader int, do func(parts [][]byte, end uint64) error) {
	c.running.Go(func() {
		var parts [][]byte
		var end uint64
		for {
			select {
			case <-c.log.readers[reader].wake:
			case <-c.stop:
				return
			}
			runtime.Gosched() // clients that were just answered propose first
			parts, end = c.log.take(reader, parts)
			if err := do(parts, end); err != nil {
				c.fail(err)
				return
			}
		}
	})
}

// lead stores the leader's log.
func (c *floorCluster) lead(parts [][]byte, end uint64) error {
	if err := c.disks[0].store(parts); err != nil {
		return err
	}
	c.stored[0].Store(end)
	c.advance()
	return nil
}

// followInMemory returns what a follower does in memory: it says that it has the bytes, which are
// shared as they are, and applies them. The leader's own log is stored as soon as it is appended to.
func (c *floorCluster) followInMemory(i int) func([][]byte, uint64) error {
	return func(parts [][]byte, end uint64) error {
		raise(&c.stored[0], end)
		c.stored[i].Store(end)
		c.advance()
		for _, p := range parts {
			applyRecords(c.machines[i], p)
		}
		return nil
	}
}

// raise stores v unless more is stored.
func raise(a *atomic.Uint64, v uint64) {
	for old := a.Load(); old < v; old = a.Load() {
		if a.CompareAndSwap(old, v) {
			return
		}
	}
}

// committed is how many records a majority has stored: the middle one of three, without a detour.
func (c *floorCluster) committed() uint64 {
	if len(c.stored) == 3 {
		a, b, d := c.stored[0].Load(), c.stored[1].Load(), c.stored[2].Load()
		return max(min(a, b), min(max(a, b), d))
	}
	var stored [maxServers]uint64
	for i := range c.stored {
		stored[i] = c.stored[i].Load()
	}
	slices.Sort(stored[:len(c.stored)])
	return stored[(len(c.stored)-1)/2]
}

// advance applies at the leader what is committed and answers it. If somebody is at it already, that one
// looks again before it is through.
func (c *floorCluster) advance() {
	for {
		if !c.applying.TryLock() {
			return
		}
		commit := c.committed()
		for c.applied < commit {
			if err := c.applyTo(commit); err != nil {
				c.fail(err)
				break
			}
		}
		applied := c.applied
		c.applying.Unlock()
		if c.committed() <= applied {
			return
		}
		select {
		case <-c.failed:
			return
		default:
		}
	}
}

// applyTo applies up to commit, or as far as one part of the log goes.
func (c *floorCluster) applyTo(commit uint64) error {
	for len(c.rest) == 0 {
		if c.part == len(c.parts) {
			c.parts, _ = c.log.take(floorToMachine, c.parts)
			c.part = 0
		}
		c.rest = c.parts[c.part]
		c.part++
	}
	machine, rest, applied := c.machines[0], c.rest, c.applied
	for applied < commit && len(rest) > 0 {
		size := 8 + int(binary.LittleEndian.Uint32(rest))
		record := rest[8:size]
		c.clients[binary.LittleEndian.Uint32(record)].answer <- machine.Apply(record[floorClient:])
		rest = rest[size:]
		applied++
	}
	c.rest, c.applied = rest, applied
	return nil
}

// scanRecords checks the whole records that b begins with, and returns how many there are and how many bytes.
func scanRecords(b []byte) (n uint64, size int, err error) {
	for len(b)-size >= floorHeader {
		end := size + 8 + int(binary.LittleEndian.Uint32(b[size:]))
		if end < size+floorHeader {
			return n, size, errFloorRecord
		}
		if len(b) < end {
			break
		}
		if crc32.Checksum(b[size+8:end], castagnoli) != binary.LittleEndian.Uint32(b[size+4:]) {
			return n, size, errFloorRecord
		}
		size = end
		n++
	}
	return n, size, nil
}

// applyRecords applies records that were checked.
func applyRecords(m *Machine, b []byte) {
	for len(b) > 0 {
		size := 8 + int(binary.LittleEndian.Uint32(b))
		m.Apply(b[floorHeader:size])
		b = b[size:]
	}
}
