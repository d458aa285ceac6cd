package raft

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/e17579a5/raft/internal/codec"
	"github.com/e17579a5/raft/wire"
)

// The bytes of a snapshot are made by an Applier. First comes the state that the Applier keeps
// itself, and then what the state machine writes.
//
//	"raft-state"
//	version    1 byte: captureVersion
//	index      of the last entry that was applied, as a varint
//	length     of the section that follows, as a varint
//	section    the Applier's own replicated state (Applier.appendState)
//	machine    what StateMachine.Snapshot has written, up to the end
const (
	captureMagic   = "raft-state"
	captureVersion = 1
	// maxCaptureSection bounds the section, in bytes, so that a damaged length costs bounded
	// memory.
	maxCaptureSection = 1 << 30
)

// A capture is a state that was captured, to be written while Apply goes on.
type Capture struct {
	index   Index
	section []byte
	machine io.WriterTo // nil once it is closed
}

// Snapshot captures the state after the entry at index, which must be the last one that was
// applied. Another goroutine writes what Snapshot returns, while Apply goes on: that doesn't see
// what comes later. If the state machine returns an error, Snapshot returns it, and applying can go
// on.
func (a *Applier) Snapshot(index Index) (*Capture, error) {
	if index != a.last {
		return nil, fmt.Errorf("raft: snapshot of index %d: the state is at index %d", index, a.last)
	}
	machine, err := a.machine.Snapshot()
	if err != nil {
		return nil, because(fmt.Errorf("raft: snapshot of index %d", index), err)
	}
	if machine == nil {
		return nil, fmt.Errorf("raft: snapshot of index %d: the state machine returned no io.WriterTo", index)
	}
	section := a.appendState(nil)
	c := &Capture{index: index, section: section, machine: machine}
	if len(section) > maxCaptureSection {
		err := fmt.Errorf("raft: snapshot of index %d: the sessions take %d bytes, more than %d, until some of them expire",
			index, len(section), maxCaptureSection)
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// WriteTo implements io.WriterTo. It fails once the capture is closed.
func (c *Capture) WriteTo(w io.Writer) (int64, error) {
	if c.machine == nil {
		return 0, fmt.Errorf("raft: snapshot of index %d: the capture is closed", c.index)
	}
	head := append([]byte(captureMagic), captureVersion)
	head = codec.AppendUvarint(head, uint64(c.index))
	head = codec.AppendUvarint(head, uint64(len(c.section)))
	head = append(head, c.section...)
	n, err := w.Write(head)
	if err != nil {
		return int64(n), err
	}
	m, err := c.machine.WriteTo(w)
	return int64(n) + m, err
}

// Close releases what the state machine has captured, if that is an io.Closer. A second call does
// nothing.
func (c *Capture) Close() error {
	machine := c.machine
	c.machine = nil
	if closer, ok := machine.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

// Restore replaces the state by the one in a snapshot of the entry at index, which is of that term.
// An error wraps wire.ErrMalformed if the bytes are not such a snapshot. After any error the state
// must not be used any more.
func (a *Applier) Restore(index Index, term Term, r io.Reader) error {
	in := bufio.NewReader(r)
	section, err := readCaptureHead(in, index)
	if err == nil {
		err = a.restoreState(section)
	}
	if err != nil {
		return because(fmt.Errorf("raft: restore snapshot of index %d", index), err)
	}
	if err := a.machine.Restore(in); err != nil {
		return because(fmt.Errorf("raft: restore snapshot of index %d", index), err)
	}
	// The bytes that the state machine didn't want are read all the same: the reader finds damage
	// only at the end.
	if _, err := io.Copy(io.Discard, in); err != nil {
		return because(fmt.Errorf("raft: restore snapshot of index %d", index), err)
	}
	a.last, a.term, a.touched = index, term, true
	return a.save()
}

// readCaptureHead reads everything before the state machine's bytes, and returns the section.
func readCaptureHead(in *bufio.Reader, index Index) ([]byte, error) {
	head := make([]byte, len(captureMagic)+1)
	if _, err := io.ReadFull(in, head); err != nil {
		return nil, captureCut("head", err)
	}
	if string(head[:len(captureMagic)]) != captureMagic {
		return nil, fmt.Errorf("%w: the snapshot begins with %q, not with %q",
			wire.ErrMalformed, head[:len(captureMagic)], captureMagic)
	}
	if version := head[len(captureMagic)]; version != captureVersion {
		return nil, fmt.Errorf("%w: the snapshot is of version %d, not %d", wire.ErrMalformed, version, captureVersion)
	}
	found, err := binary.ReadUvarint(in)
	if err != nil {
		return nil, captureCut("index", err)
	}
	if Index(found) != index {
		return nil, fmt.Errorf("%w: the snapshot holds the state at index %d", wire.ErrMalformed, found)
	}
	length, err := binary.ReadUvarint(in)
	if err != nil {
		return nil, captureCut("length", err)
	}
	if length > maxCaptureSection {
		return nil, fmt.Errorf("%w: the section has %d bytes, more than %d", wire.ErrMalformed, length, maxCaptureSection)
	}
	// The section is read piece by piece, so that memory is taken for the bytes that are there, not
	// for the length that is claimed.
	section, err := io.ReadAll(io.LimitReader(in, int64(length)))
	if err == nil && uint64(len(section)) < length {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, captureCut("section", err)
	}
	return section, nil
}

// captureCut returns the error for a snapshot that ends too early, or can't be read.
func captureCut(what string, err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%w: the snapshot ends in its %s", wire.ErrMalformed, what)
	}
	return err
}

// stateVersion is the version of the section.
const stateVersion = 1

// appendState appends the replicated state that an Applier keeps itself: a version (1 byte), the
// table of sessions, and the fingerprint of the results. The fingerprint is a byte 1 and the sum in
// 4 bytes, or only a byte 0 when it isn't kept.
func (a *Applier) appendState(b []byte) []byte {
	b = a.sessions.append(append(b, stateVersion))
	if !a.comparing || !a.known {
		return append(b, 0)
	}
	return binary.LittleEndian.AppendUint32(append(b, 1), a.print.Sum)
}

// restoreState replaces that state by one that appendState has written.
func (a *Applier) restoreState(b []byte) error {
	r := codec.NewReader(b)
	if version := r.Byte("state: version"); version != stateVersion {
		r.Fail("state: of version %d, not %d", version, stateVersion)
	}
	table := decodeSessions(&r)
	sum, known := uint32(0), r.Byte("state: fingerprint")
	if r.Check(known <= 1, "state: fingerprint: neither 0 nor 1"); known == 1 {
		sum = r.Uint32("state: fingerprint")
	}
	if r.End("state"); r.Err() != nil {
		return r.Err()
	}
	a.sessions, a.print, a.known = table, wire.Fingerprint{Sum: sum}, known == 1
	return nil
}
