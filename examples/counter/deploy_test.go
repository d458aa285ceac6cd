package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// TestUnit: systemd has nothing to say against the unit, and the program takes its arguments.
func TestUnit(t *testing.T) {
	text, err := os.ReadFile("deploy/counter@.service")
	require.NoError(t, err)
	unit := string(text)
	command := regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/counter (.*)$`).FindStringSubmatch(unit)
	require.NotNil(t, command)
	peers := regexp.MustCompile(`(?m)^# +PEERS=(\S+)$`).FindStringSubmatch(unit)
	require.NotNil(t, peers)
	filled := strings.NewReplacer("%i", "b", "${PEERS}", peers[1], "${STATE_DIRECTORY}", "/var/lib/counter").Replace(command[1])
	o, err := parseOptions(strings.Fields(filled), io.Discard)
	require.NoError(t, err)
	require.Len(t, o.cluster, 3)
	require.Equal(t, []raft.Server{{ID: "b", Address: "10.0.0.2:7001"}}, o.run)

	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze")
	}
	program, err := os.Executable() // the unit must name one that there is
	require.NoError(t, err)
	copied := filepath.Join(t.TempDir(), "counter@b.service")
	require.NoError(t, os.WriteFile(copied, []byte(strings.Replace(unit, "/usr/local/bin/counter", program, 1)), 0o600))
	out, err := exec.Command(analyze, "verify", copied).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Empty(t, string(out))
}

// TestManifestsStartTheProgram: the program takes the arguments that the manifests give it. Whether
// they are manifests is checked in the module of the folder deploy/check.
func TestManifestsStartTheProgram(t *testing.T) {
	text, err := os.ReadFile("deploy/kubernetes/counter.yaml")
	require.NoError(t, err)
	var args []string
	for _, found := range regexp.MustCompile(`(?m)^ +- (-[a-z]+=\S+)$`).FindAllStringSubmatch(string(text), -1) {
		args = append(args, strings.ReplaceAll(found[1], "$(NAME)", "counter-1"))
	}
	o, err := parseOptions(args, io.Discard)
	require.NoError(t, err)
	require.Len(t, o.cluster, 3)
	require.Equal(t, []raft.Server{{ID: "counter-1", Address: "counter-1.counter-servers:7001"}}, o.run)
	require.Equal(t, ":7001", o.listen)
	require.Equal(t, []string{":8080"}, o.http)
	require.Positive(t, o.drain)
	require.Equal(t, []string{":7002"}, o.admin)
	require.NotEmpty(t, o.certs)
}
