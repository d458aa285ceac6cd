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

// is says whether a change becomes durable by a sync.
func (c *change) coveredBy(sync *change) bool {
	if sync.kind == syncedFile {
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

// do makes durable what a sync covers of the first n changes.
func (f *FS) do(sync change, n int) {
	left := f.journal[:0]
	for i, c := range f.journal {
		if i < n && c.coveredBy(&sync) {
			f.apply(&c)
		} else {
			left = append(left, c)
		}
	}
	clear(f.journal[len(left):])
	f.journal = left
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
	for i, c := range f.journal {
		if c.kind == syncedFile || c.kind == syncedDir {
			f.journal = slices.Delete(f.journal, i, i+1)
			f.do(c, i)
			return
		}
	}
}

// Kill ends all processes: open files and locks are gone, but the page cache stays.
func (f *FS) Kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kill()
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
	// Of the syncs that were deferred, the first few have been done.
	for n := f.luck(settleLuck, f.cuts, 0, 0) % uint64(f.issued-f.settled+1); n > 0; n-- {
		f.settleNext()
	}
	// Nothing came after the one that was waited for.
	for i, c := range f.journal {
		if c.kind == syncedFile || c.kind == syncedDir {
			f.journal = f.journal[:i]
			break
		}
	}
	f.settled = f.issued
	for i := range f.journal {
		if c := &f.journal[i]; c.kind != written && f.luck(directoryLuck, f.cuts, c.number, 0)%2 == 0 {
			f.apply(c)
		}
	}
	seen := map[*inode]bool{}
	for i := range f.journal {
		if c := &f.journal[i]; c.kind == written && !seen[c.node] {
			seen[c.node] = true
			f.tear(c.node)
		}
	}
	f.journal = nil
	f.names = maps.Clone(f.disk)
	for _, node := range f.names {
		node.data = slices.Clone(node.disk)
	}
	f.kill()
}

// forget leaves what wasn't synced of a file to luck, and takes it for synced.
func (f *FS) forget(node *inode) {
	f.cuts++
	f.tear(node)
	f.journal = slices.DeleteFunc(f.journal, func(c change) bool { return c.kind == written && c.node == node })
}

// tear leaves the writes to a file that weren't synced to luck. Each is kept, lost or torn between sectors.
// A sector that keeps a write has all those before it too, since they had changed the same page.
func (f *FS) tear(node *inode) {
	mode := f.luck(fileLuck, f.cuts, node.number, 0) % 4
	if mode == 1 {
		return // none of it
	}
	kept := map[int64]int{} // the last change that a sector has
	for i := range f.journal {
		c := &f.journal[i]
		if c.kind != written || c.node != node {
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
	for i := range f.journal {
		c := &f.journal[i]
		if c.kind != written || c.node != node {
			continue
		}
		end := c.offset + int64(len(c.data))
		for sector := c.offset / SectorSize; sector*SectorSize < end; sector++ {
			if last, ok := kept[sector]; ok && i <= last {
				from, to := max(sector*SectorSize, c.offset), min((sector+1)*SectorSize, end)
				node.disk = writeTo(node.disk, c.data[from-c.offset:to-c.offset], from)
			}
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
		life: f.life, cuts: f.cuts, issued: f.issued, settled: f.settled,
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
