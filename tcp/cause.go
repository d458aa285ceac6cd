package tcp

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A cause is what tells lines of the log apart. The text of an error plays no part: it may hold a
// time, a port or what the other side has sent, so that every line would be new.
type cause struct {
	text  string
	about raft.ServerID
	kind  string // of the error
}

// kinds are the errors that are told apart although their types are the same.
var kinds = []error{
	errVersion, errRefused, errCertificate, errUnauthorized, errStranger, errFrame, errSilent, errQueueFull, errTooLarge, errNoPlace,
	wire.ErrMalformed,
}

// ways are in what different ways one sees that a connection has broken.
var ways = []error{
	io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE, errNothingSaid,
}

// maxKind bounds how much of an error is looked at: the errors that it wraps.
const maxKind = 16

// kindOf returns what an error has in common with others of its kind: the types of the errors that
// it wraps, and their values where these are numbers.
func kindOf(err error) string {
	var kind strings.Builder
	looking := guard("an error", func() error {
		for _, way := range ways {
			if errors.Is(err, way) {
				kind.WriteString("broken")
				return nil
			}
		}
		for next := []error{err}; len(next) > 0 && kind.Len() < maxKind*40; next = next[1:] {
			err := next[0]
			if err == nil {
				continue
			}
			fmt.Fprintf(&kind, "%T", err)
			switch e := err.(type) {
			case interface{ Unwrap() []error }:
				next = append(next, e.Unwrap()...)
			case interface{ Unwrap() error }:
				next = append(next, e.Unwrap())
			case x509.CertificateInvalidError:
				fmt.Fprint(&kind, int(e.Reason))
			}
			if v := reflect.ValueOf(err); v.CanInt() {
				fmt.Fprint(&kind, v.Int())
			} else if v.CanUint() {
				fmt.Fprint(&kind, v.Uint())
			}
			for i, known := range kinds {
				if sameError(err, known) {
					fmt.Fprint(&kind, "#", i)
				}
			}
			kind.WriteByte(' ')
		}
		return nil
	})
	if looking != nil {
		return "an error that panics"
	}
	return kind.String()
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
