package shard

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
)

// Slots are those of Redis Cluster: these are what CLUSTER KEYSLOT of Redis answers.
func TestSlots(t *testing.T) {
	require.Equal(t, uint16(0x31c3), crc16("123456789"))
	require.Equal(t, 12182, Slot("foo"))
	require.Equal(t, 5061, Slot("bar"))
	require.Equal(t, Slot("user1000"), Slot("{user1000}.following"))
	require.Equal(t, Slot("{bar"), Slot("foo{{bar}}zap"))
	require.Equal(t, Slot("bar"), Slot("foo{bar}{zap}"))
	require.NotEqual(t, Slot("bar"), Slot("foo{}{bar}"))
}

// Each shard has a run of slots, and all have about as many.
func TestShardsOfSlots(t *testing.T) {
	for _, shards := range []int{1, 2, 3, 1000, MaxShards} {
		count := make([]int, shards)
		last := 0
		for slot := range Slots {
			shard := OfSlot(slot, shards)
			from, to := Run(shard, shards)
			require.True(t, from <= slot && slot <= to)
			require.GreaterOrEqual(t, shard, last)
			last = shard
			count[shard]++
		}
		require.LessOrEqual(t, slices.Max(count)-slices.Min(count), 1)
	}
}

// A cursor is a number and back, in the order of shards and places, with 53 bits at most.
func TestCursors(t *testing.T) {
	last := uint64(0)
	for _, c := range []Cursor{{0, 0}, {0, 1}, {0, 1<<PlaceBits - 1}, {1, 0}, {1, 5}, {999, 1<<PlaceBits - 1}, {MaxShards - 1, 1<<PlaceBits - 1}} {
		number := c.Number()
		require.True(t, number == 0 || number > last)
		last = number
		require.Less(t, number, uint64(1)<<53)
		got, ok := CursorOf(number, MaxShards)
		require.True(t, ok)
		require.Equal(t, c, got)
		_, ok = CursorOf(number, c.Shard)
		require.False(t, ok, "there is no shard %d", c.Shard)
		next, more := c.After(1, c.Shard+2)
		require.Equal(t, Cursor{Shard: c.Shard + 1}, next)
		require.True(t, more)
		_, more = c.After(2, c.Shard+2)
		require.False(t, more)
	}
	_, ok := CursorOf(1<<64-1, MaxShards)
	require.False(t, ok)
}

// A move goes from phase to phase by the reports of its own steps. Those of another move, or of another phase,
// change nothing.
func TestPhases(t *testing.T) {
	table := new(Table)
	change := func(c Change) { require.Nil(t, table.apply(&c)) }
	report := func(move uint64, phase Phase) { change(Change{Done: []Step{{0, move, phase}}}) }
	for _, id := range []raft.ServerID{"a", "b", "c", "d"} {
		change(Change{Register: &Server{ID: id, Address: "x", Client: "y"}})
	}
	change(Change{Found: &Founding{1, 2}})
	begin := Change{Shards: []int{0}, Begin: []Move{{From: "a", To: "c"}}}
	change(begin)
	s := &table.Shards[0]
	require.Nil(t, s.Move, "it isn't founded")
	report(0, "")
	change(begin)
	require.Equal(t, &Move{1, "a", "c", Prepare}, s.Move)
	report(1, Join)
	report(0, Prepare)
	require.Equal(t, Prepare, s.Move.Phase)
	report(1, Prepare)
	require.Equal(t, &Move{1, "a", "c", Join}, s.Move)
	require.Equal(t, []raft.ServerID{"a", "b"}, s.Members)
	report(1, Join)
	require.Equal(t, &Move{1, "a", "c", Leave}, s.Move)
	require.Equal(t, []raft.ServerID{"b", "c"}, s.Members)
	report(1, Leave)
	require.Nil(t, s.Move)

	change(Change{Shards: []int{0}, Begin: []Move{{From: "b", To: "d"}}})
	report(1, Prepare)
	require.Equal(t, &Move{2, "b", "d", Prepare}, s.Move)
	report(2, Prepare)
	change(Change{Leave: "d"}) // it may be a member of the group already
	require.Equal(t, &Move{3, "d", "", Leave}, s.Move)
	require.Equal(t, []raft.ServerID{"b", "c"}, s.Members)
	require.NotNil(t, table.apply(&Change{Forget: "d"}))
	report(2, Join)
	require.Equal(t, &Move{3, "d", "", Leave}, s.Move)
	report(3, Leave)
	change(Change{Forget: "d"})
	require.Nil(t, table.Server("d"))
}

// A shard that was placed by hand stays, though servers have more shards than others by it: another one moves. It moves
// when its server leaves, and when it is let go. What can't be done is refused, and what was done already is done.
func TestPlacing(t *testing.T) {
	table := new(Table)
	change := func(c Change) { require.Nil(t, table.apply(&c)) }
	finish := func() {
		for i := range table.Shards {
			for m := table.Shards[i].Move; m != nil; m = table.Shards[i].Move {
				change(Change{Done: []Step{{i, m.Number, m.Phase}}})
			}
		}
	}
	for _, id := range []raft.ServerID{"a", "b", "c", "d"} {
		change(Change{Register: &Server{ID: id, Address: "x", Client: "y"}})
	}
	change(Change{Found: &Founding{4, 3}})
	for i := range 4 {
		change(Change{Done: []Step{{Shard: i}}})
	}
	members := table.Shards[0].Members
	require.Equal(t, []raft.ServerID{"a", "b", "c"}, members)
	place := Change{Place: &Placing{0, "a", "d"}}
	change(place)
	change(place) // it is on its way
	require.Equal(t, "moving", table.apply(&Change{Place: &Placing{0, "d", "b"}}).Code, "d is to have it soon")
	finish()
	change(place) // it is there
	require.Equal(t, []raft.ServerID{"b", "c", "d"}, table.Shards[0].Members)
	shards, moves := table.plan(10)
	require.NotContains(t, shards, 0)
	require.Len(t, moves, 1)
	require.Equal(t, []raft.ServerID{"d", "a"}, []raft.ServerID{moves[0].From, moves[0].To})
	for code, p := range map[string]Placing{
		"no_such_shard": {4, "b", "a"}, "no_such_server": {0, "x", "d"}, "not_there": {1, "a", "a"},
	} {
		before := encode(table)
		refusal := table.apply(&Change{Place: &p})
		require.NotNil(t, refusal, code)
		require.Equal(t, code, refusal.Code)
		require.Equal(t, string(before), string(encode(table)))
	}
	change(Change{Place: &Placing{0, "b", "a"}})
	require.Equal(t, "moving", table.apply(&Change{Place: &Placing{0, "c", "a"}}).Code)
	finish()
	change(Change{Leave: "c"})
	require.Equal(t, "leaving", table.apply(&Change{Place: &Placing{0, "a", "c"}}).Code)
	shards, _ = table.plan(10)
	require.Contains(t, shards, 0)
	change(Change{Place: &Placing{Shard: 0}})
	require.False(t, table.Shards[0].Placed)
}

// TestTable: whatever changes come, a shard has as many members as it should, a move's number is used once,
// and no server is forgotten that has a shard. If nothing else happens, all is settled in the end, and
// servers have about as many shards.
func TestTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SampledFrom([]raft.ServerID{"a", "b", "c", "d", "e", "f"})
		table := new(Table)
		for _, id := range []raft.ServerID{"a", "b", "c"} {
			require.Nil(t, table.apply(&Change{Register: &Server{ID: id, Address: "x", Client: "y"}}))
		}
		require.Nil(t, table.apply(&Change{Found: &Founding{rapid.IntRange(1, 20).Draw(t, "shards"), rapid.IntRange(1, 3).Draw(t, "replicas")}}))
		numbers := map[uint64]int{}
		t.Repeat(map[string]func(*rapid.T){
			"register": func(t *rapid.T) {
				table.apply(&Change{Register: &Server{ID: ids.Draw(t, "server"), Address: "x", Client: rapid.SampledFrom([]string{"y", "z"}).Draw(t, "client")}})
			},
			"leave":  func(t *rapid.T) { table.apply(&Change{Leave: ids.Draw(t, "server")}) },
			"forget": func(t *rapid.T) { table.apply(&Change{Forget: ids.Draw(t, "server")}) },
			"begin": func(t *rapid.T) {
				shard := rapid.IntRange(-1, 20).Draw(t, "shard")
				table.apply(&Change{Shards: []int{shard}, Begin: []Move{{From: ids.Draw(t, "from"), To: ids.Draw(t, "to")}}})
			},
			"place": func(t *rapid.T) {
				p := Placing{Shard: rapid.IntRange(-1, 20).Draw(t, "shard")}
				if rapid.Bool().Draw(t, "moves") {
					p.From, p.To = ids.Draw(t, "from"), ids.Draw(t, "to")
				}
				placed(t, table, p)
			},
			"plan": func(*rapid.T) { applyPlan(table, 3) },
			"done": func(t *rapid.T) {
				table.apply(&Change{Done: []Step{{
					rapid.IntRange(-1, 20).Draw(t, "shard"), rapid.Uint64Range(0, 8).Draw(t, "move"), rapid.SampledFrom([]Phase{Prepare, Join, Leave}).Draw(t, "phase"),
				}}})
			},
			"": func(t *rapid.T) { requireSound(t, table, numbers) },
		})
		for i := range table.Shards {
			require.Nil(t, table.apply(&Change{Place: &Placing{Shard: i}}))
		}
		for range 200 {
			applyPlan(table, 3)
			for i := range table.Shards {
				step := Step{Shard: i}
				if m := table.Shards[i].Move; m != nil {
					step.Move, step.Phase = m.Number, m.Phase
				}
				table.apply(&Change{Done: []Step{step}})
			}
			for _, s := range slices.Clone(table.Servers) {
				table.apply(&Change{Forget: s.ID})
			}
		}
		require.True(t, table.Settled())
		requireEven(t, table)
	})
}

// placed places a shard, and requires that it is then where it should be, or on its way there, or that the table says
// why it isn't, and is as it was.
func placed(t *rapid.T, table *Table, p Placing) {
	before := encode(table)
	refusal := table.apply(&Change{Place: &p})
	switch {
	case refusal != nil:
		require.Equal(t, string(before), string(encode(table)), refusal.Text)
	case p.To == "":
		require.False(t, table.Shards[p.Shard].Placed)
	default:
		s := &table.Shards[p.Shard]
		require.True(t, s.Placed)
		require.Contains(t, s.after(), p.To)
		require.NotContains(t, s.after(), p.From)
	}
}

func applyPlan(t *Table, limit int) {
	if shards, moves := t.plan(limit); len(moves) > 0 {
		for i, shard := range shards {
			if from := t.Server(moves[i].From); t.Shards[shard].Placed && !from.Leaving {
				panic("a shard that was placed by hand is moved")
			}
		}
		t.apply(&Change{Shards: shards, Begin: moves})
	}
}

func requireSound(t require.TestingT, table *Table, numbers map[uint64]int) {
	for i := range table.Shards {
		s := &table.Shards[i]
		require.Len(t, slices.Compact(slices.Clone(s.Members)), table.Replicas)
		require.True(t, slices.IsSorted(s.Members))
		for _, id := range s.Members {
			require.NotNil(t, table.Server(id), "%s was forgotten and has shard %d", id, i)
		}
		m := s.Move
		if m == nil {
			continue
		}
		if shard, known := numbers[m.Number]; known {
			require.Equal(t, shard, i, "two moves have number %d", m.Number)
		}
		numbers[m.Number] = i
		require.True(t, s.Founded)
		require.NotNil(t, table.Server(m.From))
		require.Equal(t, m.Phase != Leave, slices.Contains(s.Members, m.From))
		require.Equal(t, m.Phase == Leave && m.To != "", slices.Contains(s.Members, m.To))
	}
}

func requireEven(t require.TestingT, table *Table) {
	var load []int
	for _, s := range table.Servers {
		load = append(load, len(on(table, s.ID)))
	}
	require.LessOrEqual(t, slices.Max(load)-slices.Min(load), 1, "%v", load)
}
