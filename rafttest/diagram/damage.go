package diagram

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/e17579a5/raft/rafttest/sim"
	"github.com/e17579a5/raft/wire"
)

// A damage says what has become of the bytes of entries on a server's disk.
type damage struct {
	Server int            `json:"s"`
	What   sim.DamageKind `json:"what"`
	Short  string         `json:"short"`
	Text   string         `json:"text"`
}

// RangesText returns ranges in the form "5-7 9", which the page's program reads.
func RangesText(ranges []wire.Range) string {
	var list []string
	for _, r := range ranges {
		list = append(list, rangeText(r, "-"))
	}
	return strings.Join(list, " ")
}

func rangeText(r wire.Range, between string) string {
	if r.First == r.Last {
		return strconv.FormatUint(uint64(r.First), 10)
	}
	return fmt.Sprintf("%d%s%d", r.First, between, r.Last)
}

// newDamage says in words what has become of the bytes of entries.
func newDamage(d *sim.DamageChange) damage {
	which := rangeText(d.Entries, "…")
	n := damage{Server: d.Server, What: d.What}
	switch d.What {
	case sim.DamageLost:
		n.Short, n.Text = "!"+which, "the disk has lost the bytes of "+which
	case sim.DamageRepaired:
		n.Short, n.Text = "repaired "+which, "the disk has the bytes of "+which+" again"
	default:
		n.Short, n.Text = "no more "+which, "the log doesn't hold "+which+" any more, whose bytes were lost"
	}
	return n
}

// repairText says what the answer to a request for lost bytes brings.
func repairText(m *wire.Message) string {
	r := m.RepairResponse()
	switch n := len(r.Entries); {
	case n > 0:
		return "gives " + rangeText(wire.Range{First: r.Entries[0].Index, Last: r.Entries[n-1].Index}, "…")
	case r.Lacks.Index > 0:
		return fmt.Sprintf("doesn't hold %d t%d", r.Lacks.Index, r.Lacks.Term)
	case r.Snapshot > 0:
		return fmt.Sprintf("snapshot of %d ✓", r.Snapshot)
	}
	return fmt.Sprintf("%d ✗", r.First)
}
