package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/internal/buildtest"
	"github.com/e17579a5/raft/rafttest/link"
	"github.com/e17579a5/raft/rafttest/sim"
)

// TestSameOnAnyMachine demands that the run of a seed is the same, to the last event, where an int
// has 32 bits.
func TestSameOnAnyMachine(t *testing.T) {
	if testing.Short() || runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("builds for linux/386 and runs it beside linux/amd64")
	}
	outputs := map[string]string{}
	for _, arch := range []string{"386", "amd64"} {
		binary := buildtest.Build(t, ".", []string{"GOARCH=" + arch, "CGO_ENABLED=0"}, ".")
		out, err := exec.Command(binary, "-runs", "200", "-workers", "1", "-quiet", "-hash").CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Regexp(t, "^hash [0-9a-f]{16}\n$", string(out))
		outputs[arch] = string(out)
	}
	require.Equal(t, outputs["amd64"], outputs["386"])
}

// TestImports demands that neither the command nor the simulator imports rapid, which registers
// flags in every binary.
func TestImports(t *testing.T) {
	out, err := buildtest.Go(t, "list", "-buildvcs=false", "-deps", ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "rafttest/sim")
	require.NotContains(t, string(out), "rapid")
}

// TestFlags demands an error that names the flag or the value that is wrong.
func TestFlags(t *testing.T) {
	for arguments, want := range map[string]string{
		"-servers=8":         "-servers is 8",
		"-groups=9":          "-groups is 9",
		"-runs=0":            "-runs",
		"-faults=fire":       `"fire"`,
		"-disk=tape":         `"tape"`,
		"-seed=x":            `"x"`,
		"-replay=none.there": "none.there",
	} {
		require.ErrorContains(t, run([]string{arguments}), want)
	}
}

// TestNarrow demands that only the named faults are left, and that faults by chance stay as the
// seed draws them.
func TestNarrow(t *testing.T) {
	for seed := range uint64(50) {
		drawn := (&settings{}).params(seed)
		narrowed := (&settings{faults: "ring,loss,members"}).params(seed)
		require.EqualValues(t, 1<<slices.Index(sim.FaultNames, "ring"), narrowed.FaultKinds)
		require.Equal(t, drawn.Loss, narrowed.Loss)
		require.Equal(t, drawn.Spares, narrowed.Spares)
		require.Zero(t, narrowed.Duplicate+narrowed.Reorder+narrowed.Slow+narrowed.Drift+narrowed.StoreFail+narrowed.StreamBreak+narrowed.Freeze)
	}
	require.NoError(t, run([]string{"-quiet", "-runs", "20", "-faults", "none"}))
	require.NoError(t, run([]string{"-quiet", "-runs", "20", "-faults", "crash,drift", "-servers", "3"}))
}

// TestDiagram demands a diagram of the run of a seed, and an error if it can't be written.
func TestDiagram(t *testing.T) {
	name := filepath.Join(t.TempDir(), "run.html")
	require.NoError(t, run([]string{"-seed", "1", "-html", name}))
	page, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Contains(t, string(page), "go run ./cmd/raftsim -seed 1")
	require.Error(t, run([]string{"-seed", "1", "-html", filepath.Dir(name)}))
}

// TestLink demands a link beside each diagram: it opens the same run, narrowed as the flags say, or the
// schedule of a file.
func TestLink(t *testing.T) {
	t.Setenv(link.PageVariable, "")
	html := filepath.Join(t.TempDir(), "run.html")
	file := "../../rafttest/testdata/by-hand.schedule"
	for _, c := range []struct {
		flags []string
		want  func(*sim.World) sim.Result
	}{
		{[]string{"-seed", "1", "-servers", "3", "-faults", "crash,loss", "-disk", "model"}, func(w *sim.World) sim.Result {
			return w.RunParams((&settings{servers: 3, faults: "crash,loss", disk: "model"}).params(1))
		}},
		{[]string{"-replay", file}, func(w *sim.World) sim.Result {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			var schedule sim.Schedule
			require.NoError(t, schedule.UnmarshalText(text))
			return w.Replay(&schedule)
		}},
	} {
		out, err := printed(t, append(c.flags, "-html", html))
		require.NoError(t, err)
		found := regexp.MustCompile(`(?m)^replay: http://127\.0\.0\.1:7070/replay(#\S+)$`).FindStringSubmatch(out)
		require.NotNil(t, found, out)
		linked, err := link.Parse(found[1])
		require.NoError(t, err)
		w := sim.NewWorld(sim.Options{})
		want := c.want(w)
		if linked.Schedule != nil {
			require.Equal(t, want.Hash, w.Replay(linked.Schedule).Hash)
		} else {
			require.Equal(t, want.Hash, w.RunParams(linked.Params).Hash)
		}
	}
	out, err := printed(t, []string{"-seed", "1"})
	require.NoError(t, err)
	require.NotContains(t, out, "replay:", "no diagram was asked for")
}

// TestLinkOfFailure demands that a failure is told with its link.
func TestLinkOfFailure(t *testing.T) {
	t.Setenv(link.PageVariable, "")
	file := filepath.Join(t.TempDir(), "cut.schedule")
	require.NoError(t, os.WriteFile(file, []byte("raft schedule 1\nservers 2\n\ncut 1>2\ncut 2>1\nfound\n"), 0o644))
	out, failure := printed(t, []string{"-replay", file, "-html", file + ".html"})
	require.ErrorContains(t, failure, "isn't founded")
	found := regexp.MustCompile(`(?m)^replay: http://127\.0\.0\.1:7070/replay(#\S+)$`).FindStringSubmatch(out)
	require.NotNil(t, found, out)
	linked, err := link.Parse(found[1])
	require.NoError(t, err)
	require.Equal(t, failure.Error(), linked.Told)
}

// printed returns what the command prints, and its error.
func printed(t *testing.T, arguments []string) (string, error) {
	t.Helper()
	read, write, err := os.Pipe()
	require.NoError(t, err)
	type text struct {
		out []byte
		err error
	}
	all := make(chan text)
	go func() { // a pipe holds only so much
		out, err := io.ReadAll(read)
		all <- text{out, err}
	}()
	stdout := os.Stdout
	os.Stdout = write
	defer func() { os.Stdout = stdout }()
	failure := run(arguments)
	require.NoError(t, write.Close())
	told := <-all
	require.NoError(t, told.err)
	return string(told.out), failure
}

// TestSteady demands that a cluster in ordinary service runs on either kind of disk.
func TestSteady(t *testing.T) {
	require.NoError(t, run([]string{"-steady", "-for", "1ms"}))
	require.NoError(t, run([]string{"-steady", "-for", "1ms", "-disk", "model", "-servers", "5"}))
}

// TestGroups demands a transcript of a run with several groups, and of a failure the command that repeats it.
func TestGroups(t *testing.T) {
	out, err := printed(t, []string{"-groups", "3", "-seed", "1", "-v", "-disk", "wal", "-faults", "power,rot,hand-over,loss", "-set", "events=1000,fault-time=200000000"})
	require.NoError(t, err)
	require.Regexp(t, `(?m)^g2 +\d+\.\d{3}  start 1 `, out)
	require.Regexp(t, `(?m)^ +\d+\.\d{3}  process \d suffers (power|rot)$`, out)
	require.NotContains(t, out, "suffers crash")

	failing := []string{"-groups", "2", "-seed", "1", "-set", "snapshot-factor=-1,spares=0"} // no server starts with it
	out, failure := printed(t, failing)
	require.ErrorContains(t, failure, "seed 1: Starts")
	found := regexp.MustCompile(`(?m)^  go run ./cmd/raftsim (-seed .* -v -shrink=false)$`).FindStringSubmatch(out)
	require.NotNil(t, found, out)
	require.Contains(t, found[1], "snapshot-factor=-1")
	_, again := printed(t, strings.Fields(found[1]))
	require.EqualError(t, again, failure.Error())

	for arguments, want := range map[string]string{
		"-groups=2 -set=events=1":           "-set goes with",
		"-groups=2 -seed=1 -set=fire=1":     `"fire"`,
		"-groups=2 -seed=1 -set=events=x":   `"x"`,
		"-groups=2 -seed=1 -set=servers=99": "99 servers",
		"-groups=2 -faults=fire":            `"fire"`,
		"-groups=2 -seed=1 -html=/dev/null": "-html",
		"-groups=2 -replay=none.there":      "-replay",
		"-groups=2 -first":                  "-first",
	} {
		require.ErrorContains(t, run(strings.Fields(arguments)), want)
	}
}
