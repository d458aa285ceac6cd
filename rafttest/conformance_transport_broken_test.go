package rafttest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
	"github.com/e17579a5/raft/wire"
)

// A crooked transport behaves like the transport within it, except for the functions that are set.
type crooked struct {
	raft.Transport
	ended   chan struct{} // closed when the test is over: calls that are to hang hang until then
	handler raft.Handler

	start      func(self raft.Server, handler raft.Handler) error
	setServers func([]raft.Server)
	send       func(wire.Message)
	openStream func(ctx context.Context, to raft.ServerID) (io.WriteCloser, error)
	close      func() error
	receive    func(wire.Message)
	stream     func(from raft.ServerID, reader io.ReadCloser)
}

func (c *crooked) Start(self raft.Server, handler raft.Handler) error {
	c.handler = handler
	if c.start != nil {
		return c.start(self, (*crookedHandler)(c))
	}
	return c.Transport.Start(self, (*crookedHandler)(c))
}

func (c *crooked) SetServers(servers []raft.Server) {
	if c.setServers != nil {
		c.setServers(servers)
		return
	}
	c.Transport.SetServers(servers)
}

func (c *crooked) Send(m wire.Message) {
	if c.send != nil {
		c.send(m)
		return
	}
	c.Transport.Send(m)
}

func (c *crooked) OpenStream(ctx context.Context, to raft.ServerID) (io.WriteCloser, error) {
	if c.openStream != nil {
		return c.openStream(ctx, to)
	}
	return c.Transport.OpenStream(ctx, to)
}

func (c *crooked) Close() error {
	if c.close != nil {
		return c.close()
	}
	return c.Transport.Close()
}

// A crookedHandler gets what arrives at a crooked transport and hands it on.
type crookedHandler crooked

func (h *crookedHandler) Receive(m wire.Message) {
	if h.receive != nil {
		h.receive(m)
		return
	}
	h.handler.Receive(m)
}

func (h *crookedHandler) Stream(from raft.ServerID, reader io.ReadCloser) {
	if h.stream != nil {
		h.stream(from, reader)
		return
	}
	h.handler.Stream(from, reader)
}

func (h *crookedHandler) Lost(id raft.ServerID) { h.handler.Lost(id) }

// TestTransportConvicts demands that TestTransport convicts each crooked transport of the rule that
// it breaks.
func TestTransportConvicts(t *testing.T) {
	inline := rafttest.TransportOptions{Inline: true, MaxMemory: 8 << 20, Patience: time.Second}
	queued := rafttest.TransportOptions{MaxMemory: 8 << 20, Patience: time.Second}
	for name, c := range map[string]struct {
		flaw    func(c *crooked)
		options rafttest.TransportOptions
		want    string // in the explanation
	}{
		"changes what arrives":                    {changesData, inline, "messages: the entries of a message arrived as entries"},
		"drops a field":                           {dropsField, inline, "messages: a message arrived as VoteRequest"},
		"changes what it is lent":                 {changesLent, inline, "messages: Send has changed what it was lent"},
		"uses its memory again":                   {usesMemoryAgain, inline, "messages: a message that was received has changed since"},
		"swaps neighbours":                        {swaps, inline, "messages arrived after a later one, want hardly any"},
		"loses most":                              {losesMost, inline, "of 2000 messages have arrived, want most of them"},
		"waits for an absent receiver":            {waitsForAbsent, inline, "which is not there, hasn't returned within 1s"},
		"waits for a receiver that hangs":         {func(*crooked) {}, queued, "hung receiver: Send from a3 to b3 hasn't returned within 1s"},
		"queues without a bound":                  {func(c *crooked) { queues(c, false) }, queued, "hung receiver: a receiver that hangs costs"},
		"lets all wait for a receiver that hangs": {func(c *crooked) { queues(c, true) }, queued, "hung receiver: while b3 hangs: a message from a3 to c3"},
		"answers nobody it doesn't know":          {answersKnownOnly, inline, "answers: a message from a4 to stranger4, sent again and again for 1s, hasn't arrived"},
		"knows its first servers only":            {knowsFirstOnly, inline, "servers: a message from a5 to late5"},
		"asks only servers that it knows":         {asksKnownOnly, inline, "address: to a server that isn't named: a message from a12 to stranger12"},
		"takes a break for the end":               {takesBreakForEnd, inline, "broken stream: the reader of a stream returned io.EOF when its context ended"},
		"loses the end of a stream":               {losesEnd, inline, "stream: a stream of 3145728 bytes arrived as"},
		"mistakes the opener of a stream":         {mistakesOpener, inline, "got a stream from a6 as one from somebody"},
		"buffers a whole stream":                  {buffersStream, inline, "slow stream: 256 MiB were written to a stream that nobody reads"},
		"accepts what nobody gets":                {learnsNothing, inline, "slow stream: writing to a stream whose context has ended returned no error"},
		"writes less than it was given":           {writesLess, inline, "stream: writing to a stream: Write of 100001 bytes returned 100000 and no error"},
		"closes beside a call of the handler":     {closesBeside, inline, "returned while 1 calls to its handler were under way"},
		"writes to broken streams":                {learnsNothing, inline, "a Write that fails, to a stream of which its context ended hasn't returned within 1s"},
		"opens streams to nowhere":                {opensToNowhere, inline, "no stream: OpenStream to a server that is gone, and a Write to it, returned no error"},
		"closes once":                             {closesOnce, inline, "absent receiver: Close of gone2 failed: closed already"},
		"starts after Close":                      {startsAfterClose, inline, "close: Start after Close returned nil, want an error"},
		"closes later":                            {closesLater, inline, "after Close had returned"},
		"never closes":                            {neverCloses, inline, "Close of unstarted10 hasn't returned within 1s"},
		"never hands a stream over":               {neverHandsOver, inline, "or the handler's call, hasn't returned within 1s"},
		"keeps a reader waiting":                  {keepsReader, inline, "reading from a stream of which its context ended hasn't returned"},
		"keeps a writer waiting":                  {keepsWriter, inline, "Write to a stream whose context has ended hasn't returned"},
		"breaks no stream":                        {breaksNone, inline, "hasn't returned within 1s"},
		"never gives up a stream":                 {neverGivesUp, inline, "no stream: OpenStream to a server that is gone hasn't returned"},
	} {
		t.Run(name, func(t *testing.T) { convicts(t, c.flaw, c.options, c.want) })
	}
	t.Run("can't join", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			err := rafttest.TestTransport(func(raft.ServerID) (raft.Transport, string, error) {
				return nil, "", io.ErrNoProgress
			}, inline)
			require.ErrorContains(t, err, "joining a0 failed: "+io.ErrNoProgress.Error())
		})
	})
}

// copied returns a message with its own copy of the entries' data.
func copied(m wire.Message) wire.Message {
	if m.Kind() != wire.KindAppendRequest {
		return m
	}
	request := m.AppendRequest()
	request.Entries = slices.Clone(request.Entries)
	for i := range request.Entries {
		request.Entries[i].Data = bytes.Clone(request.Entries[i].Data)
	}
	return request.Message().In(m.Envelope)
}

func changesData(c *crooked) {
	c.send = func(m wire.Message) {
		m = copied(m)
		if entries := m.Entries(); len(entries) > 1 {
			entries[0].Data[0]++
		}
		c.Transport.Send(m)
	}
}

func dropsField(c *crooked) {
	c.send = func(m wire.Message) {
		if m.Kind() == wire.KindVoteRequest {
			request := m.VoteRequest()
			request.Transfer = false
			m = request.Message().In(m.Envelope)
		}
		c.Transport.Send(m)
	}
}

func changesLent(c *crooked) {
	c.send = func(m wire.Message) {
		c.Transport.Send(copied(m))
		if entries := m.Entries(); len(entries) > 1 {
			entries[0].Data[0]++
		}
	}
}

// usesMemoryAgain hands over entries in memory that it uses again for the next message.
func usesMemoryAgain(c *crooked) {
	buffer := make([]byte, 1<<20)
	c.receive = func(m wire.Message) {
		m = copied(m)
		entries := m.Entries()
		for i, used := 0, 0; i < len(entries); i++ {
			size := copy(buffer[used:], entries[i].Data)
			entries[i].Data = buffer[used : used+size]
			used += size
		}
		c.handler.Receive(m)
	}
}

// swaps sends each second message before the message that precedes it.
func swaps(c *crooked) {
	var held *wire.Message
	c.send = func(m wire.Message) {
		if held == nil || held.To != m.To {
			held = &m
			return
		}
		c.Transport.Send(m)
		c.Transport.Send(*held)
		held = nil
	}
}

func losesMost(c *crooked) {
	sent := 0
	c.send = func(m wire.Message) {
		if sent++; sent%3 == 0 {
			c.Transport.Send(m)
		}
	}
}

func waitsForAbsent(c *crooked) {
	c.send = func(m wire.Message) {
		if m.To == "nobody" {
			<-c.ended
		}
		c.Transport.Send(m)
	}
}

// queues sends from goroutines. Either each receiver has one, with a queue that is too long, or all
// of them share one, with a short queue.
func queues(c *crooked, shared bool) {
	var mu sync.Mutex
	lanes := map[raft.ServerID]chan wire.Message{}
	c.send = func(m wire.Message) {
		mu.Lock()
		defer mu.Unlock()
		to, room := m.To, 1<<16
		if shared {
			to, room = "", 16
		}
		lane := lanes[to]
		if lane == nil {
			lane = make(chan wire.Message, room)
			lanes[to] = lane
			go func() {
				for {
					select {
					case m := <-lane:
						c.Transport.Send(m)
					case <-c.ended:
						return
					}
				}
			}()
		}
		select {
		case lane <- m:
		default:
		}
	}
}

func answersKnownOnly(c *crooked) {
	var mu sync.Mutex
	known := map[raft.ServerID]bool{}
	c.setServers = func(servers []raft.Server) {
		mu.Lock()
		defer mu.Unlock()
		clear(known)
		for _, s := range servers {
			known[s.ID] = true
		}
	}
	c.send = func(m wire.Message) {
		mu.Lock()
		defer mu.Unlock()
		if known[m.To] {
			c.Transport.Send(m)
		}
	}
}

// asksKnownOnly drops a message that names an address, unless it goes to a server that SetServers
// named.
func asksKnownOnly(c *crooked) {
	answersKnownOnly(c)
	send := c.send
	c.send = func(m wire.Message) {
		if m.ToAddress != "" {
			send(m)
		} else {
			c.Transport.Send(m)
		}
	}
}

func knowsFirstOnly(c *crooked) {
	answersKnownOnly(c)
	set := c.setServers
	c.setServers = func(servers []raft.Server) {
		set(servers)
		c.setServers = func([]raft.Server) {}
	}
}

// takesBreakForEnd returns io.EOF to the reader, whatever has ended the stream.
func takesBreakForEnd(c *crooked) {
	c.stream = func(from raft.ServerID, reader io.ReadCloser) { c.handler.Stream(from, endingReader{reader}) }
}

type endingReader struct{ io.ReadCloser }

func (r endingReader) Read(b []byte) (int, error) {
	n, err := r.ReadCloser.Read(b)
	if err != nil {
		err = io.EOF
	}
	return n, err
}

// losesEnd doesn't send the last piece that was written before Close.
func losesEnd(c *crooked) {
	c.openStream = func(ctx context.Context, to raft.ServerID) (io.WriteCloser, error) {
		w, err := c.Transport.OpenStream(ctx, to)
		return &losingWriter{WriteCloser: w}, err
	}
}

type losingWriter struct {
	io.WriteCloser
	held []byte
}

func (w *losingWriter) Write(b []byte) (int, error) {
	if len(b) > 1 {
		held := w.held
		w.held = bytes.Clone(b)
		_, err := w.WriteCloser.Write(held)
		return len(b), err
	}
	return w.WriteCloser.Write(b)
}

func mistakesOpener(c *crooked) {
	c.stream = func(_ raft.ServerID, reader io.ReadCloser) { c.handler.Stream("somebody", reader) }
}

// buffersStream takes large pieces without waiting for the receiver.
func buffersStream(c *crooked) {
	c.openStream = func(ctx context.Context, to raft.ServerID) (io.WriteCloser, error) {
		w, err := c.Transport.OpenStream(ctx, to)
		return bufferingWriter{w}, err
	}
}

type bufferingWriter struct{ io.WriteCloser }

func (w bufferingWriter) Write(b []byte) (int, error) {
	if len(b) >= 1<<20 {
		return len(b), nil
	}
	return w.WriteCloser.Write(b)
}

// writesLess says that it has written one byte less of a large piece, and no error.
func writesLess(c *crooked) {
	c.openStream = func(ctx context.Context, to raft.ServerID) (io.WriteCloser, error) {
		w, err := c.Transport.OpenStream(ctx, to)
		return shortWriter{w}, err
	}
}

type shortWriter struct{ io.WriteCloser }

func (w shortWriter) Write(b []byte) (int, error) {
	n, err := w.WriteCloser.Write(b)
	if len(b) > 1<<16 {
		n--
	}
	return n, err
}

// closesBeside returns from Close while the handler of a stream is about to end.
func closesBeside(c *crooked) {
	c.stream = func(from raft.ServerID, reader io.ReadCloser) { c.handler.Stream(from, slowlyClosed{reader}) }
	c.close = func() error {
		go func() { _ = c.Transport.Close() }() // it waits for the handler, and never fails
		return nil
	}
}

type slowlyClosed struct{ io.ReadCloser }

func (r slowlyClosed) Close() error {
	<-time.After(10 * time.Millisecond)
	return r.ReadCloser.Close()
}

// learnsNothing accepts what is written to a stream that has broken.
func learnsNothing(c *crooked) {
	c.openStream = func(ctx context.Context, to raft.ServerID) (io.WriteCloser, error) {
		w, err := c.Transport.OpenStream(ctx, to)
		return ignorantWriter{w}, err
	}
}

type ignorantWriter struct{ io.WriteCloser }

func (w ignorantWriter) Write(b []byte) (int, error) {
	_, _ = w.WriteCloser.Write(b)
	return len(b), nil
}

func opensToNowhere(c *crooked) {
	c.openStream = func(ctx context.Context, to raft.ServerID) (io.WriteCloser, error) {
		w, err := c.Transport.OpenStream(ctx, to)
		if err != nil {
			return nowhere{}, nil
		}
		return w, nil
	}
}

type nowhere struct{}

func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (nowhere) Close() error                { return nil }

func closesOnce(c *crooked) {
	closed := false
	c.close = func() error {
		if closed {
			return errors.New("closed already")
		}
		closed = true
		return c.Transport.Close()
	}
}

func startsAfterClose(c *crooked) {
	closed := false
	c.close = func() error {
		closed = true
		return c.Transport.Close()
	}
	c.start = func(self raft.Server, handler raft.Handler) error {
		if closed {
			return nil
		}
		return c.Transport.Start(self, handler)
	}
}

// closesLater returns from Close before anything is closed.
func closesLater(c *crooked) {
	c.close = func() error {
		time.AfterFunc(20*time.Millisecond, func() { _ = c.Transport.Close() }) // Close of this transport never fails
		return nil
	}
}

// neverCloses hangs in Close if Start was never called.
func neverCloses(c *crooked) {
	c.close = func() error {
		if c.handler == nil {
			<-c.ended
		}
		return c.Transport.Close()
	}
}
