package wal

import (
	"errors"
	"io"
	"math"
	"sync"
)

// A snapshot that is read only to be checked is read by several goroutines. Each block says the checksum
// of everything up to its end. So whoever knows where a block begins, and what the block before says,
// can check from there on:
//
//	snapshot     head │ block │ block │ block │ block │ block │ block │ … │ end
//	the walk          │ ·     │ ·     │ ·     │ ·     │ ·     │ ·           reads only what blocks say of themselves
//	a goroutine       └─── section ───┘
//	another one                       └─── section ───┘
//
// If a block lies about its length, the walk goes astray behind it. But then the goroutine that reads
// that block finds it damaged, and the first damage is what counts.

// sectionSize is about how many bytes one goroutine checks at a time.
const sectionSize = 1 << 20

// A section is read from its blockReader's place on, until a block begins at end or behind it.
type section struct {
	blockReader
	end int64
}

// A checking is one snapshot that goroutines check. at is where the first block is that is wrong, and
// err what is wrong with it; size is how many bytes the blocks hold that were read.
type checking struct {
	sections chan section
	mu       sync.Mutex
	at       int64
	err      error
	size     uint64
}

// verify reads all blocks and checks them, with so many goroutines. It returns how many bytes they hold.
func (r *blockReader) verify(readers int) (size uint64, err error) {
	c := &checking{sections: make(chan section), at: math.MaxInt64}
	if readers == 1 {
		c.check(section{*r, math.MaxInt64})
		return c.size, c.err
	}
	var running sync.WaitGroup
	for range readers {
		running.Go(func() {
			buf := make([]byte, len(r.buf))
			for s := range c.sections {
				s.buf = buf
				c.check(s)
			}
		})
	}
	c.walk(*r)
	close(c.sections)
	running.Wait()
	return c.size, c.err
}

// check reads a section.
func (c *checking) check(s section) {
	var err error
	for err == nil && s.at < s.end {
		err = s.nextBlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.size += s.size
	if err != nil && !errors.Is(err, io.EOF) && s.at < c.at {
		c.at, c.err = s.at, err
	}
}

// failed says whether anything wrong was found.
func (c *checking) failed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err != nil
}

// walk hands out sections. The last one reaches to the end of the snapshot, or to where the walk can't
// go on: whoever reads that one finds out which it is.
func (c *checking) walk(r blockReader) {
	head := make([]byte, blockHeaderSize)
	for !c.failed() {
		s := section{r, math.MaxInt64}
		for s.end == math.MaxInt64 {
			if _, err := r.file.ReadAt(head, r.at); err != nil {
				break
			}
			length := little.Uint32(head)
			if length == 0 || length > maxBlock {
				break
			}
			r.at += blockHeaderSize + int64(length)
			r.crc = little.Uint32(head[4:])
			if r.at-s.at >= sectionSize {
				s.end = r.at
			}
		}
		if c.sections <- s; s.end == math.MaxInt64 {
			return
		}
	}
}
