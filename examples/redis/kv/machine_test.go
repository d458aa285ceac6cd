package kv

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
	"github.com/e17579a5/raft/wire"
)

func newMachine() raft.StateMachine { return New(&Memory{}) }

// command returns a command and its arguments from a line of words.
func command(line string) (*Command, [][]byte) {
	var args [][]byte
	for _, word := range strings.Fields(line) {
		args = append(args, []byte(strings.ReplaceAll(word, "_", "")))
	}
	return Lookup(args[0]), args
}

// entry returns an entry of a time with commands. Those after "multi" are a transaction.
func entry(now int64, lines ...string) []byte {
	var b Batch
	b.Reset(2, now)
	for i, line := range lines {
		if line == "multi" {
			b.Transact(nil, len(lines)-i-1)
			continue
		}
		b.Add(command(line))
	}
	return bytes.Clone(b.Seal())
}

// apply applies entries as one batch and returns the results.
func apply(m raft.StateMachine, entries ...[]byte) (replies []string) {
	batch := make([]raft.Entry, len(entries))
	for i, e := range entries {
		batch[i] = raft.Entry{Kind: wire.EntryCommand, Data: bytes.Clone(e)}
	}
	results := make([][]byte, len(entries))
	m.Apply(batch, results)
	for i, result := range results {
		replies = append(replies, string(result))
		clear(batch[i].Data) // it was lent
	}
	return replies
}

// lineForms are commands, with %k for a key and %n for a number.
var lineForms = []string{
	"set %k %n", "set %k %n ex %n", "set %k %n px %n nx", "set %k %n keepttl get", "get %k", "incr %k", "incrbyfloat %k 0.%n", "append %k xx",
	"setrange %k 3 abc", "del %k %k", "pexpire %k %n", "persist %k", "pttl %k", "getex %k px %n", "rename %k %k", "hset %k f%n %n f%n %n",
	"hdel %k f%n f%n f%n", "hgetall %k", "hincrby %k f%n 2", "lpush %k %n %n", "rpush %k %n", "lpop %k", "rpop %k 2", "ltrim %k 0 5",
	"lrange %k 0 -1", "lrem %k 1 %n", "linsert %k before %n x", "sadd %k %n %n", "srem %k %n", "smembers %k", "sunion %k %k", "scan 0", "keys *",
	"dbsize", "getdel %k", "mset %k %n %k %n", "msetnx %k %n", "type %k", "exists %k %k", "hscan %k 0", "flushall",
}

// draw returns a random entry. pick returns a number below n.
func draw(pick func(n int) int) []byte {
	key := func() string { return string(rune('a' + pick(4))) }
	number := func() string { return fmt.Sprint(pick(40) - 5) }
	lines := make([]string, 0, 5)
	if pick(8) == 0 {
		lines = append(lines, "multi")
	}
	for range 1 + pick(4) {
		line := lineForms[pick(len(lineForms))]
		for strings.Contains(line, "%") {
			line = strings.Replace(line, "%k", key(), 1)
			line = strings.Replace(line, "%n", number(), 1)
		}
		lines = append(lines, line)
	}
	return entry(int64(pick(60)), lines...)
}

// TestMachineIsAStateMachine: it keeps the contract of a state machine.
func TestMachineIsAStateMachine(t *testing.T) {
	require.NoError(t, rafttest.TestStateMachine(newMachine, func(r *rand.Rand) []byte { return draw(r.IntN) }))
}

// TestMachineReplicated: it gives the same results on every server, whatever crashes, parts or is
// forgotten.
func TestMachineReplicated(t *testing.T) {
	rafttest.Check(t, rafttest.Property{
		Machine: newMachine,
		Command: rapid.Custom(func(t *rapid.T) []byte {
			return draw(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "pick") })
		}),
	})
}

func TestTimeNeverFalls(t *testing.T) { onEach(t, testTimeNeverFalls) }

func testTimeNeverFalls(t *testing.T, fresh func() *Machine) {
	m := fresh()
	require.Equal(t, []string{"+OK\r\n", ":1000\r\n", ":500\r\n", ":500\r\n", ":500\r\n"}, apply(m,
		entry(5000, "set a 1 px 1000"), entry(5000, "pttl a"), entry(5500, "pttl a"), entry(1, "pttl a"), entry(5500, "pttl a")))
	require.Equal(t, []string{"$-1\r\n", ":0\r\n"}, apply(m, entry(6000, "get a"), entry(0, "dbsize")))
	require.EqualValues(t, 6000, m.Summary().Now)
}

// A key that has expired by this server's clock alone isn't shown, and the reader is told.
func TestViewBeforeTheLogKnows(t *testing.T) { onEach(t, testViewBeforeTheLogKnows) }

func testViewBeforeTheLogKnows(t *testing.T, fresh func() *Machine) {
	m := fresh()
	apply(m, entry(1000, "set a 1 px 500", "set b 2"))
	view := func(wall int64, line string) (reply string, early bool) {
		var out = m.reply
		out.Buf, out.Proto = nil, 2
		early, err := m.View(wall, func(r *Reader) {
			c, args := command(line)
			r.Run(c, args, &out)
		})
		require.NoError(t, err)
		return string(out.Buf), early
	}
	for wall, want := range map[int64]string{0: "$1\r\n1\r\n", 1499: "$1\r\n1\r\n", 1500: "$-1\r\n"} {
		reply, early := view(wall, "get a")
		require.Equal(t, want, reply)
		require.Equal(t, wall == 1500, early)
	}
	_, early := view(1500, "get b")
	require.False(t, early)
	apply(m, entry(1500))
	reply, early := view(0, "get a")
	require.Equal(t, "$-1\r\n", reply)
	require.False(t, early)
}

// Many keys that expire together are deleted by several entries, and are gone for all at once.
func TestManyKeysExpireTogether(t *testing.T) { onEach(t, testManyKeysExpireTogether) }

func testManyKeysExpireTogether(t *testing.T, fresh func() *Machine) {
	m := fresh()
	for i := range 3 * expireEach {
		apply(m, entry(1, fmt.Sprintf("set %d x px 10", i)))
	}
	require.Equal(t, []string{"$-1\r\n"}, apply(m, entry(11, "get 500")))
	require.Equal(t, 2*expireEach, m.Summary().Keys)
	require.EqualValues(t, 11, m.Summary().Expires)
	apply(m, entry(11), entry(11))
	require.Equal(t, Summary{Now: 11, Applied: 3*expireEach + 3}, m.Summary())
}

func TestTransactions(t *testing.T) { onEach(t, testTransactions) }

func testTransactions(t *testing.T, fresh func() *Machine) {
	m := fresh()
	apply(m, entry(1, "set a 1"))
	var watch Watch
	_, err := m.View(0, func(r *Reader) { watch = r.Watch([]byte("a")) })
	require.NoError(t, err)
	transaction := func(watches ...Watch) []byte {
		var b Batch
		b.Reset(2, 1)
		b.Transact(watches, 2)
		b.Add(command("incr a"))
		b.Add(command("lpush a 1"))
		return bytes.Clone(b.Seal())
	}
	require.Equal(t, []string{"*2\r\n:2\r\n-" + wrongType + "\r\n"}, apply(m, transaction(watch, Watch{Key: "b"})))
	require.Equal(t, []string{"*-1\r\n"}, apply(m, transaction(watch)), "a has changed")
	require.Equal(t, []string{"*-1\r\n"}, apply(m, transaction(Watch{"b", 7})), "b isn't there")
	require.Equal(t, []string{"$1\r\n2\r\n"}, apply(m, entry(1, "get a")))
}

// What is no entry changes nothing and is answered. What a later version made stops the machine.
func TestMalformedEntries(t *testing.T) {
	m := New(&Memory{})
	good := entry(1, "set a 1", "get a")
	seal := func(b ...byte) []byte { return (&Batch{b}).Seal() }
	bad := [][]byte{nil, good[:len(good)-1], append(bytes.Clone(good), 0), seal(), seal(1), seal(0, 2, 1), seal(1, 2, 1, 50), seal(1, 2, 1, 50, 9),
		seal(1, 2, 1, 50, 0), seal(1, 2, 1, 0, 0, 9), seal(1, 2, 1, 0, 1, 1, 'a', 7)}
	for i := range good {
		flipped := bytes.Clone(good)
		flipped[i] ^= 0x10
		bad = append(bad, flipped)
	}
	for _, b := range bad {
		require.Equal(t, []string{"-ERR the entry is malformed\r\n"}, apply(m, b))
	}
	require.Equal(t, Summary{Applied: int64(len(bad))}, m.Summary())
	require.PanicsWithValue(t, "kv: an entry has format 2, and this version of the program knows none above 1", func() { apply(m, seal(2)) })
	require.PanicsWithValue(t, "kv: the entry has command number 255, which this version of the program doesn't know", func() { apply(m, seal(1, 2, 1, 0xff, 1, 0)) })
}

func TestRepliesHaveALimit(t *testing.T) { onEach(t, testRepliesHaveALimit) }

func testRepliesHaveALimit(t *testing.T, fresh func() *Machine) {
	m := fresh()
	value := strings.Repeat("x", MaxValue/2)
	apply(m, entry(1, "set a "+value))
	replies := apply(m, entry(1, "get a", "get a", "get a", "get a", "get a", "getset a y", "get a"))[0]
	require.Equal(t, 3, strings.Count(replies, value))
	require.Equal(t, 4, strings.Count(replies, "-ERR the reply, or all replies to one pipeline, would take more than 67108864 bytes"))
	require.Equal(t, 1, strings.Count(replies, "; the command was carried out"))
	require.Equal(t, []string{"$1\r\ny\r\n"}, apply(m, entry(1, "get a")))
	apply(m, entry(1, "set a "+value), entry(1, "append a "+value))
	require.Equal(t, []string{"-" + tooLong + "\r\n"}, apply(m, entry(1, "append a y")))
	require.Equal(t, []string{"-" + tooLong + "\r\n"}, apply(m, entry(1, fmt.Sprintf("setrange a %d y", MaxValue))))
}

func snapshotOf(t require.TestingT, m *Machine) []byte {
	captured, err := m.Snapshot()
	require.NoError(t, err)
	var b bytes.Buffer
	n, err := captured.WriteTo(&b)
	require.NoError(t, err)
	require.EqualValues(t, b.Len(), n)
	require.NoError(t, captured.(io.Closer).Close())
	return b.Bytes()
}

// A snapshot that can't be read changes nothing, and says where it is wrong.
func TestRestoreRefuses(t *testing.T) { onEach(t, testRestoreRefuses) }

func testRestoreRefuses(t *testing.T, fresh func() *Machine) {
	m := fresh()
	apply(m, entry(1, "set a 1 px 90", "hset h f 1 g 2", "rpush l x y", "sadd s m"))
	snapshot := snapshotOf(t, m)
	other := fresh()
	require.NoError(t, other.Restore(iotest.OneByteReader(bytes.NewReader(snapshot))))
	require.Equal(t, snapshot, snapshotOf(t, other))
	if d := other.Durable(); d != nil {
		require.NoError(t, d.Save(1, nil))
	}
	for n := range len(snapshot) {
		err := other.Restore(bytes.NewReader(snapshot[:n]))
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "%d bytes", n)
	}
	require.ErrorContains(t, other.Restore(bytes.NewReader(append(bytes.Clone(snapshot), 0))), "goes on after its last key")
	require.ErrorContains(t, other.Restore(strings.NewReader("something else")), "no snapshot of this version")
	broken := errors.New("broken disk")
	require.ErrorIs(t, other.Restore(io.MultiReader(bytes.NewReader(snapshot[:20]), iotest.ErrReader(broken))), broken)
	require.Equal(t, snapshot, snapshotOf(t, other))
}

// FuzzApply: no entry and no snapshot, whatever its bytes, makes a machine panic, but for an entry of a
// later version.
func FuzzApply(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	m := New(&Memory{})
	for range 20 {
		e := draw(r.IntN)
		apply(m, e)
		f.Add(e)
	}
	f.Add(snapshotOf(f, m))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := New(&Memory{})
		if with := recovered(func() { apply(m, (&Batch{bytes.Clone(b)}).Seal()) }); with != nil {
			require.Contains(t, with, "this version of the program")
		}
		apply(m, b)
		if New(&Memory{}).Restore(bytes.NewReader(b)) == nil {
			require.NoError(t, m.Restore(bytes.NewReader(b)))
			require.NoError(t, New(&Memory{}).Restore(bytes.NewReader(snapshotOf(t, m))))
		}
	})
}

func TestObjectsAlone(t *testing.T) {
	m := New(&Memory{})
	apply(m, entry(1, "set a 1 px 90", "hset h f 1 g 2", "rpush l x y", "sadd s m"))
	for key, o := range m.keys.From(0) {
		var b bytes.Buffer
		encodeObject(&b, o)
		got, err := decodeObject(b.Bytes())
		require.NoError(t, err, key)
		require.Equal(t, o, got)
		_, err = decodeObject(append(b.Bytes(), 0))
		require.ErrorContains(t, err, "1 bytes after an object")
		_, err = decodeObject(b.Bytes()[:b.Len()-1])
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
}

// recovered returns what f panics with.
func recovered(f func()) (with any) {
	defer func() { with = recover() }()
	f()
	return nil
}
