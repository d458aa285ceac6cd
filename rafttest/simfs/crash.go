package simfs

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
)

// A changeKind says what a change in the journal does.
type changeKind uint8

const (
	written  changeKind = iota // bytes were written to a file
	linked                     // Create added a name
	unlinked                   // Remove took a name away
	renamed
	truncated  // a file was made shorter, to the length offset
	syncedFile // not a change, but a deferred sync of a file
	syncedDir
	failedFile // a deferred sync of a file that will fail
)

// A change is one entry of the journal: a change that isn't durable yet, or a deferred sync.
type change struct {
	kind   changeKind
	node   *inode
	number uint64 // of the write among those to its file, or of the change among those of all directories
	offset int64
	data   []byte
	name   string // of the file, or of the directory to be synced
	old    string
}

// awaited reports whether the change is a deferred sync.
func (c *change) awaited() bool { return c.kind >= syncedFile }

// coveredBy reports whether a sync makes the change durable. If the sync fails, it forgets the
// change instead.
func (c *change) coveredBy(sync *change) bool {
	if sync.kind != syncedDir {
		return (c.kind == written || c.kind == truncated) && c.node == sync.node
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

// barrier performs a sync, or notes it for later when syncs are deferred.
func (f *FS) barrier(sync change) {
	if f.deferred {
		f.issued++
		f.journal = append(f.journal, sync)
		return
	}
	f.do(sync, len(f.journal))
}

// do performs a sync on the first n changes of the journal: those that it covers become durable. If
// it is one that fails, luck decides what becomes durable, and the rest counts as synced all the
// same.
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

// Buffers of changes are used again. Most of them hold a page or less.
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

// release takes back a buffer that copied has returned.
func (f *FS) release(b []byte) {
	if b != nil && cap(b) <= maxReused && len(f.reused) < reusedCount {
		f.reused = append(f.reused, b)
	}
}

// apply makes the whole of a change durable.
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
	case truncated:
		c.node.disk = shortened(c.node.disk, c.offset)
	}
}

// shortened returns data without what lies at an offset or behind it.
func shortened(data []byte, offset int64) []byte { return data[:min(int64(len(data)), offset)] }

// Defer makes every later sync return at once. A deferred sync takes effect when Settle is called.
// This lets a simulator run blocking code on a disk that takes its time. If the power fails before
// a deferred sync was done, whatever came after that sync was never written: a real process would
// still wait for the sync, and wouldn't have got to the later calls. The calls must come from one
// thread.
func (f *FS) Defer() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deferred = true
}

// Issued returns the number of syncs that have been deferred so far.
func (f *FS) Issued() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.issued
}

// Settle performs deferred syncs in their order, up to and including the one with this number. They
// are counted from 1.
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

// Flush makes everything durable that was written or renamed, as an operating system does by itself
// after a while.
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

// Kill ends all processes: open files and locks are gone, but the page cache stays. Luck decides
// how many of the deferred syncs were done. Whatever came after the first sync that wasn't done
// never happened, since the process still waited for that sync.
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
			case truncated:
				c.node.data = shortened(c.node.data, c.offset)
			}
		}
	}
	f.kill()
}

// settleSome performs the first few of the deferred syncs. Luck decides how many.
func (f *FS) settleSome() {
	for n := f.luck(settleLuck, f.cuts, 0, 0) % uint64(f.issued-f.settled+1); n > 0; n-- {
		f.settleNext()
	}
}

// dropUnreached drops the changes that come after a deferred sync, because the process never got to
// them. It reports whether there were any.
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

// reload makes the page cache and the names equal to what is durable.
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

// Cut cuts the power and turns it on again. Each change that wasn't synced is kept, lost or torn.
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

// Lose cuts the power and turns it on again. Everything that wasn't synced is lost.
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

// Losses count what became of the writes to files that weren't synced when the power failed or
// whose sync failed.
type Losses struct{ Kept, Lost, Torn int }

// Losses returns the counts since the file system was made.
func (f *FS) Losses() Losses {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.losses
}

// tear lets luck decide what the disk has of the unsynced writes to a file. Each write is kept,
// lost, or torn between sectors. If a sector has a write, it also has all earlier writes to that
// sector, since they changed the same page.
func (f *FS) tear(journal []change, node *inode) {
	mode := f.luck(fileLuck, f.cuts, node.number, 0) % 4 // 0 keeps all writes, 1 keeps none
	kept := map[int64]int{}                              // for each sector, the last change that it has
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

// Clone returns a copy of the file system. After the same calls, both hold the same.
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
				number: node.number, writes: node.writes, replaced: node.replaced,
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

// Reseed replaces the seed: it gives the file system other luck from now on.
func (f *FS) Reseed(seed uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seed = seed
}

// The decisions that luck makes
const (
	writeLuck uint64 = 1 + iota
	settleLuck
	directoryLuck
	fileLuck
	fateLuck
	sectorLuck
)

// luck returns a number that depends only on the seed and on the decision that it is for.
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
