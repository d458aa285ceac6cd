package tcp

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/e17579a5/raft"
)

// Options are the settings of a Transport. The zero value of each stands for its default.
type Options struct {
	// Logger gets a record when a server is reached, lost or refused. By default nothing is logged.
	Logger *slog.Logger

	// TLS, when not nil, encrypts all connections, and has both sides prove who they are. It needs
	// Certificates (or both GetCertificate and GetClientCertificate) and RootCAs, the authorities
	// that certificates of servers are issued by; ClientCAs is RootCAs by default. A server's
	// certificate must have the server's ID as one of its DNS names, letter by letter, and be good
	// for both client and server authentication. Host names and addresses play no part.
	TLS *tls.Config

	// MaxFrame is the size in bytes of the largest message, encoded, that is sent or accepted: from
	// 64 KiB to 1 GiB + 16 MiB (64 MiB). A message above is dropped by who sends it, and the connection by who
	// receives it. Memory for a message is taken as its bytes arrive.
	MaxFrame int

	// QueueBytes and QueueMessages bound what waits to be sent to one server (16 MiB, 8,192). Messages
	// with entries may use seven eighths of either. One message fits into an empty queue whatever its size.
	QueueBytes, QueueMessages int

	// DialTimeout bounds the time from dialling to the end of the handshake, on both sides (3 s).
	DialTimeout time.Duration

	// WriteTimeout is how long a server may read nothing of what is sent to it before the connection
	// is given up (5 s). Streams are not bound by it.
	WriteTimeout time.Duration

	// MinBackoff and MaxBackoff bound the time between attempts to reach a server (10 ms, 1 s): it
	// doubles with each attempt that fails, less a random part of up to a half.
	MinBackoff, MaxBackoff time.Duration

	// Dial and Listen replace TCP, for tests. A Dial to a place where nobody listens fails with an
	// error that is syscall.ECONNREFUSED.
	Dial   func(ctx context.Context, address string) (net.Conn, error)
	Listen func(address string) (net.Listener, error)
}

// Limits that are no options.
const (
	minMaxFrame = 64 << 10
	maxMaxFrame = raft.MaxCommandSize + 16<<20

	maxGuests     = 64  // servers that have connected without being among SetServers
	maxStreams    = 64  // streams being received
	maxHandshakes = 128 // accepted connections that haven't said yet who they are
	maxAsking     = 64  // connections of single messages
)

// keepAlive finds out about hosts that have vanished, within 25 seconds.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3}

// withDefaults returns the options with their defaults filled in, or an error that wraps raft.ErrConfig.
func (o Options) withDefaults() (Options, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	for _, size := range []struct {
		name       string
		value      *int
		preset     int
		least, max int
	}{
		{"MaxFrame", &o.MaxFrame, 64 << 20, minMaxFrame, maxMaxFrame},
		{"QueueBytes", &o.QueueBytes, 16 << 20, 1, 1 << 30},
		{"QueueMessages", &o.QueueMessages, 8192, 1, 1 << 30},
	} {
		if *size.value == 0 {
			*size.value = size.preset
		}
		if *size.value < size.least || *size.value > size.max {
			return o, fmt.Errorf("%w: tcp: %s is %d, not from %d to %d", raft.ErrConfig, size.name, *size.value, size.least, size.max)
		}
	}
	for _, span := range []struct {
		name   string
		value  *time.Duration
		preset time.Duration
	}{
		{"DialTimeout", &o.DialTimeout, 3 * time.Second},
		{"WriteTimeout", &o.WriteTimeout, 5 * time.Second},
		{"MinBackoff", &o.MinBackoff, 10 * time.Millisecond},
		{"MaxBackoff", &o.MaxBackoff, max(time.Second, o.MinBackoff)},
	} {
		if *span.value == 0 {
			*span.value = span.preset
		}
		if *span.value < 0 {
			return o, fmt.Errorf("%w: tcp: %s is negative: %v", raft.ErrConfig, span.name, *span.value)
		}
	}
	if o.MinBackoff > o.MaxBackoff {
		return o, fmt.Errorf("%w: tcp: MinBackoff %v exceeds MaxBackoff %v", raft.ErrConfig, o.MinBackoff, o.MaxBackoff)
	}
	if o.Dial == nil {
		dialer := net.Dialer{KeepAliveConfig: keepAlive}
		o.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", address)
		}
	}
	if o.Listen == nil {
		config := net.ListenConfig{KeepAliveConfig: keepAlive}
		o.Listen = func(address string) (net.Listener, error) {
			return config.Listen(context.Background(), "tcp", address)
		}
	}
	return o, nil
}
