package tcp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/e17579a5/raft"
)

// An identity is what a server proves itself with, and checks other servers by. It is nil without
// TLS.
type identity struct {
	client, server *tls.Config
	authorize      func(raft.ServerID, tls.ConnectionState) error
}

// newIdentity makes the two halves of mutual TLS from one config.
func newIdentity(config *tls.Config, authorize func(raft.ServerID, tls.ConnectionState) error) (*identity, error) {
	wrong := func(why string) error { return fmt.Errorf("%w: tcp: TLS: %s", raft.ErrConfig, why) }
	switch {
	case config == nil && authorize == nil:
		return nil, nil
	case config == nil:
		return nil, wrong("Authorize is set, but without TLS there is no certificate to judge")
	case len(config.Certificates) == 0 && (config.GetCertificate == nil || config.GetClientCertificate == nil):
		return nil, wrong("no certificate of this server")
	case config.RootCAs == nil:
		return nil, wrong("no RootCAs: certificates of any authority that the system trusts would do")
	case config.InsecureSkipVerify:
		return nil, wrong("InsecureSkipVerify is set, but servers must prove who they are")
	case config.ClientAuth != tls.NoClientCert && config.ClientAuth != tls.RequireAndVerifyClientCert:
		return nil, wrong("ClientAuth is set, but servers must prove who they are")
	case config.GetConfigForClient != nil || config.VerifyPeerCertificate != nil:
		return nil, wrong("GetConfigForClient and VerifyPeerCertificate are not supported: use VerifyConnection")
	case config.MaxVersion != 0 && config.MaxVersion < tls.VersionTLS13:
		return nil, wrong("MaxVersion is below TLS 1.3, which servers demand of each other")
	case config.Renegotiation != tls.RenegotiateNever:
		return nil, wrong("Renegotiation is set, which TLS 1.3 doesn't have")
	}
	// Proofs are bound to what TLS exports. TLS 1.3 always exports it, and differently for each
	// connection, whatever the other side does (RFC 8446, section 7.5).
	client := config.Clone()
	client.MinVersion = tls.VersionTLS13
	server := client.Clone()
	server.ClientAuth = tls.RequireAndVerifyClientCert
	if server.ClientCAs == nil {
		server.ClientCAs = config.RootCAs
	}
	return &identity{client: client, server: server, authorize: authorize}, nil
}

// dialled wraps a connection that this side has dialled in order to reach the server to. The server
// that answers must have a certificate with that ID. The address that was dialled doesn't matter.
func (i *identity) dialled(conn net.Conn, to raft.ServerID) net.Conn {
	if i == nil {
		return conn
	}
	config := i.client.Clone()
	// The standard library would compare the certificate with a host name. Everything else that it
	// would check is checked here.
	config.InsecureSkipVerify = true
	config.VerifyConnection = func(state tls.ConnectionState) error {
		options := x509.VerifyOptions{Roots: config.RootCAs, Intermediates: x509.NewCertPool()}
		if config.Time != nil {
			options.CurrentTime = config.Time()
		}
		for _, c := range state.PeerCertificates[1:] {
			options.Intermediates.AddCert(c)
		}
		if _, err := state.PeerCertificates[0].Verify(options); err != nil {
			return err
		}
		if err := names(state, to); err != nil {
			return err
		}
		if i.client.VerifyConnection != nil {
			if err := i.client.VerifyConnection(state); err != nil {
				return err
			}
		}
		return i.authorizes(to, state)
	}
	return tls.Client(conn, config)
}

// received wraps a connection that this side has accepted. TLS checks at once that the other side
// has a certificate of a known authority. The ID in it is checked later, when the other side has
// said its own.
func (i *identity) received(conn net.Conn) net.Conn {
	if i == nil {
		return conn
	}
	return tls.Server(conn, i.server)
}

// errCertificate says that a server isn't the one that it says it is.
var errCertificate = errors.New("wrong certificate")

// proves returns an error unless the other side of the connection has a certificate with this ID,
// and is authorised.
func (i *identity) proves(conn net.Conn, id raft.ServerID) error {
	if i == nil {
		return nil
	}
	state := conn.(*tls.Conn).ConnectionState()
	if err := names(state, id); err != nil {
		return err
	}
	return i.authorizes(id, state)
}

// errUnauthorized says that the user's own function doesn't want a server.
var errUnauthorized = errors.New("not authorised")

// authorizes asks the user's own function about a server whose certificate is right.
func (i *identity) authorizes(id raft.ServerID, state tls.ConnectionState) error {
	if i.authorize == nil {
		return nil
	}
	if err := i.authorize(id, state); err != nil {
		return fmt.Errorf("%w: %w", errUnauthorized, err)
	}
	return nil
}

// names returns an error unless the certificate that was shown names the server.
func names(state tls.ConnectionState, id raft.ServerID) error {
	if len(state.PeerCertificates) == 0 {
		return fmt.Errorf("%w: none was shown for the server %q", errCertificate, id)
	}
	if certified := state.PeerCertificates[0].DNSNames; !slices.Contains(certified, string(id)) {
		return fmt.Errorf("%w: it names %q, not the server %q", errCertificate, certified, id)
	}
	return nil
}
