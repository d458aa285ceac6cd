package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/e17579a5/raft/examples/redis/kv"
	"github.com/e17579a5/raft/examples/redis/resp"
)

// These are in bytes.
const (
	readSize  = 4 << 10  // what a connection reads at a time at first
	readMost  = 64 << 10 // and at most, unless a command is longer
	flushFrom = 64 << 10 // replies are sent when they are that many, or when no command is left
	keepSize  = 1 << 20  // buffers that are larger are given back when they are empty
)

// A connection is one client. One goroutine reads commands, runs them and sends the replies. What
// came in one read runs as one batch.
type connection struct {
	server *server
	net    net.Conn
	info   *clientInfo
	parser resp.Parser
	input  []byte // what was read and isn't done yet
	filled bool   // the last read has filled input, so that there is probably more
	out    resp.Writer
	args   [][]byte // of the commands in input
	batch  batch

	patience time.Time // the deadline for what is written

	readonly bool // reads may be a little old
	ending   bool // after the replies
	failed   bool // and the client may still be sending

	// A transaction is open between MULTI and EXEC.
	open    bool
	broken  bool // one of its commands was refused
	queued  []queued
	bytes   int  // of the queued commands
	pinned  bool // its keys, or those that are watched, have this slot, if there are shards
	slot    int
	whole   bool // any slot of the same shard will do
	watches []kv.Watch
	// upstream is the connection to another server at which keys are watched; nil for none.
	upstream *upstream
}

// A queued command waits for EXEC.
type queued struct {
	command *kv.Command
	args    [][]byte
}

// serve serves a client until it or the server ends. It returns why.
func (c *connection) serve() error {
	c.input = make([]byte, 0, readSize)
	for !c.ending {
		if err := c.fill(); err != nil {
			return err
		}
		if err := c.work(); err != nil {
			return err
		}
	}
	return nil
}

// fill waits for more bytes.
func (c *connection) fill() error {
	if wants := c.parser.Wants(); cap(c.input) < wants || len(c.input) == cap(c.input) || c.filled && cap(c.input) < readMost {
		// A long string gets its room at once, but no more than twice what has come of it.
		larger := make([]byte, len(c.input), max(2*cap(c.input), min(wants, 4*len(c.input))))
		copy(larger, c.input)
		c.input = larger
	}
	if err := c.server.await(c); err != nil {
		return err
	}
	n, err := c.net.Read(c.input[len(c.input):cap(c.input)])
	c.input = c.input[:len(c.input)+n]
	c.filled = len(c.input) == cap(c.input)
	c.info.seen(n)
	if n > 0 {
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return c.server.silent()
	}
	return err
}

// work runs the commands that are there, and sends the replies.
func (c *connection) work() error {
	c.info.busy.Store(true)
	defer c.info.busy.Store(false)
	at, commands := 0, int64(0)
	for !c.ending {
		from := len(c.args)
		args, n, err := c.parser.Next(c.input[at:], c.args)
		if err != nil {
			c.run()
			c.out.Error("ERR Protocol error: " + err.Error())
			c.ending, c.failed = true, true
			break
		}
		if n == 0 {
			break
		}
		at += n
		if c.args = args; len(args) > from {
			c.info.latest(args[from], commands == 0)
			commands++
			c.command(args[from:len(args):len(args)])
		}
		if c.batch.full() {
			c.run()
		}
		if len(c.out.Buf) >= flushFrom {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	c.run()
	c.server.commands.Add(commands)
	c.input = c.input[:copy(c.input, c.input[at:])]
	if len(c.input) == 0 && cap(c.input) > keepSize {
		c.input = make([]byte, 0, readSize)
	}
	clear(c.args)
	c.args = c.args[:0]
	return c.flush()
}

// flush sends the replies so far.
func (c *connection) flush() error {
	if len(c.out.Buf) == 0 {
		return nil
	}
	// The deadline is moved now and then, since that costs: a client has three quarters of the time
	// at least.
	var err error
	if now := time.Now(); c.patience.Sub(now) < c.server.limits.write*3/4 {
		c.patience = now.Add(c.server.limits.write)
		err = c.net.SetWriteDeadline(c.patience)
	}
	if err == nil {
		_, err = c.net.Write(c.out.Buf)
	}
	if c.out.Buf = c.out.Buf[:0]; cap(c.out.Buf) > keepSize {
		c.out.Buf = nil
	}
	return err
}

// run runs the batch. When the outcome isn't known, the client is told so, and no more of what it
// has sent is done: it can't be sure in which state its commands would find the store.
func (c *connection) run() {
	if !c.server.run(c) {
		c.ending, c.failed = true, true
	}
}

// These bound how long a connection that has failed is still read.
const (
	lingerTime  = time.Second
	lingerBytes = 64 << 20
)

// linger reads what a client was about to send when the server ended the connection, and throws it
// away. If it were left unread, TCP would throw away the last reply instead, which says what is wrong.
func (c *connection) linger() {
	half, ok := c.net.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.net.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c.net, lingerBytes) // until the client ends, too
}

// command takes the next command. It runs at once, or is put into the batch, or is queued.
func (c *connection) command(args [][]byte) {
	command := kv.Lookup(args[0])
	if command == nil {
		c.local(args)
		return
	}
	if !command.Takes(len(args)) {
		c.refuse("ERR wrong number of arguments for '" + command.Name + "' command")
		return
	}
	if !c.route(command, args) {
		return
	}
	switch {
	case c.open:
		c.queue(command, args)
	case keyless(command):
		c.answer(func() { kv.RunLocal(command, args, &c.out) })
	default:
		c.batch.add(command, args)
	}
}

// answer lets f reply to a command that isn't for the store, after the replies to those before it.
func (c *connection) answer(f func()) {
	if c.run(); !c.ending {
		f()
	}
}

// refuse replies an error. A transaction that is open will not run.
func (c *connection) refuse(text string) {
	c.answer(func() {
		c.broken = c.open
		c.out.Error(text)
	})
}

// queue keeps a command for EXEC.
func (c *connection) queue(command *kv.Command, args [][]byte) {
	size := 0
	for _, arg := range args {
		size += len(arg) + argumentBytes
	}
	if c.bytes+size > c.server.limits.request {
		c.refuse(fmt.Sprintf("ERR a transaction takes at most %d bytes (-max-request)", c.server.limits.request))
		return
	}
	c.bytes += size
	own := make([][]byte, len(args))
	for i, arg := range args {
		own[i] = append([]byte{}, arg...)
	}
	c.queued = append(c.queued, queued{command, own})
	c.answer(func() { c.out.Simple("QUEUED") })
}

// multi, exec, discard, watch and unwatch are the commands of transactions.
func (c *connection) multi() {
	if c.open {
		c.out.Error("ERR MULTI calls can not be nested")
		return
	}
	c.open = true
	c.out.Simple("OK")
}

func (c *connection) exec() {
	if !c.open {
		c.out.Error("ERR EXEC without MULTI")
		return
	}
	if c.broken {
		c.out.Error("EXECABORT Transaction discarded because of previous errors.")
	} else {
		c.runTransaction()
	}
	c.forget()
}

// runTransaction runs what was queued. Without a key, there is no place to run it at but here.
func (c *connection) runTransaction() {
	if c.server.shards != nil && !c.pinned {
		c.out.Array(len(c.queued))
		for _, q := range c.queued {
			kv.RunLocal(q.command, q.args, &c.out)
		}
	} else if c.routeExec() {
		c.batch.transact(c.watches, c.queued)
		c.run()
	}
}

// forget ends a transaction.
func (c *connection) forget() {
	c.open, c.broken, c.queued, c.bytes, c.watches = false, false, nil, 0, nil
	c.pinned, c.whole = false, false
	c.unwatchElsewhere()
}

func (c *connection) discard() {
	if !c.open {
		c.out.Error("ERR DISCARD without MULTI")
		return
	}
	c.forget()
	c.out.Simple("OK")
}

func (c *connection) watch(args [][]byte) {
	if c.open {
		c.out.Error("ERR WATCH inside MULTI is not allowed")
		return
	}
	size := 0
	for _, key := range args[1:] {
		size += len(key) + 2*argumentBytes // beside the key there is its version
	}
	if c.bytes+size > c.server.limits.request {
		c.out.Error(fmt.Sprintf("ERR the keys that a client watches take at most %d bytes (-max-request)", c.server.limits.request))
		return
	}
	if c.server.shards != nil {
		slot, refusal := slotOf(watchedKeys, args)
		if c.pinned && slot != c.slot {
			refusal = crossSlot
		}
		if !c.routeTo(slot, refusal) {
			return
		}
		c.pinned, c.slot = true, slot
	}
	c.bytes += size
	c.server.watch(c, args[1:])
	c.batch.at = place{}
}

// watchedKeys says where WATCH has its keys.
var watchedKeys = &kv.Command{First: 1, Last: -1, Step: 1}

func (c *connection) unwatch() {
	c.watches, c.bytes, c.pinned = nil, 0, false
	c.unwatchElsewhere()
	c.out.Simple("OK")
}

// reason turns the end of a connection into an error to tell; nil if there is nothing to tell.
func reason(err error) error {
	for _, usual := range []error{io.EOF, io.ErrClosedPipe, net.ErrClosed, errClosing, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, usual) {
			return nil
		}
	}
	return err
}
