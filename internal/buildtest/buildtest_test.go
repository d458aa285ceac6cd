package buildtest_test

import (
	"os/exec"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/internal/buildtest"
)

// A program that is built for another operating system doesn't run here. The test that wants it is
// skipped; one that wants a program for this machine runs.
func TestBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	const target = "../../examples/first"
	foreign := "plan9"
	if runtime.GOOS == foreign {
		foreign = "linux"
	}
	var wanted *testing.T
	require.True(t, t.Run("foreign", func(t *testing.T) {
		wanted = t
		buildtest.Build(t, target, []string{"GOOS=" + foreign, "CGO_ENABLED=0"}, ".")
		t.Error("a program for another operating system runs")
	}))
	require.True(t, wanted.Skipped())

	program := buildtest.Build(t, target, nil, ".")
	out, err := exec.Command(program).Output()
	require.NoError(t, err)
	require.Equal(t, "1 <nil>\n", string(out))
}

// Where there is no go command, a test that needs one is skipped.
func TestNoGo(t *testing.T) {
	var wanted *testing.T
	require.True(t, t.Run("no go", func(t *testing.T) {
		wanted = t
		t.Setenv("PATH", t.TempDir())
		buildtest.Go(t, "version")
		t.Error("there is a go command")
	}))
	require.True(t, wanted.Skipped())
}
