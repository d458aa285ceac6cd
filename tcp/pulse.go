package tcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"
)

// The other end of a connection may be gone without a word: its host lost its power, or the network
// drops everything between the two. What is written then goes into the buffer of the socket, which
// takes heartbeats for minutes, and TCP itself gives up after a quarter of an hour. Keep-alive
// doesn't help, since TCP is busy with what isn't acknowledged. So the other side proves on the
// connection itself that it reads: it answers with receipts.
//
//	sender                                receiver
//	  │── frames ────────────────────────▶ │
//	  │── frames, and a question ────────▶ │
//	  │ ◀──────────── receipt: bytes read ─│
//
// A question is a frame without a body. A receipt says how many bytes behind the handshake were
// read. The receiver writes one for each question, and one by itself for each receiptEvery bytes,
// so that a slow connection that moves on is told from a dead one, also within a large frame.
const (
	receiptSize  = 8
	receiptEvery = 64 << 10
)

// question is a frame without a body.
var question = func() []byte {
	frame := make([]byte, frameHeader)
	sealFrame(frame)
	return frame
}()

// A pulse tells whether the other side reads what is sent to it. If it has read nothing for the
// timeout, although there was something to read all the time, the connection is given up.
//
// A question goes out with what is written, and at most every quarter of the timeout. What is
// written between two questions is covered by the next one. So the last quarter is the longest that
// something waits to be asked for, and a receipt may be under way for the other three.
type pulse struct {
	timeout time.Duration
	always  bool   // a question goes out with each batch; and the sender is woken when all was read
	rouse   func() // wakes the sender, which then calls sending
	giveUp  func() // closes the connection

	mu sync.Mutex
	// written is how many bytes were handed to the connection, and read is how many of them the
	// other side has read for certain. While they differ, since is when they began to, or when the
	// last receipt came if that was later.
	written, read uint64
	since         time.Time
	// asked is when the last question was written; owed says that something was written since.
	asked time.Time
	owed  bool

	timer  *time.Timer
	due    time.Time // when the timer fires; zero if it doesn't
	silent bool      // the other side was given up
	ended  bool
}

// sending notes that so many bytes, which may be none, will be written. It returns a question that is
// to be written behind them, if one is due.
func (p *pulse) sending(bytes int) (asks []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if bytes == 0 && !p.owed {
		return nil
	}
	now := time.Now()
	if p.always && bytes > 0 || now.Sub(p.asked) >= p.timeout/4 {
		asks = question
		p.asked, p.owed = now, false
	} else if p.owed = true; bytes == 0 {
		return nil
	}
	if p.written == p.read {
		p.since = now
	}
	p.written += uint64(bytes + len(asks))
	p.arm(now)
	return asks
}

// receipt notes how many bytes the other side has read. Any other number than one that is possible
// is an error.
func (p *pulse) receipt(read uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if read < p.read || read > p.written {
		return fmt.Errorf("%w: a receipt for %d bytes, of %d that were sent and %d that were read before", errFrame, read, p.written, p.read)
	}
	if read > p.read {
		p.read, p.since = read, time.Now()
	}
	if p.always && p.read == p.written {
		p.rouse()
	}
	return nil
}

// progress returns how many bytes were handed to the connection, and how many of them the other side
// has read. All messages in those were handled.
func (p *pulse) progress() (written, read uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.written, p.read
}

// arm sets the timer for the next thing to do. The caller holds mu.
func (p *pulse) arm(now time.Time) {
	if p.ended || p.read == p.written {
		return
	}
	next := p.since.Add(p.timeout)
	if ask := p.asked.Add(p.timeout / 4); p.owed && ask.After(now) && ask.Before(next) {
		next = ask
	}
	switch {
	case p.timer == nil:
		p.timer = time.AfterFunc(next.Sub(now), p.look)
	case p.due.IsZero() || next.Before(p.due):
		p.timer.Reset(next.Sub(now))
	default:
		return
	}
	p.due = next
}

// look is called by the timer.
func (p *pulse) look() {
	now := time.Now()
	p.mu.Lock()
	p.due = time.Time{}
	gone := !p.ended && p.read < p.written && now.Sub(p.since) >= p.timeout
	if gone {
		p.silent, p.ended = true, true
	}
	asks := !p.ended && p.owed && now.Sub(p.asked) >= p.timeout/4
	p.arm(now)
	p.mu.Unlock()
	switch {
	case gone:
		p.giveUp()
	case asks:
		p.rouse()
	}
}

// end stops the timer. It returns the error that gave the connection up, if one has.
func (p *pulse) end() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if p.timer != nil {
		p.timer.Stop()
	}
	if p.silent {
		return fmt.Errorf("%w for %v of what was sent to it", errSilent, p.timeout)
	}
	return nil
}

// errSilent says that the other end of a connection is gone, or hangs.
var errSilent = errors.New("the other side has read nothing")

// heed takes the receipts from a connection, until it breaks.
func (p *pulse) heed(reader *frameReader) error {
	for {
		body, err := reader.read()
		if err != nil {
			return unexpected(err)
		}
		if len(body) != receiptSize {
			return fmt.Errorf("%w: a receipt of %d bytes", errFrame, len(body))
		}
		if err := p.receipt(binary.LittleEndian.Uint64(body)); err != nil {
			return err
		}
	}
}

// A receipts reads from a connection, and tells the other side how much was read.
type receipts struct {
	link       *link
	timeout    time.Duration // of writing one
	read, told uint64
	frame      [frameHeader + receiptSize]byte
}

// giveReceipts has a connection answer with receipts from now on. Its handshake is over.
func (l *link) giveReceipts(timeout time.Duration) {
	l.receipts = &receipts{link: l, timeout: timeout, read: uint64(l.reader.end - l.reader.next)}
	l.reader.conn = l.receipts
}

// Read implements io.Reader.
func (r *receipts) Read(b []byte) (int, error) {
	if r.read-r.told >= receiptEvery {
		if err := r.tell(r.read); err != nil { // all frames that have come were handled
			return 0, err
		}
	}
	if idle := r.link.idle; idle > 0 {
		if err := r.link.raw.SetReadDeadline(time.Now().Add(idle)); err != nil {
			return 0, err
		}
	}
	n, err := r.link.conn.Read(b)
	r.read += uint64(n)
	return n, err
}

// answer writes a receipt for what was handled so far. Frames may have come that were not.
func (r *receipts) answer() error {
	return r.tell(r.read - uint64(r.link.reader.end-r.link.reader.next))
}

// tell writes a receipt. The other side reads it soon, if it keeps to the protocol.
func (r *receipts) tell(read uint64) error {
	if err := r.link.raw.SetWriteDeadline(time.Now().Add(r.timeout)); err != nil {
		return err
	}
	binary.LittleEndian.PutUint64(r.frame[frameHeader:], read)
	sealFrame(r.frame[:])
	r.told = read
	_, err := r.link.conn.Write(r.frame[:])
	return err
}
