package tcp_test

import (
	"testing"
)

// Whoever holds a certificate of the authority, and never was a member, can do nothing.
func TestCertificateAloneDoesNothing(t *testing.T) {
	t.Parallel()
	newStronghold(t, newAuthority(t)).outsider("stranger").storm()
}

// Without TLS, whoever reaches the port in a name of its own can do nothing.
func TestNameOfItsOwnDoesNothing(t *testing.T) {
	t.Parallel()
	newStronghold(t, nil).outsider("stranger").storm()
}
