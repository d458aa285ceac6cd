package kv

import "bytes"

// push adds items. If create is false, the list must be there.
func (c *call) push(add func(*Items, []byte), create bool) {
	o := c.editKind(c.args[1], List)
	switch {
	case o == nil:
		return
	case !create && o.Items.Len() == 0:
		c.Int(0)
		return
	}
	for _, item := range c.args[2:] {
		add(o.Items, bytes.Clone(item))
	}
	c.put(c.args[1], o)
	c.Int(int64(o.Items.Len()))
}

func (c *call) pop(name string, take func(*Items) []byte) {
	if len(c.args) > 3 {
		c.wrongArguments(name)
		return
	}
	many, count := len(c.args) == 3, int64(1)
	if many {
		var is bool
		if count, is = integer(c.args[2]); !is || count < 0 {
			c.Error("ERR value is out of range, must be positive")
			return
		}
	}
	o := c.editKind(c.args[1], List)
	switch {
	case o == nil:
		return
	case o.Items.Len() == 0 && many:
		c.NullArray()
		return
	case o.Items.Len() == 0:
		c.Null()
		return
	}
	count = min(count, int64(o.Items.Len()))
	if many {
		c.Array(int(count))
	}
	if count == 0 {
		return
	}
	for range count {
		c.Bulk(take(o.Items))
	}
	c.put(c.args[1], o)
}

// items returns the items of a list, which may be none.
func (c *call) items() (*Items, bool) {
	o, ok := c.findKind(c.args[1], List)
	if o == nil {
		return &Items{}, ok
	}
	return o.Items, true
}

func llen(c *call) {
	if l, ok := c.items(); ok {
		c.Int(int64(l.Len()))
	}
}

// places reads two places from the arguments.
func (c *call) places() (first, last int64, ok bool) {
	if first, ok = c.number(c.args[2]); ok {
		last, ok = c.number(c.args[3])
	}
	return first, last, ok
}

func lrange(c *call) {
	first, last, ok := c.places()
	if !ok {
		return
	}
	if l, ok := c.items(); ok {
		from, end := stretch(first, last, l.Len())
		c.Array(end - from)
		for i := from; i < end; i++ {
			c.Bulk(l.At(i))
		}
	}
}

// place returns the place of an item that may be counted from the end; -1 if there is no such one.
func place(i int64, n int) int {
	if i < 0 {
		i += int64(n)
	}
	if i < 0 || i >= int64(n) {
		return -1
	}
	return int(i)
}

func lindex(c *call) {
	l, ok := c.items()
	if !ok {
		return
	}
	i, ok := c.number(c.args[2])
	if !ok {
		return
	}
	if at := place(i, l.Len()); at >= 0 {
		c.Bulk(l.At(at))
	} else {
		c.Null()
	}
}

func lset(c *call) {
	o := c.editKind(c.args[1], List)
	if o == nil {
		return
	}
	if o.Items.Len() == 0 {
		c.Error(noSuchKey)
		return
	}
	i, ok := c.number(c.args[2])
	if !ok {
		return
	}
	at := place(i, o.Items.Len())
	if at < 0 {
		c.Error("ERR index out of range")
		return
	}
	o.Items.SetAt(at, bytes.Clone(c.args[3]))
	c.put(c.args[1], o)
	c.ok()
}

func lrem(c *call) {
	count, ok := c.number(c.args[2])
	if !ok {
		return
	}
	o := c.editKind(c.args[1], List)
	if o == nil {
		return
	}
	var places []int
	for i := range o.Items.Len() {
		if bytes.Equal(o.Items.At(i), c.args[3]) {
			places = append(places, i)
		}
	}
	n := int64(len(places))
	switch {
	case count > 0:
		places = places[:min(count, n)]
	case count < 0 && -count < n && count != -1<<63:
		places = places[n+count:]
	}
	if len(places) > 0 {
		rest := places
		o.Items.Keep(func(i int, _ []byte) bool {
			if len(rest) > 0 && rest[0] == i {
				rest = rest[1:]
				return false
			}
			return true
		})
		c.put(c.args[1], o)
	}
	c.Int(int64(len(places)))
}

func ltrim(c *call) {
	first, last, ok := c.places()
	if !ok {
		return
	}
	o := c.editKind(c.args[1], List)
	if o == nil {
		return
	}
	if o.Items.Len() > 0 {
		from, end := stretch(first, last, o.Items.Len())
		o.Items.Keep(func(i int, _ []byte) bool { return from <= i && i < end })
		c.put(c.args[1], o)
	}
	c.ok()
}

func linsert(c *call) {
	after := is(c.args[2], "after")
	if !after && !is(c.args[2], "before") {
		c.Error(syntax)
		return
	}
	o := c.editKind(c.args[1], List)
	if o == nil {
		return
	}
	if o.Items.Len() == 0 {
		c.Int(0)
		return
	}
	for i := range o.Items.Len() {
		if bytes.Equal(o.Items.At(i), c.args[3]) {
			if after {
				i++
			}
			o.Items.Insert(i, bytes.Clone(c.args[4]))
			c.put(c.args[1], o)
			c.Int(int64(o.Items.Len()))
			return
		}
	}
	c.Int(-1)
}
