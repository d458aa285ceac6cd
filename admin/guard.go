package admin

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// errPage says that a request was made by a web page.
var errPage = errors.New("the request is that of a web page, which has no business here")

// refusePages refuses what a page in a browser may have sent. Browsers say so themselves: with
// Origin, and with Sec-Fetch-Site unless a person has typed in the address.
func refusePages(r *http.Request) error {
	if _, sent := r.Header["Origin"]; sent {
		return errPage
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "none" {
		return errPage
	}
	return nil
}

// UnixSocket is for Config.Authorize. It allows what comes through a unix socket: then the rights of
// the socket's file say who may use it. Other requests are refused, so that a handler isn't open by
// mistake when it is mounted elsewhere.
func UnixSocket(r *http.Request) error {
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && local.Network() == "unix" {
		return nil
	}
	return errors.New("the administration is open for its unix socket alone")
}

// Loopback is for Config.Authorize. It allows what comes from this machine, over a loopback address:
// every user of the machine, and every program. A unix socket is safer, since its file has rights.
//
// It refuses a request that calls the server by another name than localhost, or an IP address. A web
// page could have that name point to this machine, and then reach the handler as its own site.
func Loopback(r *http.Request) error {
	refused := errors.New("the administration is open for loopback addresses alone")
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok || !isLoopback(local.String()) || !isLoopback(r.RemoteAddr) {
		return refused
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	} else if bare, found := strings.CutPrefix(host, "["); found {
		host = strings.TrimSuffix(bare, "]")
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
		return fmt.Errorf("%w, and not by the name %q", refused, host)
	}
	return nil
}

// isLoopback says whether an address with a port is one of the loopback interface.
func isLoopback(address string) bool {
	parsed, err := netip.ParseAddrPort(address)
	return err == nil && parsed.Addr().Unmap().IsLoopback()
}

// Certificate returns a function for Config.Authorize. It allows clients with a certificate that the
// server has verified (tls.Config.ClientAuth is tls.RequireAndVerifyClientCert, or
// VerifyClientCertIfGiven) and that has one of the names, as a DNS name or as the common name of its
// subject. Without names, it allows every certificate that was verified.
func Certificate(names ...string) func(*http.Request) error {
	return func(r *http.Request) error {
		if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
			return errors.New("the administration is open for clients with a certificate alone")
		}
		leaf := r.TLS.VerifiedChains[0][0]
		known := append([]string{leaf.Subject.CommonName}, leaf.DNSNames...)
		if len(names) > 0 && !slices.ContainsFunc(known, func(name string) bool { return name != "" && slices.Contains(names, name) }) {
			return fmt.Errorf("the administration isn't open for %q", known)
		}
		return nil
	}
}
