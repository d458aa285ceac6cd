package raft

import (
	"testing"

	"github.com/e17579a5/raft/wire"
)

// BenchmarkLog measures what a core does with its log for a batch of entries. It appends them,
// gives them to the disk and to a peer, finds their terms, and lets go of them.
func BenchmarkLog(b *testing.B) {
	const batch = 64
	l, err := newLog(&Saved{})
	if err != nil {
		b.Fatal(err)
	}
	data := make([]byte, 128)
	b.ReportAllocs()
	for b.Loop() {
		first := l.last
		for range batch {
			l.append(&Entry{Index: l.last + 1, Term: 1, Kind: wire.EntryCommand, Data: data})
		}
		if got := len(l.tail.entries(first, l.last, maxInt)); got != batch {
			b.Fatalf("%d entries", got)
		}
		for index := first + 1; index <= l.last; index++ {
			if !l.matches(index, 1) {
				b.Fatal("no match")
			}
		}
		l.commit, l.handed, l.applied, l.written, l.stable = l.last, l.last, l.last, l.last, l.last
		l.tail.shrink(1<<20, l.stable)
	}
	b.ReportMetric(float64(b.N)*batch/b.Elapsed().Seconds(), "entries/s")
}

// BenchmarkTerm measures how long it takes to find a term in a log with many terms.
func BenchmarkTerm(b *testing.B) {
	const terms = 1000
	l, err := newLog(&Saved{})
	if err != nil {
		b.Fatal(err)
	}
	for term := Term(1); term <= terms; term++ {
		l.append(&Entry{Index: l.last + 1, Term: term, Kind: wire.EntryNoOp})
	}
	b.ReportAllocs()
	index := Index(1)
	for b.Loop() {
		if term, ok := l.term(index); !ok || Index(term) != index {
			b.Fatal("wrong term")
		}
		index = index%terms + 1
	}
}
