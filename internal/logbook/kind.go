package logbook

import (
	"fmt"
	"reflect"
	"strings"
)

// maxKind bounds how much of an error Kind looks at, in bytes of the text that it makes.
const maxKind = 640

// Kind returns what an error has in common with others of its kind: the types of the errors that it
// wraps, and their values where these are numbers. The text plays no part: it may hold a time, a
// port or what a stranger has sent, so that every line would be new. more, unless it is nil, says
// what else tells an error from others of its type. A panic of the error, or of more, is a kind.
func Kind(err error, more func(error) string) string {
	kind := "an error that panics"
	func() {
		defer func() { _ = recover() }()
		kind = kindOf(err, more)
	}()
	return kind
}

func kindOf(err error, more func(error) string) string {
	var kind strings.Builder
	for next := []error{err}; len(next) > 0 && kind.Len() < maxKind; next = next[1:] {
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
		}
		if v := reflect.ValueOf(err); v.CanInt() {
			fmt.Fprint(&kind, v.Int())
		} else if v.CanUint() {
			fmt.Fprint(&kind, v.Uint())
		}
		if more != nil {
			kind.WriteString(more(err))
		}
		kind.WriteByte(' ')
	}
	return kind.String()
}
