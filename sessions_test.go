package raft_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/sessionmodel"
	"github.com/e17579a5/raft/wire"
)

// A chain is a state machine whose results show all that was applied before. The command "nil" has
// the result nil, and "" an empty one. The result of any other command is as long as the command.
type chain struct {
	sum   uint64
	bytes []byte
}

func (m *chain) apply(command []byte) []byte {
	for _, b := range append(command, '.') {
		m.sum = (m.sum ^ uint64(b)) * 1099511628211
	}
	if string(command) == "nil" {
		return nil
	}
	text := fmt.Appendf(nil, "%016x", m.sum)
	return bytes.Repeat(text, 1+len(command)/16)[:len(command)]
}

func (m *chain) Apply(entries []raft.Entry, results [][]byte) {
	m.bytes = append([]byte{}, m.bytes[:0]...)
	for i := range entries {
		if entries[i].Kind != wire.EntryCommand {
			panic("a state machine gets commands only")
		}
		result := m.apply(append([]byte(nil), entries[i].Data...))
		if result != nil {
			start := len(m.bytes)
			m.bytes = append(m.bytes, result...)
			result = m.bytes[start:len(m.bytes):len(m.bytes)]
		}
		results[i] = result
	}
}

func (m *chain) Snapshot() (io.WriterTo, error) {
	return bytes.NewBuffer(fmt.Appendf(nil, "%d", m.sum)), nil
}

func (m *chain) Restore(r io.Reader) error {
	_, err := fmt.Fscanf(r, "%d", &m.sum)
	return err
}

// drawLog draws a log of plain commands and sessions. Clients repeat commands, let go of results,
// come late, and come to sessions that are gone. The log begins where it will meet a checkpoint.
func drawLog(t *rapid.T, origin raft.Origin) []raft.Entry {
	index := raft.Index(rapid.IntRange(950, 1020).Draw(t, "first"))
	other := raft.Origin{Server: "z", Start: 1}
	ids := []raft.SessionID{{Term: 1, Index: 1}} // never opened
	var log []raft.Entry
	for n := rapid.IntRange(1, 150).Draw(t, "entries"); n > 0; n-- {
		e := raft.Entry{Index: index, Term: 1 + raft.Term(index/40), Origin: origin, Number: uint64(index)}
		if rapid.IntRange(0, 3).Draw(t, "other") == 0 {
			e.Origin = other
		}
		data := rapid.SampledFrom([]string{
			"", "nil", "x", "twelve bytes", "many, many more bytes than that, so that some of it must be thrown away",
		}).Draw(t, "data")
		switch rapid.SampledFrom([]wire.EntryKind{1, 2, 3, 4, 5, 6, 6, 6, 6, 6, 6, 6, 6}).Draw(t, "kind") {
		case wire.EntryCommand:
			e.Kind, e.Data = wire.EntryCommand, []byte(data)
		case wire.EntryOpenSession:
			e.Kind = wire.EntryOpenSession
			e.Data = wire.AppendSessionLimits(nil, wire.SessionLimits{
				Sessions: rapid.Uint64Range(1, 4).Draw(t, "sessions"), Bytes: rapid.SampledFrom([]uint64{1, 500, 1000, 100_000}).Draw(t, "bytes"),
			})
			ids = append(ids, raft.SessionID{Term: e.Term, Index: e.Index})
		case wire.EntryCloseSession:
			e.Kind, e.Data = wire.EntryCloseSession, wire.AppendSessionID(nil, rapid.SampledFrom(ids).Draw(t, "closed"))
		case wire.EntrySessionCommand:
			lowest := rapid.Uint64Range(1, 9).Draw(t, "lowest")
			command := raft.SessionCommand{
				Session: rapid.SampledFrom(ids).Draw(t, "session"), Lowest: lowest,
				Sequence: lowest + rapid.SampledFrom([]uint64{0, 0, 0, 1, 2, 3, 9, 200, 255}).Draw(t, "above"),
			}
			e.Kind, e.Data = wire.EntrySessionCommand, wire.AppendSessionCommand(nil, &command, []byte(data))
		default:
			e.Kind, e.Origin, e.Number = wire.EntryNoOp, raft.Origin{}, 0
		}
		log = append(log, e)
		index++
	}
	return log
}

// A log may come in any batches, with snapshots anywhere between them. The table and the answers
// are those of a table that is kept the plain way, one entry after the other (§6.3).
func TestSessionsDoWhatThePlainTableDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		origin := raft.Origin{Server: "a", Start: 7}
		log := drawLog(t, origin)
		plain, reference := &sessionmodel.Table{}, &chain{}
		machine := &chain{}
		applier := raft.NewApplier(machine, origin)
		for len(log) > 0 {
			n := rapid.IntRange(1, len(log)).Draw(t, "batch")
			batch, err := applier.Apply(log[:n])
			require.NoError(t, err)
			var want []raft.AppliedCommand
			for i := range log[:n] {
				e := &log[i]
				o := plain.Step(e, reference.apply)
				if e.Origin == origin {
					want = append(want, raft.AppliedCommand{Number: e.Number, Place: e.Index, Index: o.Index, Result: o.Result, Err: o.Err})
				}
			}
			require.Equal(t, len(want), len(batch.Commands))
			for i := range want {
				require.Equal(t, want[i], batch.Commands[i])
			}
			require.Equal(t, reference.sum, machine.sum, "what was applied differs")
			require.Equal(t, plain.Append(nil), applier.AppendSessions(nil), "the tables differ after index %d", batch.Last)
			log = log[n:]
			if rapid.IntRange(0, 3).Draw(t, "snapshot") == 0 {
				state, err := applier.Snapshot(batch.Last)
				require.NoError(t, err)
				var b bytes.Buffer
				_, err = state.WriteTo(&b)
				require.NoError(t, err)
				machine = &chain{}
				applier = raft.NewApplier(machine, origin)
				require.NoError(t, applier.Restore(batch.Last, batch.Term, &b))
			}
		}
	})
}

// Whatever a snapshot's section holds, to read it ends with an error, or with a table whose
// encoding is the same bytes.
func TestSessionsAreReadWithCare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		applier := raft.NewApplier(&chain{}, raft.Origin{})
		log := drawLog(t, raft.Origin{Server: "a", Start: 7})
		_, err := applier.Apply(log)
		require.NoError(t, err)
		section := append(append([]byte{1}, applier.AppendSessions(nil)...), 0)
		switch rapid.IntRange(0, 2).Draw(t, "damage") {
		case 0:
			section = section[:rapid.IntRange(0, len(section)-1).Draw(t, "length")]
		case 1:
			section[rapid.IntRange(0, len(section)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		case 2:
			section = append([]byte{1}, rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")...)
		}
		snapshot := append([]byte("raft-state\x01\x01"), binary.AppendUvarint(nil, uint64(len(section)))...)
		snapshot = append(append(snapshot, section...), '0')
		err = applier.Restore(1, 1, bytes.NewReader(snapshot))
		if err != nil {
			require.ErrorIs(t, err, wire.ErrMalformed)
			return
		}
		table := applier.AppendSessions(nil)
		require.True(t, bytes.HasPrefix(section[1:], table), "%x is read as %x", section[1:], table)
		require.Contains(t, []int{1, 5}, len(section)-1-len(table), "behind the table is a fingerprint, or that there is none")
	})
}
