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

// floorPeer is no library but a bound: a fixed leader and followers that do the same work as a Raft
// cluster, and nothing of Raft. A command is framed, appended, synced in all files, acknowledged
// over TCP, applied at all servers, and answered when a majority of them has synced it. There are
// no terms, elections, retries or restarts, and nothing checks what was received before. The floor
// says how far from the limit of this machine the others are. It is only ever changed to be faster.
type floorPeer struct{}

func (floorPeer) Name() string  { return floorName }
func (floorPeer) Modes() []Mode { return []Mode{onDisk, inMemory} }

func (floorPeer) Settings(mode Mode) string {
	s := "No library: a fixed leader and nothing of Raft. Records of length, CRC-32C, client and command are framed once,\n" +
		"and the same bytes go to the files and the followers. A goroutine that is woken yields once and takes all that has gathered.\n"
	if mode == inMemory {
		return s + "In memory, a follower is a goroutine that is handed the bytes themselves; there are no checksums."
	}
	return s + "One file per server, filled with zeros beforehand and written round and round, one write and one fdatasync per batch."
}

// A record has the length of everything after the checksum (4 bytes), the checksum of that (4), the
// client (4), and the command.
const (
	floorClient = 4
	floorHeader = 8 + floorClient
	// floorChunkSize is how many bytes a chunk of the log holds, unless a command is larger.
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

	// stored is how many records each server has made durable. After a value was raised, advance
	// must be called.
	stored []atomic.Uint64

	// applying is held by the goroutine that applies at the leader. It guards the fields below:
	// applied is how many records are applied, parts is what was taken from the log, parts[part] is
	// the next part, and rest is what is left of the part before it.
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

// A floorWaiter is the place at which a client waits, and at which it frames its records.
type floorWaiter struct {
	answer chan uint64
	failed chan struct{} // closed with the cluster's, on which all clients would take one lock
	header [floorHeader]byte
	_      [32]byte // waiters share no cache line
}

// The log of the leader has these readers: the leader's machine, in mode disk the leader's disk,
// and one for each follower. The reader for server 1 is floorToFollowers.
const (
	floorToMachine = iota
	floorToDisk
	floorToFollowers
)

func (floorPeer) Lacks(a Ability) string { return "the floor has no " + string(a) }

// floorStarting is the Cluster of the floor. Its first server is all servers at once, and so a
// floorCluster is made when that one is started.
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

// errFloor says that the floor can't do what was asked of it.
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

// fail remembers the first error, and ends all waits with it.
func (c *floorCluster) fail(err error) {
	c.failing.Do(func() {
		c.err = err
		close(c.failed)
		for i := range c.clients {
			close(c.clients[i].failed)
		}
	})
}

// follow starts a goroutine that calls do again and again with everything that has gathered in the
// log. The slices are valid until do returns; end is how many records the log has up to there.
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
			runtime.Gosched() // clients that were just answered can propose first
			parts, end = c.log.take(reader, parts)
			if err := do(parts, end); err != nil {
				c.fail(err)
				return
			}
		}
	})
}

// lead stores records at the leader.
func (c *floorCluster) lead(parts [][]byte, end uint64) error {
	if err := c.disks[0].store(parts); err != nil {
		return err
	}
	c.stored[0].Store(end)
	c.advance()
	return nil
}

// followInMemory returns the function of a follower in memory: it says that it has the bytes, which
// are shared and not copied, and applies them. The leader's own log is stored as soon as it is
// appended to, which the follower says for it.
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

// raise stores v in a, unless a has more.
func raise(a *atomic.Uint64, v uint64) {
	for old := a.Load(); old < v; old = a.Load() {
		if a.CompareAndSwap(old, v) {
			return
		}
	}
}

// committed returns how many records a majority has stored. With three servers this is the middle
// value, found without a sort.
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

// advance applies the committed records at the leader and answers them. If another goroutine is
// doing so, advance leaves it to that one: it looks again at what is committed after it has
// released the lock.
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

// applyTo applies the records up to commit, or those of one part of the log if that ends earlier.
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

// scanRecords checks the complete records at the beginning of b, and returns their number and their
// size in bytes.
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

// applyRecords applies records that scanRecords has checked.
func applyRecords(m *Machine, b []byte) {
	for len(b) > 0 {
		size := 8 + int(binary.LittleEndian.Uint32(b))
		m.Apply(b[floorHeader:size])
		b = b[size:]
	}
}
