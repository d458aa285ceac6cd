package kv

func sadd(c *call) {
	o := c.editKind(c.args[1], Set)
	if o == nil {
		return
	}
	n := int64(0)
	for _, member := range c.args[2:] {
		if o.Fields.Set(member, nil) {
			n++
		}
	}
	if n > 0 {
		c.put(c.args[1], o)
	}
	c.Int(n)
}

func srem(c *call) { c.remove(Set) }

func sismember(c *call) {
	if f, ok := c.fields(c.args[1], Set); ok {
		_, there := f.Get(c.args[2])
		c.bool(there)
	}
}

func smismember(c *call) {
	if f, ok := c.fields(c.args[1], Set); ok {
		c.Array(len(c.args) - 2)
		for _, member := range c.args[2:] {
			_, there := f.Get(member)
			c.bool(there)
		}
	}
}

// members replies a set.
func (c *call) members(names []string) {
	c.Set(len(names))
	for _, name := range names {
		c.Text(name)
	}
}

func smembers(c *call) {
	if f, ok := c.fields(c.args[1], Set); ok {
		c.Set(f.Len())
		for _, member := range f.All() {
			c.Text(member.Name)
		}
	}
}

func scard(c *call) {
	if f, ok := c.fields(c.args[1], Set); ok {
		c.Int(int64(f.Len()))
	}
}

// sets returns the sets that the arguments name.
func (c *call) sets() (all []*Fields, ok bool) {
	for _, key := range c.args[1:] {
		f, ok := c.fields(key, Set)
		if !ok {
			return nil, false
		}
		all = append(all, f)
	}
	return all, true
}

func has(f *Fields, name string) bool {
	_, found := f.Get([]byte(name))
	return found
}

// choose replies the members of the first set for which keep is true, given the other sets.
func (c *call) choose(keep func(name string, others []*Fields) bool) {
	all, ok := c.sets()
	if !ok {
		return
	}
	var names []string
	for _, member := range all[0].All() {
		if keep(member.Name, all[1:]) {
			names = append(names, member.Name)
		}
	}
	c.members(names)
}

func sinter(c *call) {
	c.choose(func(name string, others []*Fields) bool {
		for _, f := range others {
			if !has(f, name) {
				return false
			}
		}
		return true
	})
}

func sdiff(c *call) {
	c.choose(func(name string, others []*Fields) bool {
		for _, f := range others {
			if has(f, name) {
				return false
			}
		}
		return true
	})
}

func sunion(c *call) {
	all, ok := c.sets()
	if !ok {
		return
	}
	var names []string
	union := &Fields{}
	for _, f := range all {
		for _, member := range f.All() {
			if union.Set([]byte(member.Name), nil) {
				names = append(names, member.Name)
			}
		}
	}
	c.members(names)
}
