package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wal/vfs"
)

// Sizes of the format of snapshots, in bytes.
const (
	snapshotHeaderSize = 16
	blockHeaderSize    = 8
	maxBlock           = 64 << 10
	maxMeta            = 1 << 20

	// A snapshot that is being written is synced each time after so many bytes, so that the sync at
	// its end doesn't keep the disk busy for long.
	snapshotSyncEvery = 256 << 10
)

// snapshotMagic begins every snapshot.
const snapshotMagic = "raft-snp"

// appendSnapshotHeader appends the part of a snapshot before its blocks. It also returns the CRC
// that the first block continues.
// group is the number of the group that the snapshot is of.
func appendSnapshotHeader(b []byte, meta *raft.SnapshotMeta, group uint64) ([]byte, uint32) {
	b = append(b, snapshotMagic...)
	b = little.AppendUint32(b, formatVersion)
	b = little.AppendUint32(b, 0)
	b = appendMeta(b, meta)
	if group > 0 {
		b = binary.AppendUvarint(b, group)
	}
	little.PutUint32(b[12:], uint32(len(b)-snapshotHeaderSize))
	crc := crc32.Checksum(b, castagnoli)
	return little.AppendUint32(b, crc), crc
}

// blockCRC continues the CRCs of the blocks over one more block.
func blockCRC(crc uint32, block []byte) uint32 {
	crc = crc32.Update(crc, castagnoli, block[:4])
	return crc32.Update(crc, castagnoli, block[blockHeaderSize:])
}

// A blockReader reads the bytes of a snapshot. It checks the CRC of a block before it hands out its
// bytes.
type blockReader struct {
	name string
	file vfs.File
	meta raft.SnapshotMeta
	// group is the number of the group that it is of.
	group uint64
	at    int64  // where the next block begins
	size  uint64 // how many bytes the blocks before it hold
	crc   uint32 // of everything before it
	buf   []byte
	left  []byte // the bytes in buf that Read has not returned yet
	err   error  // returned by Read once left is empty
}

// openBlocks opens a snapshot and checks that it is the one that ref means.
func (g *group) openBlocks(ref snapshotRef) (*blockReader, error) {
	r, err := g.log.openSnapshotFile(ref.file)
	if err != nil {
		return nil, err
	}
	if err := r.mustBeOf(g, &ref.meta); err != nil {
		r.file.Close()
		return nil, err
	}
	return r, nil
}

// mustBeOf refuses the snapshot unless it is of a group, and the one that meta describes.
func (r *blockReader) mustBeOf(g *group, meta *raft.SnapshotMeta) error {
	if r.group != g.number {
		return r.corrupt(0, fmt.Sprintf("it is of the group with the number %d, not %d", r.group, g.number))
	}
	return r.mustBe(meta)
}

// mustBe refuses the snapshot unless it is the one that meta describes. A nil meta accepts any.
func (r *blockReader) mustBe(meta *raft.SnapshotMeta) error {
	if meta == nil || bytes.Equal(appendMeta(nil, &r.meta), appendMeta(nil, meta)) {
		return nil
	}
	if r.meta.Index == meta.Index && r.meta.Term == meta.Term {
		return r.corrupt(0, "it has another configuration than the log says")
	}
	return r.corrupt(0, fmt.Sprintf("it ends with index %d of term %d, not with index %d of term %d",
		r.meta.Index, r.meta.Term, meta.Index, meta.Term))
}

// openSnapshotFile opens a snapshot and reads its header.
func (l *Log) openSnapshotFile(number uint64) (*blockReader, error) {
	name := l.path(fileName(number, snapshotSuffix))
	file, err := l.fs.Open(name)
	if err != nil {
		return nil, err
	}
	r := &blockReader{name: name, file: file, buf: make([]byte, blockHeaderSize+maxBlock)}
	if err := r.readHeader(); err != nil {
		file.Close()
		return nil, err
	}
	return r, nil
}

// readHeader reads and checks the part of the snapshot before its blocks.
func (r *blockReader) readHeader() error {
	b := make([]byte, snapshotHeaderSize)
	if err := r.readAt(b, 0); err != nil {
		return err
	}
	length := little.Uint32(b[12:])
	if string(b[:8]) != snapshotMagic || length > maxMeta {
		return r.corrupt(0, "it doesn't begin like a snapshot")
	}
	b = append(b, make([]byte, length+4)...)
	if err := r.readAt(b, 0); err != nil {
		return err
	}
	body := b[:len(b)-4]
	r.crc = crc32.Checksum(body, castagnoli)
	if little.Uint32(b[len(body):]) != r.crc {
		return r.corrupt(0, "the checksum of the header is wrong")
	}
	if version := little.Uint32(b[8:]); version != formatVersion {
		return fmt.Errorf("wal: %s has format version %d; this package knows version %d", r.name, version, formatVersion)
	}
	d := decoder{b: body[snapshotHeaderSize:]}
	r.meta = d.meta()
	if len(d.b) > 0 {
		r.group = d.uvarint()
		d.check(r.group > 0, "group")
	}
	if d.check(len(d.b) == 0, "end"); d.err != nil {
		return r.corrupt(snapshotHeaderSize, d.err.Error())
	}
	r.at = int64(len(b))
	return nil
}

// Read implements io.Reader.
func (r *blockReader) Read(p []byte) (int, error) {
	for len(r.left) == 0 && r.err == nil {
		r.err = r.nextBlock()
	}
	if len(r.left) == 0 {
		return 0, r.err
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

// nextBlock reads the next block and checks it. It returns io.EOF at the end of the snapshot.
func (r *blockReader) nextBlock() error {
	n, err := r.file.ReadAt(r.buf, r.at)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if n < blockHeaderSize {
		return r.corrupt(r.at, "it ends too early")
	}
	length := little.Uint32(r.buf)
	if length > maxBlock || int(length) > n-blockHeaderSize {
		return r.corrupt(r.at, "a block ends past the end of the file")
	}
	block := r.buf[:blockHeaderSize+int(length)]
	crc := blockCRC(r.crc, block)
	if little.Uint32(block[4:]) != crc {
		return r.corrupt(r.at, "the checksum of a block is wrong")
	}
	if length == 0 {
		if n > blockHeaderSize {
			return r.corrupt(r.at+blockHeaderSize, "there is more behind its end")
		}
		return io.EOF
	}
	r.at += int64(len(block))
	r.size += uint64(length)
	r.crc = crc
	r.left = block[blockHeaderSize:]
	return nil
}

// readAt fills b. A file that is too short is damage.
func (r *blockReader) readAt(b []byte, at int64) error {
	if _, err := r.file.ReadAt(b, at); errors.Is(err, io.EOF) {
		return r.corrupt(at, "it ends too early")
	} else if err != nil {
		return err
	}
	return nil
}

func (r *blockReader) corrupt(at int64, reason string) error {
	return &CorruptError{File: r.name, Offset: at, Reason: reason}
}
