package admin

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/httpapi"
)

// maxAnswer bounds an answer, in bytes: a cluster of 255 members with the longest names takes less.
const maxAnswer = 4 << 20

// A Client speaks to the handler of one server. Its methods may be called from several goroutines.
//
// The error of a method is an *httpapi.Error with what the server has answered, or with the code
// no_answer if there was none that makes sense. Its outcome is httpapi.Unknown if the request may
// have been carried out.
type Client struct {
	name  string
	base  string
	query string // names the group, if there is one
	http  *http.Client
}

// NewClient returns a client of the server at an address: "http://HOST:PORT", "https://HOST:PORT",
// either with the path in front of Path if there is one, "unix:PATH", or "HOST:PORT" for http. Before
// it, "ID=" may name the server; with TLS, that is then the name that its certificate must have.
// secure says what to speak TLS with; nil stands for the defaults. The error says what is wrong with
// the address.
func NewClient(address string, secure *tls.Config) (*Client, error) {
	c := &Client{name: address}
	id, rest, named := strings.Cut(address, "=")
	if named = named && !strings.ContainsAny(id, ":/"); named {
		c.name, address = id, rest
	}
	transport := &http.Transport{TLSClientConfig: secure.Clone(), TLSHandshakeTimeout: 10 * time.Second, DisableKeepAlives: true}
	if transport.TLSClientConfig == nil {
		transport.TLSClientConfig = &tls.Config{}
	}
	if named {
		transport.TLSClientConfig.ServerName = id
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	transport.DialContext = dialer.DialContext
	if path, isUnix := strings.CutPrefix(address, "unix:"); isUnix {
		if path == "" {
			return nil, fmt.Errorf("address %q: the path of the socket is missing", address)
		}
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return dialer.DialContext(ctx, "unix", path) }
		address = "http://localhost"
	}
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	base, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, fmt.Errorf("address %q: %w", address, err)
	case base.Scheme != "http" && base.Scheme != "https":
		return nil, fmt.Errorf("address %q: the scheme is neither http nor https", address)
	case base.Host == "" || base.RawQuery != "" || base.Fragment != "" || base.User != nil:
		return nil, fmt.Errorf("address %q is not of the form http://HOST:PORT", address)
	}
	c.base, c.http = strings.TrimSuffix(base.String(), "/")+Path, &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("the answer leads elsewhere") },
	}
	return c, nil
}

// Name returns the ID that the address names, or the address.
func (c *Client) Name() string { return c.name }

// Group returns a client for one group of a server that has many.
func (c *Client) Group(group raft.GroupID) *Client {
	of := *c
	of.query = "?" + url.Values{"group": {string(group)}}.Encode()
	return &of
}

// Host asks how all groups of a server are that has many.
func (c *Client) Host(ctx context.Context, about HostQuery) (s Host, err error) {
	of := *c
	of.query = about.text()
	return s, of.ask(ctx, http.MethodGet, "host", nil, &s)
}

// Status asks what the server knows.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.ask(ctx, http.MethodGet, "status", nil, &s)
}

// Add makes a server a voter, or a learner.
func (c *Client) Add(ctx context.Context, change Change) (Changed, error) {
	return c.change(ctx, "add", change)
}

// Remove removes a server.
func (c *Client) Remove(ctx context.Context, change Change) (Changed, error) {
	return c.change(ctx, "remove", change)
}

// Replace makes the present disk of a server count.
func (c *Client) Replace(ctx context.Context, change Change) (Changed, error) {
	return c.change(ctx, "replace", change)
}

// Set makes these servers the members.
func (c *Client) Set(ctx context.Context, change Change) (Changed, error) {
	return c.change(ctx, "set", change)
}

func (c *Client) change(ctx context.Context, name string, change Change) (changed Changed, err error) {
	return changed, c.ask(ctx, http.MethodPost, "members/"+name, change, &changed)
}

// Transfer hands the leadership over.
func (c *Client) Transfer(ctx context.Context, transfer Transfer) (done Transferred, err error) {
	return done, c.ask(ctx, http.MethodPost, "transfer", transfer, &done)
}

// Snapshot has the server take a snapshot.
func (c *Client) Snapshot(ctx context.Context, snapshot Snapshot) (done Snapshotted, err error) {
	return done, c.ask(ctx, http.MethodPost, "snapshot", snapshot, &done)
}

// Export writes an exported snapshot to w, and says what it is. It checks it on the way: an error that
// wraps raft.ErrCorrupt says that it was cut off or is damaged. After any error, what was written is of
// no use.
func (c *Client) Export(ctx context.Context, w io.Writer) (raft.Export, error) {
	response, err := c.send(ctx, http.MethodPost, "export", nil)
	if err != nil {
		return raft.Export{}, err
	}
	defer func() { _ = response.Body.Close() }() // an error would lose nothing
	if kind := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || kind != "application/octet-stream" {
		return raft.Export{}, c.failed(response)
	}
	export, err := raft.VerifyExport(io.TeeReader(response.Body, w))
	if err != nil {
		return raft.Export{}, fmt.Errorf("the export of server %s: %w", c.name, err)
	}
	return export, nil
}

// ask sends a request and reads the answer.
func (c *Client) ask(ctx context.Context, method, path string, body, answer any) error {
	response, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // an error would lose nothing
	if response.StatusCode != http.StatusOK {
		return c.failed(response)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(answer); err != nil {
		return c.noAnswer(httpapi.Unknown, fmt.Errorf("the answer can't be read: %w", err))
	}
	return nil
}

// send sends a request. If it can't have arrived, the error says that it wasn't carried out.
func (c *Client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, c.noAnswer(httpapi.NotApplied, err)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path+c.query, bytes.NewReader(text))
	if err != nil {
		return nil, c.noAnswer(httpapi.NotApplied, err)
	}
	if method == http.MethodGet {
		request.Body, request.ContentLength = nil, 0
	}
	request.Header.Set("Content-Type", "application/json")
	request.GetBody = nil // a request that may have been carried out isn't sent again
	response, err := c.http.Do(request)
	if err == nil {
		return response, nil
	}
	outcome := httpapi.Unknown
	if method == http.MethodGet || notSent(err) {
		outcome = httpapi.NotApplied
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // without the URL, which is no news
	}
	return nil, c.noAnswer(outcome, err)
}

// notSent says whether a request has failed before a handler can have seen it: the connection was
// refused, or the two sides don't accept each other's certificates.
func notSent(err error) bool {
	network, failed := errors.AsType[*net.OpError](err)
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, noTLS := errors.AsType[tls.RecordHeaderError](err)
	return failed && (network.Op == "dial" || network.Op == "remote error") || certificate || noTLS
}

// failed returns the error that a server has answered with.
func (c *Client) failed(response *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	own := &httpapi.Error{Status: response.StatusCode}
	if err == nil {
		err = json.Unmarshal(text, own)
	}
	if err != nil || own.Code == "" || own.Outcome == "" {
		outcome := httpapi.Unknown
		if response.StatusCode == http.StatusNotFound || response.StatusCode == http.StatusMethodNotAllowed {
			outcome = httpapi.NotApplied
		}
		return c.noAnswer(outcome, fmt.Errorf("%s, which is no answer of an administration", response.Status))
	}
	return own
}

// noAnswer returns the error of a request without an answer.
func (c *Client) noAnswer(outcome httpapi.Outcome, err error) error {
	return &httpapi.Error{Code: "no_answer", Outcome: outcome, Message: err.Error(), Err: err}
}
