package typed

import (
	"bytes"
	"encoding"
	"fmt"
	"io"
	"reflect"
)

// snapshotVersion is the first byte of a snapshot.
const snapshotVersion = 1

// A snapshotter writes its own snapshots.
type snapshotter interface {
	Snapshot() (io.WriterTo, error)
	Restore(io.Reader) error
}

// A binaryState writes its own bytes.
type binaryState interface {
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}

// snapshotsOf returns how the state of a machine is captured and restored.
func snapshotsOf(machine any) (capture func() (io.WriterTo, error), restore func(io.Reader) error, err error) {
	switch m := machine.(type) {
	case snapshotter:
		return m.Snapshot, m.Restore, nil
	case binaryState:
		return func() (io.WriterTo, error) { return reader(m.AppendBinary(nil)) },
			func(r io.Reader) error {
				state, err := io.ReadAll(r)
				if err == nil {
					err = m.UnmarshalBinary(state)
				}
				return err
			}, nil
	}
	value := reflect.ValueOf(machine)
	if value.Kind() != reflect.Pointer || value.IsNil() {
		return nil, nil, fmt.Errorf("the Machine is a %T, into which no snapshot can be restored: it must be a pointer, or have Snapshot and Restore", machine)
	}
	if err := checkJSON(value.Type().Elem()); err != nil {
		return nil, nil, fmt.Errorf("the state has no Snapshot and Restore, and can't be written as JSON: %w", err)
	}
	return func() (io.WriterTo, error) { return reader(marshalJSON(machine)) },
		func(r io.Reader) error { return restoreJSON(r, value.Elem()) }, nil
}

// reader returns the bytes of a captured state as what is written into the snapshot.
func reader(state []byte, err error) (io.WriterTo, error) {
	if err != nil {
		return nil, err
	}
	return bytes.NewReader(state), nil
}

// restoreJSON replaces a state, but for the fields that JSON leaves out. It changes nothing unless
// the whole state can be read.
func restoreJSON(r io.Reader, state reflect.Value) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if itself, _ := encodesItself(state.Type(), ""); itself {
		return unmarshalJSON(text, state.Addr().Interface())
	}
	restored := reflect.New(state.Type())
	if err := unmarshalJSON(text, restored.Interface()); err != nil {
		return err
	}
	if state.Kind() != reflect.Struct {
		state.Set(restored.Elem())
		return nil
	}
	replaceFields(state, restored.Elem())
	return nil
}

// replaceFields replaces the fields of a struct, and of those embedded in it, that JSON has.
func replaceFields(state, restored reflect.Value) {
	for i, field := range state.Fields() {
		switch {
		case i.Tag.Get("json") == "-":
		case i.IsExported():
			field.Set(restored.FieldByIndex(i.Index))
		case i.Anonymous && field.Kind() == reflect.Struct:
			replaceFields(field, restored.FieldByIndex(i.Index))
		}
	}
}

// A capture is a state to be written, with what this package keeps beside it.
type capture struct {
	head  []byte
	state io.WriterTo
}

// WriteTo writes the snapshot.
func (c *capture) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(c.head)
	if err != nil {
		return int64(n), err
	}
	m, err := c.state.WriteTo(w)
	return int64(n) + m, err
}

// Close releases what the captured state holds.
func (c *capture) Close() error {
	if closer, ok := c.state.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}
