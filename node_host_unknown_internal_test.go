package raft

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Of groups that there aren't, nothing stays, however many of them are asked for, and by however many
// callers at the same time.
func TestNothingStaysOfUnknownGroups(t *testing.T) {
	h := &Host{groups: map[GroupID]*seat{}, config: HostConfig{Group: func(GroupID) Config { return Config{} }}}
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for i := range 1000 {
				_, err := h.Group(GroupID(fmt.Sprint("g", i)))
				if err == nil {
					t.Error("a group was started that there isn't")
				}
			}
		})
	}
	callers.Wait()
	require.Empty(t, h.groups)
}
