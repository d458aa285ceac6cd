package tcp

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"runtime/debug"
	"slices"
	"syscall"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/logbook"
	"github.com/e17579a5/raft/wire"
)

// kinds are the errors that are told apart although their types are the same.
var kinds = []error{
	errVersion, errRefused, errCertificate, errUnauthorized, errStranger, errFrame, errSilent, errQueueFull, errTooLarge, errNoPlace,
	wire.ErrMalformed,
}

// ways are in what different ways one sees that a connection has broken.
var ways = []error{
	io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE, errNothingSaid,
}

// kindOf returns what an error has in common with others of its kind.
func kindOf(err error) string {
	broken := false
	_ = guard("an error", func() error { // which may be the user's
		broken = slices.ContainsFunc(ways, func(way error) bool { return errors.Is(err, way) })
		return nil
	})
	if broken {
		return "broken"
	}
	return logbook.Kind(err, func(err error) (more string) {
		if e, ok := err.(x509.CertificateInvalidError); ok {
			more = fmt.Sprint(int(e.Reason))
		}
		for i, known := range kinds {
			if sameError(err, known) {
				more += fmt.Sprint("#", i)
			}
		}
		return more
	})
}

// sameError compares without a panic: an error need not be of a type that can be compared.
func sameError(a, b error) bool { return reflect.TypeOf(a).Comparable() && a == b }

// guard calls a function of the user's and returns its panic as an error. It doesn't return when
// the function ends the goroutine.
func guard(where string, f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &raft.PanicError{Where: "tcp: " + where, Value: r, Stack: debug.Stack()}
		}
	}()
	return f()
}

// errEnded says that a function of the user's has ended the goroutine that called it.
var errEnded = errors.New("the goroutine was ended by a function that it called")
