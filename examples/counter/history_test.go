package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// An outcome is what a client was told about an attempt.
type outcome int

const (
	acknowledged outcome = iota // applied; the client knows the value after it
	refused                     // never applied
	unknown                     // applied at most once, at any time from its beginning on
)

// An operation is what one client did, from begin to end: it tried to add an amount, or it read the
// value.
type operation struct {
	amount     int64 // the amount to add, more than 0; 0 for a read
	value      int64 // the value after the operation, if it was acknowledged
	outcome    outcome
	begin, end time.Duration
}

// low is the value before the operation.
func (o *operation) low() int64 { return o.value - o.amount }

// A history is what the clients of a counter that begins at 0 saw.
//
// Amounts are large random numbers, so that a sum tells what was added. On the line from 0 to the
// last value, each acknowledged attempt occupies the stretch from low to value. The gaps between
// these stretches must be filled by attempts whose outcome is unknown, each used once:
//
//	0        low    value                low    value  last
//	├── gap ──┼──────┼──────┼─────────────┼──────┼──────┤
//	 unknown    acked  acked    unknown     acked   unknown
//
// An acknowledged attempt that was lost, or whose value is wrong, overlaps another one. A refused
// attempt that was applied leaves a gap that the unknown ones don't fill; so does an attempt that
// was applied twice.
type history []operation

// check returns how many attempts with an unknown outcome were applied, or an error that says what
// is wrong with the history. last is the value at the end.
func (h history) check(last int64) (applied int, err error) {
	if err := h.checkOrder(); err != nil {
		return 0, err
	}
	var added, reads []operation
	open, denied := history{}, history{}
	for _, o := range h {
		switch {
		case o.amount == 0 && o.outcome == acknowledged:
			reads = append(reads, o)
		case o.amount == 0:
		case o.outcome == acknowledged:
			added = append(added, o)
		case o.outcome == unknown:
			open = append(open, o)
		default:
			denied = append(denied, o)
		}
	}
	slices.SortFunc(added, func(a, b operation) int { return cmp.Compare(a.value, b.value) })
	added = append(added, operation{value: last, end: math.MaxInt64})
	at := int64(0)
	for _, o := range added {
		if o.low() < at {
			return applied, fmt.Errorf("%+v was acknowledged, but the counter had passed %d by then", o, o.low())
		}
		if o.low() > at {
			rest, found := open.fill(o.low()-at, o.end)
			if !found {
				return applied, fmt.Errorf("nothing explains what was added from %d to %d, before %+v%s", at, o.low(), o,
					denied.suspect(open, o.low()-at, o.end))
			}
			applied += len(open) - len(rest)
			open = rest
		}
		at = o.value
	}
	for _, r := range reads {
		i, _ := slices.BinarySearchFunc(added, r.value, func(o operation, v int64) int { return cmp.Compare(o.value, v) })
		if i == len(added) || r.value > added[i].low() && r.value < added[i].value {
			return applied, fmt.Errorf("%+v read a value that the counter never had", r)
		}
	}
	return applied, nil
}

// checkOrder checks that an operation that ended before another one began comes before it on the
// line.
func (h history) checkOrder() error {
	var answered []operation
	for _, o := range h {
		if o.outcome == acknowledged {
			answered = append(answered, o)
		}
	}
	ended := slices.Clone(answered)
	slices.SortFunc(answered, func(a, b operation) int { return cmp.Compare(a.begin, b.begin) })
	slices.SortFunc(ended, func(a, b operation) int { return cmp.Compare(a.end, b.end) })
	highest := operation{}
	for _, o := range answered {
		for len(ended) > 0 && ended[0].end < o.begin {
			if ended[0].value > highest.value {
				highest = ended[0]
			}
			ended = ended[1:]
		}
		if o.low() < highest.value {
			return fmt.Errorf("%+v began after %+v had ended, but doesn't see it", o, highest)
		}
	}
	return nil
}

// fillFrom bounds from how many attempts a gap is filled. At first they are few: a gap usually
// takes few, and among very many attempts some sum is right by chance.
var fillFrom = []int{12, 24, 40}

// fill finds attempts that together added sum and began before end, and returns the other attempts.
// It looks at the attempts that began last.
func (h history) fill(sum int64, end time.Duration) (rest history, found bool) {
	candidates := history{}
	for _, o := range h {
		if o.begin <= end && o.amount <= sum {
			candidates = append(candidates, o)
		}
	}
	slices.SortFunc(candidates, func(a, b operation) int { return cmp.Compare(b.begin, a.begin) })
	for _, most := range fillFrom {
		few := candidates[:min(len(candidates), most)]
		if set, found := few.subset(sum); found {
			used := map[operation]bool{}
			for i, o := range few {
				used[o] = set>>i&1 == 1
			}
			return slices.DeleteFunc(slices.Clone(h), func(o operation) bool { return used[o] }), true
		}
		if len(few) == len(candidates) {
			break
		}
	}
	return nil, false
}

// subset finds attempts that together added sum; bit i of the set stands for attempt i. It looks up
// each sum of one half of the attempts among the sums of the other half.
func (h history) subset(sum int64) (set uint64, found bool) {
	half := len(h) / 2
	low := h[:half].sums()
	sets := make(map[int64]uint64, len(low))
	for set, s := range low {
		sets[s] = uint64(set)
	}
	for set, s := range h[half:].sums() {
		if other, ok := sets[sum-s]; ok {
			return uint64(set)<<half | other, true
		}
	}
	return 0, false
}

// sums returns the sum of each subset; the bits of its place say which attempts are in the subset.
func (h history) sums() []int64 {
	sums := []int64{0}
	for _, o := range h {
		for _, s := range sums {
			sums = append(sums, s+o.amount)
		}
	}
	return sums
}

// suspect returns a text that names a refused attempt which would explain a gap, or "".
func (h history) suspect(open history, sum int64, end time.Duration) string {
	for _, o := range h {
		if o.amount == sum {
			return fmt.Sprintf(", unless %+v was applied", o)
		}
		if _, found := open.fill(sum-o.amount, end); found && o.amount < sum {
			return fmt.Sprintf(", unless %+v was applied", o)
		}
	}
	return ""
}

func TestHistoryCheck(t *testing.T) {
	const ms = time.Millisecond
	acked := func(amount, value int64, begin, end time.Duration) operation {
		return operation{amount: amount, value: value, begin: begin * ms, end: end * ms}
	}
	open := func(amount int64, begin time.Duration) operation {
		return operation{amount: amount, outcome: unknown, begin: begin * ms, end: (begin + 1) * ms}
	}
	denied := func(amount int64, begin time.Duration) operation {
		return operation{amount: amount, outcome: refused, begin: begin * ms, end: (begin + 1) * ms}
	}
	many := history{} // its first 30 attempts add up to 30<<40 - 15<<20
	for i := range 40 {
		many = append(many, open(1<<40+int64(i-15)<<20, 1))
	}
	for _, c := range []struct {
		name    string
		history history
		last    int64
		want    string // a text in the error; "" for no error
		applied int
	}{
		{"nothing", nil, 0, "", 0},
		{"one after the other", history{acked(5, 5, 1, 2), acked(7, 12, 3, 4), acked(0, 12, 5, 6)}, 12, "", 0},
		{"at the same time", history{acked(5, 12, 1, 4), acked(7, 7, 1, 4)}, 12, "", 0},
		{"unknown applied", history{acked(5, 5, 1, 2), open(30, 3), open(40, 3), acked(7, 52, 3, 9)}, 52, "", 1},
		{"unknown applied at the end", history{open(30, 3), open(40, 3), open(50, 3), acked(7, 57, 3, 9)}, 127, "", 3},
		{"unknown applied later than others", history{open(30, 1), acked(5, 5, 3, 4), acked(7, 42, 5, 6)}, 42, "", 1},
		{"unknown seen by a read", history{acked(5, 5, 1, 2), open(30, 3), acked(0, 35, 4, 5)}, 35, "", 1},
		{"many unknown applied", many, 30<<40 - 15<<20, "", 30},
		{"refused not applied", history{denied(9, 1), acked(5, 5, 2, 3)}, 5, "", 0},

		{"acknowledged and lost at the end", history{acked(5, 5, 1, 2), acked(7, 12, 3, 4)}, 5, "had passed", 0},
		{"acknowledged and lost in the middle", history{acked(5, 5, 1, 3), acked(7, 7, 2, 4)}, 7, "had passed", 0},
		{"applied twice", history{acked(5, 10, 1, 2)}, 10, "nothing explains", 0},
		{"unknown applied twice", history{open(30, 1), acked(5, 65, 2, 3)}, 65, "nothing explains", 0},
		{"unknown applied before it began", history{acked(5, 35, 1, 2), open(30, 3)}, 35, "nothing explains", 0},
		{"refused and applied", history{denied(9, 1), acked(5, 14, 2, 3)}, 14, "unless {amount:9", 0},
		{"refused and applied beside unknown", history{denied(9, 1), open(30, 1), acked(5, 44, 2, 3)}, 44, "unless {amount:9", 0},
		{"applied after its acknowledgement", history{acked(5, 12, 1, 2), acked(7, 7, 3, 4)}, 12, "doesn't see it", 0},
		{"a read of the past", history{acked(5, 5, 1, 2), acked(0, 0, 3, 4)}, 5, "doesn't see it", 0},
		{"two reads turn back", history{acked(5, 5, 1, 9), acked(0, 5, 2, 3), acked(0, 0, 4, 5)}, 5, "doesn't see it", 0},
		{"a read within an attempt", history{acked(5, 5, 1, 9), acked(0, 3, 1, 9)}, 5, "never had", 0},
		{"a read of the future", history{acked(5, 5, 1, 9), acked(0, 8, 1, 9)}, 5, "never had", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			applied, err := c.history.check(c.last)
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.applied, applied)
		})
	}
}
