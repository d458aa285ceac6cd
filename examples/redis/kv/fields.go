package kv

import "slices"

// indexedFrom is the number of fields from which on a Fields has an index.
const indexedFrom = 32

// A Field is a name with a value.
type Field struct {
	Name  string
	Value []byte // never changed
}

// A Fields is the fields of a hash, or the members of a set. Their order depends only on what was
// done to them, so that it is the same on all servers: a new field comes last; in the place of one
// that is deleted come those after it, or, of many, the last one.
type Fields struct {
	list  []Field
	index map[string]int // places in list; nil for few fields
}

// Len returns the number of fields.
func (f *Fields) Len() int { return len(f.list) }

// All returns the fields in their order. They must not be changed.
func (f *Fields) All() []Field { return f.list }

func (f *Fields) clone() *Fields {
	clone := &Fields{list: slices.Clone(f.list)}
	clone.makeIndex()
	return clone
}

func (f *Fields) makeIndex() {
	if f.index != nil || len(f.list) < indexedFrom {
		return
	}
	f.index = make(map[string]int, 2*len(f.list))
	for i := range f.list {
		f.index[f.list[i].Name] = i
	}
}

// place returns the place of a field, or -1.
func (f *Fields) place(name []byte) int {
	if f.index != nil {
		if i, found := f.index[string(name)]; found {
			return i
		}
		return -1
	}
	for i := range f.list {
		if f.list[i].Name == string(name) {
			return i
		}
	}
	return -1
}

// Get returns the value of a field.
func (f *Fields) Get(name []byte) (value []byte, found bool) {
	if i := f.place(name); i >= 0 {
		return f.list[i].Value, true
	}
	return nil, false
}

// Set gives a field a value, which belongs to the Fields from then on. It says whether the field is
// new.
func (f *Fields) Set(name, value []byte) (added bool) {
	if i := f.place(name); i >= 0 {
		f.list[i].Value = value
		return false
	}
	f.list = append(f.list, Field{string(name), value})
	if f.index != nil {
		f.index[f.list[len(f.list)-1].Name] = len(f.list) - 1
	}
	f.makeIndex()
	return true
}

// Delete removes a field. It says whether the field was there.
func (f *Fields) Delete(name []byte) bool {
	i := f.place(name)
	if i < 0 {
		return false
	}
	last := len(f.list) - 1
	if f.index != nil {
		delete(f.index, string(name))
	}
	if len(f.list) < indexedFrom { // by the number alone, not by whether there is an index
		f.list = slices.Delete(f.list, i, i+1)
		if f.index != nil {
			for at := i; at < last; at++ {
				f.index[f.list[at].Name] = at
			}
		}
		return true
	}
	if i != last {
		f.list[i] = f.list[last]
		f.index[f.list[i].Name] = i
	}
	f.list[last] = Field{}
	f.list = f.list[:last]
	return true
}
