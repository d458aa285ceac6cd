package main

import (
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

func TestOptionsDefaults(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache) // os.UserCacheDir reads one of these, depending on the system
	t.Setenv("HOME", cache)
	t.Setenv("LocalAppData", cache)
	o, err := parseOptions(nil, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []raft.Server{
		{ID: "a", Address: "127.0.0.1:7001"}, {ID: "b", Address: "127.0.0.1:7002"}, {ID: "c", Address: "127.0.0.1:7003"},
	}, o.cluster)
	require.Equal(t, o.cluster, o.run)
	require.Equal(t, []string{"127.0.0.1:8080", "127.0.0.1:8081", "127.0.0.1:8082"}, o.http)
	require.Equal(t, "raft-counter", filepath.Base(o.data))
	require.Equal(t, 3*time.Second, o.timeout)

	o, err = parseOptions([]string{"-raft", ":1,:2,:3", "-http", ":4,:5,:6", "-data", "there"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []raft.Server{{ID: "a", Address: ":1"}, {ID: "b", Address: ":2"}, {ID: "c", Address: ":3"}}, o.run)
	require.Equal(t, []string{":4", ":5", ":6"}, o.http)
	require.Equal(t, "there", o.data)
}

func TestOptionsOfOneServer(t *testing.T) {
	o, err := parseOptions([]string{"-id", "y", "-peers", "x=host:1,y=host:2", "-data", "d", "-timeout", "1s", "-listen", ":3", "-drain", "2s"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []raft.Server{{ID: "x", Address: "host:1"}, {ID: "y", Address: "host:2"}}, o.cluster)
	require.Equal(t, []raft.Server{{ID: "y", Address: "host:2"}}, o.run)
	require.Equal(t, []string{"127.0.0.1:8081"}, o.http, "each of the servers has a port of its own by default")
	require.Equal(t, time.Second, o.timeout)
	require.Equal(t, 2*time.Second, o.drain)
	require.Equal(t, ":3", o.listen)
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"start"}, `unknown argument "start"`},
		{[]string{"-port", "1"}, "-port"},
		{[]string{"-timeout", "0"}, "-timeout 0s"},
		{[]string{"-drain", "-1s"}, "-drain -1s"},
		{[]string{"-listen", ":1"}, "-listen is for one server"},
		{[]string{"-timeout", "3"}, `"3" for flag -timeout`},
		{[]string{"-raft", ":1,:2"}, "the number of addresses must be 3, not 2"},
		{[]string{"-raft", ":1,:2,:3", "-peers", "a=:1"}, "exclude each other"},
		{[]string{"-raft", ":1,2,:3"}, "server b: address 2: missing port"},
		{[]string{"-peers", "a=:1,b"}, `"b" is not id=host:port`},
		{[]string{"-peers", "=:1"}, `"=:1" is not id=host:port`},
		{[]string{"-peers", "../a=:1"}, `"../a=:1" is not id=host:port`},
		{[]string{"-peers", ".=:1"}, `".=:1" is not id=host:port`},
		{[]string{"-id", "d"}, `-id "d" is not among`},
		{[]string{"-http", ":1"}, "the number of addresses must be 3, not 1"},
		{[]string{"-id", "a", "-http", ":1,:2"}, "the number of addresses must be 1, not 2"},
		{[]string{"-admin", ":1"}, "-admin :1: the number of addresses must be 3, not 1"},
		{[]string{"-join", "-from", "x"}, "-from and -join exclude each other"},
	} {
		_, err := parseOptions(c.args, io.Discard)
		require.ErrorContains(t, err, c.want, "%q", c.args)
	}
}
