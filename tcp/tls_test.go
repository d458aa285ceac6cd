package tcp_test

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
)

// An authority issues certificates.
type authority struct {
	t           *testing.T
	certificate *x509.Certificate
	key         ed25519.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &authority{t: t, certificate: certificate, key: key}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// issue returns settings that trust this authority, with a certificate for name that is valid for
// so long.
func (a *authority) issue(name string, validity time.Duration) *tls.Config {
	a.t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(a.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{"localhost", name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(validity),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(nil, template, a.certificate, key.Public(), a.key)
	require.NoError(a.t, err)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		RootCAs:      a.pool(),
	}
}

// startTLS starts a server with these settings of TLS.
func (c *cluster) startTLS(config *tls.Config, id raft.ServerID, others ...raft.ServerID) *server {
	c.t.Helper()
	options := c.options
	options.TLS = config
	return c.startWith(options, id, others...)
}

func TestMutualTLS(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		authority := newAuthority(t)
		a := c.startTLS(authority.issue("a", time.Hour), "a", "b")
		b := c.startTLS(authority.issue("b", time.Hour), "b", "a")
		pass(2 * time.Second)
		for i := range uint64(100) {
			a.tell("b", i)
			b.tell("a", i)
		}
		require.Len(t, a.received(), 100)
		require.Len(t, b.received(), 100)

		w, s := open(t, t.Context(), a, b)
		sent := make([]byte, 1<<20)
		result := make(chan error)
		go func() {
			_, err := w.Write(sent)
			result <- errors.Join(err, w.Close())
		}()
		got, err := io.ReadAll(s.reader)
		require.NoError(t, err)
		require.NoError(t, <-result)
		require.Equal(t, sent, got)
		close(s.done)

		c.network.Reset(address("b"))
		synctest.Wait()
		a.tell("b", 1)
		require.Equal(t, []uint64{1}, b.received())
		pass(time.Second)
		b.close(t)
		require.Equal(t, []raft.ServerID{"b"}, a.lostServers())
	})
}

// A server that can't prove its ID is heard by nobody, neither when it dials nor when it is
// dialled.
func TestWrongCertificate(t *testing.T) {
	for _, test := range []struct {
		name   string
		config func(a *authority) *tls.Config
		// dials and hears are what the honest server logs, when the other one dials and when it is
		// dialled.
		dials, hears string
	}{
		{"another name", func(a *authority) *tls.Config { return a.issue("c", time.Hour) },
			`it names [\"localhost\" \"c\"], not the server \"b\"`, `it names [\"localhost\" \"c\"], not the server \"b\"`},
		{"another authority", func(a *authority) *tls.Config {
			config := newAuthority(a.t).issue("b", time.Hour)
			config.RootCAs = a.pool()
			return config
		}, "certificate signed by unknown authority", "certificate signed by unknown authority"},
		{"expired", func(a *authority) *tls.Config { return a.issue("b", -time.Minute) },
			"certificate has expired", "certificate has expired"},
		{"no TLS", func(*authority) *tls.Config { return nil },
			"first record does not look like a TLS handshake", "EOF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *cluster) {
				authority := newAuthority(t)
				honest := c.startTLS(authority.issue("a", time.Hour), "a")
				other := c.startTLS(test.config(authority), "b", "a")
				for range 10 {
					other.tell("a", 1)
					pass(time.Second)
				}
				require.Contains(t, c.log.String(), test.dials)

				honest.SetServers(peers("b"))
				for range 10 {
					honest.tell("b", 1)
					pass(time.Second)
				}
				require.Contains(t, c.log.String(), `msg="tcp: can't connect" node=a peer=b`)
				require.Contains(t, c.log.String(), test.hears)
				require.Empty(t, honest.received())
				require.Empty(t, other.received())
			})
		})
	}
}

// Certificates are read again where the settings say so, and the user's own check has the last
// word.
func TestTLSHooks(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		authority := newAuthority(t)
		config := authority.issue("a", time.Hour)
		certificate := config.Certificates[0]
		config.Certificates = nil
		config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &certificate, nil }
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }
		config.VerifyConnection = func(tls.ConnectionState) error { return errors.New("not today") }
		config.Time = time.Now
		a := c.startTLS(config, "a", "b")
		b := c.startTLS(authority.issue("b", time.Hour), "b", "a")
		a.tell("b", 1)
		b.tell("a", 1)
		pass(time.Second)
		require.Contains(t, c.log.String(), "not today")
		require.Empty(t, a.received())
		require.Empty(t, b.received())
	})
}

func TestTLSConfigErrors(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		authority := newAuthority(t)
		for _, test := range []struct {
			want   string
			change func(*tls.Config)
		}{
			{"no certificate of this server", func(config *tls.Config) { config.Certificates = nil }},
			{"no RootCAs", func(config *tls.Config) { config.RootCAs = nil }},
			{"InsecureSkipVerify is set", func(config *tls.Config) { config.InsecureSkipVerify = true }},
			{"ClientAuth is set", func(config *tls.Config) { config.ClientAuth = tls.RequestClientCert }},
			{"use VerifyConnection", func(config *tls.Config) {
				config.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return nil }
			}},
			{"MaxVersion is below TLS 1.3", func(config *tls.Config) { config.MaxVersion = tls.VersionTLS12 }},
			{"Renegotiation is set", func(config *tls.Config) { config.Renegotiation = tls.RenegotiateOnceAsClient }},
		} {
			options := c.options
			options.TLS = authority.issue("a", time.Hour)
			test.change(options.TLS)
			_, err := tcp.Listen("a:1", options)
			require.ErrorIs(t, err, raft.ErrConfig)
			require.ErrorContains(t, err, test.want)
		}
		options := c.options
		options.Authorize = func(raft.ServerID, tls.ConnectionState) error { return nil }
		_, err := tcp.Listen("a:1", options)
		require.ErrorIs(t, err, raft.ErrConfig)
		require.ErrorContains(t, err, "Authorize is set, but without TLS there is no certificate to judge")
	})
}
