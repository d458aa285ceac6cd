package typed

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/codec"
)

// besideVersion is the first byte of what is kept beside a durable state.
const besideVersion = 't'

// Durable returns what raft.Config.Durable needs for a StateMachine whose Machine keeps its own
// durable state, given what the Machine has for that. Options.Start calls it.
func (s *StateMachine[C, R]) Durable(inner raft.DurableMachine) raft.DurableMachine {
	if inner.Load == nil || inner.Save == nil {
		return inner // raft.Start says what is missing
	}
	var others []byte // what raft keeps beside the state
	return raft.DurableMachine{
		Load: func() (raft.Index, []byte, error) {
			applied, beside, err := inner.Load()
			if err != nil || len(beside) == 0 {
				return applied, nil, err
			}
			if others, err = s.loadBeside(beside); err != nil {
				return 0, nil, fmt.Errorf("typed: what is kept beside the durable state: %w", err)
			}
			return applied, others, nil
		},
		Save: func(applied raft.Index, beside []byte) error {
			if beside == nil && !s.levels.changed {
				return inner.Save(applied, nil)
			}
			if beside != nil {
				others = slices.Clone(beside)
			}
			own := s.levels.append([]byte{snapshotVersion})
			all := codec.AppendUvarint([]byte{besideVersion}, uint64(len(own)))
			err := inner.Save(applied, append(append(all, own...), others...))
			if err == nil {
				s.levels.changed = false
			}
			return err
		},
	}
}

// loadBeside takes over what was kept beside a durable state, and returns what of it is raft's.
func (s *StateMachine[C, R]) loadBeside(beside []byte) ([]byte, error) {
	r := codec.NewReader(beside)
	if version := r.Byte("version"); version != besideVersion {
		r.Fail("of the version %d, not %d: the state wasn't kept by this package", version, besideVersion)
	}
	own := r.Next(r.Uvarint("length"), "levels")
	if err := r.Err(); err != nil {
		return nil, err
	}
	told, err := s.levels.read(bufio.NewReader(bytes.NewReader(own)))
	if err != nil {
		return nil, err
	}
	s.levels.become(told)
	return slices.Clone(r.Rest()), nil
}
