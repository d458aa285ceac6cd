package main

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
)

// The registers keep the contract of a state machine.
func TestRegistersKeepTheContract(t *testing.T) {
	rafttest.Check(t, rafttest.Property{
		Machine: func() raft.StateMachine { return &registers{} },
		Command: rapid.Custom(func(t *rapid.T) []byte {
			slot, generation := rapid.IntRange(0, slots-1).Draw(t, "slot"), rapid.Uint64Range(0, 4).Draw(t, "generation")
			return write{slot, generation, rapid.StringN(0, 9, 20).Draw(t, "value")}.encode()
		}),
	})
}

// A write of a later generation begins a register anew, and one of an earlier generation comes too
// late.
func TestGenerations(t *testing.T) {
	var r registers
	apply := func(slot int, generation uint64, value string) string {
		results := make([][]byte, 1)
		r.Apply([]raft.Entry{{Data: write{slot, generation, value}.encode()}}, results)
		return string(results[0])
	}
	shows := func(slot int, generation uint64) string {
		value, known := r.Value(slot, generation)
		return fmt.Sprint(value, " ", known)
	}
	require.Equal(t, "=x", apply(1, 1, "x"))
	require.Equal(t, "x true", shows(1, 1))
	require.Equal(t, " true", shows(1, 2), "a later register begins empty")
	require.Equal(t, " true", shows(2, 1), "another one isn't touched")
	require.Equal(t, "=y", apply(1, 2, "y"))
	require.Equal(t, "!", apply(1, 1, "z"))
	require.Equal(t, " false", shows(1, 1))
	require.Equal(t, "y true", shows(1, 2))
}

// What is no write changes nothing, and gets a result that says so.
func TestNoWrite(t *testing.T) {
	good := write{1, 2, "x"}.encode()
	for name, command := range map[string][]byte{
		"nothing": nil, "no mark": []byte("hello"), "only a mark": commandMark, "cut": good[:len(commandMark)+2],
		"a slot that isn't there": write{slots, 1, "x"}.encode(), "a value that is cut": write{1, 1, "longer"}.encode()[:len(commandMark)+5],
	} {
		var r registers
		results := make([][]byte, 1)
		r.Apply([]raft.Entry{{Data: command}}, results)
		require.Equal(t, "!", string(results[0]), name)
		require.Equal(t, registers{}.slots, r.slots, name)
	}
}
