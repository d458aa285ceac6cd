package tcp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// CheckAddress returns an error for an address at which nobody finds a server: one that is empty,
// has no host or no port, or means every address of a host (0.0.0.0, ::). raft asks before such an
// address is stored. With Options.Dial any address will do that isn't empty.
func (t *Transport) CheckAddress(address string) error {
	if address == "" {
		return errors.New("tcp: it is empty")
	}
	if t.dialsOtherwise {
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("tcp: %w", err)
	}
	if host == "" {
		return fmt.Errorf("tcp: %q has no host", address)
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().IsUnspecified() {
		return fmt.Errorf("tcp: %q means every address of a host, and others find nobody there", address)
	}
	if port == "" {
		return fmt.Errorf("tcp: %q has no port", address)
	}
	return nil
}
