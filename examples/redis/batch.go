package main

import (
	"context"
	"errors"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/redis/kv"
)

// These bound what one entry of the log takes of a pipeline. The rest comes into the next ones.
const (
	batchCommands = 1024
	batchBytes    = 256 << 10
	// argumentBytes is what an argument counts for beside its own bytes.
	argumentBytes = 8
)

// A batch is the commands of a client that run together, in the order in which they came. If one of
// them writes, all become one entry of the log. Otherwise they are read from the state.
type batch struct {
	commands []queued
	at       place // of their keys, if there are shards
	bytes    int
	writes   bool
	// transaction is what EXEC runs. It is alone in its batch.
	transaction []queued
	watches     []kv.Watch
	entry       kv.Batch
}

func (b *batch) add(command *kv.Command, args [][]byte) {
	b.commands = append(b.commands, queued{command, args})
	for _, arg := range args {
		b.bytes += len(arg) + argumentBytes
	}
	b.writes = b.writes || command.Write
}

func (b *batch) transact(watches []kv.Watch, commands []queued) {
	b.transaction, b.watches, b.writes = commands, watches, true
}

func (b *batch) full() bool { return len(b.commands) >= batchCommands || b.bytes >= batchBytes }

func (b *batch) empty() bool { return len(b.commands) == 0 && !b.writes }

func (b *batch) reset() {
	clear(b.commands)
	b.commands, b.bytes, b.writes, b.transaction, b.watches = b.commands[:0], 0, false, nil, nil
}

// encode writes the batch as an entry.
func (b *batch) encode(protocol int) []byte {
	b.entry.Reset(protocol, wall())
	for _, q := range b.commands {
		b.entry.Add(q.command, q.args)
	}
	if len(b.commands) == 0 {
		b.entry.Transact(b.watches, len(b.transaction))
		for _, q := range b.transaction {
			b.entry.Add(q.command, q.args)
		}
	}
	return b.entry.Seal()
}

// wall returns the time by this server's clock, in milliseconds since 1970.
func wall() int64 { return time.Now().UnixMilli() }

// run runs the batch of a connection and replies to it. It returns false if the connection must
// end, because the outcome isn't known.
func (s *server) run(c *connection) bool {
	b := &c.batch
	if b.empty() {
		return true
	}
	defer b.reset()
	ctx := s.context()
	for {
		ok, err := s.attempt(ctx, c)
		if err == nil {
			return ok
		}
		pinned := b.transaction != nil && (c.upstream != nil || len(b.watches) > 0)
		if !s.plain || pinned || b.writes && !errors.Is(err, raft.ErrNotApplied) || !s.looksAgain(ctx, err) {
			return c.fail(err, max(1, len(b.commands)))
		}
		b.at = s.where(b.at.shard)
	}
}

// attempt runs the batch where its place is. After an error nothing is replied to those commands that are left
// in the batch.
func (s *server) attempt(ctx context.Context, c *connection) (ok bool, err error) {
	b := &c.batch
	if c.upstream != nil && b.transaction != nil || c.place().node == nil {
		return s.forward(ctx, c)
	}
	if !b.writes {
		if err := s.freshAt(ctx, c.place(), c.readonly); err != nil {
			return false, err
		}
		return s.read(ctx, c), nil
	}
	replies, err := c.place().node.Propose(ctx, b.encode(c.out.Proto))
	b.entry.Shrink()
	if err == nil {
		c.out.Buf = append(c.out.Buf, replies...)
	}
	return true, err
}

// read reads the commands of a batch from the state of this server, which is fresh.
func (s *server) read(ctx context.Context, c *connection) bool {
	commands, at := c.batch.commands, c.place()
	for len(commands) > 0 {
		from, done := len(c.out.Buf), 0
		early, err := at.machine.View(wall(), func(r *kv.Reader) {
			for done < len(commands) && len(c.out.Buf) < flushFrom {
				r.Run(commands[done].command, commands[done].args, &c.out)
				done++
			}
		})
		if err != nil {
			c.out.Buf = c.out.Buf[:from]
			c.out.Error("ERR the store of this server has failed: " + err.Error())
			return false
		}
		if early && !c.readonly {
			// This server's clock says that a key has expired, and the cluster doesn't know yet. Once
			// the log says so, no other server shows the key any more.
			c.out.Buf = c.out.Buf[:from]
			if err := tick(ctx, at); err != nil {
				return c.fail(err, len(commands))
			}
			continue
		}
		commands = commands[done:]
		if len(commands) > 0 && c.flush() != nil {
			return false
		}
	}
	return true
}

// freshAt waits until the state of a place may be read.
func (s *server) freshAt(ctx context.Context, at place, stale bool) error {
	if stale {
		_, err := at.node.StaleRead(ctx, s.limits.stale)
		return err
	}
	return at.node.LeaseRead(ctx) // without -lease it is Read
}

// tick puts the time by this server's clock into the log.
func tick(ctx context.Context, at place) error {
	var entry kv.Batch
	entry.Reset(2, wall())
	_, err := at.node.Propose(ctx, entry.Seal())
	if err != nil && !errors.Is(err, raft.ErrNotApplied) {
		return errors.Join(raft.ErrNotApplied, err) // of a tick nothing hangs on whether it was applied
	}
	return err
}

// watch remembers the states of keys for a transaction.
func (s *server) watch(c *connection, keys [][]byte) {
	at := c.place()
	if at.node == nil || c.upstream != nil {
		s.watchElsewhere(c, keys)
		return
	}
	if err := at.node.LeaseRead(s.context()); err != nil {
		c.fail(err, 1)
		return
	}
	_, err := at.machine.View(wall(), func(r *kv.Reader) {
		for _, key := range keys {
			c.watches = append(c.watches, r.Watch(key))
		}
	})
	if err != nil {
		c.out.Error("ERR the store of this server has failed: " + err.Error())
		return
	}
	c.out.Simple("OK")
}

// The first words of the errors that only a replicated store has.
//
// Clients know TRYAGAIN: the command wasn't carried out and never will be, and many of them send it
// again by themselves. They must not do so after UNKNOWN, and don't know it, so they don't.
const (
	codeNotApplied = "TRYAGAIN"
	codeUnknown    = "UNKNOWN"
)

// fail replies that commands failed. It returns false if the connection must end.
func (c *connection) fail(err error, commands int) bool {
	if c.batch.writes && !errors.Is(err, raft.ErrNotApplied) {
		c.out.Error(codeUnknown + " the command, and those sent with it, may be carried out or not, now or later: " + err.Error())
		return false
	}
	text := failureText(err)
	for range commands {
		c.out.Error(text)
	}
	return true
}

// failureText returns the reply to a command that wasn't carried out.
func failureText(err error) string {
	switch {
	case errors.Is(err, raft.ErrTooLarge):
		return "ERR " + err.Error()
	case errors.Is(err, raft.ErrFull):
		return "OOM not carried out: " + err.Error()
	}
	return codeNotApplied + " not carried out: " + err.Error()
}
