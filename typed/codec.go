package typed

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"

	"github.com/e17579a5/raft/internal/codec"
)

// A Codec turns values into bytes and back. Several goroutines use it at a time.
//
// The bytes of a command are in the log, and those of a result may be in snapshots, for as long as
// the cluster lives. So a later version must still read them. Two servers that have the same value
// must write the same bytes for it: that excludes encoding/gob, and whatever depends on the order in
// which a map is ranged over. CheckCodec tests for that.
type Codec[T any] interface {
	// Append appends the bytes of a value to b. It doesn't change the value, and keeps no reference
	// to it. An error says that the value has no bytes: a command is then not applied.
	Append(b []byte, value *T) ([]byte, error)

	// Decode sets a value, which is zero before, to what the bytes say. It must return an error for
	// bytes that it doesn't understand completely. They are valid during the call only.
	Decode(b []byte, value *T) error
}

// A checker is a codec of this package, which may be made of what it can't encode.
type checker interface{ check() error }

// check returns an error that wraps what is wrong with a codec.
func check[T any](name string, c Codec[T]) error {
	if checked, ok := c.(checker); ok {
		if err := checked.check(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// JSON is the codec by encoding/json. It takes types that JSON carries without loss, and Start
// refuses all others: an unexported field without the tag `json:"-"`, an interface, a function, two
// fields of one name. A string that isn't UTF-8 is an error, and so is a field that the type doesn't
// have, when it is decoded. A field that is missing is zero.
func JSON[T any]() Codec[T] { return jsonCodec[T]{} }

type jsonCodec[T any] struct{}

func (jsonCodec[T]) check() error { return checkJSON(reflect.TypeFor[T]()) }

func (jsonCodec[T]) Append(b []byte, value *T) ([]byte, error) {
	text, err := marshalJSON(value)
	if err != nil {
		return nil, err
	}
	return append(b, text...), nil
}

func (jsonCodec[T]) Decode(b []byte, value *T) error { return unmarshalJSON(b, value) }

// errNotUTF8 says why JSON can't carry a string.
var errNotUTF8 = errors.New("a string isn't UTF-8, so JSON would change it")

// marshalJSON is json.Marshal, which puts U+FFFD into the place of bytes that are no UTF-8, and says
// so by writing it as an escape. A U+FFFD that was there before is no escape.
func marshalJSON(value any) ([]byte, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	escape := []byte(`\ufffd`)
	for rest := text; ; {
		at := bytes.Index(rest, escape)
		if at < 0 {
			return text, nil
		}
		before := len(rest[:at]) - len(bytes.TrimRight(rest[:at], `\`))
		if before%2 == 0 { // otherwise the backslash is itself escaped, and the text is ufffd
			return nil, errNotUTF8
		}
		rest = rest[at+len(escape):]
	}
}

// unmarshalJSON decodes one value and refuses fields that it doesn't have, and what comes after it.
func unmarshalJSON(b []byte, value any) error {
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(value); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}

// Binary is the codec of a type that writes and reads its own bytes. It costs no allocation beside
// what the two methods do. UnmarshalBinary must refuse bytes that it doesn't understand completely.
func Binary[T any, P interface {
	*T
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}]() Codec[T] {
	return binaryCodec[T, P]{}
}

type binaryCodec[T any, P interface {
	*T
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}] struct{}

func (binaryCodec[T, P]) Append(b []byte, value *T) ([]byte, error) { return P(value).AppendBinary(b) }

func (binaryCodec[T, P]) Decode(b []byte, value *T) error { return P(value).UnmarshalBinary(b) }

// A Case is one of the types that a value of an interface may have.
type Case[T any] struct {
	name   string
	holds  func(T) bool
	append func([]byte, T) ([]byte, error)
	decode func([]byte) (T, error)
	err    error
}

// CaseOf returns the Case of the type V, with the codec of its values. The name is in the bytes, so it
// stays what it is for as long as they do: 1 to 255 bytes.
//
//	typed.CaseOf[Command]("set", typed.JSON[Set]())
func CaseOf[T, V any](name string, values Codec[V]) Case[T] {
	c := Case[T]{name: name, err: check(fmt.Sprintf("case %q", name), values)}
	var zero V
	switch _, implements := any(zero).(T); {
	case reflect.TypeFor[T]().Kind() != reflect.Interface:
		c.err = fmt.Errorf("case %q: %s is no interface", name, reflect.TypeFor[T]())
	case reflect.TypeFor[V]().Kind() == reflect.Interface || !implements:
		c.err = fmt.Errorf("case %q: %s is no type that implements %s", name, reflect.TypeFor[V](), reflect.TypeFor[T]())
	case name == "" || len(name) > 255:
		c.err = fmt.Errorf("case %q: the name has %d bytes, not 1 to 255", name, len(name))
	}
	c.holds = func(value T) bool {
		_, ok := any(value).(V)
		return ok
	}
	c.append = func(b []byte, value T) ([]byte, error) {
		v := any(value).(V)
		return values.Append(b, &v)
	}
	c.decode = func(b []byte) (value T, err error) {
		var v V
		if err := values.Decode(b, &v); err != nil {
			return value, err
		}
		return any(v).(T), nil
	}
	return c
}

// Sum is the codec of an interface, whose values have one of the types of the cases. A value of
// another type has no bytes. A name that is no case can't be decoded: it is of a newer version, and
// a server that is to apply it stops (UnknownCommandError).
func Sum[T any](cases ...Case[T]) Codec[T] { return sumCodec[T](slices.Clone(cases)) }

type sumCodec[T any] []Case[T]

func (s sumCodec[T]) check() error {
	for i := range s {
		if s[i].err != nil {
			return s[i].err
		}
		if slices.ContainsFunc(s[:i], func(o Case[T]) bool { return o.name == s[i].name }) {
			return fmt.Errorf("case %q is there twice", s[i].name)
		}
	}
	return nil
}

func (s sumCodec[T]) Append(b []byte, value *T) ([]byte, error) {
	for i := range s {
		if s[i].holds(*value) {
			return s[i].append(codec.AppendString(b, s[i].name), *value)
		}
	}
	return nil, fmt.Errorf("%T is none of the cases of %s", *value, reflect.TypeFor[T]())
}

func (s sumCodec[T]) Decode(b []byte, value *T) (err error) {
	r := codec.NewReader(b)
	name := r.String(255, "the name of a case")
	if err := r.Err(); err != nil {
		return err
	}
	for i := range s {
		if s[i].name == name {
			*value, err = s[i].decode(r.Rest())
			return err
		}
	}
	return fmt.Errorf("%q is no case of %s that this version knows", name, reflect.TypeFor[T]())
}

// CheckCodec is for a test of a codec. It returns an error if one of the values doesn't come back as
// it was, or hasn't the same bytes each time: of 100 times, and when it has come back.
func CheckCodec[T any](c Codec[T], values ...T) error {
	if err := check("typed", c); err != nil {
		return err
	}
	for _, value := range values {
		first, err := c.Append([]byte("before"), &value)
		if err != nil {
			return fmt.Errorf("typed: append %v: %w", value, err)
		}
		var back T
		for range 100 {
			var decoded T
			if err := c.Decode(bytes.TrimPrefix(first, []byte("before")), &decoded); err != nil {
				return fmt.Errorf("typed: decode the bytes of %v: %w", value, err)
			}
			for _, v := range []*T{&value, &decoded} {
				again, err := c.Append([]byte("before"), v)
				if err != nil {
					return fmt.Errorf("typed: append %v: %w", *v, err)
				}
				if !bytes.Equal(first, again) {
					return fmt.Errorf("typed: the bytes of %v aren't the same each time: %q and %q", value, first, again)
				}
			}
			back = decoded
		}
		if !reflect.DeepEqual(value, back) {
			return fmt.Errorf("typed: %v comes back as %v", value, back)
		}
	}
	return nil
}
