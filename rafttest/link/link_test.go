package link

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft/rafttest/sim"
)

// A run survives being put into a link and read again: whatever its seed, whatever parameters are
// changed, whatever was told of it, and at whatever step.
func TestRoundTrip(t *testing.T) {
	var names []string
	sim.Calm(1, 3).Each(func(name string, _ int64) { names = append(names, name) })
	rapid.Check(t, func(t *rapid.T) {
		want := Run{
			Params: sim.Swarm(rapid.Uint64().Draw(t, "seed")),
			Told:   rapid.StringN(0, maxTold/4, maxTold).Draw(t, "told"),
			Step:   rapid.IntRange(-1, 1e6).Draw(t, "step"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "changes") {
			name := rapid.SampledFrom(names).Draw(t, "name")
			if name != "servers" && name != "seed" {
				require.NoError(t, want.Params.Set(name, rapid.Int64().Draw(t, "value")))
			}
		}
		if rapid.Bool().Draw(t, "schedule") {
			want.Schedule = &sim.Schedule{Params: want.Params, Expect: "Log Matching"}
			for n := range rapid.Int64Range(0, 50).Draw(t, "events") {
				want.Schedule.Events = append(want.Schedule.Events, sim.Event{Op: sim.OpPropose, N: n, Data: []byte{byte(n)}})
			}
			want.Params = sim.Params{}
		}
		fragment, err := want.Fragment()
		require.NoError(t, err)
		got, err := Parse("#" + fragment)
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

// The link of a seed is short, and names just what differs from what the seed draws.
func TestSeed(t *testing.T) {
	r := Run{Params: sim.Swarm(4711), Step: -1}
	fragment, err := r.Fragment()
	require.NoError(t, err)
	require.Equal(t, "seed=4711", fragment)
	r.Params.Servers, r.Params.Loss, r.Step = 4, 0, 12
	require.NotZero(t, sim.Swarm(4711).Loss)
	fragment, err = r.Fragment()
	require.NoError(t, err)
	require.Equal(t, "seed=4711&loss=0&servers=4&step=12", fragment)
}

// What Check and raftsim shorten fits into a link with much to spare: all schedules that are kept do.
func TestKeptSchedules(t *testing.T) {
	names, err := filepath.Glob("../testdata/*.schedule")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	for _, name := range names {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		r := Run{Schedule: new(sim.Schedule), Step: -1}
		require.NoError(t, r.Schedule.UnmarshalText(text))
		address, err := r.URL()
		require.NoError(t, err)
		require.LessOrEqual(t, len(address), 2000, name)
		_, fragment, _ := strings.Cut(address, "#")
		got, err := Parse(fragment)
		require.NoError(t, err)
		require.Equal(t, r, got)
	}
}

// A link leads to the page that raftlab serves, or to the one that the environment names.
func TestPage(t *testing.T) {
	r := Run{Params: sim.Swarm(1), Step: -1}
	t.Setenv(PageVariable, "")
	address, err := r.URL()
	require.NoError(t, err)
	require.Equal(t, "http://127.0.0.1:7070/replay#seed=1", address)
	t.Setenv(PageVariable, "https://example.org/raft/replay.html")
	address, err = r.URL()
	require.NoError(t, err)
	require.Equal(t, "https://example.org/raft/replay.html#seed=1", address)
}

// A run that is too large for a link gets an error that says so, at the very limit.
func TestTooLong(t *testing.T) {
	r := Run{Params: sim.Swarm(1), Step: -1}
	t.Setenv(PageVariable, "http://"+strings.Repeat("x", MaxLength-len("http://#seed=1")))
	longest, err := r.URL()
	require.NoError(t, err)
	require.Len(t, longest, MaxLength)
	r.Step = 1
	_, err = r.URL()
	require.ErrorIs(t, err, ErrTooLong)

	large := Run{Schedule: &sim.Schedule{Params: sim.Calm(1, 3)}, Step: -1}
	for n := range int64(20_000) {
		large.Schedule.Events = append(large.Schedule.Events, sim.Event{Op: sim.OpDeliver, Server: 1, N: n * n, Kind: 1, Label: uint32(n * 7919)})
	}
	_, err = large.Fragment()
	require.ErrorIs(t, err, ErrTooLong)
	require.ErrorContains(t, err, "32000")

	r = Run{Params: sim.Swarm(1), Told: strings.Repeat("ä", maxTold), Step: -1}
	fragment, err := r.Fragment()
	require.NoError(t, err)
	got, err := Parse(fragment)
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("ä", maxTold/2)+"…", got.Told)
}

// An error names what is wrong with a link.
func TestErrors(t *testing.T) {
	for fragment, want := range map[string]string{
		"":                 "neither a schedule nor a seed",
		"step=3":           "neither",
		"seed=x":           `"x" is not a number`,
		"seed=-1":          `"-1"`,
		"seed=1&seed=2":    "seed is given 2 times",
		"seed=1&step=-1":   `"-1" is not a step`,
		"seed=1&fire=1":    `"fire"`,
		"seed=1&loss=much": `loss: "much"`,
		"seed=1&servers=8": "8 servers",
		"seed=1&servers=4&spares=9223372036854775807":   "spares",
		"seed=1&schedule=AA":                            "both",
		"schedule=%%":                                   "link: ",
		"schedule=*":                                    "is the link whole?",
		"schedule=AAAA":                                 "is the link whole?",
		"schedule=" + pack(make([]byte, MaxText+1)):     "more than 16777216 bytes",
		"schedule=" + pack([]byte("raft schedule 2\n")): "raft schedule 2",
		"loss=1&schedule=" + pack([]byte("raft schedule 1\nservers 1\n\nfound")): `"loss" means nothing`,
	} {
		_, err := Parse(fragment)
		require.ErrorContains(t, err, want, "%.100q", fragment)
	}
	whole := pack([]byte("raft schedule 1\nservers 3\n\nfound\nsettle\n"))
	for cut := 1; cut < len(whole)-1; cut++ {
		_, err := Parse("schedule=" + whole[:cut])
		require.ErrorContains(t, err, "is the link whole?", "%d letters of it", cut)
	}
	_, err := base64.RawURLEncoding.DecodeString(whole) // no letter of it must be escaped in an address
	require.NoError(t, err)
}

// FuzzParse gives the parser any text, and demands that what it accepts survives being written and
// read.
func FuzzParse(f *testing.F) {
	f.Add("seed=4711&servers=3&step=7&told=a+b")
	f.Add("schedule=" + pack([]byte("raft schedule 1\nservers 1\n\nfound\n")))
	f.Fuzz(func(t *testing.T, fragment string) {
		r, err := Parse(fragment)
		if err != nil || len(r.Told) > maxTold {
			return
		}
		again, err := r.Fragment()
		if err != nil {
			require.ErrorIs(t, err, ErrTooLong)
			return
		}
		read, err := Parse(again)
		require.NoError(t, err)
		require.Equal(t, r, read)
	})
}
