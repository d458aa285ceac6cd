package coalesce_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/internal/coalesce"
	"github.com/e17579a5/raft/wire"
)

// many returns a pair in which each process leads half of so many groups, all of them idle.
func many(tb testing.TB, n int) *busyPair {
	p := &busyPair{books: map[wire.ServerID]*coalesce.Book{}, now: 1}
	for i, id := range []wire.ServerID{"x", "y"} {
		p.books[id] = coalesce.NewBook(coalesce.Config{
			Self: id, Start: uint64(i + 1), Heartbeat: heartbeat, ElectionTimeout: election, Shards: 1, Now: 1,
		})
	}
	each := func(do func(leader, member wire.ServerID, s wire.Stand)) {
		for i := range n {
			leader, member := wire.ServerID("x"), wire.ServerID("y")
			if i%2 == 1 {
				leader, member = member, leader
			}
			do(leader, member, stand(wire.GroupID(fmt.Sprint("group/", i)), 5))
		}
	}
	each(func(leader, member wire.ServerID, s wire.Stand) {
		p.settle(leader, &coalesce.Quiet{Leads: true, Confirmed: 1 << 62, Term: 5, Others: []coalesce.Other{{ID: member, Level: true, Stand: s}}})
	})
	p.interval(tb)
	each(func(leader, member wire.ServerID, s wire.Stand) {
		var left coalesce.Left
		p.books[member].Leave(p.now, s.Group, &left)
		p.settle(member, &coalesce.Quiet{Term: 5, Others: []coalesce.Other{{ID: leader, Level: true, Stand: s}}, Voters: voters})
	})
	for range 4 {
		p.interval(tb)
	}
	return p
}

var voters = []wire.ServerID{"x", "y"}

// busyPair is two processes with many groups.
type busyPair struct {
	books   map[wire.ServerID]*coalesce.Book
	now     coalesce.Instant
	out     coalesce.Out
	decoder wire.Decoder
	buffer  []byte
	sent    int // messages
	largest int // bytes of the largest one
	bytes   int
}

func (p *busyPair) settle(id wire.ServerID, q *coalesce.Quiet) {
	p.books[id].Settle(p.now, q.Others[0].Stand.Group, 0, q)
}

// interval lets an interval pass.
func (p *busyPair) interval(tb testing.TB) {
	p.now += coalesce.Instant(heartbeat)
	for _, id := range []wire.ServerID{"x", "y"} {
		b := p.books[id]
		b.Turned(p.now, 0)
		b.Beat(p.now)
		b.Drain(&p.out)
		for i := range p.out.Messages {
			p.buffer = wire.AppendMessage(p.buffer[:0], &p.out.Messages[i])
			p.sent++
			p.bytes += len(p.buffer)
			p.largest = max(p.largest, len(p.buffer))
			m, err := p.decoder.DecodeMessage(p.buffer)
			require.NoError(tb, err)
			p.books[m.To].Receive(p.now, &m)
		}
	}
}

// A list of ten thousand groups goes over in messages of at most 256 KiB. From then on an interval is
// two small messages.
func TestManyGroups(t *testing.T) {
	p := many(t, 20_000)
	require.LessOrEqual(t, p.largest, 256<<10)
	require.Greater(t, p.largest, 128<<10)
	p.sent, p.bytes = 0, 0
	for range 10 {
		p.interval(t)
	}
	require.Equal(t, 20, p.sent)
	require.Less(t, p.bytes, 20*64)
	var left coalesce.Left
	p.books["x"].Leave(p.now, "group/0", &left)
	require.Len(t, left.Vouched, 1)
	p.books["x"].Leave(p.now, "group/1", &left)
	require.Equal(t, lease, left.Heard[0].Promise)
}

// BenchmarkIdleInterval is an interval of two processes, on both sides, with the codec.
func BenchmarkIdleInterval(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n, " groups"), func(b *testing.B) {
			p := many(b, n)
			b.ReportAllocs()
			p.sent, p.bytes = 0, 0
			for b.Loop() {
				p.interval(b)
			}
			b.ReportMetric(float64(p.bytes)/float64(max(p.sent, 1)), "bytes/message")
		})
	}
}

// BenchmarkTurn is what the Book costs a turn of a quiet group.
func BenchmarkTurn(b *testing.B) {
	p := many(b, 10_000)
	s := stand("group/0", 5)
	q := coalesce.Quiet{Leads: true, Confirmed: 1 << 62, Term: 5, Others: []coalesce.Other{{ID: "y", Level: true, Stand: s}}}
	var left coalesce.Left
	b.ReportAllocs()
	for b.Loop() {
		p.books["x"].Leave(p.now, "group/0", &left)
		p.books["x"].Settle(p.now, "group/0", 0, &q)
	}
}

// BenchmarkMemory is what a group takes at two processes, one of which leads it.
func BenchmarkMemory(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	p := many(b, 10_000)
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/10_000, "bytes/group")
	runtime.KeepAlive(p)
}
