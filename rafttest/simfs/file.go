package simfs

import (
	"fmt"
	"io"
	"io/fs"
)

// A file is a handle of an open inode.
type file struct {
	fs     *FS
	node   *inode
	name   string // its name when it was opened
	life   uint64
	closed bool
}

// begin counts a call and fails if the file can't be used any more. The caller holds the lock.
func (f *file) begin(c Call) error {
	c.Name = f.name
	if err := f.fs.call(c); err != nil {
		return err
	}
	if f.closed {
		return &fs.PathError{Op: string(c.Op), Path: f.name, Err: fs.ErrClosed}
	}
	if f.life != f.fs.life {
		return &fs.PathError{Op: string(c.Op), Path: f.name, Err: ErrPower}
	}
	return nil
}

// ReadAt implements vfs.File.
func (f *file) ReadAt(p []byte, offset int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.begin(Call{Op: OpRead, Offset: offset, Length: len(p)}); err != nil {
		return 0, err
	}
	if offset < 0 {
		return 0, fmt.Errorf("simfs: read at %d", offset)
	}
	n := 0
	if offset < int64(len(f.node.data)) {
		n = copy(p, f.node.data[offset:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements vfs.File. A write that is made to fail writes a random number of whole sectors
// first.
func (f *file) WriteAt(p []byte, offset int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.begin(Call{Op: OpWrite, Offset: offset, Length: len(p)})
	if f.closed || f.life != f.fs.life {
		return 0, err
	}
	if offset < 0 {
		return 0, fmt.Errorf("simfs: write at %d", offset)
	}
	key := f.fs.luck(writeLuck, f.node.number, f.node.writes, 0)
	if err != nil {
		p = p[:int(key%uint64(len(p)/SectorSize+1))*SectorSize]
	} else if room := f.fs.room(f.node); room >= 0 && offset+int64(len(p)) > room {
		p = p[:max(room-offset, 0)]
		err = &fs.PathError{Op: string(OpWrite), Path: f.name, Err: ErrFull}
	}
	if len(p) > 0 {
		f.node.data = writeTo(f.node.data, p, offset)
		f.fs.record(change{kind: written, node: f.node, number: f.node.writes, offset: offset, data: f.fs.copied(p)})
	}
	f.node.writes++
	return len(p), err
}

// Truncate implements vfs.File. It makes no file longer.
func (f *file) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.begin(Call{Op: OpTruncate, Offset: size}); err != nil {
		return err
	}
	if size < 0 || size > int64(len(f.node.data)) {
		return fmt.Errorf("simfs: truncate a file of %d bytes to %d", len(f.node.data), size)
	}
	f.node.data = f.node.data[:size]
	f.fs.record(change{kind: truncated, node: f.node, offset: size})
	return nil
}

// room returns the length that a file may have at most, or -1 for any length.
func (f *FS) room(node *inode) int64 {
	if f.capacity == 0 {
		return -1
	}
	return max(f.capacity-f.used()+int64(len(node.data)), int64(len(node.data)))
}

// writeTo writes p into data at an offset and returns data. It fills a gap before the offset with
// zeros.
func writeTo(data, p []byte, offset int64) []byte {
	if end := offset + int64(len(p)); end > int64(len(data)) {
		data = append(data, make([]byte, end-int64(len(data)))...)
	}
	copy(data[offset:], p)
	return data
}

// Size implements vfs.File.
func (f *file) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.begin(Call{Op: OpSize}); err != nil {
		return 0, err
	}
	return int64(len(f.node.data)), nil
}

// Sync implements vfs.File. A sync that is made to fail writes a random part of what it should
// write and forgets the rest. From then on the rest is only in the page cache, and no later sync
// writes it.
func (f *file) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.begin(Call{Op: OpSync}); err != nil {
		if !f.closed && f.life == f.fs.life && !isPower(err) {
			f.fs.barrier(change{kind: failedFile, node: f.node})
		}
		return err
	}
	f.fs.barrier(change{kind: syncedFile, node: f.node})
	return nil
}

// Close implements vfs.File. A Close that is made to fail closes the file all the same.
func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.begin(Call{Op: OpClose})
	if f.closed {
		return err
	}
	f.closed = true
	if f.life == f.fs.life {
		f.node.open--
	}
	return err
}
