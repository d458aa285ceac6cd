package typed

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// checkJSON returns an error that names the first part of a type that JSON would lose or can't read
// back. Whether a type that encodes itself does that well is its own business.
func checkJSON(t reflect.Type) error { return checkJSONPart(t, t.String(), map[reflect.Type]bool{}) }

func checkJSONPart(t reflect.Type, path string, seen map[reflect.Type]bool) error {
	if seen[t] {
		return nil
	}
	seen[t] = true
	if itself, err := encodesItself(t, path); itself || err != nil {
		return err
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Array, reflect.Pointer:
		return checkJSONPart(t.Elem(), path, seen)
	case reflect.Map:
		if err := checkJSONKey(t.Key(), path); err != nil {
			return err
		}
		return checkJSONPart(t.Elem(), path+"[]", seen)
	case reflect.Struct:
		return checkJSONFields(t, path, map[string]string{}, seen)
	case reflect.Interface:
		return fmt.Errorf("%s is an interface, and JSON doesn't say of which type its value is: use Sum, or json.RawMessage", path)
	case reflect.Func, reflect.Chan, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return fmt.Errorf("%s is a %s, which JSON can't carry", path, t.Kind())
	}
	return nil
}

// encodesItself says whether a type has methods by which JSON writes and reads it.
func encodesItself(t reflect.Type, path string) (bool, error) {
	has := func(method reflect.Type) bool {
		return t.Implements(method) || t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(method)
	}
	for _, pair := range [][2]reflect.Type{
		{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[json.Unmarshaler]()},
		{reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()},
	} {
		switch writes, reads := has(pair[0]), has(pair[1]); {
		case writes && reads:
			return t.Kind() != reflect.Interface, nil
		case writes || reads:
			return false, fmt.Errorf("%s has only one of %s and %s", path, pair[0], pair[1])
		}
	}
	return false, nil
}

func checkJSONKey(t reflect.Type, path string) error {
	if itself, err := encodesItself(t, path); itself || err != nil {
		return err
	}
	switch t.Kind() {
	case reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return nil
	}
	return fmt.Errorf("%s has keys of the type %s, which JSON can't carry", path, t)
}

// checkJSONFields checks the fields of a struct, and those that it takes over from embedded ones.
// named has the fields so far by their names in JSON: of two with one name, JSON leaves out one or both.
func checkJSONFields(t reflect.Type, path string, named map[string]string, seen map[reflect.Type]bool) error {
	for field := range t.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		at := path + "." + field.Name
		if field.Tag.Get("json") == "-" {
			continue
		}
		if field.Anonymous && name == "" {
			embedded := field.Type
			if embedded.Kind() == reflect.Pointer && field.IsExported() {
				embedded = embedded.Elem()
			}
			itself, err := encodesItself(embedded, at)
			if err != nil {
				return err
			}
			if embedded.Kind() == reflect.Struct && !itself {
				if err := checkJSONFields(embedded, at, named, seen); err != nil {
					return err
				}
				continue
			}
		}
		if !field.IsExported() {
			return fmt.Errorf("%s is unexported, so JSON would leave it out: export it, or tag it `json:\"-\"` if it is no part of the state", at)
		}
		if name == "" {
			name = field.Name
		}
		if other := named[name]; other != "" {
			return fmt.Errorf("%s and %s have one name in JSON, %q", other, at, name)
		}
		named[name] = at
		if err := checkJSONPart(field.Type, at, seen); err != nil {
			return err
		}
	}
	return nil
}
