package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/rafttest/history"
)

// The locks and the store together are a fenced register: whatever holders believe, each accepted
// write has a token that is at least the highest before it, and each grant a token that is higher
// than all before it. The models say what the store and the locks do if their operations come one
// after the other; package history looks for such an order. Grants are judged by judge, which knows
// time.

// A storeCall writes to a key of the store, or reads it.
type storeCall struct {
	Key   string
	Token uint64 // 0 for a read
	Value string
}

// A storeState is the state of a key. It is what a call answers too: after a write, and for a read.
type storeState struct {
	Token   uint64
	Value   string
	Refused bool // the answer to a write whose token is too low
}

// fencedRegisters is the model of the store.
func fencedRegisters() history.Model[storeState, storeCall, storeState] {
	return history.Model[storeState, storeCall, storeState]{
		Step: func(s storeState, c storeCall) (storeState, storeState) {
			if c.Token == 0 {
				return s, s
			}
			if c.Token < s.Token {
				return s, storeState{Refused: true}
			}
			s = storeState{Token: c.Token, Value: c.Value}
			return s, s
		},
		Key: func(c storeCall) string { return c.Key },
	}
}

// A lockCall takes a lock if it is free, releases it, or looks who holds it.
type lockCall struct {
	Lock, Owner string
	Do          string // "try", "release" or "look"
}

// exactLocks is the model of locks whose leases don't end. The state is the owner that holds the
// lock, and so is the answer to a look.
func exactLocks() history.Model[string, lockCall, string] {
	return history.Model[string, lockCall, string]{
		Step: func(holder string, c lockCall) (string, string) {
			switch {
			case c.Do == "try" && holder == "":
				return c.Owner, "granted"
			case c.Do == "try":
				return holder, "held"
			case c.Do == "release" && holder == c.Owner:
				return "", ""
			}
			return holder, holder
		},
		Key: func(c lockCall) string { return c.Lock },
	}
}

// A grant is one holding as its client saw it.
type grant struct {
	lock       string
	token      uint64
	begin, end time.Duration // of the acquire
	// over is the earliest moment at which the lock may be granted again: when the holder began to
	// release it, or when the lease ends that began with the acquire.
	over time.Duration
}

// judge says what is wrong with grants; nil if nothing is. No two have the same token. One that began
// after another had ended has a higher token. And nobody gets a lock before the holding with the next
// lower token is over.
func judge(grants []grant) error {
	grants = slices.Clone(grants)
	slices.SortFunc(grants, func(a, b grant) int { return cmp.Compare(b.token, a.token) })
	earliest := grant{end: math.MaxInt64} // the one that ended first, of those with a higher token
	later := map[string]grant{}           // by lock: the one with the next higher token
	for i, g := range grants {
		next, found := later[g.lock]
		switch {
		case i > 0 && g.token == grants[i-1].token:
			return fmt.Errorf("two grants have the same token: %+v and %+v", grants[i-1], g)
		case earliest.end < g.begin:
			return fmt.Errorf("%+v began after %+v had ended, with a lower token", g, earliest)
		case found && next.end < g.over:
			return fmt.Errorf("%+v was granted before %+v was over", next, g)
		}
		if g.end < earliest.end {
			earliest = g
		}
		later[g.lock] = g
	}
	return nil
}

func TestJudge(t *testing.T) {
	at := func(lock string, token uint64, begin, end, over int) grant {
		return grant{lock, token, time.Duration(begin), time.Duration(end), time.Duration(over)}
	}
	for _, c := range []struct {
		name   string
		grants []grant
		want   string
	}{
		{"nothing", nil, ""},
		{"one after the other", []grant{at("x", 1, 0, 1, 5), at("x", 2, 3, 6, 9)}, ""},
		{"at the same time", []grant{at("x", 2, 0, 9, 5), at("y", 1, 0, 9, 20)}, ""},
		{"the same token", []grant{at("x", 1, 0, 1, 1), at("y", 1, 5, 6, 9)}, "the same token"},
		{"a token falls", []grant{at("x", 2, 0, 1, 1), at("x", 1, 5, 6, 9)}, "with a lower token"},
		{"a token falls at another lock", []grant{at("x", 2, 0, 1, 1), at("y", 1, 5, 6, 9)}, "with a lower token"},
		{"a token falls further away", []grant{at("x", 5, 4, 9, 9), at("x", 4, 0, 1, 1), at("y", 3, 5, 6, 9)}, "with a lower token"},
		{"a lease is too short", []grant{at("x", 1, 0, 1, 10), at("x", 2, 3, 6, 9)}, "before"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := judge(c.grants); c.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.want)
			}
		})
	}
}

// TestModelsConvict: a store that takes a low token, and a lock with two holders, aren't
// linearizable.
func TestModelsConvict(t *testing.T) {
	for _, sound := range []bool{true, false} {
		written := history.New[storeCall, storeState]()
		written.Begin(0, storeCall{"x", 7, "a"}).End(storeState{Token: 7, Value: "a"}, nil)
		late := storeState{Token: 6, Value: "b"}
		if sound {
			late = storeState{Refused: true}
		}
		written.Begin(0, storeCall{"x", 6, "b"}).End(late, nil)
		locked := history.New[lockCall, string]()
		locked.Begin(0, lockCall{"x", "a", "try"}).End("granted", nil)
		second := locked.Begin(1, lockCall{"x", "b", "try"})
		if sound {
			locked.Begin(0, lockCall{"x", "a", "release"}).End("", nil)
		}
		second.End("granted", nil)
		if err := history.Check(written, fencedRegisters()); sound {
			require.NoError(t, err)
			require.NoError(t, history.Check(locked, exactLocks()))
		} else {
			require.ErrorContains(t, err, "not linearizable")
			require.ErrorContains(t, history.Check(locked, exactLocks()), "not linearizable")
		}
	}
}
