package main

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
)

// randomCommand returns a command for one of a few keys.
func randomCommand(r *rand.Rand) []byte {
	c := command{Op: []op{put, remove, add}[r.IntN(3)], Key: strconv.Itoa(r.IntN(4)), Add: r.Int64N(9) - 4, Value: strconv.AppendInt(nil, r.Int64N(100), 10)}
	if r.IntN(4) == 0 {
		version := r.Uint64N(20)
		c.If = &version
	}
	return encode(c)
}

func TestStoreIsAStateMachine(t *testing.T) {
	require.NoError(t, rafttest.TestStateMachine(func() raft.StateMachine { return newStore() }, randomCommand))
}

func TestStoreChangesKeys(t *testing.T) {
	s, index := newStore(), raft.Index(0)
	apply := func(c command) result {
		index++
		return s.apply(&c, uint64(index))
	}
	none, one := uint64(0), uint64(1)
	require.Equal(t, result{Version: 1}, apply(command{Op: put, Key: "k", Value: []byte("v"), If: &none}))
	require.Equal(t, result{Version: 1, Refused: otherVersion}, apply(command{Op: put, Key: "k", If: &none}))
	require.Equal(t, result{Version: 1, Refused: notANumber}, apply(command{Op: add, Key: "k", Add: 1}))
	require.Equal(t, result{Version: 4}, apply(command{Op: put, Key: "k", Value: []byte("41"), If: &one}))
	require.Equal(t, result{Version: 5, Value: 42}, apply(command{Op: add, Key: "k", Add: 1}))
	require.Equal(t, result{Version: 5, Refused: overflow}, apply(command{Op: add, Key: "k", Add: math.MaxInt64}))
	require.Equal(t, result{Version: 5, Refused: otherVersion}, apply(command{Op: remove, Key: "k", If: &one}))
	require.Equal(t, result{}, apply(command{Op: remove, Key: "k"}))
	require.Equal(t, result{Version: 9, Value: -3}, apply(command{Op: add, Key: "k", Add: -3}))
	require.Equal(t, result{Version: 10, Value: math.MinInt64}, apply(command{Op: add, Key: "l", Add: math.MinInt64}))
	require.Equal(t, result{Version: 10, Refused: overflow}, apply(command{Op: add, Key: "l", Add: -1}))
	require.Equal(t, result{Version: 9, Refused: badCommand}, apply(command{Op: "rename", Key: "k"}))
	require.Equal(t, []string{"k"}, s.keys("", 1))
	require.Equal(t, []string{"l"}, s.keys("k", 5))
}
