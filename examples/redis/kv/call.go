package kv

import (
	"bytes"
	"fmt"
	"math"
	"strconv"

	"github.com/e17579a5/raft/examples/redis/resp"
)

// A call is a command that runs. args begins with the command's name, or nil for it.
type call struct {
	*resp.Writer
	args  [][]byte
	keys  Keyspace
	meta  *Meta
	now   int64 // in milliseconds since 1970
	early bool  // see Machine.View
}

// The errors that several commands have. Their texts are those of Redis, by which some clients know
// them.
const (
	wrongType  = "WRONGTYPE Operation against a key holding the wrong kind of value"
	syntax     = "ERR syntax error"
	notInteger = "ERR value is not an integer or out of range"
	notFloat   = "ERR value is not a valid float"
	noSuchKey  = "ERR no such key"
	tooLong    = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
)

// run runs a command. A reply that is too large is replaced by an error.
func (c *call) run(command *Command) {
	from := len(c.Buf)
	if command.run(c); c.Full {
		c.Buf = c.Buf[:from]
		text := "ERR the reply, or all replies to one pipeline, would take more than %d bytes"
		if command.Write {
			text += "; the command was carried out"
		}
		c.Error(fmt.Sprintf(text, MaxReplies))
	}
}

func (c *call) wrongArguments(name string) {
	c.Error("ERR wrong number of arguments for '" + name + "' command")
}

// find returns what a key holds, to be read.
func (c *call) find(key []byte) *Object { return c.living(c.keys.Find(key)) }

func (c *call) living(o *Object) *Object {
	if o == nil || !gone(o, c.now) {
		return o
	}
	if !gone(o, c.meta.Now) {
		c.early = true
	}
	return nil
}

// findKind returns what a key holds if that is of a kind. If it is of another, it replies so and
// returns false.
func (c *call) findKind(key []byte, kind Kind) (*Object, bool) { return c.of(kind, c.find(key)) }

func (c *call) of(kind Kind, o *Object) (*Object, bool) {
	if o != nil && o.Kind != kind {
		c.Error(wrongType)
		return nil, false
	}
	return o, true
}

// edit returns what a key holds, to be changed. The change counts when put is called.
func (c *call) edit(key []byte) *Object {
	o := c.keys.Edit(key)
	if o != nil && gone(o, c.now) {
		c.keys.Delete(key)
		return nil
	}
	return o
}

// editKind returns what a key holds if that is of a kind, or a new object if it holds nothing. If it
// is of another kind, it replies so and returns nil.
func (c *call) editKind(key []byte, kind Kind) *Object {
	o := c.edit(key)
	if o == nil {
		switch o = (&Object{Kind: kind}); kind {
		case Hash, Set:
			o.Fields = &Fields{}
		case List:
			o.Items = &Items{}
		}
		return o
	}
	o, _ = c.of(kind, o)
	return o
}

// put stores an object with a new version. One that is empty is deleted.
func (c *call) put(key []byte, o *Object) {
	if o.Empty() {
		c.keys.Delete(key)
		return
	}
	c.meta.Version++
	o.Version = c.meta.Version
	c.keys.Put(key, o)
}

// putString stores a string.
func (c *call) putString(key, value []byte, expires int64) {
	c.put(key, &Object{Kind: String, Bytes: value, Expires: expires})
}

func (c *call) delete(key []byte) bool {
	there := c.edit(key) != nil
	return there && c.keys.Delete(key)
}

// bool replies 1 or 0.
func (c *call) bool(yes bool) {
	if yes {
		c.Int(1)
	} else {
		c.Int(0)
	}
}

func (c *call) ok() { c.Simple("OK") }

// integer reads a number as Redis does: without a plus, leading zeros or spaces.
func integer(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 20 || b[0] == '+' || len(b) > 1 && b[0] == '0' || len(b) > 1 && b[0] == '-' && b[1] == '0' {
		return 0, false
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	return n, err == nil
}

// number reads an argument that is a number, or replies that it isn't one.
func (c *call) number(b []byte) (int64, bool) {
	n, is := integer(b)
	if !is {
		c.Error(notInteger)
	}
	return n, is
}

// is says whether an argument is a word, in any case.
func is(arg []byte, word string) bool {
	return len(arg) == len(word) && bytes.EqualFold(arg, []byte(word))
}

// stretch turns two places, of which negative ones count from the end, into the stretch of them
// that is within n things: from first up to before end.
func stretch(first, last int64, n int) (from, end int) {
	size := int64(n)
	if first < 0 {
		first = max(first+size, 0)
	}
	if last < 0 {
		last += size
	}
	last = min(last, size-1)
	if first > last {
		return 0, 0
	}
	return int(first), int(last) + 1
}

// sum adds two numbers, and says whether the sum is one.
func sum(a, b int64) (int64, bool) {
	if b > 0 && a > math.MaxInt64-b || b < 0 && a < math.MinInt64-b {
		return 0, false
	}
	return a + b, true
}
