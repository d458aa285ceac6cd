package raft

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A hostDisk writes what the groups of a host have to write: what has gathered is one call of
// WriteGroups, and so one sync. Only so much is written at a time that the small writes which come
// meanwhile don't wait long, whoever has much to write:
//
//	waiting   A 256K  A 256K  B 1K  A 256K
//	1st call                  B 1K            A has a part of each call to itself, and saves it up
//	2nd call                  B 1K
//	3rd call                  B 1K
//	4th call  A 256K          B 1K
//	5th call          A 256K                  nobody else has anything to write
type hostDisk struct {
	host  *Host
	queue *queue[diskTask]
	// The goroutine alone uses these.
	waiting []diskTask // the writes that aren't done, in the order in which they came
	chosen  []diskTask // those of the next call
	used    map[*groupWrites]int
	saved   map[*groupWrites]int // the parts of calls, in bytes, that groups have saved up
	writes  []GroupWrite
	failed  error

	mu       sync.Mutex
	reserved uint64
	// What the writes were, since the start, and what waits.
	busy           stopwatch
	waitingBytes   int
	calls, written uint64
	took           time.Duration
}

const (
	// maxGroupWrite bounds the entries of one group in one call of WriteGroups, in bytes. The first write
	// may have more, if its first entry is larger.
	maxGroupWrite = 256 << 10
	// maxHostWrite bounds the entries of all groups in one call. A write of at most smallWrite has a
	// place in any call, and the first write of all has one, too.
	maxHostWrite = 1 << 20
	smallWrite   = 4 << 10
	// largeShare is the part of a call that a group has which writes more than smallWrite at a time, in bytes,
	// while others have only small writes. A write that doesn't fit waits until the group has saved enough.
	largeShare = 64 << 10
)

// A diskTask is a write of a node, or something else that must not be done while WriteGroups runs.
type diskTask struct {
	of    *groupWrites
	write Write

	do   func() error
	done chan<- error
}

// A groupWrites is the write lane of one group.
type groupWrites struct {
	disk   *hostDisk
	node   *Node
	closed atomic.Bool
}

// add hands a write over.
func (w *groupWrites) add(write Write) {
	w.node.life.enterStorage()
	w.disk.given(&write)
	w.disk.queue.add(diskTask{of: w, write: write})
}

// close drops the writes that weren't begun.
func (w *groupWrites) close() { w.closed.Store(true) }

// makeLanes gives a node of this host its lanes. They have goroutines only while there is work.
func (h *Host) makeLanes(n *Node) {
	n.lanes.writes = &groupWrites{disk: &h.disk, node: n}
	n.lanes.fetches = newShortQueue[Fetch](func() {
		n.life.enterStorage()
		go n.fetchLane()
	})
	n.lanes.applies = newShortQueue[machineTask](func() {
		n.life.enter()
		go n.applyLane()
	})
}

// do does something while nothing is written.
func (d *hostDisk) do(what func() error) error {
	done := make(chan error, 1)
	d.queue.add(diskTask{do: what, done: done})
	select {
	case err := <-done:
		return err
	case <-d.host.life.released:
		return ErrClosed
	}
}

// run does what has gathered, until the queue is closed.
func (d *hostDisk) run() {
	broken := &PanicError{Where: "storage"} // it stays so if the storage ends the goroutine
	defer func() {
		if broken != nil {
			d.fail(broken)
		}
	}()
	var spare []diskTask
	for {
		d.gather()
		if len(d.waiting) == 0 && d.queue.idles() {
			spare, d.waiting, d.chosen, d.writes = modest(spare), modest(d.waiting), modest(d.chosen), modest(d.writes)
		}
		var tasks []diskTask
		if len(d.waiting) > 0 {
			tasks = d.queue.poll(spare)
		} else if tasks, _ = d.queue.take(spare); tasks == nil {
			broken = nil
			return
		}
		d.perform(tasks)
		spare = emptied(tasks)
	}
}

// gather lets the shards run that are about to put something in, as they do themselves (shard.gather).
func (d *hostDisk) gather() {
	for before, n := -1, d.queue.len(); n > before; n = d.queue.len() {
		before = n
		runtime.Gosched()
	}
}

// keepIdle is the largest capacity with which a slice is kept while the disk has nothing to do. A larger
// one comes from a burst, such as a start.
const keepIdle = 256

// modest returns a slice that is kept then, or nil for one that is too large.
func modest[T any](s []T) []T {
	if cap(s) > keepIdle {
		return nil
	}
	return s
}

// perform does what isn't a write, and then one call of what is to be written. No write must come before
// the rest: a group that is removed has none any more, and one that starts has none yet.
func (d *hostDisk) perform(tasks []diskTask) {
	for i := range tasks {
		if t := &tasks[i]; t.do != nil {
			t.done <- guard("storage", t.do)
		} else {
			d.waiting = append(d.waiting, *t)
		}
	}
	d.choose()
	d.write(d.chosen)
	d.chosen = emptied(d.chosen)
}

// bytes returns how many bytes of entries a task writes.
func (t *diskTask) bytes() int { return sizeOf(t.write.Entries) + sizeOf(t.write.Repairs) }

// choose moves the writes of the next call from those that wait. The writes of a group stay in their
// order.
func (d *hostDisk) choose() {
	all := 0
	for i := range d.waiting {
		all += d.waiting[i].bytes()
	}
	if all <= largeShare {
		d.chosen, d.waiting = d.waiting, d.chosen[:0]
		return
	}
	if d.used == nil {
		d.used, d.saved = make(map[*groupWrites]int), make(map[*groupWrites]int)
	}
	shared := d.hasModest()
	clear(d.used)
	all = 0
	rest := d.waiting[:0]
	for _, t := range d.waiting {
		bytes, used, share := t.bytes(), d.used[t.of], maxGroupWrite
		if shared {
			share = largeShare + d.saved[t.of]
		}
		beyond := used+bytes > share && (used > 0 || shared && bytes > smallWrite)
		if beyond || all > 0 && bytes > smallWrite && all+bytes > maxHostWrite {
			if used == 0 && shared {
				d.saved[t.of] += largeShare
			}
			d.used[t.of] = maxInt / 2 // its later writes wait, too
			rest = append(rest, t)
			continue
		}
		delete(d.saved, t.of)
		d.used[t.of] += bytes
		all += bytes
		d.chosen = append(d.chosen, t)
	}
	clear(d.waiting[len(rest):])
	d.waiting = rest
}

// hasModest says whether a group waits that has only small writes.
func (d *hostDisk) hasModest() bool {
	clear(d.used)
	for i := range d.waiting {
		t := &d.waiting[i]
		d.used[t.of] = max(d.used[t.of], t.bytes())
	}
	for _, most := range d.used {
		if most <= smallWrite {
			return true
		}
	}
	return false
}

// write makes writes durable, and reports them.
func (d *hostDisk) write(tasks []diskTask) {
	d.writes = d.writes[:0]
	for i := range tasks {
		if t := &tasks[i]; !t.of.closed.Load() {
			d.writes = append(d.writes, GroupWrite{t.of.node.group, t.write})
		}
	}
	wrote := len(d.writes) > 0 && d.failed == nil
	start := time.Now()
	var refused map[GroupID]error
	var failed error
	if wrote {
		refused, failed = d.call()
	}
	d.done(tasks, wrote, time.Since(start))
	for i := range tasks {
		t := &tasks[i]
		if n := t.of.node; !t.of.closed.Load() {
			err := refused[n.group]
			if wrote {
				err = cmp.Or(err, n.traceWrite(&t.write, start, cmp.Or(err, failed)))
			}
			switch {
			case err != nil:
				n.inbox.stop(because(fmt.Errorf("raft: write %d", t.write.Number), err))
			case d.failed == nil:
				n.inbox.persisted(t.write.Number)
			}
		}
		t.of.node.leaveStorage()
	}
}

// call calls the storage. A failure ends the host.
func (d *hostDisk) call() (refused map[GroupID]error, err error) {
	err = guard("storage", func() (err error) {
		refused, err = d.host.config.Storage.WriteGroups(d.writes)
		return err
	})
	clear(d.writes)
	if err != nil {
		d.fail(because(errors.New("raft: write"), err))
	}
	return refused, err
}

// given notes that a write was handed over.
func (d *hostDisk) given(w *Write) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.busy.begin(d.host.clock.now(), 1)
	d.waitingBytes += dataBytes(w)
}

// isBusy says whether something is to be written.
func (d *hostDisk) isBusy() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.busy.items > 0
}

// done notes that writes are no longer waited for. wrote says that the storage was called, which took
// so long.
func (d *hostDisk) done(tasks []diskTask, wrote bool, took time.Duration) {
	if len(tasks) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.busy.end(d.host.clock.now(), len(tasks))
	bytes := 0
	for i := range tasks {
		bytes += dataBytes(&tasks[i].write)
	}
	d.waitingBytes -= bytes
	if wrote {
		d.calls, d.written, d.took = d.calls+1, d.written+uint64(len(d.writes)), d.took+took
		d.host.snapshots.logs.wrote(d.host, bytes)
	}
}

// dataBytes returns the size of the commands and configurations in a write.
func dataBytes(w *Write) (bytes int) {
	for i := range w.Entries {
		bytes += len(w.Entries[i].Data)
	}
	for i := range w.Repairs {
		bytes += len(w.Repairs[i].Data)
	}
	return bytes
}

// fail ends the host. Nothing is reported or tried again: nobody knows what the disk holds.
func (d *hostDisk) fail(err error) {
	d.failed = err
	d.host.stop(err)
}

// reserve gets hold of so much room, unless there is more already.
func (d *hostDisk) reserve(storage reservingStorage, bytes uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if bytes <= d.reserved {
		return nil
	}
	if err := storage.Reserve(bytes); err != nil {
		return err
	}
	d.reserved = bytes
	return nil
}

// A groupStorage is the storage of a group as its node sees it. What concerns the disk is asked of the
// shared storage.
type groupStorage struct {
	Storage
	host  *Host
	group GroupID
}

// Write is for what a start writes.
func (s *groupStorage) Write(w Write) error {
	return s.host.disk.do(func() error { return s.Storage.Write(w) })
}

// MaxWrite returns the limit of the shared storage.
func (s *groupStorage) MaxWrite() int {
	if limited, ok := s.host.config.Storage.(writeLimiter); ok {
		return limited.MaxWrite()
	}
	return maxInt
}

// Room returns the room on the disk.
func (s *groupStorage) Room() uint64 {
	if roomy, ok := s.host.config.Storage.(roomyStorage); ok {
		return roomy.Room()
	}
	return math.MaxUint64
}

// Reserve gets hold of room for the group that needs the most.
func (s *groupStorage) Reserve(bytes uint64) error {
	if storage, ok := s.host.config.Storage.(reservingStorage); ok {
		return s.host.disk.reserve(storage, bytes)
	}
	return nil
}

// Waiting says what the disk waits for.
func (s *groupStorage) Waiting() error {
	if waiting, ok := s.host.config.Storage.(waitingStorage); ok {
		return waiting.Waiting()
	}
	return nil
}

// Trouble says what is wrong with the disk, or with the group's part of it.
func (s *groupStorage) Trouble() error {
	if of, ok := s.Storage.(troubleTeller); ok {
		if err := of.Trouble(); err != nil {
			return err
		}
	}
	if all, ok := s.host.config.Storage.(troubleTeller); ok {
		return all.Trouble()
	}
	return nil
}
