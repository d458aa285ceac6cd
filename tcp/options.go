package tcp

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// Options are the settings of a Transport. A zero value stands for the default, which is in
// parentheses.
type Options struct {
	// Logger gets a line when a server is reached, lost or refused, and when messages are dropped
	// (slog.Default()). What happens again for the same cause is logged once a minute, with a
	// count. A logger that blocks holds up nobody, but for Close, which waits a second for it; up
	// to 256 lines wait, and what exceeds them is left out.
	Logger *slog.Logger

	// TLS, if not nil, encrypts all connections, and has both sides prove who they are. It needs
	// Certificates, or both GetCertificate and GetClientCertificate. It also needs RootCAs, the
	// authorities that issue the certificates of servers; ClientCAs is RootCAs by default. The
	// certificate of a server must have the server's ID as one of its DNS names, letter by letter,
	// and be good for both client and server authentication. Host names and addresses play no part.
	// Servers demand TLS 1.3 of each other, whatever MinVersion says. VerifyConnection is called in
	// each handshake before the certificate was compared with the ID (where this side has dialled:
	// after), also when a TLS session is resumed.
	TLS *tls.Config

	// Authorize, if not nil, is the last word on each connection with TLS: whether the server with
	// this ID may be spoken to. It is asked on both sides, in each handshake, when the certificate
	// was verified and names the ID. An error ends the connection; the log of this side has it, and
	// the other side isn't told more than that it isn't authorised. Authorize may be called by many
	// goroutines at once. While it blocks, it holds up its own connection only; Close waits for it.
	// A connection that stands isn't asked about again: a member that is no longer to be spoken to
	// must be removed from the cluster. Without TLS it is an error to set Authorize.
	Authorize func(id raft.ServerID, state tls.ConnectionState) error

	// MaxFrame is the size in bytes of the largest encoded message that is sent or accepted: from
	// 64 KiB to 1 GiB + 16 MiB (64 MiB). A larger message is dropped where it would be sent. A
	// server that receives one closes the connection. Memory for a message is taken as its bytes
	// arrive. Transport.MaxMessage returns it.
	MaxFrame int

	// QueueBytes and QueueMessages bound the messages that wait to be sent to one server: their
	// bytes and their number, each from 1 to 1<<30 (16 MiB, 8,192). Messages with entries may use
	// seven eighths of either; where groups have names, the other messages of groups may use fifteen
	// sixteenths. An empty queue takes any message that MaxFrame allows. Large
	// messages wait in a queue of their own, with the same bounds.
	QueueBytes, QueueMessages int

	// DialTimeout bounds the time until the end of the handshake: from dialling on one side, from
	// accepting on the other (3 s).
	DialTimeout time.Duration

	// WriteTimeout is how long a server may read nothing of what is sent to it, before the
	// connection is given up and dialled again (5 s). A server that reads slowly is not given up:
	// 64 KiB within that time are enough. A message that names its address must have been received
	// within it. Streams are not bound by it.
	WriteTimeout time.Duration

	// MinBackoff and MaxBackoff bound the time between attempts to reach a server (10 ms; 1 s, or
	// MinBackoff if that is longer). The time doubles with each attempt that fails. A random part
	// of it, up to a half, is left out each time.
	MinBackoff, MaxBackoff time.Duration

	// Dial and Listen replace TCP, for tests. Where nobody listens, Dial must fail with an error
	// that is syscall.ECONNREFUSED. Any number of calls of Dial may be under way at a time: while
	// one doesn't end, another one begins.
	Dial   func(ctx context.Context, address string) (net.Conn, error)
	Listen func(address string) (net.Listener, error)
}

// Limits of MaxFrame. Those of connections are in places.go.
const (
	minMaxFrame = 64 << 10
	maxMaxFrame = wire.MaxCommandSize + 16<<20
)

// keepAlive notices within 25 seconds that a host has vanished from which this side only receives.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3}

// withDefaults returns the options with their defaults filled in, or an error that wraps
// raft.ErrConfig.
func (o Options) withDefaults() (Options, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
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
		dialer := net.Dialer{KeepAliveConfig: keepAlive, Control: limitUnsent}
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
