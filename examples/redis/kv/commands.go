package kv

// A Command is one that a Machine runs.
type Command struct {
	// Name is in lower case.
	Name string
	// Arity is the number of arguments with the name, or, if it is negative, the least number.
	Arity int
	// Write says that the command may change the state. Others can also be run in a View.
	Write bool
	// First, Last and Step say which arguments are keys, as the command COMMAND of Redis does. They
	// are 0 if none is.
	First, Last, Step int
	// Group and Summary are for COMMAND DOCS.
	Group, Summary string

	number uint16 // in entries
	run    func(*call)
}

// Takes says whether the command takes so many arguments, its name included.
func (c *Command) Takes(args int) bool {
	return args == c.Arity || c.Arity < 0 && args >= -c.Arity
}

// Lookup returns the command of a name, in any case; nil if there is none.
func Lookup(name []byte) *Command {
	var lower [maxName]byte
	if len(name) > maxName {
		return nil
	}
	for i, b := range name {
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		lower[i] = b
	}
	return byName[string(lower[:len(name)])]
}

// maxName is at least the length of every name.
const maxName = 24

// All returns the commands in the order of their numbers.
func All() []*Command { return all }

var (
	all      []*Command
	byName   = map[string]*Command{}
	byNumber [256]*Command
)

// numbered returns the command that has a number in entries; nil if there is none.
func numbered(number uint64) *Command {
	if number >= uint64(len(byNumber)) {
		return nil
	}
	return byNumber[number]
}

func init() {
	for _, group := range []struct {
		name     string
		commands []*Command
	}{
		{"connection", connectionCommands}, {"generic", keyCommands}, {"string", stringCommands},
		{"hash", hashCommands}, {"list", listCommands}, {"set", setCommands},
	} {
		for _, c := range group.commands {
			c.Group = group.name
			byName[c.Name] = c
			byNumber[c.number] = c
		}
	}
	for _, c := range byNumber {
		if c != nil {
			all = append(all, c)
		}
	}
}

// These have nothing to do with keys. They are commands of a Machine so that they can be part of a
// transaction.
var connectionCommands = []*Command{
	{number: 1, Name: "ping", Arity: -1, Summary: "answers PONG, or the message", run: ping},
	{number: 2, Name: "echo", Arity: 2, Summary: "answers the message", run: func(c *call) { c.Bulk(c.args[1]) }},
}

func ping(c *call) {
	switch len(c.args) {
	case 1:
		c.Simple("PONG")
	case 2:
		c.Bulk(c.args[1])
	default:
		c.wrongArguments("ping")
	}
}

// The numbers are in logs on disk: none may be changed, or used again for something else. Those from
// 10 are of keys, from 50 of strings, from 90 of hashes, from 120 of lists, from 150 of sets.
var keyCommands = []*Command{
	{number: 10, Name: "del", Arity: -2, Write: true, First: 1, Last: -1, Step: 1, Summary: "deletes keys", run: del},
	{number: 11, Name: "unlink", Arity: -2, Write: true, First: 1, Last: -1, Step: 1, Summary: "deletes keys", run: del},
	{number: 12, Name: "exists", Arity: -2, First: 1, Last: -1, Step: 1, Summary: "counts those of the keys that are there", run: exists},
	{number: 13, Name: "touch", Arity: -2, First: 1, Last: -1, Step: 1, Summary: "counts those of the keys that are there", run: exists},
	{number: 14, Name: "type", Arity: 2, First: 1, Last: 1, Step: 1, Summary: "tells what a key holds", run: kind},
	{number: 15, Name: "expire", Arity: -3, Write: true, First: 1, Last: 1, Step: 1, Summary: "lets a key expire in some seconds", run: func(c *call) { c.expire(1000, c.now) }},
	{number: 16, Name: "pexpire", Arity: -3, Write: true, First: 1, Last: 1, Step: 1, Summary: "lets a key expire in some milliseconds", run: func(c *call) { c.expire(1, c.now) }},
	{number: 17, Name: "expireat", Arity: -3, Write: true, First: 1, Last: 1, Step: 1, Summary: "lets a key expire at a time in seconds", run: func(c *call) { c.expire(1000, 0) }},
	{number: 18, Name: "pexpireat", Arity: -3, Write: true, First: 1, Last: 1, Step: 1, Summary: "lets a key expire at a time in milliseconds", run: func(c *call) { c.expire(1, 0) }},
	{number: 19, Name: "persist", Arity: 2, Write: true, First: 1, Last: 1, Step: 1, Summary: "lets a key no longer expire", run: persist},
	{number: 20, Name: "ttl", Arity: 2, First: 1, Last: 1, Step: 1, Summary: "tells in how many seconds a key expires", run: func(c *call) { c.ttl(1000, c.now) }},
	{number: 21, Name: "pttl", Arity: 2, First: 1, Last: 1, Step: 1, Summary: "tells in how many milliseconds a key expires", run: func(c *call) { c.ttl(1, c.now) }},
	{number: 22, Name: "expiretime", Arity: 2, First: 1, Last: 1, Step: 1, Summary: "tells at what time in seconds a key expires", run: func(c *call) { c.ttl(1000, 0) }},
	{number: 23, Name: "pexpiretime", Arity: 2, First: 1, Last: 1, Step: 1, Summary: "tells at what time in milliseconds a key expires", run: func(c *call) { c.ttl(1, 0) }},
	{number: 24, Name: "rename", Arity: 3, Write: true, First: 1, Last: 2, Step: 1, Summary: "renames a key", run: rename},
	{number: 25, Name: "renamenx", Arity: 3, Write: true, First: 1, Last: 2, Step: 1, Summary: "renames a key if the new name is free", run: renamenx},
	{number: 26, Name: "keys", Arity: 2, Summary: "lists the keys that match a pattern", run: keys},
	{number: 27, Name: "scan", Arity: -2, Summary: "lists keys, some at a time", run: scan},
	{number: 28, Name: "dbsize", Arity: 1, Summary: "counts the keys", run: dbsize},
	{number: 29, Name: "flushdb", Arity: -1, Write: true, Summary: "deletes all keys", run: flush},
	{number: 30, Name: "flushall", Arity: -1, Write: true, Summary: "deletes all keys", run: flush},
}

var stringCommands = []*Command{
	{number: 50, Name: "get", Arity: 2, First: 1, Last: 1, Step: 1, Summary: "answers a value", run: get},
	{number: 51, Name: "set", Arity: -3, Write: true, First: 1, Last: 1, Step: 1, Summary: "sets a value", run: set},
	{number: 52, Name: "setnx", Arity: 3, Write: true, First: 1, Last: 1, Step: 1, Summary: "sets a value if the key is not there", run: setnx},
	{number: 53, Name: "setex", Arity: 4, Write: true, First: 1, Last: 1, Step: 1, Summary: "sets a value that expires in some seconds", run: func(c *call) { c.setex(1000) }},
	{number: 54, Name: "psetex", Arity: 4, Write: true, First: 1, Last: 1, Step: 1, Summary: "sets a value that expires in some milliseconds", run: func(c *call) { c.setex(1) }},
	{number: 55, Name: "getset", Arity: 3, Write: true, First: 1, Last: 1, Step: 1, Summary: "sets a value and answers the old one", run: getset},
	{number: 56, Name: "getdel", Arity: 2, Write: true, First: 1, Last: 1, Step: 1, Summary: "answers a value and deletes the key", run: getdel},
	{number: 57, Name: "getex", Arity: -2, Write: true, First: 1, Last: 1, Step: 1, Summary: "answers a value and sets when the key expires", run: getex},
	{number: 58, Name: "mget", Arity: -2, First: 1, Last: -1, Step: 1, Summary: "answers values", run: mget},
	{number: 59, Name: "mset", Arity: -3, Write: true, First: 1, Last: -1, Step: 2, Summary: "sets values", run: mset},
	{number: 60, Name: "msetnx", Arity: -3, Write: true, First: 1, Last: -1, Step: 2, Summary: "sets values if none of the keys is there", run: msetnx},
	{number: 61, Name: "append", Arity: 3, Write: true, First: 1, Last: 1, Step: 1, Summary: "appends to a value", run: appendTo},
	{number: 62, Name: "strlen", Arity: 2, First: 1, Last: 1, Step: 1, Summary: "tells the length of a value", run: strlen},
	{number: 63, Name: "incr", Arity: 2, Write: true, First: 1, Last: 1, Step: 1, Summary: "adds one to a number", run: func(c *call) { c.add(1) }},
	{number: 64, Name: "decr", Arity: 2, Write: true, First: 1, Last: 1, Step: 1, Summary: "takes one from a number", run: func(c *call) { c.add(-1) }},
	{number: 65, Name: "incrby", Arity: 3, Write: true, First: 1, Last: 1, Step: 1, Summary: "adds to a number", run: incrby},
	{number: 66, Name: "decrby", Arity: 3, Write: true, First: 1, Last: 1, Step: 1, Summary: "takes from a number", run: decrby},
	{number: 67, Name: "incrbyfloat", Arity: 3, Write: true, First: 1, Last: 1, Step: 1, Summary: "adds to a number with a fraction", run: incrbyfloat},
	{number: 68, Name: "getrange", Arity: 4, First: 1, Last: 1, Step: 1, Summary: "answers a part of a value", run: getrange},
	{number: 69, Name: "substr", Arity: 4, First: 1, Last: 1, Step: 1, Summary: "answers a part of a value", run: getrange},
	{number: 70, Name: "setrange", Arity: 4, Write: true, First: 1, Last: 1, Step: 1, Summary: "overwrites a part of a value", run: setrange},
}

var hashCommands = []*Command{
	{number: 90, Name: "hset", Arity: -4, Write: true, First: 1, Last: 1, Step: 1, Summary: "sets fields", run: hset},
	{number: 91, Name: "hmset", Arity: -4, Write: true, First: 1, Last: 1, Step: 1, Summary: "sets fields", run: hmset},
	{number: 92, Name: "hsetnx", Arity: 4, Write: true, First: 1, Last: 1, Step: 1, Summary: "sets a field if it is not there", run: hsetnx},
	{number: 93, Name: "hget", Arity: 3, First: 1, Last: 1, Step: 1, Summary: "answers a field", run: hget},
	{number: 94, Name: "hmget", Arity: -3, First: 1, Last: 1, Step: 1, Summary: "answers fields", run: hmget},
	{number: 95, Name: "hgetall", Arity: 2, First: 1, Last: 1, Step: 1, Summary: "answers all fields with their values", run: hgetall},
	{number: 96, Name: "hkeys", Arity: 2, First: 1, Last: 1, Step: 1, Summary: "answers the names of all fields", run: hkeys},
	{number: 97, Name: "hvals", Arity: 2, First: 1, Last: 1, Step: 1, Summary: "answers the values of all fields", run: hvals},
	{number: 98, Name: "hlen", Arity: 2, First: 1, Last: 1, Step: 1, Summary: "counts the fields", run: hlen},
	{number: 99, Name: "hexists", Arity: 3, First: 1, Last: 1, Step: 1, Summary: "tells whether a field is there", run: hexists},
	{number: 100, Name: "hdel", Arity: -3, Write: true, First: 1, Last: 1, Step: 1, Summary: "deletes fields", run: hdel},
	{number: 101, Name: "hstrlen", Arity: 3, First: 1, Last: 1, Step: 1, Summary: "tells the length of a field's value", run: hstrlen},
	{number: 102, Name: "hincrby", Arity: 4, Write: true, First: 1, Last: 1, Step: 1, Summary: "adds to a number in a field", run: hincrby},
	{number: 103, Name: "hincrbyfloat", Arity: 4, Write: true, First: 1, Last: 1, Step: 1, Summary: "adds to a number with a fraction in a field", run: hincrbyfloat},
	{number: 104, Name: "hscan", Arity: -3, First: 1, Last: 1, Step: 1, Summary: "lists fields, some at a time", run: hscan},
}

var listCommands = []*Command{
	{number: 120, Name: "lpush", Arity: -3, Write: true, First: 1, Last: 1, Step: 1, Summary: "adds items before the first", run: func(c *call) { c.push((*Items).PushFirst, true) }},
	{number: 121, Name: "rpush", Arity: -3, Write: true, First: 1, Last: 1, Step: 1, Summary: "adds items after the last", run: func(c *call) { c.push((*Items).PushLast, true) }},
	{number: 122, Name: "lpushx", Arity: -3, Write: true, First: 1, Last: 1, Step: 1, Summary: "adds items before the first if the list is there", run: func(c *call) { c.push((*Items).PushFirst, false) }},
	{number: 123, Name: "rpushx", Arity: -3, Write: true, First: 1, Last: 1, Step: 1, Summary: "adds items after the last if the list is there", run: func(c *call) { c.push((*Items).PushLast, false) }},
	{number: 124, Name: "lpop", Arity: -2, Write: true, First: 1, Last: 1, Step: 1, Summary: "removes the first items", run: func(c *call) { c.pop("lpop", (*Items).PopFirst) }},
	{number: 125, Name: "rpop", Arity: -2, Write: true, First: 1, Last: 1, Step: 1, Summary: "removes the last items", run: func(c *call) { c.pop("rpop", (*Items).PopLast) }},
	{number: 126, Name: "llen", Arity: 2, First: 1, Last: 1, Step: 1, Summary: "counts the items", run: llen},
	{number: 127, Name: "lrange", Arity: 4, First: 1, Last: 1, Step: 1, Summary: "answers items from one place to another", run: lrange},
	{number: 128, Name: "lindex", Arity: 3, First: 1, Last: 1, Step: 1, Summary: "answers the item at a place", run: lindex},
	{number: 129, Name: "lset", Arity: 4, Write: true, First: 1, Last: 1, Step: 1, Summary: "replaces the item at a place", run: lset},
	{number: 130, Name: "lrem", Arity: 4, Write: true, First: 1, Last: 1, Step: 1, Summary: "removes items that are equal to a value", run: lrem},
	{number: 131, Name: "ltrim", Arity: 4, Write: true, First: 1, Last: 1, Step: 1, Summary: "keeps items from one place to another", run: ltrim},
	{number: 132, Name: "linsert", Arity: 5, Write: true, First: 1, Last: 1, Step: 1, Summary: "adds an item before or after another one", run: linsert},
}

var setCommands = []*Command{
	{number: 150, Name: "sadd", Arity: -3, Write: true, First: 1, Last: 1, Step: 1, Summary: "adds members", run: sadd},
	{number: 151, Name: "srem", Arity: -3, Write: true, First: 1, Last: 1, Step: 1, Summary: "removes members", run: srem},
	{number: 152, Name: "sismember", Arity: 3, First: 1, Last: 1, Step: 1, Summary: "tells whether a member is there", run: sismember},
	{number: 153, Name: "smismember", Arity: -3, First: 1, Last: 1, Step: 1, Summary: "tells which members are there", run: smismember},
	{number: 154, Name: "smembers", Arity: 2, First: 1, Last: 1, Step: 1, Summary: "answers all members", run: smembers},
	{number: 155, Name: "scard", Arity: 2, First: 1, Last: 1, Step: 1, Summary: "counts the members", run: scard},
	{number: 156, Name: "sscan", Arity: -3, First: 1, Last: 1, Step: 1, Summary: "lists members, some at a time", run: sscan},
	{number: 157, Name: "sinter", Arity: -2, First: 1, Last: -1, Step: 1, Summary: "answers the members that all sets have", run: sinter},
	{number: 158, Name: "sunion", Arity: -2, First: 1, Last: -1, Step: 1, Summary: "answers the members that any set has", run: sunion},
	{number: 159, Name: "sdiff", Arity: -2, First: 1, Last: -1, Step: 1, Summary: "answers the members that only the first set has", run: sdiff},
}
