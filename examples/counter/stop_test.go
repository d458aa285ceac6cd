package main

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// A gate is a storage whose writes wait once it is shut.
type gate struct {
	*memory.Storage
	shut, open chan struct{}
	waits      chan struct{} // gets a token for each write that waits
}

func (g *gate) Write(w raft.Write) error {
	select {
	case <-g.shut:
		g.waits <- struct{}{}
		<-g.open
	default:
	}
	return g.Storage.Write(w)
}

// TestStopAnswersRequests: a request that is under way when its server stops gets its result.
func TestStopAnswersRequests(t *testing.T) {
	storage := &gate{memory.NewStorage(), make(chan struct{}), make(chan struct{}), make(chan struct{}, 100)}
	machine := &counter{}
	node, err := raft.Start(raft.Config{
		ID: "a", Machine: machine, Storage: storage, Transport: memory.NewNetwork(memory.Options{}).Join("a"),
		Bootstrap: []raft.Server{{ID: "a"}}, Logger: slog.New(slog.DiscardHandler), ElectionTimeout: time.Minute, Heartbeat: time.Second,
	})
	require.NoError(t, err)
	require.NoError(t, node.Read(t.Context()))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{Handler: (&service{node, machine, time.Minute}).handler()}
	go func() { _ = server.Serve(listener) }() // ends with an error that says so
	close(storage.shut)
	type answer struct {
		body string
		err  error
	}
	answered, stopped := make(chan answer, 1), make(chan error, 1)
	go func() {
		response, err := http.Post("http://"+listener.Addr().String()+"/counter", "application/json", strings.NewReader(`{"add": 5}`))
		if err != nil {
			answered <- answer{err: err}
			return
		}
		body, err := io.ReadAll(response.Body)
		answered <- answer{string(body), err}
		_ = response.Body.Close() // it was read to its end
	}()
	<-storage.waits
	go func() { stopped <- stopServer(server, node, time.Minute) }()
	for { // until no request is taken any more
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			break
		}
		require.NoError(t, conn.Close())
	}
	close(storage.open)
	got := <-answered
	require.NoError(t, got.err)
	require.JSONEq(t, `{"value": 5}`, got.body)
	require.NoError(t, <-stopped)
}
