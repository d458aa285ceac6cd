package main

import (
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// TestPipeline: replies come in the order of the commands, whatever the commands are for.
func TestPipeline(t *testing.T) {
	c := mustDial(t, startAlone(t, memory.NewStorage(), nil).address)
	var sent []byte
	for _, line := range []string{"set a 1", "get a", "ping", "incr a", "nothing", "get", "client getname", "get a", "multi", "incr a", "get a", "exec", "watch a", "get a", "hello 3", "get none", "quit", "get a"} {
		sent = encode(sent, strings.Fields(line)...)
	}
	_, err := c.conn.Write(sent)
	require.NoError(t, err)
	for _, want := range []string{"+OK", `"1"`, "+PONG", ":2", "-ERR unknown command 'nothing', with args beginning with: ",
		"-ERR wrong number of arguments for 'get' command", "nil$", `"2"`, "+OK", "+QUEUED", "+QUEUED", `*[:3 | "3"]`, "+OK", `"3"`} {
		got, err := c.reply()
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	got, err := c.reply()
	require.NoError(t, err)
	require.Regexp(t, `^%\["server" \| "redis" \| .*"proto" \| :3 \| `, got)
	for _, want := range []string{"_", "+OK"} {
		got, err := c.reply()
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err = c.reply()
	require.ErrorIs(t, err, io.EOF, "what comes after QUIT isn't done")
}

// TestEntries: what came in one read is one entry of the log, and what only reads is none.
func TestEntries(t *testing.T) {
	s := startAlone(t, memory.NewStorage(), nil)
	c := mustDial(t, s.address)
	applied := func() raft.Index { return s.node.Status().Applied }
	pipeline := func(n int, args ...string) {
		var sent []byte
		for range n {
			sent = encode(sent, args...)
		}
		_, err := c.conn.Write(sent)
		require.NoError(t, err)
		for range n {
			_, err := c.reply()
			require.NoError(t, err)
		}
	}
	before := applied()
	pipeline(100, "incr", "n")
	require.Less(t, applied(), before+50) // TCP may cut the bytes anywhere
	before = applied()
	pipeline(100, "get", "n")
	require.Equal(t, before, applied())
	require.Equal(t, `"100"`, c.must(t, "get n"))
}

func TestConnectionCommands(t *testing.T) {
	c := mustDial(t, startAlone(t, memory.NewStorage(), nil).address)
	for _, test := range [][2]string{
		{"client setname me", "+OK"}, {"client getname", `"me"`}, {"client id", ":1"}, {"client setinfo lib-name x", "+OK"}, {"client setinfo lib-ver 1", "+OK"},
		{"client setinfo what 1", "-ERR Unrecognized option 'what'"}, {"client tracking off", "+OK"}, {"client no-touch on", "+OK"}, {"client no-evict off", "+OK"},
		{"client tracking on", "-ERR this server doesn't send notifications"}, {"client maint_notifications off", "+OK"},
		{"client maint_notifications on moving-endpoint-type internal-ip", "-ERR this server doesn't send notifications"},
		{"select 0", "+OK"}, {"select 1", "-ERR DB index is out of range: there is database 0 alone"},
		{"config get maxmemory* databases", `*["databases" | "1" | "maxmemory" | "0" | "maxmemory-policy" | "noeviction"]`}, {"config get nothing", "*[]"},
		{"config set maxmemory 1", "-ERR the settings are flags of the program, and can't be changed while it runs"},
		{"cluster info", "-ERR This instance has cluster support disabled"}, {"readonly", "+OK"}, {"readwrite", "+OK"}, {"hello 4", "-NOPROTO unsupported protocol version"},
		{"hello x", "-ERR Protocol version is not an integer or out of range"}, {"hello 2 what", "-ERR Syntax error in HELLO option 'what'"},
		{"command info get nothing", `*[*["get" | :2 | *[+readonly] | :1 | :1 | :1 | *[+@string] | *[] | *[] | *[]] | nil*]`},
		{"command docs echo", `*["echo" | *["summary" | "answers the message" | "since" | "1.0.0" | "group" | "connection"]]`},
		{"reset", "+RESET"}, {"client getname", "nil$"},
	} {
		require.Equal(t, test[1], c.must(t, test[0]), test[0])
	}
	require.Regexp(t, `id=1 addr=127.0.0.1:\d+ laddr=\S+ fd=-1 name= age=\d+ .* resp=2 lib-name=x lib-ver=1\\n"$`, c.must(t, "client list"))
	require.Equal(t, digits.ReplaceAllString(c.must(t, "client info"), "N"), digits.ReplaceAllString(c.must(t, "client list id 1"), "N"))
	require.Equal(t, `""`, c.must(t, "client list id 2"))
	require.Regexp(t, "loading:0", c.must(t, "info persistence"))
	info := c.must(t, "info")
	for _, part := range []string{"# Server", "redis_version:" + version, "role:master", "raft_role:leader", "raft_trouble:none", "connected_clients:1"} {
		require.Contains(t, info, part)
	}
	count := c.must(t, "command count")
	require.Equal(t, count, fmt.Sprintf(":%d", strings.Count(c.must(t, "command list"), `"`)/2))
	require.Equal(t, count, fmt.Sprintf(":%d", strings.Count(c.must(t, "command"), "*[+@")))
}

// TestLimits: each limit is a clear error, and what is below it works.
func TestLimits(t *testing.T) {
	s := startAlone(t, memory.NewStorage(), func(l *limits) { l.request, l.clients = 10_000, 3 })
	c := mustDial(t, s.address)
	require.Equal(t, "+OK", c.must(t, "set a "+strings.Repeat("x", 9_900)))
	require.Equal(t, "-ERR Protocol error: invalid bulk length: a command takes at most 10000 bytes", c.must(t, "set a "+strings.Repeat("x", 10_000)))
	_, err := c.reply()
	require.ErrorIs(t, err, io.EOF)

	c = mustDial(t, s.address)
	large := encode(nil, "set", "a", strings.Repeat("x", 10<<20)) // of which the server reads next to nothing
	go func() { _, _ = c.conn.Write(large) }()
	reply, err := c.reply()
	require.NoError(t, err)
	require.Regexp(t, "^-ERR Protocol error: invalid bulk length", reply)

	c = mustDial(t, s.address)
	require.Equal(t, "+OK", c.must(t, "multi"))
	require.Equal(t, "+QUEUED", c.must(t, "set a "+strings.Repeat("x", 6_000)))
	require.Equal(t, "-ERR a transaction takes at most 10000 bytes (-max-request)", c.must(t, "set a "+strings.Repeat("x", 6_000)))
	require.Equal(t, "-EXECABORT Transaction discarded because of previous errors.", c.must(t, "exec"))
	require.Equal(t, "+OK", c.must(t, "watch "+strings.Repeat("x", 6_000)))
	require.Equal(t, "-ERR the keys that a client watches take at most 10000 bytes (-max-request)", c.must(t, "watch "+strings.Repeat("y", 6_000)))
	require.Equal(t, "+OK", c.must(t, "unwatch"))

	require.Eventually(t, func() bool { // until those that have failed are gone
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.clients) == 1
	}, patience, pollEach)
	mustDial(t, s.address).must(t, "ping")
	mustDial(t, s.address).must(t, "ping")
	refused := mustDial(t, s.address)
	got, err := refused.reply()
	require.NoError(t, err)
	require.Equal(t, "-ERR max number of clients reached", got)
}

// TestIdle: a silent client is sent away.
func TestIdle(t *testing.T) {
	c := mustDial(t, startAlone(t, memory.NewStorage(), func(l *limits) { l.idle = 50 * time.Millisecond }).address)
	_, err := c.reply()
	require.ErrorIs(t, err, io.EOF)
}

// TestWriteTimeout: a client that leaves its replies unread is sent away.
func TestWriteTimeout(t *testing.T) {
	s := startAlone(t, memory.NewStorage(), func(l *limits) { l.write = 200 * time.Millisecond })
	c := mustDial(t, s.address)
	c.must(t, "set a "+strings.Repeat("x", 8_000_000))
	var sent []byte
	for range 50 {
		sent = encode(sent, "get", "a")
	}
	_, err := c.conn.Write(sent)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.clients) == 0
	}, patience, pollEach)
}

// A gate is a storage whose writes wait once it is shut.
type gate struct {
	*memory.Storage
	shut, open chan struct{}
	waits      chan struct{} // gets a token for each write that waits
}

func newGate() *gate {
	return &gate{memory.NewStorage(), make(chan struct{}), make(chan struct{}), make(chan struct{}, 100)}
}

func (g *gate) Write(w raft.Write) error {
	select {
	case <-g.shut:
		g.waits <- struct{}{}
		<-g.open
	default:
	}
	return g.Storage.Write(w)
}

// TestUnknownOutcome: the client is told that the outcome is unknown, once, and its connection ends.
func TestUnknownOutcome(t *testing.T) {
	storage := newGate()
	s := startAlone(t, storage, func(l *limits) { l.timeout = 200 * time.Millisecond })
	c := mustDial(t, s.address)
	close(storage.shut)
	_, err := c.conn.Write(encode(encode(nil, "set", "a", "1"), "get", "a"))
	require.NoError(t, err)
	reply, err := c.reply()
	require.NoError(t, err)
	require.Regexp(t, "^-UNKNOWN the command, and those sent with it, may be carried out or not, now or later: raft: outcome of command unknown: ", reply)
	_, err = c.reply()
	require.ErrorIs(t, err, io.EOF)
	close(storage.open)
	require.Eventually(t, func() bool {
		reply, err := mustDial(t, s.address).do("get", "a")
		return err == nil && reply == `"1"`
	}, patience, pollEach)
}

// TestNotApplied: each command of a pipeline that wasn't carried out is told so, and the connection
// goes on.
func TestNotApplied(t *testing.T) {
	s := startAlone(t, memory.NewStorage(), nil)
	c := mustDial(t, s.address)
	require.NoError(t, s.node.Close(t.Context()))
	for _, line := range []string{"set a 1", "get a"} {
		_, err := c.conn.Write(encode(encode(nil, strings.Fields(line)...), strings.Fields(line)...))
		require.NoError(t, err)
		for range 2 {
			reply, err := c.reply()
			require.NoError(t, err)
			require.Regexp(t, "^-TRYAGAIN not carried out: raft: (command not applied|read not served): closed", reply)
		}
	}
	require.Equal(t, "+PONG", c.must(t, "ping"))
}

// TestStopAnswersCommands: commands that are under way when the server stops get their replies, and
// those who wait for nothing are sent away.
func TestStopAnswersCommands(t *testing.T) {
	storage := newGate()
	s := startAlone(t, storage, func(l *limits) { l.timeout = time.Minute })
	silent, busy := mustDial(t, s.address), mustDial(t, s.address)
	silent.must(t, "ping")
	close(storage.shut)
	_, err := busy.conn.Write(encode(nil, "incr", "a"))
	require.NoError(t, err)
	<-storage.waits
	stopped := make(chan error, 1)
	go func() { stopped <- stopServer(s.server, options{limits: s.limits}) }()
	_, err = silent.reply()
	require.ErrorIs(t, err, io.EOF)
	_, err = net.Dial("tcp", s.address)
	require.Error(t, err)
	close(storage.open)
	reply, err := busy.reply()
	require.NoError(t, err)
	require.Equal(t, ":1", reply)
	_, err = busy.reply()
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, <-stopped)
}

// TestExpiry: keys go when their time has come, also while nobody writes, and also for one who only
// reads.
func TestExpiry(t *testing.T) {
	s := startAlone(t, memory.NewStorage(), nil)
	c := mustDial(t, s.address)
	require.Equal(t, "+OK", c.must(t, "set a 1 px 50"))
	require.Equal(t, "+OK", c.must(t, "set b 1 px 60"))
	require.Regexp(t, `^:\d+$`, c.must(t, "pttl a"))
	require.Eventually(t, func() bool { return c.must(t, "get a") == "nil$" }, patience, pollEach)
	now := s.machine.Summary().Now
	require.GreaterOrEqual(t, now+60_000, wall())
	require.Eventually(t, func() bool { return s.machine.Summary().Keys == 0 }, patience, pollEach)
	require.Equal(t, ":-2", c.must(t, "ttl b"))
}

// digits are what differs from one CLIENT INFO to the next.
var digits = regexp.MustCompile(`\d+`)
