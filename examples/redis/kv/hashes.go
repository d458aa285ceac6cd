package kv

import (
	"bytes"
	"strconv"
)

// setFields sets the fields in the arguments, and returns how many are new. It replies what is
// wrong.
func (c *call) setFields(name string) (added int64, ok bool) {
	if len(c.args)%2 != 0 {
		c.wrongArguments(name)
		return 0, false
	}
	o := c.editKind(c.args[1], Hash)
	if o == nil {
		return 0, false
	}
	for i := 2; i < len(c.args); i += 2 {
		if o.Fields.Set(c.args[i], bytes.Clone(c.args[i+1])) {
			added++
		}
	}
	c.put(c.args[1], o)
	return added, true
}

func hset(c *call) {
	if added, ok := c.setFields("hset"); ok {
		c.Int(added)
	}
}

func hmset(c *call) {
	if _, ok := c.setFields("hmset"); ok {
		c.ok()
	}
}

func hsetnx(c *call) {
	o := c.editKind(c.args[1], Hash)
	if o == nil {
		return
	}
	if _, there := o.Fields.Get(c.args[2]); there {
		c.Int(0)
		return
	}
	o.Fields.Set(c.args[2], bytes.Clone(c.args[3]))
	c.put(c.args[1], o)
	c.Int(1)
}

// fields returns the fields of a hash or set, which may be none.
func (c *call) fields(key []byte, kind Kind) (*Fields, bool) {
	o, ok := c.findKind(key, kind)
	if o == nil {
		return &Fields{}, ok
	}
	return o.Fields, true
}

func (c *call) field(f *Fields, name []byte) {
	if value, found := f.Get(name); found {
		c.Bulk(value)
	} else {
		c.Null()
	}
}

func hget(c *call) {
	if f, ok := c.fields(c.args[1], Hash); ok {
		c.field(f, c.args[2])
	}
}

func hmget(c *call) {
	if f, ok := c.fields(c.args[1], Hash); ok {
		c.Array(len(c.args) - 2)
		for _, name := range c.args[2:] {
			c.field(f, name)
		}
	}
}

func hgetall(c *call) {
	if f, ok := c.fields(c.args[1], Hash); ok {
		c.Map(f.Len())
		for _, field := range f.All() {
			c.Text(field.Name)
			c.Bulk(field.Value)
		}
	}
}

func hkeys(c *call) {
	if f, ok := c.fields(c.args[1], Hash); ok {
		c.Array(f.Len())
		for _, field := range f.All() {
			c.Text(field.Name)
		}
	}
}

func hvals(c *call) {
	if f, ok := c.fields(c.args[1], Hash); ok {
		c.Array(f.Len())
		for _, field := range f.All() {
			c.Bulk(field.Value)
		}
	}
}

func hlen(c *call) {
	if f, ok := c.fields(c.args[1], Hash); ok {
		c.Int(int64(f.Len()))
	}
}

func hexists(c *call) {
	if f, ok := c.fields(c.args[1], Hash); ok {
		_, there := f.Get(c.args[2])
		c.bool(there)
	}
}

func hstrlen(c *call) {
	if f, ok := c.fields(c.args[1], Hash); ok {
		value, _ := f.Get(c.args[2])
		c.Int(int64(len(value)))
	}
}

// remove removes fields or members.
func (c *call) remove(kind Kind) {
	o := c.editKind(c.args[1], kind)
	if o == nil {
		return
	}
	n := int64(0)
	for _, name := range c.args[2:] {
		if o.Fields.Delete(name) {
			n++
		}
	}
	if n > 0 {
		c.put(c.args[1], o)
	}
	c.Int(n)
}

func hdel(c *call) { c.remove(Hash) }

func hincrby(c *call) {
	amount, ok := c.number(c.args[3])
	if !ok {
		return
	}
	o := c.editKind(c.args[1], Hash)
	if o == nil {
		return
	}
	was := int64(0)
	if value, there := o.Fields.Get(c.args[2]); there {
		if was, ok = integer(value); !ok {
			c.Error("ERR hash value is not an integer")
			return
		}
	}
	is, ok := sum(was, amount)
	if !ok {
		c.Error("ERR increment or decrement would overflow")
		return
	}
	o.Fields.Set(c.args[2], strconv.AppendInt(nil, is, 10))
	c.put(c.args[1], o)
	c.Int(is)
}

func hincrbyfloat(c *call) {
	if _, ok := float(c.args[3]); !ok {
		c.Error(notFloat)
		return
	}
	o := c.editKind(c.args[1], Hash)
	if o == nil {
		return
	}
	value, there := o.Fields.Get(c.args[2])
	if is, ok := c.addFloat(there, value, c.args[3], "ERR hash value is not a float"); ok {
		o.Fields.Set(c.args[2], is)
		c.put(c.args[1], o)
		c.Bulk(is)
	}
}
