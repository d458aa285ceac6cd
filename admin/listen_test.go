package admin_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/admin"
	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/memory"
)

// alone starts a server that is a cluster of its own.
func alone(t *testing.T) *raft.Node {
	t.Helper()
	node, err := raft.Start(raft.Config{
		ID: "a", Address: "a:1", Machine: &tally{}, Storage: memory.NewStorage(), Bootstrap: []raft.Server{{ID: "a", Address: "a:1"}},
		Transport: memory.NewNetwork(memory.Options{}).Join("a"), Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, node.Close(context.Background())) })
	_, err = node.Propose(t.Context(), []byte("hello"))
	require.NoError(t, err)
	return node
}

// listen serves the administration of a node until the test ends.
func listen(t *testing.T, node *raft.Node, address string, secure *tls.Config) *admin.Server {
	t.Helper()
	server, err := admin.Listen(node, address, secure, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close(context.Background())) })
	return server
}

func newClient(t *testing.T, address string, secure *tls.Config) *admin.Client {
	t.Helper()
	client, err := admin.NewClient(address, secure)
	require.NoError(t, err)
	return client
}

// TestNoOpenDoor: without certificates nobody is served who comes from elsewhere.
func TestNoOpenDoor(t *testing.T) {
	node := alone(t)
	for _, address := range []string{"0.0.0.0:0", ":0", "localhost:0", "192.0.2.1:80", "[::]:0", "nonsense", ""} {
		_, err := admin.Listen(node, address, nil, nil)
		require.ErrorIs(t, err, raft.ErrConfig, address)
		require.ErrorContains(t, err, "take the cluster apart", address)
	}
	for _, secure := range []*tls.Config{
		{}, {ClientAuth: tls.RequireAndVerifyClientCert}, {ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: x509.NewCertPool()},
	} {
		_, err := admin.Listen(node, "127.0.0.1:0", secure, nil)
		require.ErrorIs(t, err, raft.ErrConfig)
		require.ErrorContains(t, err, "certificates of clients")
	}
	_, err := admin.Listen(nil, "127.0.0.1:0", nil, nil)
	require.ErrorIs(t, err, raft.ErrConfig)
}

// TestUnixSocket: the socket is the user's own, and one that is left behind is replaced.
func TestUnixSocket(t *testing.T) {
	node := alone(t)
	path := filepath.Join(shortFolder(t), "a.sock")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err := admin.Listen(node, "unix:"+path, nil, nil)
	require.Error(t, err, "there is a file that is no socket")
	require.NoError(t, os.Remove(path))

	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	_, err = admin.Listen(node, "unix:"+path, nil, nil)
	require.Error(t, err, "somebody listens there")
	left.SetUnlinkOnClose(false)
	require.NoError(t, left.Close())

	listen(t, node, "unix:"+path, nil)
	if runtime.GOOS != "windows" {
		is, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), is.Mode().Perm())
	}
	client := newClient(t, "unix:"+path, nil)
	status, err := client.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, raft.ServerID("a"), status.ID)

	var file bytes.Buffer
	export, err := client.Export(t.Context(), &file)
	require.NoError(t, err)
	require.Equal(t, status.Membership.Cluster, export.Cluster.String())
	again, err := raft.VerifyExport(&file)
	require.NoError(t, err)
	require.Equal(t, export, again)
	done, err := client.Snapshot(t.Context(), admin.Snapshot{})
	require.NoError(t, err)
	require.Equal(t, export.Index, done.After)
	_, err = client.Remove(t.Context(), admin.Change{Members: []admin.Target{{ID: "a"}}})
	requireClientFailure(t, err, 409, "bad_members", httpapi.NotApplied)
}

// shortFolder returns a folder whose path is short enough for a socket.
func shortFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "raft")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func requireClientFailure(t *testing.T, err error, status int, code string, outcome httpapi.Outcome) {
	t.Helper()
	failure, ok := errors.AsType[*httpapi.Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, status, failure.Status, failure.Message)
	require.Equal(t, code, failure.Code, failure.Message)
	require.Equal(t, outcome, failure.Outcome, failure.Message)
}

// TestLoopback: only who calls this machine by itself is served.
func TestLoopback(t *testing.T) {
	server := listen(t, alone(t), "127.0.0.1:0", nil)
	address := server.Addr().String()
	_, err := newClient(t, address, nil).Status(t.Context())
	require.NoError(t, err)
	_, err = newClient(t, "http://"+address, nil).Status(t.Context())
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)

	for host, code := range map[string]int{"localhost:" + port: 200, "127.0.0.1": 200, "[::1]": 200, "evil.example:" + port: 403, "": 403} {
		r := httptest.NewRequest(http.MethodGet, admin.Path+"status", nil)
		r.Host, r.RemoteAddr = host, "127.0.0.1:1"
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, server.Addr()))
		require.Equal(t, code == 200, admin.Loopback(r) == nil, host)
		r.RemoteAddr = "192.0.2.1:1"
		require.Error(t, admin.Loopback(r))
		require.Error(t, admin.UnixSocket(r))
		require.Error(t, admin.Certificate()(r))
	}
	require.Error(t, admin.Loopback(httptest.NewRequest(http.MethodGet, "/", nil)), "nothing says where it has come")
	require.Error(t, admin.UnixSocket(httptest.NewRequest(http.MethodGet, "/", nil)))
}

// An authority makes certificates.
type authority struct {
	t           *testing.T
	certificate *x509.Certificate
	key         ed25519.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	var err error
	_, a.key, err = ed25519.GenerateKey(nil)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, Subject: pkix.Name{CommonName: "authority"},
	}
	der, err := x509.CreateCertificate(nil, template, template, a.key.Public(), a.key)
	require.NoError(t, err)
	a.certificate, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	return a
}

// config returns what the holder of a name speaks TLS with.
func (a *authority) config(name string) *tls.Config {
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(a.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(nil, template, a.certificate, key.Public(), a.key)
	require.NoError(a.t, err)
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, RootCAs: pool, ClientCAs: pool,
		ClientAuth: tls.RequireAndVerifyClientCert,
	}
}

// TestCertificates: with certificates any address will do, and only who has one of the authority is
// served. A change by somebody else is known not to be made.
func TestCertificates(t *testing.T) {
	ours := newAuthority(t)
	server := listen(t, alone(t), "127.0.0.1:0", ours.config("a"))
	address := "a=https://" + server.Addr().String()
	client := newClient(t, address, ours.config("operator"))
	require.Equal(t, "a", client.Name())
	status, err := client.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, raft.ServerID("a"), status.ID)

	stranger := newAuthority(t).config("operator")
	stranger.RootCAs = ours.config("x").RootCAs
	nobody := &tls.Config{RootCAs: stranger.RootCAs}
	suspicious := ours.config("operator")
	suspicious.RootCAs = x509.NewCertPool()
	for name, client := range map[string]*admin.Client{
		"a certificate of another authority":  newClient(t, address, stranger),
		"no certificate":                      newClient(t, address, nobody),
		"a server of another name":            newClient(t, strings.Replace(address, "a=", "b=", 1), ours.config("operator")),
		"a server of another authority":       newClient(t, address, suspicious),
		"no TLS, where the server demands it": newClient(t, server.Addr().String(), nil),
	} {
		_, err := client.Status(t.Context())
		require.Error(t, err, name)
		_, err = client.Transfer(t.Context(), admin.Transfer{})
		failure, ok := errors.AsType[*httpapi.Error](err)
		require.True(t, ok, "%s: %v", name, err)
		require.Equal(t, "no_answer", failure.Code, name)
		if !strings.HasPrefix(name, "no TLS") { // there, an answer came that isn't ours
			require.Equal(t, httpapi.NotApplied, failure.Outcome, "%s: %v", name, err)
		}
	}
}

// TestCertificateNames: a certificate counts if it has one of the names.
func TestCertificateNames(t *testing.T) {
	request := func(commonName string, names ...string) *http.Request {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{Subject: pkix.Name{CommonName: commonName}, DNSNames: names}}}}
		return r
	}
	require.NoError(t, admin.Certificate()(request("")))
	require.NoError(t, admin.Certificate("x", "y")(request("y")))
	require.NoError(t, admin.Certificate("x", "y")(request("", "z", "x")))
	require.ErrorContains(t, admin.Certificate("x", "y")(request("z", "Y")), `"z"`)
	require.Error(t, admin.Certificate("")(request("")), "a name that isn't there")
	unverified := request("y")
	unverified.TLS.VerifiedChains = nil
	require.Error(t, admin.Certificate("y")(unverified))
	unverified.TLS = nil
	require.Error(t, admin.Certificate()(unverified))
}

// TestAddresses: an address that makes no sense is named.
func TestAddresses(t *testing.T) {
	for _, address := range []string{"", "unix:", "ftp://host", "http://", "http://host?x", "http://user@host", "http://host#x", "a=", "http://host:port"} {
		_, err := admin.NewClient(address, nil)
		require.Error(t, err, "%q", address)
	}
	for address, name := range map[string]string{
		"host:1": "host:1", "a=host:1": "a", "unix:/a=b": "unix:/a=b", "a=unix:/x": "a", "http://host/x=y": "http://host/x=y", "https://host/under/": "https://host/under/",
	} {
		client, err := admin.NewClient(address, nil)
		require.NoError(t, err, address)
		require.Equal(t, name, client.Name())
	}
}

// TestAnswersThatAreNone: what isn't an answer of an administration is said as such, with what it
// means for a change.
func TestAnswersThatAreNone(t *testing.T) {
	exported := "raft-exported\x01" + strings.Repeat("\x00", 20)
	for name, test := range map[string]struct {
		answer  http.HandlerFunc
		outcome httpapi.Outcome
		text    string
	}{
		"another service": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", 404) }, httpapi.NotApplied, "404"},
		"a proxy":         {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusBadGateway) }, httpapi.Unknown, "502"},
		"elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusTemporaryRedirect)
		}, httpapi.Unknown, "307"},
		"nothing":  {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, httpapi.Unknown, "EOF"},
		"no JSON":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }, httpapi.Unknown, "can't be read"},
		"a number": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "{}", 500) }, httpapi.Unknown, "500"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(test.answer)
			defer server.Close()
			client := newClient(t, server.URL, nil)
			_, err := client.Add(t.Context(), admin.Change{})
			failure, ok := errors.AsType[*httpapi.Error](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, "no_answer", failure.Code)
			require.Equal(t, test.outcome, failure.Outcome, failure.Message)
			require.Contains(t, failure.Message, test.text)
			_, err = client.Status(t.Context())
			require.Error(t, err)
			_, err = client.Export(t.Context(), io.Discard)
			require.Error(t, err)
		})
	}
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = io.WriteString(w, exported)
	}))
	defer broken.Close()
	_, err := newClient(t, broken.URL, nil).Export(t.Context(), io.Discard)
	require.ErrorIs(t, err, raft.ErrCorrupt)
	address := broken.Listener.Addr().String()
	broken.Close()
	_, err = newClient(t, address, nil).Remove(t.Context(), admin.Change{})
	requireClientFailure(t, err, 0, "no_answer", httpapi.NotApplied)
}
