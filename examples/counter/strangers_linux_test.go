package main

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wire"
)

// certificates is an authority, and the folder in which the counter looks for certificates.
type certificates struct {
	t           *testing.T
	folder      string
	certificate *x509.Certificate
	key         ed25519.PrivateKey
}

func newCertificates(t *testing.T, ids ...string) *certificates {
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
	c := &certificates{t: t, folder: t.TempDir(), certificate: certificate, key: key}
	c.store("ca.pem", "CERTIFICATE", der)
	for _, id := range ids {
		c.issue(id)
	}
	return c
}

func (c *certificates) store(name, kind string, der []byte) {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	require.NoError(c.t, os.WriteFile(filepath.Join(c.folder, name), text, 0o600))
}

// issue puts a certificate for id, and its key, into the folder.
func (c *certificates) issue(id string) {
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(c.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{id},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(nil, template, c.certificate, key.Public(), c.key)
	require.NoError(c.t, err)
	c.store(id+".pem", "CERTIFICATE", der)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(c.t, err)
	c.store(id+"-key.pem", "PRIVATE KEY", private)
}

// config returns what a server with this certificate speaks TLS with.
func (c *certificates) config(id string) *tls.Config {
	config, err := (&options{certs: c.folder}).tls(raft.ServerID(id))
	require.NoError(c.t, err)
	return config
}

// The numbers of strangers: those that connect, and those that speak to the servers as members do.
const (
	connecting = 30
	speaking   = 3
)

// besiege has strangers come until the test ends. Some connect, say nothing, and come again. Some
// have a certificate in a name of their own, and send what a leader or a candidate of a high term
// would send.
func besiege(t *testing.T, p *processes, certs *certificates) {
	stop := make(chan struct{})
	var coming sync.WaitGroup
	servers, err := parsePeers(p.Peers)
	require.NoError(t, err)
	for number := range connecting {
		to := servers[number%len(servers)].Address
		coming.Go(func() { comeAndSayNothing(stop, to) })
	}
	for number := range speaking {
		id := fmt.Sprint("stranger", number)
		certs.issue(id)
		transport, err := tcp.Listen(strings.Split(servers[0].Address, ":")[0]+":0", tcp.Options{TLS: certs.config(id), Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		self := raft.Server{ID: raft.ServerID(id), Address: transport.Addr().String()}
		require.NoError(t, transport.Start(self, deaf{}))
		transport.SetServers(servers)
		coming.Go(func() {
			pretend(stop, transport, self.ID, servers)
			_ = transport.Close() // nothing of it is needed any more
		})
	}
	t.Cleanup(func() {
		close(stop)
		coming.Wait()
	})
}

// comeAndSayNothing connects again and again.
func comeAndSayNothing(stop <-chan struct{}, to string) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(20 * time.Millisecond):
		}
		conn, err := net.DialTimeout("tcp", to, time.Second)
		if err != nil {
			continue // that server was killed
		}
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}
}

// pretend claims to lead, and to be a candidate, in a term that is above the cluster's. It knows
// neither the cluster nor the disks: those who know them are tested in package tcp.
func pretend(stop <-chan struct{}, transport *tcp.Transport, id raft.ServerID, servers []raft.Server) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(10 * time.Millisecond):
		}
		for _, to := range servers {
			e := wire.Envelope{From: id, To: to.ID, Term: 1 << 20}
			transport.Send(wire.Heartbeat{Round: 1}.Message().In(e))
			transport.Send(wire.VoteRequest{Transfer: true}.Message().In(e))
			transport.Send(wire.IdentityRequest{}.Message().In(e))
		}
	}
}

// deaf is the handler of a server that doesn't listen.
type deaf struct{}

func (deaf) Receive(wire.Message)                         {}
func (deaf) Stream(_ raft.ServerID, stream io.ReadCloser) { _ = stream.Close() }
func (deaf) Lost(raft.ServerID)                           {}
