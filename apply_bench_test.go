package raft_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// BenchmarkApply applies commands of 256 clients, in batches of different sizes, at the server that
// proposed them and at another one. ns/op is the time of one command, including the making of its
// entry.
func BenchmarkApply(b *testing.B) {
	const clients, batch = 256, 256
	origin := raft.Origin{Server: "a", Start: 1}
	for _, inSessions := range []bool{false, true} {
		for _, own := range []bool{false, true} {
			name := map[bool]string{false: "plain", true: "session"}[inSessions] + map[bool]string{false: "/elsewhere", true: "/own"}[own]
			b.Run(name, func(b *testing.B) {
				here := raft.Origin{Server: "b", Start: 1}
				if own {
					here = origin
				}
				applier := raft.NewApplier(&nothing{}, here)
				var ids []raft.SessionID
				index := raft.Index(0)
				for range clients {
					index++
					limits := wire.SessionLimits{Sessions: 1000, Bytes: 1 << 20}
					_, err := applier.Apply([]raft.Entry{{
						Index: index, Term: 1, Kind: wire.EntryOpenSession, Data: wire.AppendSessionLimits(nil, limits),
					}})
					require.NoError(b, err)
					ids = append(ids, raft.SessionID{Term: 1, Index: index})
				}
				entries, data := make([]raft.Entry, batch), make([]byte, 128)
				buffers := make([][]byte, batch)
				number := uint64(0)
				b.ReportAllocs()
				for applied := 0; b.Loop(); applied = (applied + 1) % batch {
					if applied != 0 {
						continue
					}
					for i := range entries {
						index++
						number++
						e := raft.Entry{Index: index, Term: 1, Kind: wire.EntryCommand, Origin: origin, Number: number, Data: data}
						if inSessions {
							sequence := 1 + number/clients
							command := raft.SessionCommand{Session: ids[i], Sequence: sequence, Lowest: sequence}
							buffers[i] = wire.AppendSessionCommand(buffers[i][:0], &command, data)
							e.Kind, e.Data = wire.EntrySessionCommand, buffers[i]
						}
						entries[i] = e
					}
					if _, err := applier.Apply(entries); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
