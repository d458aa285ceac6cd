package main

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxText bounds the name of a client, and what it tells of its library, in bytes.
const maxText = 256

const badName = "ERR Client names cannot contain spaces, newlines or special characters."

// A clientInfo is what CLIENT LIST tells of a client.
type clientInfo struct {
	id            int64
	remote, local string
	since         time.Time
	busy          atomic.Bool // it runs commands
	heard         atomic.Int64
	read          atomic.Int64

	mu                       sync.Mutex
	name, library, libraryIs string
	command                  string
	proto                    int
}

func newClientInfo(id int64, conn net.Conn) *clientInfo {
	i := &clientInfo{id: id, remote: conn.RemoteAddr().String(), local: conn.LocalAddr().String(), since: time.Now(), proto: 2}
	i.heard.Store(i.since.UnixNano())
	return i
}

// seen notes that bytes came.
func (i *clientInfo) seen(n int) {
	i.heard.Store(time.Now().UnixNano())
	i.read.Add(int64(n))
}

// latest notes the name of a command, if it is the first one of a read. Of those that come together,
// one will do.
func (i *clientInfo) latest(name []byte, first bool) {
	if !first {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if name = name[:min(len(name), 32)]; i.command != string(name) {
		i.command = string(name)
	}
}

func (i *clientInfo) set(f func(*clientInfo)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f(i)
}

// line returns the client in the form of CLIENT LIST.
func (i *clientInfo) line() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := time.Now()
	return fmt.Sprintf("id=%d addr=%s laddr=%s fd=-1 name=%s age=%d idle=%d flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 tot-net-in=%d cmd=%s user=default redir=-1 resp=%d lib-name=%s lib-ver=%s\n",
		i.id, i.remote, i.local, i.name, int(now.Sub(i.since).Seconds()), int(now.Sub(time.Unix(0, i.heard.Load())).Seconds()),
		i.read.Load(), strings.ToLower(printable(i.command)), i.proto, i.library, i.libraryIs)
}

// printable returns a text without bytes that would break a line of words.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// plain says whether a text may be the name of a client.
func plain(text []byte) bool {
	return len(text) <= maxText && !bytes.ContainsFunc(text, func(r rune) bool { return r < '!' || r > '~' })
}

// client carries out CLIENT and its subcommands.
func (c *connection) client(args [][]byte) {
	sub := strings.ToLower(string(args[1]))
	arities := map[string][2]int{
		"id": {2, 2}, "getname": {2, 2}, "setname": {3, 3}, "setinfo": {4, 4}, "info": {2, 2}, "list": {2, 64}, "no-evict": {3, 3},
		"no-touch": {3, 3}, "tracking": {3, 64}, "maint_notifications": {3, 64}, "getredir": {2, 2},
	}
	arity, known := arities[sub]
	switch {
	case !known:
		c.out.Error(unknownSubcommand(args))
		return
	case len(args) < arity[0] || len(args) > arity[1]:
		c.out.Error("ERR wrong number of arguments for 'client|" + sub + "' command")
		return
	}
	switch sub {
	case "id":
		c.out.Int(c.info.id)
	case "getname":
		c.getName()
	case "setname":
		c.setName(args[2])
	case "setinfo":
		c.setInfo(args[2], args[3])
	case "info":
		c.out.Text(c.info.line())
	case "list":
		c.list(args[2:])
	case "no-evict", "no-touch":
		c.onOff(args[2], true) // nothing is evicted here, so both are as good
	case "tracking":
		c.onOff(args[2], false)
	case "maint_notifications":
		c.onOff(args[2], false)
	case "getredir":
		c.out.Int(-1)
	}
}

// onOff carries out something that can be on or off. OFF changes nothing here.
func (c *connection) onOff(arg []byte, on bool) {
	switch {
	case bytes.EqualFold(arg, []byte("off")):
	case !bytes.EqualFold(arg, []byte("on")):
		c.out.Error("ERR syntax error")
		return
	case !on:
		c.out.Error("ERR this server doesn't send notifications")
		return
	}
	c.out.Simple("OK")
}

func (c *connection) getName() {
	c.info.mu.Lock()
	defer c.info.mu.Unlock()
	if c.info.name == "" {
		c.out.Null()
	} else {
		c.out.Text(c.info.name)
	}
}

func (c *connection) setName(name []byte) {
	if !plain(name) {
		c.out.Error(badName)
		return
	}
	c.info.set(func(i *clientInfo) { i.name = string(name) })
	c.out.Simple("OK")
}

func (c *connection) setInfo(what, value []byte) {
	name, number := bytes.EqualFold(what, []byte("lib-name")), bytes.EqualFold(what, []byte("lib-ver"))
	switch {
	case !name && !number:
		c.out.Error(fmt.Sprintf("ERR Unrecognized option '%.64s'", what))
	case !plain(value):
		c.out.Error(fmt.Sprintf("ERR %s cannot contain spaces, newlines or special characters.", strings.ToLower(string(what))))
	default:
		c.info.set(func(i *clientInfo) {
			if name {
				i.library = string(value)
			} else {
				i.libraryIs = string(value)
			}
		})
		c.out.Simple("OK")
	}
}

// list carries out CLIENT LIST [TYPE type] [ID id…].
func (c *connection) list(args [][]byte) {
	wanted := map[int64]bool{}
	normal := true
	switch {
	case len(args) == 0:
	case len(args) == 2 && bytes.EqualFold(args[0], []byte("type")):
		normal = bytes.EqualFold(args[1], []byte("normal"))
	case len(args) > 1 && bytes.EqualFold(args[0], []byte("id")):
		for _, arg := range args[1:] {
			id, err := strconv.ParseInt(string(arg), 10, 64)
			if err != nil || id < 1 {
				c.out.Error("ERR Invalid client ID")
				return
			}
			wanted[id] = true
		}
	default:
		c.out.Error("ERR syntax error")
		return
	}
	c.server.mu.Lock()
	clients := maps.Clone(c.server.clients)
	c.server.mu.Unlock()
	var text strings.Builder
	for _, id := range sortedKeys(clients) {
		if normal && (len(wanted) == 0 || wanted[id]) {
			text.WriteString(clients[id].info.line())
		}
	}
	c.out.Text(text.String())
}

// sortedKeys returns the keys of a map in order.
func sortedKeys[K int64 | string, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
