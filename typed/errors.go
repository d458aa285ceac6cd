package typed

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/codec"
)

// Errors names the errors that a Refusal brings back so that errors.Is or errors.As finds them. A
// name is in results, so it stays what it is: 1 to 255 bytes. There are two kinds:
//
//	typed.Errors{
//		"poor":  ErrPoor,            // this very error, for errors.Is
//		"limit": (*LimitError)(nil), // every error of this type with its fields, for errors.As
//	}
//
// A zero value of its type stands for the type, any other one for itself. The errors of a type are
// carried by JSON, and Start refuses the type if that would lose something.
type Errors map[string]error

// A Refusal is an error that Machine.Apply has returned, when it has come back to its caller. The
// command was applied: that is its result, the same for all who ask for it.
//
// errors.Is and errors.As find in it what they would have found in the error that Apply has returned,
// as far as Options.Errors names it. Otherwise only its text is left.
type Refusal struct {
	Text   string // of the error that Apply has returned
	causes []error
}

// Error returns the text of the error that Apply has returned.
func (r *Refusal) Error() string { return r.Text }

// Unwrap returns the errors that Options.Errors names and that were found in the error.
func (r *Refusal) Unwrap() []error { return r.causes }

// A ResultError says that a command was applied, and that nobody can be told its result: it has no
// bytes, or this version doesn't understand them.
type ResultError struct{ Err error }

func (e *ResultError) Error() string {
	return "typed: the command was applied, but its result is lost: " + e.Err.Error()
}

// Unwrap returns why.
func (e *ResultError) Unwrap() error { return e.Err }

// An UnknownCommandError is why a server has stopped: it is to apply a command that it can't decode,
// or whose Level it doesn't know. Mostly the command is of a newer version. Nothing was applied that
// comes after it, so a newer version can go on from there. Node.Err returns it, and errors.As finds it.
type UnknownCommandError struct {
	Index raft.Index // of the command; 0 if the server was restored to a state of a newer version
	Err   error
}

func (e *UnknownCommandError) Error() string {
	if e.Index == 0 {
		return "typed: the state is unknown to this version: " + e.Err.Error()
	}
	return fmt.Sprintf("typed: entry %d is unknown to this version: %v", e.Index, e.Err)
}

// Unwrap returns what isn't known.
func (e *UnknownCommandError) Unwrap() error { return e.Err }

// notApplied returns an error that wraps raft.ErrNotApplied and its reason.
func notApplied(reason error) error { return fmt.Errorf("%w: %w", raft.ErrNotApplied, reason) }

// A known is an error of Errors.
type known struct {
	name  string
	value error        // nil for all errors of a type
	typed reflect.Type // nil for one error
}

// compile returns the errors in the order of their names.
func (e Errors) compile() ([]known, error) {
	var all []known
	for _, name := range slices.Sorted(maps.Keys(e)) {
		err := e[name]
		switch {
		case name == "" || len(name) > 255:
			return nil, fmt.Errorf("the name %q has %d bytes, not 1 to 255", name, len(name))
		case err == nil:
			return nil, fmt.Errorf("%q is nil", name)
		case !reflect.ValueOf(err).IsZero():
			all = append(all, known{name: name, value: err})
			continue
		}
		typed := reflect.TypeOf(err)
		if err := checkJSON(typed); err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
		all = append(all, known{name: name, typed: typed})
	}
	return all, nil
}

// find returns the bytes of what of it is in an error, and whether there is any.
func (k *known) find(err error) (text []byte, found bool, failed error) {
	if k.typed == nil {
		return nil, errors.Is(err, k.value), nil
	}
	target := reflect.New(k.typed)
	if !errors.As(err, target.Interface()) || k.typed.Kind() == reflect.Pointer && target.Elem().IsNil() {
		return nil, false, nil
	}
	text, failed = marshalJSON(target.Elem().Interface())
	return text, true, failed
}

// read returns the error of which find has returned the bytes.
func (k *known) read(text []byte) (error, error) {
	if k.typed == nil {
		if len(text) > 0 {
			return nil, fmt.Errorf("the error %q has %d bytes", k.name, len(text))
		}
		return k.value, nil
	}
	target := reflect.New(k.typed)
	if err := unmarshalJSON(text, target.Interface()); err != nil {
		return nil, fmt.Errorf("the error %q: %w", k.name, err)
	}
	if k.typed.Kind() == reflect.Pointer && target.Elem().IsNil() {
		return nil, fmt.Errorf("the error %q is null", k.name)
	}
	return target.Elem().Interface().(error), nil
}

// appendRefusal appends the bytes of an error.
func appendRefusal(b []byte, all []known, err error) ([]byte, error) {
	b = codec.AppendString(b, err.Error())
	var causes []byte
	count := uint64(0)
	for i := range all {
		text, found, err := all[i].find(err)
		if err != nil {
			return nil, fmt.Errorf("the error %q: %w", all[i].name, err)
		}
		if found {
			count++
			causes = codec.AppendString(codec.AppendString(causes, all[i].name), string(text))
		}
	}
	return append(codec.AppendUvarint(b, count), causes...), nil
}

// readRefusal reads what appendRefusal has written.
func readRefusal(b []byte, all []known) (*Refusal, error) {
	r := codec.NewReader(b)
	refusal := &Refusal{Text: string(r.Next(r.Uvarint("length"), "text"))}
	for range r.Count(2, "errors") {
		name := r.String(255, "the name of an error")
		text := r.Next(r.Uvarint("length"), "an error")
		if r.Err() != nil {
			break
		}
		at := slices.IndexFunc(all, func(k known) bool { return k.name == name })
		if at < 0 {
			return nil, fmt.Errorf("%s: the error %q isn't known to this version", refusal.Text, name)
		}
		cause, err := all[at].read(text)
		if err != nil {
			return nil, err
		}
		refusal.causes = append(refusal.causes, cause)
	}
	r.End("errors")
	return refusal, r.Err()
}
