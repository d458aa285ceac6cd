package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/e17579a5/raft/examples/redis/kv"
	"github.com/e17579a5/raft/examples/redis/resp"
	"github.com/e17579a5/raft/examples/shards/shard"
)

// Commands over all keys ask each shard, here or at a server that has it. They don't see all shards at one
// moment.

const (
	lookAgain = 20 * time.Millisecond // after that the table is looked at again
	// shardsAtOnce bounds how many shards are asked at a time, and scanShards how many one SCAN asks.
	shardsAtOnce = 32
	scanShards   = 2*shardsAtOnce - 1
	// finerBits is by how much the positions in a shard are finer than the places of a cursor.
	finerBits = kv.PositionBits - shard.PlaceBits
)

// everywhere carries out a command over all keys.
func (c *connection) everywhere(command *kv.Command, args [][]byte) {
	switch {
	case c.open:
		c.refuse("ERR '" + command.Name + "' looks at all keys, and can't be part of a transaction over shards")
	case len(c.server.shards.Table().Shards) == 0:
		c.refuse(unfounded)
	case command.Name == "scan":
		c.answer(func() { c.scan(args) })
	case command.Name == "dbsize":
		c.answer(c.countKeys)
	case command.Name == "keys":
		c.answer(func() { c.listKeys(args) })
	default:
		c.refuse("ERR '" + command.Name + "' changes all keys, and there is no such command over shards")
	}
}

// scan carries out SCAN. The cursor is one over all shards (shard.Cursor). All keys of a shard are listed, in the
// order of their positions, before those of the next one. A place of the cursor stands for several positions,
// of which no key is left out: those that were listed before the cursor may be listed once more.
func (c *connection) scan(args [][]byte) {
	shards := len(c.server.shards.Table().Shards)
	number, err := strconv.ParseUint(string(args[1]), 10, 64)
	if err != nil {
		c.out.Error("ERR invalid cursor")
		return
	}
	at, ok := shard.CursorOf(number, shards)
	if !ok {
		c.out.Error(fmt.Sprintf("ERR invalid cursor: there are %d shards", shards))
		return
	}
	var found scanned
	for wave, asked := 1, 0; asked < scanShards; wave *= 2 {
		n := min(wave, shards-at.Shard)
		parts, failure := c.scanParts(at, n, args)
		if failure != nil {
			c.out.Buf = append(c.out.Buf, failure...)
			return
		}
		for i, part := range parts {
			found.add(part.keys, part.count)
			if part.more {
				found.reply(c, shard.Cursor{Shard: at.Shard + i, Place: part.next})
				return
			}
			if found.count >= wanted(args) {
				n = i + 1
				break
			}
		}
		asked += n
		if at, ok = at.After(n, shards); !ok {
			found.reply(c, shard.Cursor{})
			return
		}
		if found.count >= wanted(args) {
			break
		}
	}
	found.reply(c, at)
}

// wanted returns how many keys a SCAN is to list. What is wrong with its options, the shard says.
func wanted(args [][]byte) int {
	for i := 2; i+1 < len(args); i += 2 {
		if n, err := strconv.Atoi(string(args[i+1])); err == nil && strings.EqualFold(string(args[i]), "count") {
			return n
		}
	}
	return 10
}

// scanned is keys that were found, as they are replied.
type scanned struct {
	keys  []byte
	count int
}

func (s *scanned) add(keys []byte, count int) {
	s.keys, s.count = append(s.keys, keys...), s.count+count
}

// reply replies the keys, and where the scan goes on. The cursor of the beginning says that it has ended.
func (s *scanned) reply(c *connection, next shard.Cursor) {
	c.out.Array(2)
	c.out.Text(strconv.FormatUint(next.Number(), 10))
	s.list(c)
}

// list replies the keys.
func (s *scanned) list(c *connection) {
	if len(s.keys) > kv.MaxReplies {
		c.out.Error(fmt.Sprintf("ERR the reply would take more than %d bytes", kv.MaxReplies))
		return
	}
	c.out.Array(s.count)
	c.out.Buf = append(c.out.Buf, s.keys...)
}

// A scanPart is what SCAN has found in one shard.
type scanPart struct {
	scanned
	next uint64 // the place where the scan goes on
	more bool   // it goes on in this shard
}

// scanParts scans n shards at a time: the cursor's from its place on, and those that follow. failure is an error
// as it is replied.
func (c *connection) scanParts(at shard.Cursor, n int, args [][]byte) (parts []scanPart, failure []byte) {
	parts = make([]scanPart, n)
	failures := make([][]byte, n)
	inParallel(n, func(i int) {
		place := uint64(0)
		if i == 0 {
			place = at.Place
		}
		parts[i], failures[i] = c.scanPart(at.Shard+i, place, args)
	})
	for _, failed := range failures {
		if failed != nil {
			return nil, failed
		}
	}
	return parts, nil
}

// scanPart scans a shard from a place on, until it can name a later place.
func (c *connection) scanPart(number int, place uint64, args [][]byte) (part scanPart, failure []byte) {
	position := place << finerBits
	for {
		ask := append([][]byte{args[0], strconv.AppendUint(nil, position, 10)}, args[2:]...)
		reply := c.server.inShard(number, c.asks(), ask)
		if _, failed := resp.Failure(reply); failed {
			return part, reply
		}
		// *2, $n, the position where it goes on, and the keys.
		_, rest, _ := bytes.Cut(reply, endOfLine)
		_, rest, _ = bytes.Cut(rest, endOfLine)
		next, keys, _ := bytes.Cut(rest, endOfLine)
		position, _ = strconv.ParseUint(string(next), 10, 64)
		count, items, _ := resp.Unwrap(keys)
		part.add(items, count)
		if position == 0 {
			return part, nil
		}
		if part.next = position >> finerBits; part.next > place {
			part.more = true
			return part, nil
		}
	}
}

var endOfLine = []byte("\r\n")

// countKeys carries out DBSIZE. A client of Redis Cluster adds up what all servers say, so each of them counts
// the shards that it leads; for a plain client, all are counted.
func (c *connection) countKeys() {
	shards := c.server.shards.Table().Shards
	counts, failures := make([]int64, len(shards)), make([][]byte, len(shards))
	inParallel(len(shards), func(i int) {
		if at := c.server.where(i); !c.server.plain && (at.node == nil || at.node.Leadership().Role != "leader") {
			return
		}
		reply := c.server.inShard(i, c.asks(), [][]byte{[]byte("dbsize")})
		n, err := strconv.ParseInt(strings.TrimSpace(string(reply[1:])), 10, 64)
		if counts[i] = n; err != nil {
			failures[i] = reply
		}
	})
	sum := int64(0)
	for i := range shards {
		if sum += counts[i]; failures[i] != nil {
			c.out.Buf = append(c.out.Buf, failures[i]...)
			return
		}
	}
	c.out.Int(sum)
}

// listKeys carries out KEYS.
func (c *connection) listKeys(args [][]byte) {
	replies := make([][]byte, len(c.server.shards.Table().Shards))
	inParallel(len(replies), func(i int) { replies[i] = c.server.inShard(i, c.asks(), args) })
	var found scanned
	for _, reply := range replies {
		count, items, ok := resp.Unwrap(reply)
		if !ok {
			c.out.Buf = append(c.out.Buf, reply...)
			return
		}
		found.add(items, count)
	}
	found.list(c)
}

// inParallel calls f for 0 to n-1, several at a time.
func inParallel(n int, f func(int)) {
	var working sync.WaitGroup
	next := make(chan int)
	for range min(n, shardsAtOnce) {
		working.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	working.Wait()
}

// An asking is how a client wants an answer.
type asking struct {
	ctx      context.Context
	protocol int
	stale    bool
}

func (c *connection) asks() asking { return asking{c.server.context(), c.out.Proto, c.readonly} }

// inShard runs a command that reads all keys of a shard, and returns the reply. While the shard moves, it is
// looked for.
func (s *server) inShard(number int, a asking, args [][]byte) []byte {
	for {
		var reply []byte
		var err error
		if at := s.where(number); at.node != nil {
			reply, err = s.readShard(at, a, args)
		} else {
			reply, err = s.askShard(number, a, args)
		}
		if err == nil {
			return reply
		}
		if !s.looksAgain(a.ctx, err) {
			w := resp.Writer{}
			w.Error(failureText(err))
			return w.Buf
		}
	}
}

// readShard runs a command at a shard that is here.
func (s *server) readShard(at place, a asking, args [][]byte) (reply []byte, err error) {
	err = s.readAt(a.ctx, at, a.stale, func(r *kv.Reader) {
		w := resp.Writer{Proto: a.protocol}
		r.Run(kv.Lookup(args[0]), args, &w)
		reply = w.Buf
	})
	return reply, err
}

// readAt reads the state of a shard that is here. f may be called several times; the last one counts.
func (s *server) readAt(ctx context.Context, at place, stale bool, f func(*kv.Reader)) error {
	if err := s.freshAt(ctx, at, stale); err != nil {
		return err
	}
	for {
		early, err := at.machine.View(wall(), f)
		if err != nil || !early || stale {
			return err
		}
		if err := tick(ctx, at); err != nil {
			return err
		}
	}
}

// inOneShard carries out SHARD number command: what SCAN, DBSIZE and KEYS say of one shard, and a MULTI that takes
// all keys of the shard. A server that carries commands out for a client asks others so. It isn't sent on.
func (c *connection) inOneShard(args [][]byte) {
	s := c.server
	if s.shards == nil || s.plain {
		c.out.Error(noCluster)
		return
	}
	shards := len(s.shards.Table().Shards)
	number, err := strconv.Atoi(string(args[1]))
	command := kv.Lookup(args[2])
	switch {
	case shards == 0:
		c.out.Error(unfounded)
	case err != nil || number < 0 || number >= shards:
		c.out.Error(fmt.Sprintf("ERR there are shards 0 to %d", shards-1))
	case bytes.EqualFold(args[2], []byte("multi")) && len(args) == 3:
		c.whole = true
		c.multi()
	case command == nil || command.First > 0 || command.Write || keyless(command):
		c.out.Error("ERR SHARD is for SCAN, DBSIZE, KEYS and MULTI")
	case !command.Takes(len(args) - 2):
		c.out.Error("ERR wrong number of arguments for '" + command.Name + "' command")
	default:
		at := s.where(number)
		if at.node == nil {
			first, _ := shard.Run(number, shards)
			c.out.Error(s.elsewhere(number, first))
			return
		}
		reply, err := s.readShard(at, c.asks(), args[2:])
		if err != nil {
			c.out.Error(failureText(err))
			return
		}
		c.out.Buf = append(c.out.Buf, reply...)
	}
}
