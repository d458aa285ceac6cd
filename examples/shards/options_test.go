package main

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"-data", "there"}, io.Discard)
	require.NoError(t, err)
	require.Len(t, o.run, 3)
	require.Equal(t, o.cluster, o.founders())
	require.Equal(t, []string{"127.0.0.1:8080", "127.0.0.1:8081", "127.0.0.1:8082"}, o.http)
	require.Equal(t, []string{"127.0.0.1:9080", "127.0.0.1:9081", "127.0.0.1:9082"}, o.admin)
	require.Equal(t, 1000, o.shards)

	o, err = parseOptions([]string{"-join", "-peers", "d=h:4", "-http", "h:1", "-admin", "localhost:2", "-data", "there"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []raft.Server{{ID: "d", Address: "h:4"}}, o.run)
	require.Nil(t, o.founders())
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"start"}, `unknown argument "start"`},
		{[]string{"-timeout", "0"}, "-timeout 0s"},
		{[]string{"-drain", "-1s"}, "-drain -1s"},
		{[]string{"-shards", "16385"}, "-shards 16385: must be from 1 to 16384"},
		{[]string{"-moves", "0"}, "-moves 0"},
		{[]string{"-replicas", "4"}, "-replicas 4: must be from 1 to the number of servers, 3"},
		{[]string{"-join"}, "-join is for one server"},
		{[]string{"-id", "x"}, `-id "x" is not among -peers`},
		{[]string{"-peers", "../a=h:1", "-replicas", "1"}, "is not id=host:port"},
		{[]string{"-peers", "a=h", "-replicas", "1"}, "server a: address h: missing port"},
		{[]string{"-http", ":1"}, "-http :1: the number of addresses must be 3, not 1"},
		{[]string{"-id", "a", "-http", ":1"}, "the other servers find this one there"},
		{[]string{"-id", "a", "-http", "0.0.0.0:1"}, "the other servers find this one there"},
		{[]string{"-id", "a", "-admin", "10.0.0.1:1"}, "it must be a loopback address"},
		{[]string{"-log", "loud"}, "-log"},
	} {
		_, err := parseOptions(c.args, io.Discard)
		require.ErrorContains(t, err, c.want)
	}
}
