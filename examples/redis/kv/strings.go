package kv

import (
	"bytes"
	"strconv"
)

func get(c *call) {
	if o, ok := c.findKind(c.args[1], String); ok {
		c.value(o)
	}
}

// value replies a string, or that there is none.
func (c *call) value(o *Object) {
	if o == nil {
		c.Null()
	} else {
		c.Bulk(o.Bytes)
	}
}

// A setting is the options of SET, or of GETEX.
type setting struct {
	unless, only  bool // NX, XX
	get, keep     bool // GET, KEEPTTL
	persist       bool // PERSIST, of GETEX
	expires       int64
	optionsOfTime int
}

// options reads the options from args[from] on. It replies what is wrong with them.
func (c *call) options(name string, from int) (s setting, ok bool) {
	for i := from; i < len(c.args); i++ {
		arg, setting := c.args[i], name == "set"
		switch {
		case setting && is(arg, "nx"):
			s.unless = true
		case setting && is(arg, "xx"):
			s.only = true
		case setting && is(arg, "get"):
			s.get = true
		case setting && is(arg, "keepttl"):
			s.keep = true
			s.optionsOfTime++
		case !setting && is(arg, "persist"):
			s.persist = true
			s.optionsOfTime++
		case i+1 < len(c.args) && (is(arg, "ex") || is(arg, "px") || is(arg, "exat") || is(arg, "pxat")):
			s.optionsOfTime++
			i++
		default:
			c.Error(syntax)
			return s, false
		}
	}
	if s.unless && s.only || s.optionsOfTime > 1 {
		c.Error(syntax)
		return s, false
	}
	return s, true
}

// resolve reads the time in the options. It replies what is wrong with it.
func (c *call) resolve(s *setting, name string, from int) (ok bool) {
	for i := from; i+1 < len(c.args); i++ {
		unit, base := int64(0), int64(0)
		switch arg := c.args[i]; {
		case is(arg, "ex"):
			unit, base = 1000, c.now
		case is(arg, "px"):
			unit, base = 1, c.now
		case is(arg, "exat"):
			unit = 1000
		case is(arg, "pxat"):
			unit = 1
		}
		if unit != 0 {
			s.expires, ok = c.time(c.args[i+1], unit, base, name)
			return ok
		}
	}
	return true
}

// time reads the time at which a key is to expire. For SET and its kin it is in the future.
func (c *call) time(arg []byte, unit, base int64, name string) (int64, bool) {
	n, ok := c.number(arg)
	if !ok {
		return 0, false
	}
	if n <= 0 {
		return 0, c.invalidExpire(name)
	}
	at, ok := expiry(n, unit, base)
	if !ok || at == 0 {
		return 0, c.invalidExpire(name)
	}
	return at, true
}

func (c *call) invalidExpire(name string) bool {
	c.Error("ERR invalid expire time in '" + name + "' command")
	return false
}

func set(c *call) {
	var s setting
	if len(c.args) > 3 {
		var ok bool
		if s, ok = c.options("set", 3); !ok || !c.resolve(&s, "set", 3) {
			return
		}
	}
	key := c.args[1]
	old := c.edit(key)
	had := old != nil
	var before []byte
	if s.get {
		if _, ok := c.of(String, old); !ok {
			return
		}
		if had {
			before = old.Bytes
		}
	}
	do := !(s.unless && had || s.only && !had)
	if do {
		if s.keep && had {
			s.expires = old.Expires
		}
		if !had || old.Kind != String {
			old = &Object{Kind: String}
		}
		old.Bytes, old.Expires = bytes.Clone(c.args[2]), s.expires
		c.put(key, old)
		if s.expires != 0 && s.expires <= c.now {
			c.keys.Delete(key) // EXAT and PXAT may name the past
		}
	}
	switch {
	case s.get && had:
		c.Bulk(before)
	case s.get || !do:
		c.Null()
	default:
		c.ok()
	}
}

func setnx(c *call) {
	free := c.find(c.args[1]) == nil
	if free {
		c.putString(c.args[1], bytes.Clone(c.args[2]), 0)
	}
	c.bool(free)
}

func (c *call) setex(unit int64) {
	name := "setex"
	if unit == 1 {
		name = "psetex"
	}
	if at, ok := c.time(c.args[2], unit, c.now, name); ok {
		c.putString(c.args[1], bytes.Clone(c.args[3]), at)
		c.ok()
	}
}

func getset(c *call) {
	if old, ok := c.findKind(c.args[1], String); ok {
		c.value(old)
		c.putString(c.args[1], bytes.Clone(c.args[2]), 0)
	}
}

func getdel(c *call) {
	if old, ok := c.findKind(c.args[1], String); ok {
		c.value(old)
		c.delete(c.args[1])
	}
}

func getex(c *call) {
	s, ok := c.options("getex", 2)
	if !ok {
		return
	}
	o, ok := c.of(String, c.edit(c.args[1]))
	if !ok {
		return
	}
	if o == nil {
		c.Null()
		return
	}
	if !c.resolve(&s, "getex", 2) {
		return
	}
	if c.value(o); s.optionsOfTime == 0 {
		return
	}
	if s.expires != 0 && s.expires <= c.now {
		c.delete(c.args[1])
	} else if s.expires != 0 || o.Expires != 0 {
		o.Expires = s.expires
		c.put(c.args[1], o)
	}
}

func mget(c *call) {
	c.Array(len(c.args) - 1)
	for _, key := range c.args[1:] {
		o := c.find(key)
		if o != nil && o.Kind != String {
			o = nil
		}
		c.value(o)
	}
}

func (c *call) setAll() {
	for i := 1; i < len(c.args); i += 2 {
		c.putString(c.args[i], bytes.Clone(c.args[i+1]), 0)
	}
}

func mset(c *call) {
	if len(c.args)%2 == 0 {
		c.wrongArguments("mset")
		return
	}
	c.setAll()
	c.ok()
}

func msetnx(c *call) {
	if len(c.args)%2 == 0 {
		c.wrongArguments("msetnx")
		return
	}
	for i := 1; i < len(c.args); i += 2 {
		if c.find(c.args[i]) != nil {
			c.Int(0)
			return
		}
	}
	c.setAll()
	c.Int(1)
}

func appendTo(c *call) {
	o := c.editKind(c.args[1], String)
	if o == nil {
		return
	}
	if len(o.Bytes)+len(c.args[2]) > MaxValue {
		c.Error(tooLong)
		return
	}
	o.Bytes = append(o.Bytes, c.args[2]...)
	c.put(c.args[1], o)
	c.Int(int64(len(o.Bytes)))
}

func strlen(c *call) {
	if o, ok := c.findKind(c.args[1], String); ok {
		n := 0
		if o != nil {
			n = len(o.Bytes)
		}
		c.Int(int64(n))
	}
}

func getrange(c *call) {
	first, ok1 := integer(c.args[2])
	last, ok2 := integer(c.args[3])
	if !ok1 || !ok2 {
		c.Error(notInteger)
		return
	}
	o, ok := c.findKind(c.args[1], String)
	switch {
	case !ok:
	case o == nil || first < 0 && last < 0 && first > last:
		c.Text("")
	default:
		last = max(last, -int64(len(o.Bytes))) // a place before the first byte is the first one
		from, end := stretch(first, last, len(o.Bytes))
		c.Bulk(o.Bytes[from:end])
	}
}

func setrange(c *call) {
	at, ok := c.number(c.args[2])
	if !ok {
		return
	}
	if at < 0 {
		c.Error("ERR offset is out of range")
		return
	}
	o := c.editKind(c.args[1], String)
	if o == nil {
		return
	}
	value := c.args[3]
	switch {
	case len(value) == 0:
		c.Int(int64(len(o.Bytes)))
		return
	case at > MaxValue-int64(len(value)):
		c.Error(tooLong)
		return
	}
	changed := make([]byte, max(len(o.Bytes), int(at)+len(value)))
	copy(changed, o.Bytes)
	copy(changed[at:], value)
	o.Bytes = changed
	c.put(c.args[1], o)
	c.Int(int64(len(changed)))
}

// add adds to the number that a key holds.
func (c *call) add(amount int64) {
	o := c.editKind(c.args[1], String)
	if o == nil {
		return
	}
	was := int64(0)
	if o.Version != 0 { // it was there
		var ok bool
		if was, ok = c.number(o.Bytes); !ok {
			return
		}
	}
	is, ok := sum(was, amount)
	if !ok {
		c.Error("ERR increment or decrement would overflow")
		return
	}
	o.Bytes = strconv.AppendInt(nil, is, 10)
	c.put(c.args[1], o)
	c.Int(is)
}

func incrby(c *call) {
	if n, ok := c.number(c.args[2]); ok {
		c.add(n)
	}
}

func decrby(c *call) {
	n, ok := c.number(c.args[2])
	switch {
	case !ok:
	case n == -1<<63:
		c.Error("ERR decrement would overflow")
	default:
		c.add(-n)
	}
}

func incrbyfloat(c *call) {
	o := c.editKind(c.args[1], String)
	if o == nil {
		return
	}
	if is, ok := c.addFloat(o.Version != 0, o.Bytes, c.args[2], notFloat); ok {
		o.Bytes = is
		c.put(c.args[1], o)
		c.Bulk(is)
	}
}
