package wal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/e17579a5/raft/wal/vfs"
)

// Sizes of the format of the anchor, in bytes.
const (
	anchorName       = "ANCHOR"
	anchorMagic      = "raft-anc"
	anchorHeaderSize = 72
	anchorSlots      = 2
	slotSpacing      = 64 << 10
	// slotSize is how much of the file a slot takes: what is between the slots is never used.
	slotSize = 32 << 10
)

// When the anchor is written and synced.
const (
	anchorEvery     = 10 * time.Millisecond // while batches are written
	anchorAfter     = 5 * time.Millisecond  // after the last one
	anchorSyncEvery = time.Second
)

// An anchorState is what a slot of the anchor says.
type anchorState struct {
	salt     uint64
	sequence uint64
	closed   bool   // nothing follows the place
	place    place  // up to which the log is known to be synced; segment 0 for none
	chain    uint32 // at the place
	highest  uint64 // the last segment whose name is durable
	size     int64  // how large that one is, as far as it is durable
	// checkpoint is the log at the place; nil if it doesn't fit.
	checkpoint *checkpoint
}

// append appends the encoding of a slot.
func (a *anchorState) append(b []byte) []byte {
	start := len(b)
	b = append(b, anchorMagic...)
	b = little.AppendUint32(b, formatVersion)
	b = little.AppendUint32(b, 0)
	b = little.AppendUint64(b, a.salt)
	b = little.AppendUint64(b, a.sequence)
	closed := uint32(0)
	if a.closed {
		closed = 1
	}
	b = little.AppendUint32(b, closed)
	b = little.AppendUint32(b, a.chain)
	b = little.AppendUint64(b, a.place.segment)
	b = little.AppendUint32(b, a.place.offset)
	b = little.AppendUint32(b, 0)
	b = little.AppendUint64(b, a.highest)
	b = little.AppendUint64(b, uint64(a.size))
	if a.checkpoint != nil {
		b = a.checkpoint.append(b)
		if len(b)-start+4 > slotSize && len(a.checkpoint.touched) > 0 {
			a.checkpoint.touched = nil // it is said that they aren't known
			b = a.checkpoint.append(b[:start+anchorHeaderSize])
		}
		if len(b)-start+4 > slotSize {
			b = b[:start+anchorHeaderSize]
		}
	}
	little.PutUint32(b[start+12:], uint32(len(b)-start-anchorHeaderSize))
	return little.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// decode decodes a slot. It returns false if the slot isn't sound.
func (a *anchorState) decode(b []byte) (bool, error) {
	if len(b) < anchorHeaderSize+4 || string(b[:8]) != anchorMagic {
		return false, nil
	}
	length := uint64(little.Uint32(b[12:]))
	if anchorHeaderSize+length+4 > uint64(len(b)) {
		return false, nil
	}
	body := b[:anchorHeaderSize+length]
	if little.Uint32(b[len(body):]) != crc32.Checksum(body, castagnoli) {
		return false, nil
	}
	if version := little.Uint32(b[8:]); version != formatVersion {
		return false, versionError(anchorName, version)
	}
	a.salt, a.sequence = little.Uint64(b[16:]), little.Uint64(b[24:])
	a.closed, a.chain = little.Uint32(b[32:]) == 1, little.Uint32(b[36:])
	a.place = place{little.Uint64(b[40:]), little.Uint32(b[48:])}
	a.highest, a.size = little.Uint64(b[56:]), int64(little.Uint64(b[64:]))
	if length > 0 {
		a.checkpoint = new(checkpoint)
		if err := a.checkpoint.decode(body[anchorHeaderSize:]); err != nil {
			return false, nil
		}
	}
	return true, nil
}

// versionError is the error of a file of another version of the format.
func versionError(name string, version uint32) error {
	reader := "a newer version of this package"
	if version == 1 {
		reader = "versions of this package from before the first release"
	}
	return fmt.Errorf("wal: %s has version %d of the format, which %s can read; this one reads version %d", name, version, reader, formatVersion)
}

// readAnchor reads the anchor of a log, and returns what the slot says that counts. It prepares l
// to write the anchor on.
func (l *Log) readAnchor() (*anchorState, error) {
	name := l.path(anchorName)
	file, err := l.fs.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &CorruptError{File: name, Offset: -1, Reason: "it is missing"}
	}
	if err != nil {
		return nil, err
	}
	l.anchor.file = file
	var found *anchorState
	sound := 0
	for i := range anchorSlots {
		b := make([]byte, slotSize)
		n, err := file.ReadAt(b, int64(i)*slotSpacing)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		var a anchorState
		ok, err := a.decode(b[:n])
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		sound++
		if found == nil || a.sequence > found.sequence {
			found, l.anchor.slot = &a, i
		}
	}
	if found == nil {
		return nil, &CorruptError{File: name, Offset: 0, Reason: "neither of its slots is sound"}
	}
	// The older slot was synced before the newer one was begun. The newer one may be in the page
	// cache alone.
	if sound < anchorSlots {
		l.anchor.slot = anchorSlots - 1 - l.anchor.slot
	}
	l.anchor.sequence = found.sequence
	return found, nil
}

// anchorSize is how large the file of the anchor is from the start.
const anchorSize = (anchorSlots-1)*slotSpacing + slotSize

// completeAnchor fills the file of the anchor up to its size if it was cut short. If the disk is full,
// the ballast and the reserve give room for it: without an anchor no log is opened.
func (l *Log) completeAnchor() error {
	size, err := l.anchor.file.Size()
	if err != nil || size >= anchorSize {
		return err
	}
	lacks := anchorSize - size
	err = fillPart(l.anchor.file, size, lacks)
	for _, r := range []*reserve{&l.ballast, &l.reserve} {
		if isFull(err) && r.size > 0 {
			if err = l.shorten(r, lacks); err == nil {
				err = fillPart(l.anchor.file, size, lacks)
			}
		}
	}
	return err
}

// An anchor is the file that says how far the log goes. Whoever writes it holds busy, by sending to
// it.
type anchor struct {
	busy     chan struct{}
	file     vfs.File
	slot     int // the one that is written next
	sequence uint64
	buf      []byte
	named    atomic.Uint64 // the last segment that it names durably
	written  place         // what it said last
}

// createAnchor makes the anchor of a new log, which names no segment yet, and makes it durable.
func (l *Log) createAnchor() error {
	name := l.path(anchorName)
	file, err := l.fs.Create(name + temporary)
	if err != nil {
		return err
	}
	a := anchorState{salt: l.salt}
	b := a.append(nil)
	b = append(b, make([]byte, anchorSize-len(b))...)
	if err := fill(file, b, int64(len(b))); err != nil {
		file.Close()
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := l.fs.Rename(name+temporary, name); err != nil {
		return err
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return err
	}
	l.anchor.slot = 1
	l.anchor.file, err = l.fs.Open(name)
	return err
}

// An anchoring says how the anchor is written.
type anchoring struct {
	sync   bool
	closed bool
}

// writeAnchor writes the anchor, unless it says already what there is to say. After an error nothing
// is written any more.
func (l *Log) writeAnchor(how anchoring) error {
	l.anchor.busy <- struct{}{}
	defer func() { <-l.anchor.busy }()
	if err := l.putAnchor(how); err != nil {
		return l.fail(fmt.Errorf("wal: write anchor: %w", err))
	}
	return nil
}

func (l *Log) putAnchor(how anchoring) error {
	k := &l.anchor
	l.mu.Lock()
	if l.failed != nil {
		l.mu.Unlock()
		return nil
	}
	here := l.tip.place
	c := l.checkpoint()
	a := anchorState{
		salt: l.salt, sequence: k.sequence + 1, closed: how.closed, place: here, chain: l.tip.chain,
		highest: l.prepared.number, size: l.prepared.size, checkpoint: &c,
	}
	b := a.append(k.buf[:0])
	l.mu.Unlock()
	k.buf = b
	if how.sync || k.written != here {
		if _, err := k.file.WriteAt(b, int64(k.slot)*slotSpacing); err != nil {
			return err
		}
		k.sequence, k.written = a.sequence, here
	}
	if !how.sync {
		return nil
	}
	if err := k.file.Sync(); err != nil {
		return err
	}
	k.named.Store(a.highest)
	k.slot = anchorSlots - 1 - k.slot
	return nil
}

// Anchor writes the anchor, which proves that the last batch is synced. The anchor isn't synced
// itself. The log writes it on its own unless Options.Inline is set.
func (l *Log) Anchor() error {
	l.busy <- struct{}{}
	defer func() { <-l.busy }()
	if err := l.usable(); err != nil {
		return err
	}
	return l.writeAnchor(anchoring{})
}
