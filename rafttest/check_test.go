package rafttest_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
)

// A ledger adds up amounts; it refuses what would make the sum negative.
type ledger struct {
	sum   int64
	drift func() int64 // what makes it go wrong, if anything
}

func (l *ledger) Apply(entries []raft.Entry, results [][]byte) {
	for i := range entries {
		amount, n := binary.Varint(entries[i].Data)
		if n <= 0 || l.sum+amount < 0 {
			results[i] = []byte("refused")
			continue
		}
		l.sum += amount
		if l.drift != nil {
			l.sum += l.drift()
		}
		results[i] = binary.AppendVarint(nil, l.sum)
	}
}

func (l *ledger) Snapshot() (io.WriterTo, error) {
	return bytes.NewBuffer(binary.AppendVarint(nil, l.sum)), nil
}

func (l *ledger) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	sum, n := binary.Varint(b)
	if n <= 0 {
		return fmt.Errorf("ledger: %q is no snapshot", b)
	}
	l.sum = sum
	return nil
}

func amounts() *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		return binary.AppendVarint(nil, rapid.Int64Range(-100, 100).Draw(t, "amount"))
	})
}

func solvent(m raft.StateMachine) error {
	if sum := m.(*ledger).sum; sum < 0 {
		return fmt.Errorf("the sum is %d", sum)
	}
	return nil
}

// TestCheck is what a user's property test looks like.
func TestCheck(t *testing.T) {
	rafttest.Check(t, rafttest.Property{
		Machine:   func() raft.StateMachine { return new(ledger) },
		Command:   amounts(),
		Invariant: solvent,
	})
}

// TestCheckFails runs this test binary again with a ledger that isn't deterministic, and looks at what it prints.
func TestCheckFails(t *testing.T) {
	if os.Getenv("RAFTTEST_DRIFT") != "" {
		copies := int64(0)
		rafttest.Check(t, rafttest.Property{
			Machine: func() raft.StateMachine {
				copies++
				mine := copies
				return &ledger{drift: func() int64 { return mine % 2 }}
			},
			Command: amounts(),
		})
		return
	}
	again := exec.Command(os.Args[0], "-test.run=^TestCheckFails$", "-rapid.shrinktime=1s", "-rapid.nofailfile")
	again.Env = append(os.Environ(), "RAFTTEST_DRIFT=1", "TMPDIR="+t.TempDir())
	out, err := again.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "Replicas Equal")
	require.Regexp(t, `shortened to \d{1,2} events`, string(out))
	require.Contains(t, string(out), ".schedule")
	picture := regexp.MustCompile(`to see it, open (\S+\.html)`).FindSubmatch(out)
	require.NotNil(t, picture, "%s", out)
	require.FileExists(t, string(picture[1]))
}
