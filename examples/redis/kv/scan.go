package kv

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// SCAN goes through the keys in the order of their Position, which no change of other keys changes.
// A cursor is the lowest position that is still to come. So a key that is there from the first call
// to the last is listed exactly once, and a scan may go on at another server.

const (
	// defaultCount is how many keys a SCAN lists unless COUNT says otherwise, as in Redis.
	defaultCount = 10
	// wholeBelow is the number of fields below which HSCAN and SSCAN list all of them at once.
	wholeBelow = 512
	// scanParts bounds in how many calls HSCAN and SSCAN list all fields: each call looks at all of
	// them.
	scanParts = 128
)

// A scanning is the options of SCAN and its kin.
type scanning struct {
	cursor  uint64
	count   int
	pattern []byte // nil for every name
	kind    []byte // nil for every kind
}

// scanning reads the options, the cursor at args[from] first. It replies what is wrong.
func (c *call) scanning(from int) (s scanning, ok bool) {
	cursor, err := strconv.ParseUint(string(c.args[from]), 10, 64)
	if err != nil {
		c.Error("ERR invalid cursor")
		return s, false
	}
	s = scanning{cursor: cursor, count: defaultCount}
	for i := from + 1; i < len(c.args); i++ {
		if i++; i == len(c.args) {
			c.Error(syntax)
			return s, false
		}
		switch arg := c.args[i-1]; {
		case is(arg, "count"):
			n, ok := c.number(c.args[i])
			if !ok {
				return s, false
			}
			if n < 1 {
				c.Error(syntax)
				return s, false
			}
			s.count = int(min(n, 1<<30))
		case is(arg, "match"):
			s.pattern = c.args[i]
		case is(arg, "type") && from == 1:
			s.kind = c.args[i]
		default:
			c.Error(syntax)
			return s, false
		}
	}
	return s, true
}

func (s *scanning) matches(name string) bool { return s.pattern == nil || glob(s.pattern, name) }

func scan(c *call) {
	s, ok := c.scanning(1)
	if !ok {
		return
	}
	var found []string
	seen, last, next := 0, uint64(0), uint64(0)
	for key, o := range c.keys.From(s.cursor) {
		position := Position(key)
		if seen >= s.count && position != last {
			next = position
			break
		}
		seen, last = seen+1, position
		if s.matches(key) && c.living(o) != nil && (s.kind == nil || is(s.kind, o.Kind.String())) {
			found = append(found, key)
		}
	}
	c.Array(2)
	c.Text(strconv.FormatUint(next, 10))
	c.Array(len(found))
	for _, key := range found {
		c.Text(key)
	}
}

func keys(c *call) {
	s := scanning{pattern: c.args[1]}
	var found []string
	for key, o := range c.keys.From(0) {
		if s.matches(key) && c.living(o) != nil {
			found = append(found, key)
		}
	}
	c.Array(len(found))
	for _, key := range found {
		c.Text(key)
	}
}

func hscan(c *call) {
	if s, ok := c.scanning(2); ok {
		if o, ok := c.findKind(c.args[1], Hash); ok {
			c.scanFields(s, o, true)
		}
	}
}

func sscan(c *call) {
	if s, ok := c.scanning(2); ok {
		if o, ok := c.findKind(c.args[1], Set); ok {
			c.scanFields(s, o, false)
		}
	}
}

// scanFields lists fields, with their values or without.
func (c *call) scanFields(s scanning, o *Object, values bool) {
	var fields []Field
	if o != nil {
		fields = o.Fields.All()
	}
	part, next := fields, uint64(0)
	if len(fields) >= wholeBelow {
		part, next = partOf(fields, s.cursor, max(s.count, len(fields)/scanParts))
	} else if s.cursor != 0 {
		part = fieldsFrom(fields, s.cursor) // there were more when the scan began
	}
	var found []Field
	for _, f := range part {
		if s.matches(f.Name) {
			found = append(found, f)
		}
	}
	c.Array(2)
	c.Text(strconv.FormatUint(next, 10))
	if !values {
		c.Array(len(found))
	} else {
		c.Array(2 * len(found))
	}
	for _, f := range found {
		if c.Text(f.Name); values {
			c.Bulk(f.Value)
		}
	}
}

// fieldsFrom returns the fields from a position on, in no order.
func fieldsFrom(fields []Field, from uint64) (part []Field) {
	for _, f := range fields {
		if Position(f.Name) >= from {
			part = append(part, f)
		}
	}
	return part
}

// partOf returns about count fields, those that come next from a position on, and the position of
// the next one after them; 0 if there is none.
func partOf(fields []Field, from uint64, count int) (part []Field, next uint64) {
	part = fieldsFrom(fields, from)
	slices.SortFunc(part, func(a, b Field) int {
		return cmp.Or(cmp.Compare(Position(a.Name), Position(b.Name)), strings.Compare(a.Name, b.Name))
	})
	for i := count; i < len(part); i++ {
		if next = Position(part[i].Name); next != Position(part[i-1].Name) {
			return part[:i], next
		}
	}
	return part, 0
}

// glob says whether a name matches a pattern with *, ?, [a-z], [^a-z] and \.
func glob(pattern []byte, name string) bool {
	// star is where the latest * is in the pattern, and from is where it would have to match more.
	p, n, star, from := 0, 0, -1, 0
	for n < len(name) {
		if p < len(pattern) && pattern[p] == '*' {
			star, from = p, n
			p++
			continue
		}
		if p < len(pattern) {
			if took, matches := globByte(pattern[p:], name[n]); matches {
				p, n = p+took, n+1
				continue
			}
		}
		if star < 0 {
			return false
		}
		from++
		p, n = star+1, from
	}
	return len(bytes.Trim(pattern[p:], "*")) == 0
}

// globByte says whether the first element of a pattern, which is not a *, matches a byte, and how
// long the element is.
func globByte(pattern []byte, b byte) (took int, matches bool) {
	switch {
	case pattern[0] == '?':
		return 1, true
	case pattern[0] == '\\' && len(pattern) > 1:
		return 2, pattern[1] == b
	case pattern[0] != '[':
		return 1, pattern[0] == b
	}
	at, not := 1, false
	if at < len(pattern) && pattern[at] == '^' {
		at, not = at+1, true
	}
	for at < len(pattern) && pattern[at] != ']' {
		switch {
		case pattern[at] == '\\' && at+1 < len(pattern):
			matches = matches || pattern[at+1] == b
			at += 2
		case at+2 < len(pattern) && pattern[at+1] == '-':
			low, high := min(pattern[at], pattern[at+2]), max(pattern[at], pattern[at+2])
			matches = matches || low <= b && b <= high
			at += 3
		default:
			matches = matches || pattern[at] == b
			at++
		}
	}
	return min(at+1, len(pattern)), matches != not
}
