package wire

import (
	"fmt"
	"io"
)

// A ClusterKey is a secret of a cluster. Its leaders draw it, its configurations carry it, and
// nobody but members is told. A server that proves it belongs to the cluster, although the receiver
// may not know that yet. The zero value stands for no key.
//
// No way of printing a key shows it.
type ClusterKey [32]byte

// String returns "none" for the zero value, and "redacted" for any other key.
func (k ClusterKey) String() string {
	if k == (ClusterKey{}) {
		return "none"
	}
	return "redacted"
}

// GoString returns what String returns.
func (k ClusterKey) GoString() string { return k.String() }

// Format writes what String returns, whatever the verb.
func (k ClusterKey) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, k.String()) }

// MarshalText returns what String returns: so package log/slog shows no key either.
func (k ClusterKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }
