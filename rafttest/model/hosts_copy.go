package model

import (
	"cmp"
	"encoding/binary"
	"reflect"
	"slices"
	"sync"
	"unsafe"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/coalesce"
)

// A Book can't copy itself, and doesn't write down its state: nothing but this checker needs that.
// These functions do it by reflection, so no field can be forgotten.

// A copier copies values with all that they point to. What is pointed to twice is copied once.
type copier struct {
	known map[unsafe.Pointer]reflect.Value
}

// copyOf returns a copy of what p points to, which shares nothing with it. A core is copied by its own
// method.
func copyOf[T any](p *T) *T {
	c := copier{map[unsafe.Pointer]reflect.Value{}}
	return c.value(reflect.ValueOf(p)).Interface().(*T)
}

// open makes a field readable that isn't exported.
func open(v reflect.Value) reflect.Value {
	return reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
}

// value returns a copy of a value.
func (c *copier) value(v reflect.Value) reflect.Value {
	if plain(v.Type()) {
		return v
	}
	switch v.Kind() {
	case reflect.Pointer:
		return c.pointer(v)
	case reflect.Interface:
		if v.IsNil() {
			return v
		}
		n := reflect.New(v.Type()).Elem()
		n.Set(c.value(v.Elem()))
		return n
	case reflect.Slice:
		if v.IsNil() {
			return v
		}
		n := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		if plain(v.Type().Elem()) {
			reflect.Copy(n, v)
			return n
		}
		for i := range v.Len() {
			n.Index(i).Set(c.value(v.Index(i)))
		}
		return n
	case reflect.Map:
		if v.IsNil() {
			return v
		}
		n := reflect.MakeMapWithSize(v.Type(), v.Len())
		for it := v.MapRange(); it.Next(); {
			n.SetMapIndex(it.Key(), c.value(it.Value()))
		}
		return n
	}
	n := reflect.New(v.Type()).Elem()
	c.into(n, v)
	return n
}

// into copies a struct or an array into a place.
func (c *copier) into(to, v reflect.Value) {
	if v.Kind() == reflect.Array {
		for i := range v.Len() {
			to.Index(i).Set(c.value(v.Index(i)))
		}
		return
	}
	if !v.CanAddr() {
		place := reflect.New(v.Type()).Elem()
		place.Set(v)
		v = place
	}
	for i := range v.NumField() {
		to, from := open(to.Field(i)), open(v.Field(i))
		to.Set(c.value(from))
	}
}

// plainTypes says of types whether an assignment copies all of their values.
var plainTypes sync.Map

// plain says whether an assignment copies all of a value. What a disk holds, or is given, is never
// changed.
func plain(t reflect.Type) bool {
	if known, ok := plainTypes.Load(t); ok {
		return known.(bool)
	}
	is := true
	switch t.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Slice, reflect.Map:
		is = false
	case reflect.Array:
		is = plain(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			is = is && plain(t.Field(i).Type)
		}
	}
	is = is || t == reflect.TypeFor[disk]() || t == reflect.TypeFor[raft.Write]()
	plainTypes.Store(t, is)
	return is
}

func (c *copier) pointer(v reflect.Value) reflect.Value {
	if v.IsNil() {
		return v
	}
	at := v.UnsafePointer()
	if known, ok := c.known[at]; ok {
		return known
	}
	if core, ok := v.Interface().(*raft.Core); ok {
		c.known[at] = reflect.ValueOf(core.Clone())
		return c.known[at]
	}
	n := reflect.New(v.Type().Elem())
	c.known[at] = n
	c.into(n.Elem(), v.Elem())
	return n
}

// A writer writes down values. Equal encodings stand for values that behave alike.
type writer struct {
	b     []byte
	known map[unsafe.Pointer]int
	skips map[reflect.Type][]string
}

// bookSkips are the fields of a Book that decide nothing: the next event brings a later time.
var bookSkips = map[reflect.Type][]string{reflect.TypeFor[coalesce.Book](): {"now", "config"}}

// appendBook appends an encoding of a Book.
func appendBook(b []byte, book *coalesce.Book) []byte {
	w := writer{b, map[unsafe.Pointer]int{}, bookSkips}
	w.value(reflect.ValueOf(book))
	return w.b
}

func (w *writer) number(n uint64) { w.b = binary.AppendUvarint(w.b, n) }

func (w *writer) value(v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		w.number(map[bool]uint64{true: 1}[v.Bool()])
	case reflect.String:
		w.number(uint64(v.Len()))
		w.b = append(w.b, v.String()...)
	case reflect.Pointer:
		w.pointer(v)
	case reflect.Interface:
		if w.number(uint64(len(v.Type().Name()))); !v.IsNil() {
			w.value(v.Elem())
		}
	case reflect.Slice, reflect.Array:
		w.number(uint64(v.Len()))
		for i := range v.Len() {
			w.value(v.Index(i))
		}
	case reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return cmp.Compare(a.String(), b.String()) })
		w.number(uint64(len(keys)))
		for _, key := range keys {
			w.value(key)
			w.value(v.MapIndex(key))
		}
	case reflect.Struct:
		skips := w.skips[v.Type()]
		for i := range v.NumField() {
			if !slices.Contains(skips, v.Type().Field(i).Name) {
				w.value(v.Field(i))
			}
		}
	default:
		if v.CanInt() {
			w.number(uint64(v.Int()))
		} else {
			w.number(v.Uint()) // a Book has no floats, channels and functions
		}
	}
}

func (w *writer) pointer(v reflect.Value) {
	if v.IsNil() {
		w.number(0)
		return
	}
	at := v.UnsafePointer()
	n, known := w.known[at]
	if !known {
		n = len(w.known) + 1
		w.known[at] = n
	}
	if w.number(uint64(n)); !known {
		w.value(v.Elem())
	}
}

// appendTimes appends all instants in a core that may still matter. Its encoding (Core.AppendState)
// leaves them out.
func appendTimes(b []byte, core *raft.Core) []byte {
	w := writer{b: b}
	w.times(reflect.ValueOf(core).Elem())
	return w.b
}

var instant = reflect.TypeFor[raft.Instant]()

func (w *writer) times(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		if state := v.FieldByName("state"); v.Type().Name() == "deadline" && state.Uint() != 1 {
			return // it isn't armed
		}
		for i := range v.NumField() {
			switch v.Type().Field(i).Name {
			case "now", "soonest", "config": // the next event brings a later time
			default:
				w.times(v.Field(i))
			}
		}
	case reflect.Slice, reflect.Array:
		if kind := v.Type().Elem().Kind(); kind != reflect.Uint8 {
			for i := range v.Len() {
				w.times(v.Index(i))
			}
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() && v.Type() != reflect.TypeFor[*raft.Configuration]() {
			w.times(v.Elem())
		}
	default:
		if v.Type() == instant {
			w.number(uint64(v.Int()))
		}
	}
}

// leftOf returns what a core was told when its last turn began.
func leftOf(q *raft.Coalesced) coalesce.Left {
	left := open(reflect.ValueOf(q).Elem().FieldByName("left"))
	return *copyOf(left.Addr().Interface().(*coalesce.Left))
}
