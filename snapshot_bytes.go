package raft

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/e17579a5/raft/internal/codec"
)

// The bytes of a snapshot are made by an Applier: what it keeps itself beside the state machine, and then what the
// state machine writes of its own.
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
	// maxCaptureSection bounds the section, so that a damaged length costs bounded memory.
	maxCaptureSection = 1 << 30
)

// A Capture is a state that was captured, to be written beside Apply. Whoever has one must close it,
// whether it was written or not: the state machine may hold something open for it. It is used by one
// goroutine at a time.
type Capture struct {
	index   Index
	section []byte
	machine io.WriterTo // nil once it is closed
}

// Snapshot captures the state after the entry at index, which must be the last one that was applied. What it returns
// is written by another goroutine while Apply goes on, and doesn't see what comes later. It must be closed. An error
// of the state machine is returned as it is; applying can go on.
func (a *Applier) Snapshot(index Index) (*Capture, error) {
	if index != a.last {
		return nil, fmt.Errorf("raft: snapshot of index %d of a state at index %d", index, a.last)
	}
	machine, err := a.machine.Snapshot()
	if err != nil {
		return nil, fmt.Errorf("raft: snapshot of index %d: %w", index, err)
	}
	if machine == nil {
		return nil, fmt.Errorf("raft: snapshot of index %d: the state machine returned none", index)
	}
	section := a.appendState(nil)
	c := &Capture{index: index, section: section, machine: machine}
	if len(section) > maxCaptureSection {
		err := fmt.Errorf("raft: snapshot of index %d: the sessions take %d bytes, more than %d, until the next ones expire",
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

// Close releases what the state machine has captured, if that is an io.Closer. A second call does nothing.
func (c *Capture) Close() error {
	machine := c.machine
	c.machine = nil
	if closer, ok := machine.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

// Restore replaces the state by the one in a snapshot of the entry at index. An error wraps ErrMalformed when the
// bytes are not such a snapshot; after any error the state is not to be used any more.
func (a *Applier) Restore(index Index, r io.Reader) error {
	in := bufio.NewReader(r)
	section, err := readCaptureHead(in, index)
	if err == nil {
		err = a.restoreState(section)
	}
	if err != nil {
		return fmt.Errorf("raft: restore snapshot of index %d: %w", index, err)
	}
	if err := a.machine.Restore(in); err != nil {
		return fmt.Errorf("raft: restore snapshot of index %d: %w", index, err)
	}
	// Whatever the state machine didn't want is read all the same: what reads it finds damage only at the end.
	if _, err := io.Copy(io.Discard, in); err != nil {
		return fmt.Errorf("raft: restore snapshot of index %d: %w", index, err)
	}
	a.last, a.touched = index, true
	return a.save()
}

// readCaptureHead reads what comes before the state machine's bytes and returns the section.
func readCaptureHead(in *bufio.Reader, index Index) ([]byte, error) {
	head := make([]byte, len(captureMagic)+1)
	if _, err := io.ReadFull(in, head); err != nil {
		return nil, captureCut("head", err)
	}
	if string(head[:len(captureMagic)]) != captureMagic {
		return nil, fmt.Errorf("%w: a snapshot begins with %q, not %q", ErrMalformed, captureMagic, head[:len(captureMagic)])
	}
	if version := head[len(captureMagic)]; version != captureVersion {
		return nil, fmt.Errorf("%w: a snapshot of version %d, known is %d", ErrMalformed, version, captureVersion)
	}
	found, err := binary.ReadUvarint(in)
	if err != nil {
		return nil, captureCut("index", err)
	}
	if Index(found) != index {
		return nil, fmt.Errorf("%w: it holds the state at index %d", ErrMalformed, found)
	}
	length, err := binary.ReadUvarint(in)
	if err != nil {
		return nil, captureCut("length", err)
	}
	if length > maxCaptureSection {
		return nil, fmt.Errorf("%w: a section of %d bytes, more than %d", ErrMalformed, length, maxCaptureSection)
	}
	// It is read piece by piece: memory is taken for what is there, not for what the length says.
	section, err := io.ReadAll(io.LimitReader(in, int64(length)))
	if err == nil && uint64(len(section)) < length {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, captureCut("section", err)
	}
	return section, nil
}

// captureCut says that a snapshot ends too early, or can't be read.
func captureCut(what string, err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%w: the snapshot ends in its %s", ErrMalformed, what)
	}
	return err
}

// stateVersion is the version of the section.
const stateVersion = 1

// appendState appends what an Applier keeps itself of the replicated state: a version, the table of sessions, and the fingerprint of
// the results, as a byte that is 1 and the sum in 4 bytes, or as a 0 when it isn't kept.
func (a *Applier) appendState(b []byte) []byte {
	b = a.sessions.append(append(b, stateVersion))
	if !a.comparing || !a.known {
		return append(b, 0)
	}
	return binary.LittleEndian.AppendUint32(append(b, 1), a.print.Sum)
}

// restoreState replaces that by what appendState has made of another one.
func (a *Applier) restoreState(b []byte) error {
	r := codec.NewReader(b)
	if version := r.Byte("state: version"); version != stateVersion {
		r.Fail("state: of version %d, not %d", version, stateVersion)
	}
	table := decodeSessions(&r)
	sum, known := uint32(0), r.Byte("state: fingerprint")
	if r.Check(known <= 1, "state: no fingerprint"); known == 1 {
		sum = r.Uint32("state: fingerprint")
	}
	if r.End("state"); r.Err() != nil {
		return r.Err()
	}
	a.sessions, a.print, a.known = table, Fingerprint{Sum: sum}, known == 1
	return nil
}
