package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
)

// newBallast returns bytes that can't be compressed.
func newBallast(size int) []byte {
	b := make([]byte, (size+7)/8*8)
	random := rand.NewPCG(1, 2)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], random.Uint64())
	}
	return b[:size]
}

// A machineState is the state of a machine at one moment: all that its snapshot holds. It doesn't
// change any more, since commands don't touch the ballast.
type machineState struct {
	machine *Machine
	header  [6]uint64 // count, chain, sum, chain and sum across processes, size of the ballast
	ballast []byte
}

// snapshotPiece is how many bytes of a snapshot are written at a time.
const snapshotPiece = 64 << 10

// capture returns the present state. It must be called by the goroutine that applies.
func (m *Machine) capture() *machineState {
	s := &machineState{machine: m, header: [...]uint64{m.count.Load(), m.chain, m.sum, 0, 0, 0}}
	if more := m.more.Load(); more != nil {
		s.ballast = more.ballast
		s.header[3], s.header[4], s.header[5] = more.across.Load(), more.acrossSum.Load(), uint64(len(more.ballast))
	}
	return s
}

// WriteTo writes the state while the machine goes on. A snapshot that was written completely is
// counted.
func (s *machineState) WriteTo(w io.Writer) (written int64, err error) {
	var header [len(s.header) * 8]byte
	for i, v := range s.header {
		binary.LittleEndian.PutUint64(header[8*i:], v)
	}
	for piece, rest := header[:], s.ballast; len(piece) > 0; {
		n, err := w.Write(piece)
		written += int64(n)
		if err != nil {
			return written, err
		}
		piece = rest[:min(snapshotPiece, len(rest))]
		rest = rest[len(piece):]
	}
	if more := s.machine.more.Load(); more != nil {
		more.saved.Add(1)
	}
	return written, nil
}

// restore replaces the state by the one that r holds, and reads r to its end. It must be called by
// the goroutine that applies.
func (m *Machine) restore(r io.Reader) error {
	more := m.more.Load()
	if more == nil {
		more = new(machineExtras) // it has no ballast: a snapshot that has some is refused
	}
	var header [len(machineState{}.header)]uint64
	if err := binary.Read(r, binary.LittleEndian, &header); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if size := header[5]; size != uint64(len(more.ballast)) {
		return fmt.Errorf("%w: a snapshot has a ballast of %d bytes, not %d", errWrongState, size, len(more.ballast))
	}
	ballast := make([]byte, len(more.ballast))
	if _, err := io.ReadFull(r, ballast); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: a snapshot doesn't end after its ballast: read %d bytes more, %v", errWrongState, n, err)
	}
	m.chain, m.sum, more.ballast = header[1], header[2], ballast
	more.across.Store(header[3])
	more.acrossSum.Store(header[4])
	more.restored.Store(header[0])
	m.count.Store(header[0])
	return nil
}

// sameBallast says whether two machines have the same ballast, or both have no extras.
func sameBallast(a, b *Machine) bool {
	x, y := a.more.Load(), b.more.Load()
	if x == nil || y == nil {
		return x == y
	}
	return bytes.Equal(x.ballast, y.ballast)
}
