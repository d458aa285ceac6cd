package tcp

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A peer is another server: the queue of the messages that wait to be sent to it, and the goroutine
// that sends them.
//
// A peer that SetServers names is a member: it lives until the transport is closed, or until
// SetServers leaves it out. Any other peer is a guest. A guest has connected by itself, or was a
// member; it is dialled only when there is something to send to it. It is forgotten once no
// connection to it or from it is left, and shown out when it is silent for long or another guest
// needs its place.
type peer struct {
	transport *Transport
	id        raft.ServerID
	// ctx ends when the transport is closed or the peer is forgotten.
	ctx    context.Context
	cancel context.CancelFunc
	came   time.Time

	// wake holds a token when there is something new for the sender. A token comes with the first
	// message of an empty queue, and with everything that sets dial or makes the peer a member or a
	// guest.
	wake chan struct{}

	// member says whether SetServers names the peer. It changes under mu.
	member atomic.Bool

	mu      sync.Mutex
	address string
	queue   queue
	bulk    bulk
	in      *link     // the newest connection for messages that the peer has dialled
	bulkIn  *link     // the newest connection for large messages that the peer has dialled
	out     *link     // the connection for messages that this side has dialled
	source  string    // from where it has connected the last time
	spoke   time.Time // when it has sent a message the last time
	used    time.Time // when something was written to it, or it has hung up, the last time
	limited bool      // reading from in has a deadline, since the peer was a guest when that was set

	// dial says that a connection is wanted although no message is queued.
	dial bool
	// retryAt is when the peer may be dialled again. Until then, messages to it are dropped.
	retryAt time.Time
	// moved says that out was broken because the peer has another address now.
	moved bool
	// failures counts the attempts in a row that failed, or whose connection did not last.
	failures int
	// connections counts the connections for messages that this side has dialled, attempts those
	// that failed, and unreached the messages that were dropped until the next attempt.
	connections, attempts, unreached uint64
	// suspect says that a connection has broken: if an attempt to dial is refused now, the process
	// of the peer is gone. reported says that the handler was told so, and that the peer hasn't
	// been seen since.
	suspect, reported bool
}

func newPeer(t *Transport, s raft.Server) *peer {
	ctx, cancel := context.WithCancel(t.ctx)
	empty := queue{maxBytes: t.options.QueueBytes, maxMessages: t.options.QueueMessages, maxFrame: t.options.MaxFrame}
	return &peer{
		transport: t, id: s.ID, address: s.Address, ctx: ctx, cancel: cancel, came: time.Now(),
		wake: make(chan struct{}, 1), queue: empty, bulk: bulk{wake: make(chan struct{}, 1), queue: empty},
	}
}

// rouse wakes the sender.
func (p *peer) rouse() { rouse(p.wake) }

// rouse puts a token into a channel that has room for one.
func rouse(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// appoint makes the peer a member at an address.
func (p *peer) appoint(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.member.Load() && p.address == address {
		return
	}
	moved := p.address != address
	p.address = address
	p.member.Store(true)
	p.limit()
	if moved && p.out != nil {
		p.moved = true
		abandon(p.out.raw) // the sender sees it break
	}
	if moved && p.bulk.out != nil {
		abandon(p.bulk.out.raw)
	}
	if moved || p.out == nil {
		p.dial, p.retryAt, p.failures = true, time.Time{}, 0
	}
	p.rouse()
}

// dismiss makes the peer a guest.
func (p *peer) dismiss() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.member.Load() {
		return
	}
	now := time.Now()
	p.suspect, p.used, p.spoke = false, now, now
	p.member.Store(false)
	p.limit()
	p.rouse()
}

// server returns the ID and the address of the peer.
func (p *peer) server() raft.Server {
	p.mu.Lock()
	defer p.mu.Unlock()
	return raft.Server{ID: p.id, Address: p.address}
}

// send queues a message, or drops it.
func (p *peer) send(m *wire.Message) {
	p.mu.Lock()
	if !p.retryAt.IsZero() && time.Now().Before(p.retryAt) {
		p.unreached++
		p.mu.Unlock()
		return
	}
	inBulk := p.inBulk(m)
	var first bool
	var dropped error
	if inBulk {
		first, dropped = p.bulk.add(m)
	} else {
		first, dropped = p.queue.add(m)
	}
	p.mu.Unlock()
	switch {
	case first && inBulk:
		p.transport.again(p.runBulk)
	case first:
		p.rouse()
	}
	if dropped != nil {
		p.note(slog.LevelWarn, "tcp: drop messages", dropped)
	}
}

// attach notes a connection that the peer has dialled. It takes the place of an earlier one. It
// also proves that the peer is there: it can be dialled again at once.
func (p *peer) attach(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.in != nil {
		abandon(p.in.raw)
	}
	p.in, p.source = l, sourceOf(l.raw)
	p.limit()
	p.retryAt, p.failures, p.suspect, p.reported = time.Time{}, 0, false, false
	p.dial = p.member.Load() && p.out == nil
	p.rouse()
}

// asks has this side dial the peer, so that it can be answered. The peer has dialled only to ask
// something; if it isn't known otherwise, it is forgotten soon.
func (p *peer) asks() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retryAt, p.dial = time.Time{}, p.dial || p.out == nil
	p.rouse()
}

// detach notes the end of a connection that the peer had dialled. If this side has no connection to
// a member, it dials, in order to learn whether the peer's process is gone. If it has one, the end
// of that connection will tell.
func (p *peer) detach(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bulkIn == l {
		p.bulkIn = nil
		p.rouse()
	}
	if p.in != l {
		return // another connection has taken its place
	}
	p.in, p.used = nil, time.Now()
	if p.member.Load() && p.out == nil && !p.reported {
		p.suspect, p.dial = true, true
	}
	p.rouse()
}

// note logs something about the peer.
func (p *peer) note(level slog.Level, text string, err error, more ...slog.Attr) {
	l := line{level: level, text: text, err: err, more: append([]slog.Attr{peerAttr(p.id)}, more...)}
	if p.member.Load() {
		l.about = p.id
	}
	p.transport.log.put(l)
}

// run is the sender. It ends when the transport is closed or the peer is forgotten.
func (p *peer) run() {
	ended := true
	defer func() {
		if ended { // by a function of the user's
			p.failed(errEnded, time.Now())
			p.transport.again(p.run)
		}
	}()
	for {
		l := p.connect()
		if l == nil {
			ended = false
			p.forget()
			return
		}
		p.use(l)
	}
}

// use serves a connection, and notes its end.
func (p *peer) use(l *link) {
	cause := errEnded
	defer func() {
		p.transport.release(l.raw)
		p.disconnected(cause)
	}()
	cause = p.serve(l, &lane{wake: p.wake, take: p.take, lapse: p.lapse})
}

// A lane is where messages wait for one connection.
type lane struct {
	wake chan struct{}
	take func(beat *pulse) []byte
	// lapse returns a channel that tells when the connection has had its time, and how much of that
	// is left. The channel is nil if it is to stay.
	lapse      func() (<-chan time.Time, time.Duration)
	asksAlways bool // with each batch, whether the other side has read it
}

// connect waits until there is a reason to connect, and connects. It returns nil when the sender is
// to end.
func (p *peer) connect() *link {
	t := p.transport
	for p.ctx.Err() == nil {
		to, wait, wanted := p.destination()
		if !wanted || wait > 0 {
			if !wanted && p.forgotten() {
				return nil
			}
			if p.idle(wait); p.forgotten() {
				return nil
			}
			continue
		}
		start := time.Now()
		l, err := t.dial(p.ctx, forMessages, to)
		switch {
		case err == nil && p.connected(l, to.Address):
			p.note(slog.LevelInfo, "tcp: connected", nil, slog.String("address", to.Address), slog.Duration("took", time.Since(start)))
			return l
		case err == nil:
			t.release(l.raw)
			continue
		case p.ctx.Err() != nil:
			return nil
		}
		p.note(slog.LevelWarn, "tcp: can't connect", err, slog.String("address", to.Address))
		if p.failed(err, start) {
			p.lost()
		}
	}
	return nil
}

// lost tells the handler that the process of the peer seems to be gone.
func (p *peer) lost() {
	err := guard("Handler", func() error {
		p.transport.handler.Lost(p.id)
		return nil
	})
	if err != nil {
		p.note(slog.LevelError, "tcp: can't say that a server is lost", err)
	}
}

// idle waits until there is something new for the sender. With a wait above 0, it waits no longer
// than that.
func (p *peer) idle(wait time.Duration) {
	var passed <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		passed = timer.C
	}
	select {
	case <-p.wake:
	case <-passed:
	case <-p.ctx.Done():
	}
}

// destination returns where to connect to, and how long to wait before that. wanted says whether
// there is a reason to connect at all.
func (p *peer) destination() (to raft.Server, wait time.Duration, wanted bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.address == "" || !p.dial && p.queue.empty() {
		p.queue.clear() // without an address, nothing in it can be sent
		p.dial = false
		return raft.Server{}, 0, false
	}
	if !p.retryAt.IsZero() {
		wait = time.Until(p.retryAt)
	}
	if wait <= 0 {
		p.dial = false // if it is set again from now on, that is for another attempt
	}
	return raft.Server{ID: p.id, Address: p.address}, wait, true
}

// connected notes a connection to the address. It returns false if the peer has moved to another
// one meanwhile.
func (p *peer) connected(l *link, address string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.address != address {
		return false
	}
	l.since = time.Now()
	p.out, p.used = l, l.since
	p.connections++
	if p.source == "" {
		p.source = sourceOf(l.raw)
	}
	p.dial, p.suspect, p.reported, p.retryAt = false, false, false, time.Time{}
	return true
}

// suspectAttempts is how often a server whose connection broke is dialled, even if there is nothing
// to send, in order to learn whether its process is gone.
const suspectAttempts = 4

// failed notes that the attempt that began at start didn't reach the peer. It returns whether its
// process seems to be gone.
func (p *peer) failed(err error, start time.Time) (gone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attempts++
	p.queue.clear()
	p.backOff(start)
	if p.suspect && connectionRefused(err) {
		p.suspect, p.reported = false, true
		return true
	}
	// A process that ends doesn't close everything at the same moment: its listener may outlive its
	// connections.
	p.dial = p.dial || p.suspect && p.failures <= suspectAttempts
	return false
}

// disconnected notes that the connection to the peer has broken. A member is dialled again, in
// order to learn whether its process is gone: at once if the connection had lasted, otherwise after
// a pause.
func (p *peer) disconnected(cause error) {
	if p.ctx.Err() != nil {
		return
	}
	p.note(slog.LevelWarn, "tcp: connection lost", cause)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.moved: // this side has broken it
		p.moved = false
	case time.Since(p.out.since) >= p.transport.options.MaxBackoff:
		p.failures = 0
	default:
		p.backOff(time.Now())
	}
	p.out = nil
	p.dial = p.member.Load()
	p.suspect = p.member.Load()
	p.rouse()
}

// backOff sets the time of the next attempt to connect, counted from the beginning of the last one:
// an attempt that took long was a pause itself.
func (p *peer) backOff(last time.Time) {
	wait := pause(p.transport.options.MinBackoff, p.transport.options.MaxBackoff, p.failures)
	p.failures++
	p.retryAt = last.Add(wait - rand.N(wait/2+1))
}

// pause returns the time between two attempts after so many failures.
func pause(least, most time.Duration, failures int) time.Duration {
	for ; failures > 0 && least <= most/2; failures-- {
		least *= 2
	}
	if failures > 0 {
		return most
	}
	return least
}

// wsaConnectionRefused is the number of ECONNREFUSED on Windows, which package syscall doesn't map.
const wsaConnectionRefused = syscall.Errno(10061)

func connectionRefused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, wsaConnectionRefused)
}

var errStopped = errors.New("the transport was closed")

// serve writes what is queued, until the connection breaks or the transport is closed.
func (p *peer) serve(l *link, from *lane) (err error) {
	beat := &pulse{
		timeout: p.transport.options.WriteTimeout, always: from.asksAlways,
		rouse: func() { rouse(from.wake) }, giveUp: func() { abandon(l.raw) },
	}
	broken := make(chan error, 1)
	heeding := make(chan struct{})
	go func() {
		defer close(heeding)
		err := errEnded
		defer func() { broken <- err }()
		err = guard("Conn", func() error { return beat.heed(l.reader) })
	}()
	defer func() {
		abandon(l.raw)
		<-heeding
		if silent := beat.end(); silent != nil {
			err = silent // it closed the connection, and nothing else is wrong
		}
	}()
	for {
		batch := from.take(beat) // the keys that are looked at next are those of its messages, or newer
		batch = l.renew(p.transport.keyring(), batch)
		if asks := beat.sending(len(batch)); len(batch)+len(asks) > 0 {
			if err := guard("Conn", func() error { return write(l.conn, batch, asks) }); err != nil {
				return err
			}
			continue
		}
		lapse, left := from.lapse()
		if left <= 0 {
			return errIdle
		}
		select {
		case <-from.wake:
		case <-lapse:
		case err := <-broken:
			return err
		case <-p.ctx.Done():
			return errStopped
		}
	}
}

// write writes a batch and the few bytes behind it, by one call unless the batch had to be copied for
// that, and is large.
func write(conn net.Conn, batch, behind []byte) error {
	if len(batch) <= maxSpare || cap(batch)-len(batch) >= len(behind) {
		batch, behind = append(batch, behind...), nil
	}
	_, err := conn.Write(batch)
	if err == nil && len(behind) > 0 {
		_, err = conn.Write(behind)
	}
	return err
}

// take returns the frames that are to be written next.
func (p *peer) take(*pulse) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.member.Load() && !p.queue.empty() {
		p.used = time.Now()
	}
	return p.queue.take()
}
