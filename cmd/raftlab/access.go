package main

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
)

// tokenHeader is the header with the token. A page of another origin can't set it without being
// asked for it (CORS), and this server allows nobody to.
const tokenHeader = "X-Raftlab-Token"

// An access decides which requests are served. Whoever reaches the server can destroy the cluster
// and its files, so it listens on the loopback interface alone. There are still other users of the
// machine, and pages of any origin in the user's own browser. So:
//
//   - The Host of a request names the loopback interface: a name of somebody else's that leads here
//     (DNS rebinding) is refused.
//   - The Origin, if a browser sends one, is this server's own, and so is the site (Sec-Fetch-Site).
//   - What shows the cluster, or changes it, needs the token. It is in the fragment of the address
//     that the command prints, and so in no request's address but that of the stream of events, for
//     which a browser sets no header.
type access struct {
	token string
}

// newAccess draws a token.
func newAccess() access {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	return access{hex.EncodeToString(b[:])}
}

// errNotLoopback says that others than this machine would reach the server.
var errNotLoopback = errors.New("it isn't an address of the loopback interface, and whoever reaches the lab can destroy what it runs")

// checkListen refuses an address to listen at that isn't one of the loopback interface.
func checkListen(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if !isLoopback(host) {
		return fmt.Errorf("%s: %w", address, errNotLoopback)
	}
	return nil
}

// isLoopback says whether a host is this machine by itself.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// refuse says why a request isn't served; nil if it may be.
func (a access) refuse(r *http.Request) error {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host // the port of HTTP is left out
	}
	if !isLoopback(host) {
		return fmt.Errorf("the host %q isn't this server's", r.Host)
	}
	if origin := r.Header.Get("Origin"); origin != "" && origin != "http://"+r.Host {
		return fmt.Errorf("the origin %q isn't this server's", origin)
	}
	switch site := r.Header.Get("Sec-Fetch-Site"); site {
	case "", "same-origin", "none":
		return nil
	default:
		return fmt.Errorf("the request comes from another site (%s)", site)
	}
}

// guarded serves only requests that come from here.
func (a access) guarded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := a.refuse(r); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		header := w.Header()
		// 'wasm-unsafe-eval' lets a page compile WebAssembly, and nothing else.
		header.Set("Content-Security-Policy", "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; "+
			"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cache-Control", "no-cache")
		h.ServeHTTP(w, r)
	})
}

// withToken serves only requests with the token. fromAddress takes it from the address, too.
func (a access) withToken(h http.HandlerFunc, fromAddress tokenPlace) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token := r.Header.Get(tokenHeader)
		if fromAddress == inAddress {
			token = r.URL.Query().Get("token")
		}
		if subtle.ConstantTimeCompare([]byte(token), []byte(a.token)) != 1 {
			http.Error(w, "the token is missing or wrong: open the address that raftlab has printed", http.StatusUnauthorized)
			return
		}
		h(w, r)
	}
}

// A tokenPlace says where a request has the token.
type tokenPlace int

const (
	inHeader tokenPlace = iota
	inAddress
)
