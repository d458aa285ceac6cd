package raft

import (
	"context"
	"io"
	"log/slog"

	"github.com/e17579a5/raft/wire"
)

// alone returns the config of a server that is a cluster by itself, and that is started only once.
// (Package memory can't be imported here, because it imports this package.)
func alone(machine StateMachine) Config {
	return Config{
		ID: "a", Machine: machine, Storage: noStorage{}, Transport: noTransport{},
		Bootstrap: []Server{{ID: "a"}}, Logger: slog.New(slog.DiscardHandler),
	}
}

// A noStorage forgets what is written to it. A server that has its whole log in memory notices that
// only at its next start.
type noStorage struct{ Storage }

func (noStorage) Load() (Saved, error) { return Saved{}, nil }
func (noStorage) Write(Write) error    { return nil }
func (noStorage) Close() error         { return nil }

// A noTransport reaches no other server.
type noTransport struct{}

func (noTransport) Start(Server, Handler) error { return nil }
func (noTransport) SetServers([]Server)         {}
func (noTransport) Send(wire.Message)           {}
func (noTransport) Close() error                { return nil }
func (noTransport) OpenStream(context.Context, ServerID) (io.WriteCloser, error) {
	return nil, io.ErrClosedPipe
}
