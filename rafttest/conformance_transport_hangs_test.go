package rafttest_test

import (
	"context"
	"io"

	"github.com/e17579a5/raft"
)

// These transports hang where TestTransport demands an end: each at one place.

func neverOpens(c *crooked) {
	c.openStream = func(context.Context, raft.ServerID) (io.WriteCloser, error) {
		<-c.ended
		return nil, io.ErrClosedPipe
	}
}

func neverHandsOver(c *crooked) {
	c.stream = func(_ raft.ServerID, reader io.ReadCloser) {
		<-c.ended
		_ = reader.Close()
	}
}

func neverGivesUp(c *crooked) {
	c.openStream = func(ctx context.Context, to raft.ServerID) (io.WriteCloser, error) {
		w, err := c.Transport.OpenStream(ctx, to)
		if err != nil {
			<-c.ended
		}
		return w, err
	}
}

func neverEnds(c *crooked)   { writers(c, false, true) }
func keepsWriter(c *crooked) { writers(c, true, false) }
func keepsReader(c *crooked) { readers(c, true, false) }
func breaksNone(c *crooked)  { readers(c, false, true) }

// writers makes the writers of streams hang in a Write that fails, or in Close.
func writers(c *crooked, write, closing bool) {
	c.openStream = func(ctx context.Context, to raft.ServerID) (io.WriteCloser, error) {
		w, err := c.Transport.OpenStream(ctx, to)
		if err != nil {
			return nil, err
		}
		if write && to != "b8" {
			return w, nil // the check of broken streams would be first to notice
		}
		return hangingEnd{nil, w, c.ended, write, closing}, nil
	}
}

// readers makes the readers of streams hang in a Read that fails, or in Close.
func readers(c *crooked, read, closing bool) {
	c.stream = func(from raft.ServerID, reader io.ReadCloser) {
		c.handler.Stream(from, hangingEnd{reader, nil, c.ended, read, closing})
	}
}

// A hangingEnd is an end of a stream, of which one is set. It hangs in a Read or a Write that fails,
// or in Close.
type hangingEnd struct {
	reader           io.ReadCloser
	writer           io.WriteCloser
	ended            chan struct{}
	failing, closing bool
}

func (h hangingEnd) Read(b []byte) (int, error) {
	n, err := h.reader.Read(b)
	if err != nil && err != io.EOF && h.failing {
		<-h.ended
	}
	return n, err
}

func (h hangingEnd) Write(b []byte) (int, error) {
	n, err := h.writer.Write(b)
	if err != nil && h.failing {
		<-h.ended
	}
	return n, err
}

func (h hangingEnd) Close() error {
	if h.closing {
		<-h.ended
	}
	if h.reader != nil {
		return h.reader.Close()
	}
	return h.writer.Close()
}
