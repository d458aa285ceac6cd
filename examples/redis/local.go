package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/e17579a5/raft/examples/redis/kv"
)

// version is what clients are told that they talk to: the Redis whose commands these are.
const version = "7.0.15"

// A localCommand is one that the connection answers itself.
type localCommand struct {
	name    string
	arity   int // as in kv.Command
	summary string
	run     func(*connection, [][]byte)
	// within says that the command runs also while a transaction is open.
	within bool
}

var localCommands map[string]*localCommand

func init() {
	localCommands = map[string]*localCommand{}
	for _, c := range []*localCommand{
		{"auth", -2, "is refused: there are no passwords", (*connection).auth, false},
		{"client", -2, "tells and sets what concerns a connection", (*connection).client, false},
		{"cluster", -2, "tells of the cluster, if the keys are in shards", (*connection).cluster, false},
		{"command", -1, "tells of commands", (*connection).commandCommand, false},
		{"config", -2, "tells the settings", (*connection).config, false},
		{"discard", 1, "gives up a transaction", func(c *connection, _ [][]byte) { c.discard() }, true},
		{"exec", 1, "runs a transaction", func(c *connection, _ [][]byte) { c.exec() }, true},
		{"hello", -1, "chooses the version of the protocol", (*connection).hello, false},
		{"info", -1, "tells about the server", (*connection).infoCommand, false},
		{"multi", 1, "begins a transaction", func(c *connection, _ [][]byte) { c.multi() }, true},
		{"quit", -1, "ends the connection", func(c *connection, _ [][]byte) { c.quit() }, true},
		{"readonly", 1, "lets reads be a little old", func(c *connection, _ [][]byte) { c.setReadonly(true) }, false},
		{"readwrite", 1, "lets reads be linearizable again", func(c *connection, _ [][]byte) { c.setReadonly(false) }, false},
		{"reset", 1, "makes the connection as it was", func(c *connection, _ [][]byte) { c.reset() }, true},
		{"select", 2, "chooses database 0", (*connection).selectCommand, false},
		{"shard", -3, "carries out SCAN, DBSIZE, KEYS or MULTI for one shard", (*connection).inOneShard, false},
		{"time", 1, "tells the time of this server's clock", func(c *connection, _ [][]byte) { c.time() }, false},
		{"unwatch", 1, "forgets the watched keys", func(c *connection, _ [][]byte) { c.unwatch() }, false},
		{"watch", -2, "lets a transaction run only if keys don't change", (*connection).watch, true},
	} {
		localCommands[c.name] = c
	}
}

// local runs a command that isn't for the store.
func (c *connection) local(args [][]byte) {
	name := strings.ToLower(string(args[0][:min(len(args[0]), 64)]))
	command := localCommands[name]
	switch {
	case command == nil:
		var text strings.Builder
		fmt.Fprintf(&text, "ERR unknown command '%.128s', with args beginning with: ", args[0])
		for _, arg := range args[1:] {
			if text.Len() > 128 {
				break
			}
			fmt.Fprintf(&text, "'%.128s' ", arg)
		}
		c.refuse(text.String())
	case len(args) != command.arity && (command.arity > 0 || len(args) < -command.arity):
		c.refuse("ERR wrong number of arguments for '" + name + "' command")
	case c.open && !command.within:
		c.refuse("ERR Command not allowed inside a transaction")
	default:
		c.answer(func() { command.run(c, args) })
	}
}

func (c *connection) auth([][]byte) {
	c.out.Error("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?")
}

func (c *connection) cluster(args [][]byte) {
	if c.server.shards != nil && !c.server.plain {
		c.clusterShards(args)
		return
	}
	c.out.Error(noCluster)
}

const noCluster = "ERR This instance has cluster support disabled"

func (c *connection) quit() {
	c.out.Simple("OK")
	c.ending = true
}

func (c *connection) setReadonly(on bool) {
	c.readonly = on
	c.out.Simple("OK")
}

func (c *connection) reset() {
	c.forget()
	c.readonly = false
	c.out.Proto = 2
	c.info.set(func(i *clientInfo) { i.name, i.proto = "", 2 })
	c.out.Simple("RESET")
}

func (c *connection) selectCommand(args [][]byte) {
	n, err := strconv.Atoi(string(args[1]))
	switch {
	case err != nil:
		c.out.Error("ERR value is not an integer or out of range")
	case n != 0:
		c.out.Error("ERR DB index is out of range: there is database 0 alone")
	default:
		c.out.Simple("OK")
	}
}

func (c *connection) time() {
	now := time.Now()
	c.out.Array(2)
	c.out.Text(strconv.FormatInt(now.Unix(), 10))
	c.out.Text(strconv.Itoa(now.Nanosecond() / 1000))
}

// hello carries out HELLO [2|3 [AUTH name password] [SETNAME name]].
func (c *connection) hello(args [][]byte) {
	proto, name := c.out.Proto, []byte(nil)
	if len(args) > 1 {
		n, err := strconv.Atoi(string(args[1]))
		if err != nil {
			c.out.Error("ERR Protocol version is not an integer or out of range")
			return
		}
		if n != 2 && n != 3 {
			c.out.Error("NOPROTO unsupported protocol version")
			return
		}
		proto = n
	}
	for i := 2; i < len(args); i++ {
		switch {
		case bytes.EqualFold(args[i], []byte("auth")) && i+2 < len(args):
			if string(args[i+1]) != "default" {
				c.out.Error("WRONGPASS invalid username-password pair or user is disabled.")
				return
			}
			i += 2 // the default user of a Redis without passwords takes any
		case bytes.EqualFold(args[i], []byte("setname")) && i+1 < len(args):
			if name = args[i+1]; !plain(name) {
				c.out.Error(badName)
				return
			}
			i++
		default:
			c.out.Error(fmt.Sprintf("ERR Syntax error in HELLO option '%.64s'", args[i]))
			return
		}
	}
	c.out.Proto = proto
	c.info.set(func(i *clientInfo) {
		if i.proto = proto; name != nil {
			i.name = string(name)
		}
	})
	c.out.Map(7)
	c.out.Text("server")
	c.out.Text("redis")
	c.out.Text("version")
	c.out.Text(version)
	c.out.Text("proto")
	c.out.Int(int64(proto))
	c.out.Text("id")
	c.out.Int(c.info.id)
	c.out.Text("mode")
	c.out.Text(c.server.mode())
	c.out.Text("role")
	c.out.Text("master") // any server takes any command
	c.out.Text("modules")
	c.out.Array(0)
}

// commandCommand carries out COMMAND and its subcommands.
func (c *connection) commandCommand(args [][]byte) {
	all := described()
	if len(args) == 1 {
		c.out.Array(len(all))
		for i := range all {
			all[i].info(c)
		}
		return
	}
	named := func() []*description {
		var found []*description
		for _, arg := range args[2:] {
			var match *description
			for i := range all {
				if bytes.EqualFold(arg, []byte(all[i].Name)) {
					match = &all[i]
				}
			}
			found = append(found, match)
		}
		return found
	}
	switch strings.ToLower(string(args[1])) {
	case "count":
		if len(args) > 2 {
			c.out.Error("ERR wrong number of arguments for 'command|count' command")
			return
		}
		c.out.Int(int64(len(all)))
	case "list":
		c.out.Array(len(all))
		for _, d := range all {
			c.out.Text(d.Name)
		}
	case "info":
		found := named()
		c.out.Array(len(found))
		for _, d := range found {
			if d == nil {
				c.out.NullArray()
			} else {
				d.info(c)
			}
		}
	case "docs":
		docs(c, all, named(), len(args) > 2)
	default:
		c.out.Error(unknownSubcommand(args))
	}
}

// docs replies the documentation of all commands, or of those that were named.
func docs(c *connection, all []description, found []*description, chosen bool) {
	var list []*description
	for i := range all {
		if !chosen {
			list = append(list, &all[i])
		}
	}
	for _, d := range found {
		if d != nil {
			list = append(list, d)
		}
	}
	c.out.Map(len(list))
	for _, d := range list {
		c.out.Text(d.Name)
		c.out.Map(3)
		c.out.Text("summary")
		c.out.Text(d.Summary)
		c.out.Text("since")
		c.out.Text("1.0.0")
		c.out.Text("group")
		c.out.Text(d.Group)
	}
}

func unknownSubcommand(args [][]byte) string {
	return fmt.Sprintf("ERR unknown subcommand '%.128s'. Try %s HELP.", args[1], strings.ToUpper(string(args[0])))
}

// A description is what COMMAND tells of a command.
type description struct {
	kv.Command
	local bool
}

// described returns all commands, those of the store first.
func described() []description {
	var all []description
	for _, c := range kv.All() {
		all = append(all, description{Command: *c})
	}
	for _, name := range sortedKeys(localCommands) {
		c := localCommands[name]
		all = append(all, description{kv.Command{Name: c.name, Arity: c.arity, Group: "connection", Summary: c.summary}, true})
	}
	return all
}

// info replies the ten things that COMMAND tells of a command.
func (d *description) info(c *connection) {
	flag := "readonly"
	if d.Write {
		flag = "write"
	} else if d.local || d.First == 0 {
		flag = "fast"
	}
	c.out.Array(10)
	c.out.Text(d.Name)
	c.out.Int(int64(d.Arity))
	c.out.Set(1)
	c.out.Simple(flag)
	c.out.Int(int64(d.First))
	c.out.Int(int64(d.Last))
	c.out.Int(int64(d.Step))
	c.out.Set(1)
	c.out.Simple("@" + d.Group)
	c.out.Array(0) // tips
	c.out.Array(0) // key specifications
	c.out.Array(0) // subcommands
}
