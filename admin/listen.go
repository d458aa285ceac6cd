package admin

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/e17579a5/raft"
)

// A Server serves the handler on a listener of its own.
type Server struct {
	http     *http.Server
	listener net.Listener
	served   chan struct{} // closed when Serve has returned
}

// Listen serves the administration of a node at an address of its own: "unix:PATH", or "HOST:PORT".
//
// A unix socket is made for the user of this process alone (0600), and is allowed to whoever may open
// it. A socket that is left from a process that is gone is replaced. The rights are set a moment after
// the socket was made: where the umask lets others write (it mostly doesn't), it belongs in a folder
// that is closed to them.
//
// Without a secure, HOST must be an IP address of the loopback interface: every user of the machine
// may then use it (Loopback). With one, any address will do. It must demand certificates of clients
// (tls.RequireAndVerifyClientCert); whoever has one of the authorities of its ClientCAs may use it.
//
// The error wraps raft.ErrConfig for an address that would be an open door, and is that of the
// listener otherwise. logger is as Config.Logger.
func Listen(node *raft.Node, address string, secure *tls.Config, logger *slog.Logger) (*Server, error) {
	return listen(Config{Node: node, Logger: logger}, address, secure)
}

// ListenHost serves the administration of the groups of a host, as Listen does that of a node.
func ListenHost(host *raft.Host, address string, secure *tls.Config, logger *slog.Logger) (*Server, error) {
	return listen(Config{Host: host, Logger: logger}, address, secure)
}

// listen serves what a config says. It fills in Authorize.
func listen(config Config, address string, secure *tls.Config) (*Server, error) {
	authorize := Loopback
	path, isUnix := strings.CutPrefix(address, "unix:")
	switch {
	case isUnix:
		authorize, secure = UnixSocket, nil
	case secure != nil && (secure.ClientAuth != tls.RequireAndVerifyClientCert || secure.ClientCAs == nil):
		return nil, fmt.Errorf("admin: %w: the TLS config for %s doesn't demand certificates of clients (ClientAuth, ClientCAs)", raft.ErrConfig, address)
	case secure != nil:
		authorize = Certificate()
	case !isLoopback(address):
		return nil, fmt.Errorf("admin: %w: %q is neither unix:PATH nor a loopback IP address with a port: "+
			"without certificates, everybody there could take the cluster apart", raft.ErrConfig, address)
	}
	config.Authorize = authorize
	handler, err := New(config)
	if err != nil {
		return nil, err
	}
	var listener net.Listener
	if isUnix {
		listener, err = listenUnix(path)
	} else {
		listener, err = net.Listen("tcp", address)
	}
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	if secure != nil {
		secure = secure.Clone()
		secure.NextProtos = []string{"http/1.1"}
		listener = tls.NewListener(listener, secure)
	}
	s := &Server{
		http: &http.Server{
			Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: time.Minute,
			MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(cmp.Or(config.Logger, slog.Default()).Handler(), slog.LevelWarn),
		},
		listener: listener, served: make(chan struct{}),
	}
	go func() {
		defer close(s.served)
		_ = s.http.Serve(listener) // it ends with Close, or when the listener fails: then nobody is served any more
	}()
	return s, nil
}

// listenUnix listens at a unix socket of the user's own.
func listenUnix(path string) (net.Listener, error) {
	listener, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) && abandoned(path) {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
		listener, err = net.Listen("unix", path)
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// abandoned says whether there is a socket at which nobody listens.
func abandoned(path string) bool {
	found, err := os.Lstat(path)
	if err != nil || found.Mode().Type() != fs.ModeSocket {
		return false
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		return errors.Is(err, syscall.ECONNREFUSED)
	}
	_ = conn.Close() // somebody listens
	return false
}

// Addr returns where the server listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Close takes no more requests, and lets those that are under way come to their end until ctx ends:
// then it breaks them off. Called before the node is closed, it lets a change come to its end. Called
// after that, it lets somebody see how the node ends, and a change is broken off by the node. The error
// is ctx.Err(), or that of the listener.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if ctx.Err() != nil {
		err = errors.Join(ctx.Err(), s.http.Close())
	}
	<-s.served
	return err
}
