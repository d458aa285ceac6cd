package httpapi_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/memory"
)

// A gate is a storage whose writes wait once it is shut.
type gate struct {
	*memory.Storage
	shut, open chan struct{}
	waits      chan struct{} // gets a token for each write that waits
}

func newGate() *gate {
	return &gate{memory.NewStorage(), make(chan struct{}), make(chan struct{}), make(chan struct{}, 100)}
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

// alone starts a server on its own.
func alone(t *testing.T, storage raft.Storage) *raft.Node {
	node, err := raft.Start(raft.Config{
		ID: "a", Machine: &sum{}, Storage: storage, Transport: memory.NewNetwork(memory.Options{}).Join("a"),
		Bootstrap: []raft.Server{{ID: "a"}}, Logger: slog.New(slog.DiscardHandler), ElectionTimeout: time.Minute, Heartbeat: time.Second,
	})
	require.NoError(t, err)
	require.NoError(t, node.Read(t.Context()))
	return node
}

// serve serves POST /commands and what else a test wants. It returns the address, and what stops it.
func serve(t *testing.T, node *raft.Node, options httpapi.Options, more func(*httpapi.API, *http.ServeMux)) (
	address string, stop func(), stopped <-chan error,
) {
	api := httpapi.New(node, options)
	mux := http.NewServeMux()
	api.Routes(mux)
	mux.Handle("POST /commands", api.Handle(api.Commands))
	if more != nil {
		more(api, mux)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- api.Serve(ctx, listener, mux) }()
	return listener.Addr().String(), cancel, ended
}

// do sends a request, and returns the status and the body.
func do(t *testing.T, method, url, body string) (int, string) {
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	w, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Body.Close()) }()
	text, err := io.ReadAll(w.Body)
	require.NoError(t, err)
	return w.StatusCode, string(text)
}

// TestStopAnswersRequests: a request that is under way when its server stops gets its result.
func TestStopAnswersRequests(t *testing.T) {
	storage := newGate()
	address, stop, stopped := serve(t, alone(t, storage), httpapi.Options{Timeout: time.Minute}, nil)
	close(storage.shut)
	type answer struct {
		status int
		body   string
	}
	answered := make(chan answer, 1)
	go func() {
		status, body := do(t, http.MethodPost, "http://"+address+"/commands", "5")
		answered <- answer{status, body}
	}()
	<-storage.waits
	stop()
	for { // until no request is taken any more
		conn, err := net.Dial("tcp", address)
		if err != nil {
			break
		}
		require.NoError(t, conn.Close())
	}
	close(storage.open)
	require.Equal(t, answer{http.StatusOK, "5"}, <-answered)
	require.NoError(t, <-stopped)
}

// TestDrainTakesRequests: a server that is about to stop says so first, and still takes requests.
func TestDrainTakesRequests(t *testing.T) {
	var api *httpapi.API
	node := alone(t, memory.NewStorage())
	address, stop, stopped := serve(t, node, httpapi.Options{Drain: time.Hour},
		func(a *httpapi.API, _ *http.ServeMux) { api = a })
	stop()
	<-api.Stopping()
	status, body := do(t, http.MethodGet, "http://"+address+"/readyz", "")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, `"code":"stopping"`)
	status, body = do(t, http.MethodPost, "http://"+address+"/commands", "5")
	require.Equal(t, http.StatusOK, status, body)
	status, _ = do(t, http.MethodGet, "http://"+address+"/livez", "")
	require.Equal(t, http.StatusOK, status)
	select {
	case err := <-stopped:
		require.FailNow(t, "it doesn't drain", "%v", err)
	default: // it would take an hour
	}
	require.NoError(t, node.Close(t.Context()))
	require.NoError(t, <-stopped)
}

// TestServeEndsWithItsNode: when the node fails, Serve returns the failure.
func TestServeEndsWithItsNode(t *testing.T) {
	broken := &breaking{Storage: memory.NewStorage()}
	node := alone(t, broken)
	address, _, stopped := serve(t, node, httpapi.Options{Timeout: 10 * time.Second, Drain: time.Hour}, nil)
	broken.broken.Store(true)
	status, body := do(t, http.MethodPost, "http://"+address+"/commands", "5")
	require.Equal(t, http.StatusGatewayTimeout, status, body)
	require.ErrorContains(t, <-stopped, "the disk is gone")
}

// TestServeEndsWithItsListener: when the listener fails, Serve returns that, and the node is closed.
func TestServeEndsWithItsListener(t *testing.T) {
	node := alone(t, memory.NewStorage())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	err = httpapi.New(node, httpapi.Options{}).Serve(t.Context(), listener, http.NewServeMux())
	require.ErrorIs(t, err, net.ErrClosed)
	<-node.Done()
}

// A cable connects clients and a server in a bubble.
type cable struct {
	connections, closed chan net.Conn
}

func (c cable) Accept() (net.Conn, error) {
	select {
	case conn := <-c.connections:
		return conn, nil
	case <-c.closed:
		return nil, net.ErrClosed
	}
}

func (c cable) Close() error   { close(c.closed); return nil }
func (c cable) Addr() net.Addr { return &net.TCPAddr{} }

// overACable serves in a bubble, where no time passes but that which is waited for. It sends a text,
// which need not be a whole request, and returns the answer.
func overACable(t *testing.T, timeout time.Duration, routes func(*httpapi.API, *http.ServeMux), text string) (status int, body string) {
	synctest.Test(t, func(t *testing.T) {
		node := alone(t, memory.NewStorage())
		api := httpapi.New(node, httpapi.Options{Timeout: timeout})
		mux := http.NewServeMux()
		routes(api, mux)
		listener := cable{make(chan net.Conn), make(chan net.Conn)}
		ctx, stop := context.WithCancel(t.Context())
		stopped := make(chan error, 1)
		go func() { stopped <- api.Serve(ctx, listener, mux) }()
		client, server := net.Pipe()
		listener.connections <- server
		_, err := io.WriteString(client, text)
		require.NoError(t, err)
		w, err := http.ReadResponse(bufio.NewReader(client), nil)
		require.NoError(t, err)
		answer, err := io.ReadAll(w.Body)
		require.NoError(t, err)
		status, body = w.StatusCode, string(answer)
		require.NoError(t, client.Close())
		stop()
		require.NoError(t, <-stopped)
	})
	return status, body
}

// TestRequestOutlivesTheServersDeadlines: those for the usual requests don't end one that may take
// longer.
func TestRequestOutlivesTheServersDeadlines(t *testing.T) {
	status, body := overACable(t, time.Second, func(a *httpapi.API, mux *http.ServeMux) {
		mux.Handle("GET /wait", a.HandleWithin(time.Minute, func(r *http.Request) (any, error) {
			begin := time.Now()
			<-r.Context().Done()
			return fmt.Sprint(context.Cause(r.Context()), " after ", time.Since(begin)), nil
		}))
	}, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `"context deadline exceeded after 1m0s"`, body)
}

// TestStopBreaksOffWhatTakesTooLong: a request that doesn't end within two timeouts doesn't hold up
// the end of the service, unless it looks at Stopping.
func TestStopBreaksOffWhatTakesTooLong(t *testing.T) {
	for _, polite := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			api := httpapi.New(alone(t, memory.NewStorage()), httpapi.Options{Timeout: time.Second})
			waits, ended := make(chan struct{}), make(chan struct{})
			mux := http.NewServeMux()
			mux.Handle("GET /wait", api.HandleWithin(time.Hour, func(r *http.Request) (any, error) {
				close(waits)
				defer close(ended)
				stopping := api.Stopping()
				if !polite {
					stopping = nil
				}
				select {
				case <-r.Context().Done():
				case <-stopping:
				}
				return "ended", nil
			}))
			listener := cable{make(chan net.Conn), make(chan net.Conn)}
			ctx, stop := context.WithCancel(t.Context())
			stopped := make(chan error, 1)
			go func() { stopped <- api.Serve(ctx, listener, mux) }()
			client, server := net.Pipe()
			listener.connections <- server
			_, err := io.WriteString(client, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
			require.NoError(t, err)
			<-waits
			begin := time.Now()
			stop()
			text, err := io.ReadAll(client)
			require.NoError(t, err)
			<-ended
			require.NoError(t, <-stopped)
			if polite {
				require.Contains(t, string(text), `"ended"`)
				require.Less(t, time.Since(begin), time.Second)
			} else {
				require.Empty(t, text)
				require.GreaterOrEqual(t, time.Since(begin), 2*time.Second)
			}
		})
	}
}

// TestSlowClients: a client that doesn't send its request in time is told so.
func TestSlowClients(t *testing.T) {
	status, body := overACable(t, time.Minute, func(a *httpapi.API, mux *http.ServeMux) {
		mux.Handle("POST /commands", a.Handle(a.Commands))
	}, "POST /commands HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n5")
	require.Equal(t, http.StatusRequestTimeout, status)
	require.Contains(t, body, `"code":"slow_request"`)
}
