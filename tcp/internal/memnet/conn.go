package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// bufferSize is how many bytes a connection holds, in each direction, that were written and not yet
// read.
const bufferSize = 64 << 10

// A Conn is one end of a connection.
type Conn struct {
	in, out       *half
	local, remote Address
	read, write   deadline
}

// Pipe returns the two ends of a new connection. The first one has the address near, the second one
// far.
func Pipe(near, far Address) (*Conn, *Conn) {
	a, b := newHalf(), newHalf()
	return &Conn{in: a, out: b, local: near, remote: far}, &Conn{in: b, out: a, local: far, remote: near}
}

// Read waits for bytes. After the other end was closed it returns io.EOF, and after a Reset
// ECONNRESET.
func (c *Conn) Read(b []byte) (int, error) {
	if c.read.isPassed() {
		return 0, os.ErrDeadlineExceeded
	}
	for {
		n, again, err := c.in.read(b)
		if n > 0 || err != nil || len(b) == 0 {
			return n, err
		}
		select {
		case <-again:
		case <-c.read.passed():
			return 0, os.ErrDeadlineExceeded
		}
	}
}

// Write waits for room while the buffer in its direction is full.
func (c *Conn) Write(b []byte) (written int, err error) {
	if c.write.isPassed() {
		return 0, os.ErrDeadlineExceeded
	}
	for {
		n, again, err := c.out.write(b)
		written += n
		b = b[n:]
		if len(b) == 0 || err != nil {
			return written, err
		}
		select {
		case <-again:
		case <-c.write.passed():
			return written, os.ErrDeadlineExceeded
		}
	}
}

// Close closes the connection. The other end can still read what was written before.
func (c *Conn) Close() error {
	c.in.fail(net.ErrClosed, syscall.ECONNRESET)
	c.out.fail(io.EOF, net.ErrClosed)
	return nil
}

// Reset breaks the connection for both ends.
func (c *Conn) Reset() {
	c.in.reset()
	c.out.reset()
}

// Cut swallows everything from now on, in both directions and for ever, as a network does that has
// lost the way between the two ends. Neither end is told. What is written goes into the buffer
// until that is full, and nothing arrives, not even that the other end was closed.
func (c *Conn) Cut() {
	c.in.cutOff()
	c.out.cutOff()
}

// LocalAddr returns this end's address.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the other end's address.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	c.read.set(t)
	c.write.set(t)
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.read.set(t)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.write.set(t)
	return nil
}

// A half carries bytes in one direction.
type half struct {
	mu      sync.Mutex
	bytes   []byte
	changed chan struct{} // closed and made anew with each change

	// cut says that nothing gets through any more.
	cut bool

	// Once they are set, nothing more can be written, and nothing more read than bytes.
	readErr, writeErr error
}

func newHalf() *half { return &half{changed: make(chan struct{})} }

// change wakes everybody who waits. The caller holds mu.
func (h *half) change() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// read returns bytes, an error, or a channel to wait on.
func (h *half) read(b []byte) (n int, again <-chan struct{}, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.readErr == net.ErrClosed {
		return 0, nil, h.readErr
	}
	if h.cut {
		return 0, h.changed, nil
	}
	if len(h.bytes) > 0 {
		n = copy(b, h.bytes)
		h.bytes = h.bytes[n:]
		h.change()
		return n, nil, nil
	}
	return 0, h.changed, h.readErr
}

// write takes as many bytes as there is room for. If that isn't all, it returns a channel to wait
// on.
func (h *half) write(b []byte) (n int, again <-chan struct{}, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.writeErr != nil {
		return 0, nil, h.writeErr
	}
	n = min(len(b), bufferSize-len(h.bytes))
	if n > 0 {
		h.bytes = append(h.bytes, b[:n]...)
		h.change()
	}
	return n, h.changed, nil
}

// fail sets what reading and writing return from now on, unless they fail already. When the half is
// cut, an end learns only that it was closed itself.
func (h *half) fail(read, write error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.readErr == nil && !h.cut || read == net.ErrClosed {
		h.readErr = read
	}
	if h.writeErr == nil && !h.cut || write == net.ErrClosed {
		h.writeErr = write
	}
	h.change()
}

// cutOff lets nothing through any more. What was written and not read is lost.
func (h *half) cutOff() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cut = true
	h.change()
}

// reset breaks the direction, and throws away the bytes that weren't read.
func (h *half) reset() {
	h.fail(syscall.ECONNRESET, syscall.ECONNRESET)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bytes = nil
}

// A deadline is a time after which waiting ends. It can be moved while somebody waits.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	done  chan struct{} // closed when the time has passed
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.done // it has just passed
	}
	d.timer = nil
	passed := isClosed(d.done)
	switch wait := time.Until(t); {
	case t.IsZero():
		if passed {
			d.done = nil
		}
	case wait <= 0:
		if d.done == nil {
			d.done = make(chan struct{})
		}
		if !passed {
			close(d.done)
		}
	default:
		if d.done == nil || passed {
			d.done = make(chan struct{})
		}
		done := d.done
		d.timer = time.AfterFunc(wait, func() { close(done) })
	}
}

// passed returns a channel that is closed when the deadline passes. It makes the channel if there
// is none yet, so that a deadline can be set while somebody waits.
func (d *deadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done == nil {
		d.done = make(chan struct{})
	}
	return d.done
}

func (d *deadline) isPassed() bool { return isClosed(d.passed()) }

func isClosed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}
