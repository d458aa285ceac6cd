package main

import (
	"math/bits"
	"sync"
)

// A floorLog is a log of bytes. Many goroutines append to it, and several readers take from it,
// each at its own pace. It lies in chunks, which are used again when all readers have passed them.
type floorLog struct {
	mu      sync.Mutex
	end     uint64 // how many records were appended
	tail    *floorChunk
	free    *floorChunk
	readers []floorReader
	active  int // how many of the readers are in use
	// waiting has a bit for each reader that the next record must wake.
	waiting uint
}

// A floorChunk is a piece of the log. Its first used bytes don't change until it is used again.
type floorChunk struct {
	bytes []byte
	used  int
	next  *floorChunk
	// left is how many readers have not passed the chunk.
	left int
}

// A floorReader is the place of one reader.
type floorReader struct {
	chunk  *floorChunk
	offset int
	// held is the first chunk with bytes that the reader took and may still use.
	held *floorChunk
	wake chan struct{}
}

// newFloorLog returns an empty log. The reader for the machine takes without being woken. The
// reader for the disk is in use in mode disk alone.
func newFloorLog(followers int, mode Mode) *floorLog {
	l := &floorLog{tail: &floorChunk{bytes: make([]byte, floorChunkSize)}, readers: make([]floorReader, floorToFollowers+followers)}
	for i := range l.readers {
		r := &l.readers[i]
		if i == floorToDisk && mode == inMemory {
			continue
		}
		l.active++
		*r = floorReader{chunk: l.tail, held: l.tail, wake: make(chan struct{}, 1)}
		if i != floorToMachine {
			l.waiting |= 1 << i
		}
	}
	l.tail.left = l.active
	return l
}

// append appends a record in two parts, and wakes the readers that wait.
func (l *floorLog) append(header, command []byte) {
	l.mu.Lock()
	t := l.tail
	if size := len(header) + len(command); t.used+size > len(t.bytes) {
		t = l.grow(size)
	}
	t.used += copy(t.bytes[t.used:], header)
	t.used += copy(t.bytes[t.used:], command)
	l.end++
	wake := l.waiting
	l.waiting = 0
	l.mu.Unlock()
	for ; wake != 0; wake &= wake - 1 {
		l.readers[bits.TrailingZeros(wake)].wake <- struct{}{}
	}
}

// grow begins a new tail that has room for size bytes.
func (l *floorLog) grow(size int) *floorChunk {
	c := l.free
	if c != nil && len(c.bytes) >= size {
		l.free = c.next
		c.used, c.next = 0, nil
	} else {
		c = &floorChunk{bytes: make([]byte, max(floorChunkSize, size))}
	}
	c.left = l.active
	l.tail.next = c
	l.tail = c
	return c
}

// take returns the parts of the log that a reader hasn't taken yet, and how many records the log
// has up to there. The reader must not use any more what it took before.
func (l *floorLog) take(reader int, parts [][]byte) ([][]byte, uint64) {
	parts = parts[:0]
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &l.readers[reader]
	if reader != floorToMachine {
		l.waiting |= 1 << reader
	}
	for r.held != r.chunk {
		r.held = l.release(r.held)
	}
	for {
		if r.offset < r.chunk.used {
			parts = append(parts, r.chunk.bytes[r.offset:r.chunk.used])
			r.offset = r.chunk.used
		}
		if r.chunk.next == nil {
			return parts, l.end
		}
		r.chunk, r.offset = r.chunk.next, 0
	}
}

// release notes that a reader has passed a chunk, and returns the next chunk.
func (l *floorLog) release(c *floorChunk) *floorChunk {
	next := c.next
	if c.left--; c.left == 0 {
		c.next, l.free = l.free, c
	}
	return next
}
