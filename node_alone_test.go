package raft

import (
	"context"
	"io"
	"log/slog"

	"github.com/e17579a5/raft/wire"
)

// alone returns the configuration of a server that is a cluster by itself, and runs once. (Package
// memory can't be imported here, since it imports this package.)
func alone(machine StateMachine) Config {
	return Config{
		ID: "a", Machine: machine, Storage: noStorage{}, Transport: noTransport{},
		Bootstrap: []Server{{ID: "a"}}, Logger: slog.New(slog.DiscardHandler),
	}
}

// A noStorage forgets what is written to it. A server that has all of its log in its tail doesn't
// notice that before its next start.
type noStorage struct{ Storage }

func (noStorage) Load() (Saved, error) { return Saved{}, nil }
func (noStorage) Write(Write) error    { return nil }
func (noStorage) Close() error         { return nil }

// A noTransport reaches nobody.
type noTransport struct{}

func (noTransport) Start(Server, Handler) error { return nil }
func (noTransport) SetServers([]Server)         {}
func (noTransport) Send(wire.Message)           {}
func (noTransport) Close() error                { return nil }
func (noTransport) OpenStream(context.Context, ServerID) (io.WriteCloser, error) {
	return nil, io.ErrClosedPipe
}
