package simfs

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
)

// A changeKind says what a change of the journal does.
type changeKind uint8

const (
	written  changeKind = iota // bytes of a file
	linked                     // a name, by Create
	unlinked                   // a name, by Remove
	renamed
	syncedFile // a sync that is still to be done
	syncedDir
	failedFile // a sync that is still to fail
)

// A change is what isn't durable yet.
type change struct {
	kind   changeKind
	node   *inode
	number uint64 // of the write to the file, or of the change of directories
	offset int64
	data   []byte
	name   string // of the file, or of the directory that is to be synced
	old    string
}

// awaited says whether a change is a sync that was deferred.
func (c *change) awaited() bool { return c.kind >= syncedFile }

// coveredBy says whether a change becomes durable by a sync, or is forgotten by one that fails.
func (c *change) coveredBy(sync *change) bool {
	if sync.kind != syncedDir {
		return c.kind == written && c.node == sync.node
	}
	return c.kind >= linked && c.kind <= renamed && filepath.Dir(c.name) == sync.name
}

func isPower(err error) bool { return errors.Is(err, ErrPower) }

// record adds a change to the journal.
func (f *FS) record(c change) {
	if c.kind != written {
		c.number = f.changes
		f.changes++
	}
	f.journal = append(f.journal, c)
}

// barrier does a sync, or notes that it is to be done.
func (f *FS) barrier(sync change) {
	if f.deferred {
		f.issued++
		f.journal = append(f.journal, sync)
		return
	}
	f.do(sync, len(f.journal))
}

// do makes durable what a sync covers of the first n changes. One that fails leaves that to luck, and takes it for synced.
func (f *FS) do(sync change, n int) {
	if sync.kind == failedFile {
		f.cuts++
		f.tear(f.journal[:n], sync.node)
	}
	left := f.journal[:0]
	for i := range f.journal {
		c := &f.journal[i]
		if i >= n || !c.coveredBy(&sync) {
			left = append(left, *c)
			continue
		}
		if sync.kind != failedFile {
			f.apply(c)
		}
		f.release(c.data)
	}
	clear(f.journal[len(left):])
	f.journal = left
}

// Buffers of changes are used again: most of them are a page or less.
const (
	maxReused   = 8 << 10
	reusedCount = 64
)

// copied returns a copy of p.
func (f *FS) copied(p []byte) []byte {
	if n := len(f.reused); n > 0 && len(p) <= maxReused {
		b := f.reused[n-1]
		f.reused = f.reused[:n-1]
		return append(b[:0], p...)
	}
	return append(make([]byte, 0, max(len(p), min(2*len(p), maxReused))), p...)
}

// release takes back what copied returned.
func (f *FS) release(b []byte) {
	if b != nil && cap(b) <= maxReused && len(f.reused) < reusedCount {
		f.reused = append(f.reused, b)
	}
}

// apply makes a change durable as a whole.
func (f *FS) apply(c *change) {
	switch c.kind {
	case written:
		c.node.disk = writeTo(c.node.disk, c.data, c.offset)
	case linked:
		f.disk[c.name] = c.node
	case unlinked:
		delete(f.disk, c.name)
	case renamed:
		delete(f.disk, c.old)
		f.disk[c.name] = c.node
	}
}

// Defer makes syncs return at once from now on, and take effect when Settle is called. So a simulator
// can run blocking code and let the disk take its time: what was written after a sync that hadn't been done
// when the power failed was never written, since a process that waits for the one doesn't get to the other.
// It is for a single thread of calls.
func (f *FS) Defer() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deferred = true
}

// Issued returns how many syncs have been deferred so far.
func (f *FS) Issued() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.issued
}

// Settle does the deferred syncs up to the one with this number, counting from 1, in their order.
func (f *FS) Settle(number int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.settled < min(number, f.issued) {
		f.settleNext()
	}
}

func (f *FS) settleNext() {
	f.settled++
	for i := range f.journal {
		if c := f.journal[i]; c.awaited() {
			f.journal = slices.Delete(f.journal, i, i+1)
			f.do(c, i)
			return
		}
	}
}

// Flush makes everything durable that was written and renamed, as the system does after a while without being asked.
func (f *FS) Flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.settled < f.issued {
		f.settleNext()
	}
	for i := range f.journal {
		f.apply(&f.journal[i])
	}
	f.journal = nil
}

// Kill ends all processes: open files and locks are gone, but the page cache stays. Of the syncs that were deferred, luck has
// done the first few; what came after the one that was waited for never was.
func (f *FS) Kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cuts++
	f.settleSome()
	if f.dropUnreached() {
		f.reload()
		for i := range f.journal {
			c := &f.journal[i]
			switch c.kind {
			case written:
				c.node.data = writeTo(c.node.data, c.data, c.offset)
			case linked:
				f.names[c.name] = c.node
			case unlinked:
				delete(f.names, c.name)
			case renamed:
				delete(f.names, c.old)
				f.names[c.name] = c.node
			}
		}
	}
	f.kill()
}

// settleSome does, of the syncs that were deferred, the first few.
func (f *FS) settleSome() {
	for n := f.luck(settleLuck, f.cuts, 0, 0) % uint64(f.issued-f.settled+1); n > 0; n-- {
		f.settleNext()
	}
}

// dropUnreached drops the changes that nobody got to, because they come after a sync that is waited for. It says whether there
// were any.
func (f *FS) dropUnreached() bool {
	f.settled = f.issued
	for i := range f.journal {
		if f.journal[i].awaited() {
			more := i+1 < len(f.journal)
			f.journal = f.journal[:i]
			return more
		}
	}
	return false
}

// reload makes what one sees what is durable.
func (f *FS) reload() {
	for _, names := range []map[string]*inode{f.names, f.disk} {
		for _, node := range names {
			node.data = append(node.data[:0], node.disk...)
		}
	}
	f.names = maps.Clone(f.disk)
}

func (f *FS) kill() {
	f.life++
	clear(f.locks)
	f.hook = nil
	for _, node := range f.names {
		node.open = 0
	}
}

// Cut cuts the power, and turns it on again. What wasn't synced is kept, lost or torn.
func (f *FS) Cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cuts++
	f.settleSome()
	f.dropUnreached()
	for i := range f.journal {
		if c := &f.journal[i]; c.kind != written && f.luck(directoryLuck, f.cuts, c.number, 0)%2 == 0 {
			f.apply(c)
		}
	}
	seen := map[*inode]bool{}
	for i := range f.journal {
		if c := &f.journal[i]; c.kind == written && !seen[c.node] {
			seen[c.node] = true
			f.tear(f.journal, c.node)
		}
	}
	f.journal = nil
	f.reload()
	f.kill()
}

// Lose cuts the power, and turns it on again. All that wasn't synced is lost.
func (f *FS) Lose() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.settled = f.issued
	for i := range f.journal {
		if f.journal[i].kind == written {
			f.losses.Lost++
		}
	}
	f.journal = nil
	f.reload()
	f.kill()
}

// Losses count what became of writes to files that weren't synced when the power failed, or whose sync failed.
type Losses struct{ Kept, Lost, Torn int }

// Losses returns the counts so far.
func (f *FS) Losses() Losses {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.losses
}

// tear leaves the writes to a file that weren't synced to luck. Each is kept, lost or torn between sectors.
// A sector that keeps a write has all those before it too, since they had changed the same page.
func (f *FS) tear(journal []change, node *inode) {
	mode := f.luck(fileLuck, f.cuts, node.number, 0) % 4 // 0 is all of it, 1 none
	kept := map[int64]int{}                              // the last change that a sector has
	for i := range journal {
		c := &journal[i]
		if c.kind != written || c.node != node || mode == 1 {
			continue
		}
		fate := f.luck(fateLuck, f.cuts, node.number, c.number) % 3
		for sector := c.offset / SectorSize; sector*SectorSize < c.offset+int64(len(c.data)); sector++ {
			torn := f.luck(sectorLuck^uint64(sector)*0x9e3779b97f4a7c15, f.cuts, node.number, c.number)%2 == 0
			if mode == 0 || fate == 0 || fate == 1 && torn {
				kept[sector] = i
			}
		}
	}
	for i := range journal {
		c := &journal[i]
		if c.kind != written || c.node != node {
			continue
		}
		end := c.offset + int64(len(c.data))
		there, missing := false, false
		for sector := c.offset / SectorSize; sector*SectorSize < end; sector++ {
			if last, ok := kept[sector]; !ok || i > last {
				missing = true
				continue
			}
			there = true
			from, to := max(sector*SectorSize, c.offset), min((sector+1)*SectorSize, end)
			node.disk = writeTo(node.disk, c.data[from-c.offset:to-c.offset], from)
		}
		switch {
		case !missing:
			f.losses.Kept++
		case !there:
			f.losses.Lost++
		default:
			f.losses.Torn++
		}
	}
}

// Clone returns a copy: what this one would be after the same calls.
func (f *FS) Clone() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := &FS{
		seed: f.seed, calls: f.calls, capacity: f.capacity, deferred: f.deferred,
		dirs: maps.Clone(f.dirs), locks: maps.Clone(f.locks), names: map[string]*inode{}, disk: map[string]*inode{},
		journal: slices.Clone(f.journal), inodes: f.inodes, changes: f.changes,
		life: f.life, cuts: f.cuts, issued: f.issued, settled: f.settled, losses: f.losses,
	}
	copies := map[*inode]*inode{}
	copied := func(node *inode) *inode {
		if node == nil {
			return nil
		}
		if copies[node] == nil {
			copies[node] = &inode{
				number: node.number, writes: node.writes,
				data: slices.Clone(node.data), disk: slices.Clone(node.disk),
			}
		}
		return copies[node]
	}
	for name, node := range f.names {
		g.names[name] = copied(node)
	}
	for name, node := range f.disk {
		g.disk[name] = copied(node)
	}
	for i := range g.journal {
		g.journal[i].node = copied(g.journal[i].node)
		g.journal[i].data = slices.Clone(g.journal[i].data)
	}
	return g
}

// Reseed gives the file system other luck from now on.
func (f *FS) Reseed(seed uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seed = seed
}

// What luck is about.
const (
	writeLuck uint64 = 1 + iota
	settleLuck
	directoryLuck
	fileLuck
	fateLuck
	sectorLuck
)

// luck returns a number that depends on the seed and on what it is for, and on nothing else.
func (f *FS) luck(about, a, b, c uint64) uint64 {
	h := f.seed
	for _, v := range [...]uint64{about, a, b, c} {
		h = (h ^ v) * 0x9e3779b97f4a7c15
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		h ^= h >> 31
	}
	return h
}
