package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/redis/resp"
)

// What a plain client asks for keys that are elsewhere is sent to a server that has them, as a client of Redis
// Cluster would send it. Several commands of which one writes are sent as one transaction: so they are one entry
// there, too. What the other server hasn't carried out, because it doesn't have the shard or can't reach a
// majority, is sent to the next one. What it may have carried out is never sent twice, unless it only reads.

// errElsewhere says that no server that was asked has the shard. Nothing was carried out.
var errElsewhere = fmt.Errorf("%w: no server that has the shard can be reached", raft.ErrNotApplied)

// looksAgain says whether it makes sense to look anew who has a shard, after an error by which nothing was carried
// out. It waits a moment.
func (s *server) looksAgain(ctx context.Context, err error) bool {
	gone := errors.Is(err, raft.ErrClosed) || errors.Is(err, raft.ErrRemoved) || errors.Is(err, errElsewhere)
	if !gone || s.closing.Load() {
		return false
	}
	select {
	case <-time.After(lookAgain):
		return true
	case <-ctx.Done():
		return false
	}
}

// others returns where clients find the other servers that have a shard, in any order.
func (s *server) others(number int) (addresses []string) {
	for _, other := range s.shards.Others(number) {
		addresses = append(addresses, other.Client)
	}
	rand.Shuffle(len(addresses), func(i, j int) { addresses[i], addresses[j] = addresses[j], addresses[i] })
	return addresses
}

// notCarriedOut says whether a reply is an error by which another server may carry the command out.
func notCarriedOut(reply []byte) bool {
	text, _ := resp.Failure(reply)
	code, _, _ := strings.Cut(text, " ")
	return code == "MOVED" || code == codeNotApplied || code == "CLUSTERDOWN"
}

// unknown says whether a reply is the error after which a server ends the connection.
func unknown(reply []byte) bool {
	text, _ := resp.Failure(reply)
	return strings.HasPrefix(text, codeUnknown+" ")
}

// forward has another server carry out the batch, and replies what it does. The errors are those of attempt.
func (s *server) forward(ctx context.Context, c *connection) (ok bool, err error) {
	b := &c.batch
	switch {
	case c.upstream != nil && b.transaction != nil:
		return s.transactAt(ctx, c, c.upstream)
	case len(b.watches) > 0:
		return false, fmt.Errorf("%w: the shard has moved since WATCH", raft.ErrNotApplied)
	}
	err = errElsewhere
	for _, address := range s.others(b.at.shard) {
		u, failed := s.upstreams.get(ctx, route{address, c.out.Proto})
		if failed != nil {
			continue
		}
		if b.transaction != nil || b.writes && len(b.commands) > 1 && b.bytes <= s.limits.request {
			ok, err = s.transactAt(ctx, c, u)
		} else {
			ok, err = s.pipelineAt(ctx, c, u)
		}
		if !errors.Is(err, errElsewhere) {
			return ok, err
		}
	}
	return false, err
}

// lost is the error of a batch whose connection to another server has ended before all replies came.
func (b *batch) lost(err error) error {
	if b.writes {
		return fmt.Errorf("%w: the server that has the shard didn't answer: %w", raft.ErrOutcomeUnknown, err)
	}
	return errElsewhere
}

// pipelineAt sends the commands of a batch, and replies what comes. Those with a reply leave the batch. If one of them
// writes, each is sent when the one before has its reply: otherwise one could be refused, and be sent again after
// those behind it were carried out.
func (s *server) pipelineAt(ctx context.Context, c *connection, u *upstream) (ok bool, err error) {
	b := &c.batch
	for len(b.commands) > 0 {
		n := len(b.commands)
		if b.writes {
			n = 1
		}
		var commands []byte
		for _, q := range b.commands[:n] {
			commands = encodeArgs(commands, q.args)
		}
		for reply, err := range u.ask(ctx, commands, n) {
			switch {
			case err != nil:
				return false, b.lost(err)
			case notCarriedOut(reply):
				return false, errElsewhere
			}
			c.out.Buf = append(c.out.Buf, reply...)
			if unknown(reply) {
				return false, nil
			}
			if b.commands = b.commands[1:]; len(c.out.Buf) >= flushFrom && c.flush() != nil {
				return false, nil
			}
		}
	}
	s.upstreams.put(u)
	return true, nil
}

// transactAt sends a transaction, or the commands of a batch as one.
func (s *server) transactAt(ctx context.Context, c *connection, u *upstream) (ok bool, err error) {
	b := &c.batch
	queue, commands := b.transaction, encode(nil, "multi")
	if queue == nil { // its keys may have several slots of the shard
		queue, commands = b.commands, encode(nil, "shard", strconv.Itoa(b.at.shard), "multi")
	}
	for _, q := range queue {
		commands = encodeArgs(commands, q.args)
	}
	commands = encode(commands, "exec")
	var refusal, last []byte // the first error of those before EXEC, and the reply to EXEC
	for reply, err := range u.ask(ctx, commands, len(queue)+2) {
		if err != nil {
			return false, b.lost(err)
		}
		if _, failed := resp.Failure(last); failed && refusal == nil {
			refusal = last
		}
		last = reply
	}
	if text, _ := resp.Failure(last); strings.HasPrefix(text, "EXECABORT") {
		last = refusal
	}
	if u != c.upstream {
		s.upstreams.put(u)
	}
	if notCarriedOut(last) {
		return false, errElsewhere
	}
	_, items, isArray := resp.Unwrap(last)
	switch {
	case b.transaction != nil:
		c.out.Buf = append(c.out.Buf, last...)
	case isArray:
		c.out.Buf = append(c.out.Buf, items...)
	case unknown(last):
		c.out.Buf = append(c.out.Buf, last...)
	default:
		c.out.Buf = append(c.out.Buf, bytes.Repeat(last, len(queue))...)
	}
	return !unknown(last), nil
}

// watchElsewhere watches keys at another server, by a connection that is kept for the transaction.
func (s *server) watchElsewhere(c *connection, keys [][]byte) {
	ctx, number := s.context(), c.batch.at.shard
	if len(c.watches) > 0 {
		c.out.Error(failureText(errors.New("the shard has moved since the last WATCH")))
		return
	}
	if c.upstream != nil {
		reply, _ := askOnce(ctx, c.upstream, watchCommand(keys))
		c.watched(reply)
		return
	}
	for {
		for _, address := range s.others(number) {
			u, err := s.upstreams.get(ctx, route{address, c.out.Proto})
			if err != nil {
				continue
			}
			if reply, err := askOnce(ctx, u, watchCommand(keys)); err == nil && !notCarriedOut(reply) {
				c.upstream = u
				c.watched(reply)
				return
			}
			u.close()
		}
		if !s.looksAgain(ctx, errElsewhere) {
			c.out.Error(failureText(errElsewhere))
			return
		}
		if c.batch.at = s.where(number); c.batch.at.node != nil {
			s.watch(c, keys)
			return
		}
	}
}

// watched replies what another server has said to WATCH. If that is an error, nothing is watched there.
func (c *connection) watched(reply []byte) {
	if _, failed := resp.Failure(reply); failed || reply == nil {
		c.unwatchElsewhere()
		reply = []byte("-" + failureText(errElsewhere) + "\r\n")
	}
	c.out.Buf = append(c.out.Buf, reply...)
}

// unwatchElsewhere lets go of the connection at which keys are watched. What is watched ends with it.
func (c *connection) unwatchElsewhere() {
	if c.upstream != nil {
		c.upstream.close()
		c.upstream = nil
	}
}

func watchCommand(keys [][]byte) []byte {
	return encodeArgs(nil, append([][]byte{[]byte("watch")}, keys...))
}

// askOnce sends a command that has one reply.
func askOnce(ctx context.Context, u *upstream, command []byte) (reply []byte, err error) {
	for reply, err = range u.ask(ctx, command, 1) {
	}
	return reply, err
}

// askShard asks others that have a shard for a command that reads all of its keys.
func (s *server) askShard(number int, a asking, args [][]byte) ([]byte, error) {
	command := encodeArgs(nil, append([][]byte{[]byte("shard"), strconv.AppendInt(nil, int64(number), 10)}, args...))
	for _, address := range s.others(number) {
		u, err := s.upstreams.get(a.ctx, route{address, a.protocol})
		if err != nil {
			continue
		}
		if reply, err := askOnce(a.ctx, u, command); err == nil {
			s.upstreams.put(u)
			if !notCarriedOut(reply) {
				return reply, nil
			}
		}
	}
	return nil, errElsewhere
}
