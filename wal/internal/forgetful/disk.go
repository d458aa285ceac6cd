// Package forgetful is a disk that forgets what wasn't flushed when its power is cut, for a real
// file system of a real kernel. It is a file in a FUSE file system, which this process serves. A
// loop device makes a block device of the file. The kernel's writes go to the cache of the disk,
// and its flushes make them durable.
package forgetful

import (
	"slices"
	"sync"
)

// sectorSize is the number of bytes that a power cut keeps or loses together.
const sectorSize = 512

// A Disk is the disk. Its methods may be called from several goroutines at once.
type Disk struct {
	mu      sync.Mutex
	shown   []byte    // what a reader sees
	durable []byte    // what is there after a power cut, at the least
	cache   []written // since the last flush, in order

	writes, flushes int

	cut   Cut        // that is to come; Writes is 0 when there is none
	image chan Image // gets what the cut leaves
}

// written is a write that wasn't flushed.
type written struct {
	offset int
	data   []byte
}

// NewDisk returns a disk with this many bytes, all of them 0.
func NewDisk(size int) *Disk {
	return &Disk{shown: make([]byte, size), durable: make([]byte, size)}
}

// read reads into b.
func (d *Disk) read(b []byte, offset int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return copy(b, d.shown[min(offset, len(d.shown)):])
}

// write writes into the cache. It reports false if the disk isn't that large.
func (d *Disk) write(b []byte, offset int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if offset < 0 || offset+len(b) > len(d.shown) {
		return false
	}
	d.writes++
	copy(d.shown[offset:], b)
	d.cache = append(d.cache, written{offset, slices.Clone(b)})
	d.countdown()
	return true
}

// flush makes everything durable that was written.
func (d *Disk) flush() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.flushes++
	for _, w := range d.cache {
		copy(d.durable[w.offset:], w.data)
	}
	d.cache = nil
}

// Counts returns how many writes and flushes there were.
func (d *Disk) Counts() (writes, flushes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writes, d.flushes
}

// A Cut is a power cut that is to come. The disk itself goes on.
type Cut struct {
	Writes int // how many more writes come before it, at least 1: the last of them is in the cache
	// Before is called at the moment of the cut, while the disk does nothing. Luck is called for
	// each write that wasn't flushed, and says by the remainder of its number by 3 what becomes of
	// it: 0 loses the write, 1 keeps it, and 2 keeps each of its sectors for which Luck returns an
	// odd number.
	Before func()
	Luck   func() uint64
}

// An Image is what a power cut has left on a disk.
type Image struct {
	Bytes     []byte
	Unflushed int // how many writes were not flushed
}

// Cut plans a power cut, and returns the channel that gets its image.
func (d *Disk) Cut(c Cut) <-chan Image {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut, d.image = c, make(chan Image, 1)
	return d.image
}

// countdown makes a cut if it is its time.
func (d *Disk) countdown() {
	if d.cut.Writes == 0 {
		return
	}
	if d.cut.Writes--; d.cut.Writes > 0 {
		return
	}
	d.cut.Before()
	luck, image := d.cut.Luck, slices.Clone(d.durable)
	for _, w := range d.cache {
		fate := luck() % 3
		for from := 0; from < len(w.data); from += sectorSize {
			if fate == 1 || fate == 2 && luck()%2 == 1 {
				copy(image[w.offset+from:], w.data[from:min(from+sectorSize, len(w.data))])
			}
		}
	}
	d.image <- Image{image, len(d.cache)}
}
