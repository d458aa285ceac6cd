package kv

import (
	"math"
	"math/bits"
)

func del(c *call) {
	n := int64(0)
	for _, key := range c.args[1:] {
		if c.find(key) != nil && c.keys.Delete(key) {
			n++
		}
	}
	c.Int(n)
}

func exists(c *call) {
	n := int64(0)
	for _, key := range c.args[1:] {
		if c.find(key) != nil {
			n++
		}
	}
	c.Int(n)
}

func kind(c *call) {
	if o := c.find(c.args[1]); o != nil {
		c.Simple(o.Kind.String())
	} else {
		c.Simple("none")
	}
}

// expiry returns the time that is n units after base.
func expiry(n, unit, base int64) (int64, bool) {
	size := uint64(n)
	if n < 0 {
		size = -size
	}
	if high, low := bits.Mul64(size, uint64(unit)); high != 0 || low > math.MaxInt64 {
		return 0, false
	}
	return sum(n*unit, base)
}

// expire lets a key expire n units after base.
func (c *call) expire(unit, base int64) {
	name := map[bool]map[int64]string{
		true:  {1000: "expireat", 1: "pexpireat"},
		false: {1000: "expire", 1: "pexpire"},
	}[base == 0][unit]
	n, ok := c.number(c.args[2])
	if !ok {
		return
	}
	condition, ok := c.conditions()
	if !ok {
		return
	}
	at, ok := expiry(n, unit, base)
	if !ok {
		c.invalidExpire(name)
		return
	}
	o := c.edit(c.args[1])
	if o == nil || !condition(o.Expires, at) {
		c.Int(0)
		return
	}
	if at <= c.now {
		c.keys.Delete(c.args[1])
	} else {
		o.Expires = at
		c.put(c.args[1], o)
	}
	c.Int(1)
}

// conditions reads NX, XX, GT and LT of EXPIRE.
func (c *call) conditions() (holds func(was, at int64) bool, ok bool) {
	var nx, xx, gt, lt bool
	for _, arg := range c.args[3:] {
		switch {
		case is(arg, "nx"):
			nx = true
		case is(arg, "xx"):
			xx = true
		case is(arg, "gt"):
			gt = true
		case is(arg, "lt"):
			lt = true
		default:
			c.Error("ERR Unsupported option " + string(arg))
			return nil, false
		}
	}
	if nx && (xx || gt || lt) {
		c.Error("ERR NX and XX, GT or LT options at the same time are not compatible")
		return nil, false
	}
	if gt && lt {
		c.Error("ERR GT and LT options at the same time are not compatible")
		return nil, false
	}
	return func(was, at int64) bool {
		return !(nx && was != 0 || xx && was == 0 || gt && (was == 0 || at <= was) || lt && was != 0 && at >= was)
	}, true
}

func persist(c *call) {
	o := c.edit(c.args[1])
	if o == nil || o.Expires == 0 {
		c.Int(0)
		return
	}
	o.Expires = 0
	c.put(c.args[1], o)
	c.Int(1)
}

// ttl tells when a key expires, in units after base.
func (c *call) ttl(unit, base int64) {
	switch o := c.find(c.args[1]); {
	case o == nil:
		c.Int(-2)
	case o.Expires == 0:
		c.Int(-1)
	case unit == 1:
		c.Int(o.Expires - base)
	default:
		c.Int((o.Expires - base + unit/2) / unit)
	}
}

// move gives a key another name.
func (c *call) move(o *Object) {
	from, to := c.args[1], c.args[2]
	if string(from) != string(to) {
		c.keys.Delete(from)
		c.put(to, o)
	}
}

func rename(c *call) {
	o := c.edit(c.args[1])
	if o == nil {
		c.Error(noSuchKey)
		return
	}
	c.move(o)
	c.ok()
}

func renamenx(c *call) {
	o := c.edit(c.args[1])
	switch {
	case o == nil:
		c.Error(noSuchKey)
	case c.find(c.args[2]) != nil:
		c.Int(0)
	default:
		c.move(o)
		c.Int(1)
	}
}

func flush(c *call) {
	if len(c.args) > 2 || len(c.args) == 2 && !is(c.args[1], "async") && !is(c.args[1], "sync") {
		c.Error(syntax)
		return
	}
	c.keys.Clear()
	c.ok()
}

func dbsize(c *call) {
	n, _ := c.keys.Len()
	c.Int(int64(n))
}
