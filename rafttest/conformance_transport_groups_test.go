package rafttest_test

import (
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
	"github.com/e17579a5/raft/wire"
)

// TestTransportConvictsBesideGroups demands that TestTransport convicts a transport that can't carry
// what the groups of one process say at the same time.
func TestTransportConvictsBesideGroups(t *testing.T) {
	inline := rafttest.TransportOptions{Inline: true, MaxMemory: 8 << 20, Patience: time.Second}
	for name, c := range map[string]struct {
		flaw func(c *crooked)
		want string
	}{
		"drops the group":                   {dropsGroup, "messages: a message arrived as"},
		"sends for one goroutine at a time": {sendsForOne, "senders: 250 of 2000 messages have arrived, want most of them"},
		"swaps what one goroutine sends":    {swapsOfGroup, "senders: from one goroutine of 8: "},
		"mixes groups up":                   {mixesGroups, "senders: a message has arrived for the group "},
		"mixes streams up":                  {mixesStreams, "streams: the head of one of several streams"},
	} {
		t.Run(name, func(t *testing.T) { convicts(t, c.flaw, inline, c.want) })
	}
}

func dropsGroup(c *crooked) {
	c.send = func(m wire.Message) {
		m.Group = ""
		c.Transport.Send(m)
	}
}

// sendsForOne drops what is sent while another message is being sent.
func sendsForOne(c *crooked) {
	var mu sync.Mutex
	c.send = func(m wire.Message) {
		if !mu.TryLock() {
			return
		}
		defer mu.Unlock()
		if m.Group != "" {
			<-time.After(time.Microsecond)
		}
		c.Transport.Send(m)
	}
}

// swapsOfGroup sends each second message of a group before the message that precedes it.
func swapsOfGroup(c *crooked) {
	type way struct {
		to    raft.ServerID
		group raft.GroupID
	}
	var mu sync.Mutex
	held := make(map[way]wire.Message)
	c.send = func(m wire.Message) {
		if m.Group == "" {
			c.Transport.Send(m)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		w := way{m.To, m.Group}
		if before, found := held[w]; found {
			c.Transport.Send(m)
			c.Transport.Send(before)
			delete(held, w)
			return
		}
		held[w] = m
	}
}

// mixesGroups sends answers in another group.
func mixesGroups(c *crooked) {
	c.send = func(m wire.Message) {
		if m.Group != "" && m.Kind() == wire.KindHeartbeatResponse {
			m.Group += "'"
		}
		c.Transport.Send(m)
	}
}

// mixesStreams writes to the first stream what is to go to a later one.
func mixesStreams(c *crooked) {
	var first io.Writer
	c.openStream = func(ctx context.Context, to raft.ServerID) (io.WriteCloser, error) {
		w, err := c.Transport.OpenStream(ctx, to)
		if first == nil {
			first = w
		}
		return mixedWriter{w, first}, err
	}
}

type mixedWriter struct {
	io.WriteCloser
	first io.Writer
}

func (w mixedWriter) Write(b []byte) (int, error) {
	if len(b) > 1 {
		return w.first.Write(b)
	}
	return w.WriteCloser.Write(b)
}
