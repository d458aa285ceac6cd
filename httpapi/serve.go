package httpapi

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// maxHeader bounds the header of a request, in bytes.
const maxHeader = 64 << 10

// Serve answers requests at a listener, which it closes, until ctx ends or the node stops. It then
// shuts the service down in this order:
//
//  1. The server says that it isn't ready (GET /readyz), and still takes requests for Options.Drain.
//  2. It accepts no connections any more.
//  3. The requests that are under way come to their end. Those that take longer than two timeouts
//     are broken off.
//  4. The node is closed, which hands the leadership over, and closes the transport and the
//     storage. This takes at most another timeout: whatever isn't released by then is in the error.
//
// The error is the failure that has stopped the node or the listener, and those of the shutdown. It
// is nil after an orderly end. Serve is called once. If the handler is a *http.ServeMux, what no route
// takes is answered as Mux says. For HTTPS, the listener is one of crypto/tls.
func (a *API) Serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	if mux, ok := handler.(*http.ServeMux); ok {
		handler = Mux(mux)
	}
	server := &http.Server{
		Handler:        handler,
		ReadTimeout:    a.options.Timeout,
		WriteTimeout:   2 * a.options.Timeout,
		IdleTimeout:    time.Minute,
		MaxHeaderBytes: maxHeader,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	var failure error
	select {
	case <-ctx.Done():
	case failure = <-served:
	case <-a.node.Done():
		failure = a.node.Err()
	}
	return errors.Join(failure, a.shutdown(server))
}

// Stopping returns a channel that is closed when the service begins to shut down. A request that
// waits for something should end then.
func (a *API) Stopping() <-chan struct{} { return a.stopping }

// shutdown is the shutdown of Serve.
func (a *API) shutdown(server *http.Server) error {
	if a.stopped.CompareAndSwap(false, true) {
		close(a.stopping)
	}
	drain := time.NewTimer(a.options.Drain)
	defer drain.Stop()
	select {
	case <-drain.C:
	case <-a.node.Done():
	}
	patience, cancel := context.WithTimeout(context.Background(), 2*a.options.Timeout)
	defer cancel()
	err := server.Shutdown(patience)
	if patience.Err() != nil {
		err = server.Close()
	}
	patience, cancel = context.WithTimeout(context.Background(), a.options.Timeout)
	defer cancel()
	return errors.Join(err, a.node.Close(patience))
}
