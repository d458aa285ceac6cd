package rafttest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// A told test keeps what it is told.
type toldTest struct {
	testing.TB
	told string
}

func (t *toldTest) Errorf(format string, arguments ...any) {
	t.told += fmt.Sprintf(format, arguments...)
}

// TestCheckedCalls: what clients were told is compared to what is there.
func TestCheckedCalls(t *testing.T) {
	x := []byte("x")
	acknowledged := func(index raft.Index, result string) checkedCall {
		return checkedCall{command: x, index: index, result: []byte(result)}
	}
	refused, unknown := checkedCall{command: x}, checkedCall{command: x, unknown: true}
	for name, test := range map[string]struct {
		calls []checkedCall
		there []raft.Index
		told  string
	}{
		"all is well":                   {[]checkedCall{acknowledged(2, "r"), refused}, []raft.Index{2}, ""},
		"unknown, and there":            {[]checkedCall{acknowledged(2, "r"), unknown}, []raft.Index{2, 3}, ""},
		"unknown, and not there":        {[]checkedCall{acknowledged(2, "r"), unknown}, []raft.Index{2}, ""},
		"acknowledged, and not there":   {[]checkedCall{acknowledged(2, "r")}, nil, "isn't there"},
		"acknowledged elsewhere":        {[]checkedCall{acknowledged(2, "r")}, []raft.Index{3}, "isn't there"},
		"refused, and there":            {[]checkedCall{acknowledged(2, "r"), refused}, []raft.Index{2, 3}, "is there 2 times"},
		"unknown, and there twice":      {[]checkedCall{acknowledged(2, "r"), unknown}, []raft.Index{2, 3, 4}, "is there 3 times"},
		"acknowledged with other bytes": {[]checkedCall{acknowledged(2, "s")}, []raft.Index{2}, "with the result"},
		"nothing happened":              {[]checkedCall{refused}, nil, "no command was acknowledged"},
	} {
		t.Run(name, func(t *testing.T) {
			told := &toldTest{TB: t}
			g := &checkedGroup{run: &hostRun{t: told}, entries: map[raft.Index]checkedEntry{}, acknowledged: map[raft.Index]bool{}, calls: test.calls}
			for _, call := range test.calls {
				if call.index > 0 {
					g.acknowledged[call.index] = true
				}
			}
			for _, index := range test.there {
				g.entries[index] = checkedEntry{raft.Entry{Index: index, Data: x}, []byte("r"), "a"}
			}
			g.judge()
			if test.told == "" {
				require.Empty(t, told.told)
			} else {
				require.Contains(t, told.told, test.told)
			}
		})
	}
}
