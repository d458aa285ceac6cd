package main

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// pass waits until all gates are open at one moment, and no longer than until the end.
func TestPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a, b gate
		end, passed := make(chan struct{}), make(chan bool, 1)
		require.True(t, pass(end, &a, &b))
		a.set(true)
		b.set(true)
		go func() { passed <- pass(end, &a, &b) }()
		synctest.Wait()
		a.set(false)
		synctest.Wait()
		a.set(true)
		b.set(false)
		synctest.Wait()
		require.Empty(t, passed, "a is shut again")
		a.set(false)
		require.True(t, <-passed)

		a.set(true)
		a.set(true) // a second time changes nothing
		go func() { passed <- pass(end, &a) }()
		synctest.Wait()
		require.Empty(t, passed)
		close(end)
		require.False(t, <-passed)
		a.set(false)
		require.False(t, pass(end, &a), "the end counts also where all gates are open")
	})
}
