package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A fakeHostPeer is a peer whose servers of many groups are fake: server 0 leads all groups. It is the
// function that their proposals call, with the machines of the group.
type fakeHostPeer func(machines []*Machine, command []byte) (uint64, error)

func (fakeHostPeer) Name() string                            { return "fake" }
func (fakeHostPeer) Modes() []Mode                           { return []Mode{inMemory} }
func (fakeHostPeer) Settings(Mode) string                    { return "" }
func (fakeHostPeer) Lacks(Ability) string                    { return "" }
func (fakeHostPeer) New(Options) (Cluster, error)            { return nil, errors.ErrUnsupported }
func (p fakeHostPeer) NewHosts(o HostOptions) (Hosts, error) { return &fakeHosts{o, p}, nil }
func (h *fakeHosts) Start(int) (HostServer, error)           { return h, nil }
func (h *fakeHosts) Syncs() (uint64, bool)                   { return 0, false }
func (h *fakeHosts) Close() error                            { return nil }
func (h *fakeHosts) Serve(int) error                         { return nil }
func (h *fakeHosts) Leader(int) (server int, term uint64)    { return 0, 1 }
func (h *fakeHosts) NotApplied(error) bool                   { return false }
func (h *fakeHosts) Messages() (uint64, bool)                { return 0, false }
func (h *fakeHosts) HandOver(context.Context, []int) error   { return nil }
func (h *fakeHosts) Propose(_ context.Context, _, group int, command []byte) (uint64, error) {
	var machines []*Machine
	for i := range h.options.Machines {
		machines = append(machines, &h.options.Machines[i][group])
	}
	return h.propose(machines, command)
}

type fakeHosts struct {
	options HostOptions
	propose fakeHostPeer
}

// fakeHostRun is the config of a run with one client.
func fakeHostRun(t *testing.T, groups int) runConfig {
	return runConfig{
		mode: inMemory, servers: 3, groups: groups, election: time.Second, dir: t.TempDir(),
		load: loadConfig{clients: 1, payload: minPayload}, duration: 10 * time.Millisecond,
	}
}

// TestHostsAccepted: servers of many groups that do their work have figures.
func TestHostsAccepted(t *testing.T) {
	var r result
	err := measureHostLoad(t.Context(), fakeHostPeer(func(m []*Machine, command []byte) (uint64, error) { return applyAll(m, command), nil }), fakeHostRun(t, 5), &r)
	require.NoError(t, err)
	require.Positive(t, r.Figures["throughput"])
	require.Positive(t, r.Figures["one_throughput"])
	require.NotContains(t, r.Figures, "syncs_ratio")
}

// TestHostsRefused: servers that do other work in any group have no figures.
func TestHostsRefused(t *testing.T) {
	var held []byte
	for name, broken := range map[string]fakeHostPeer{
		"a command applied twice": func(m []*Machine, command []byte) (uint64, error) {
			applyAll(m, command)
			return applyAll(m, command), nil
		},
		"another command at a server": func(m []*Machine, command []byte) (uint64, error) {
			applyAll(m[:2], command)
			m[2].Apply(append([]byte{1}, command...))
			return result64(command), nil
		},
		"two commands in another order": func(m []*Machine, command []byte) (uint64, error) {
			applyAll(m[:2], command)
			if held == nil {
				held = bytes.Clone(command)
				return result64(command), nil
			}
			m[2].Apply(command)
			m[2].Apply(held)
			held = nil
			return result64(command), nil
		},
		"the result of another command": func(m []*Machine, command []byte) (uint64, error) {
			return applyAll(m, command) + 1, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := withHosts(t.Context(), broken, fakeHostRun(t, 3), func(ctx context.Context, h *hostSet) error {
				if err := h.awaitLeaders(ctx); err != nil {
					return err
				}
				return h.fill(ctx, 1, 2, minPayload)
			})
			require.ErrorIs(t, err, errWrongState)
		})
	}
}

// TestHostsLose: a run fails in which a command was answered that a server never applies.
func TestHostsLose(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	lost := fakeHostPeer(func(m []*Machine, command []byte) (uint64, error) { return applyAll(m[1:], command), nil })
	err := withHosts(ctx, lost, fakeHostRun(t, 3), func(ctx context.Context, h *hostSet) error { return h.touch(ctx, 1) })
	require.ErrorIs(t, err, errWrongState)
	require.ErrorContains(t, err, "server 0")
}

// TestCompareGroups: what servers of their own processes have applied is compared with each other and
// with what was answered.
func TestCompareGroups(t *testing.T) {
	right := groupState{Count: 2, Chain: 7, Sum: 9}
	want := []groupState{{}, {Count: 2, Sum: 9}}
	for name, c := range map[string]struct {
		third   groupState
		all     bool // all servers have that state
		unknown bool
		early   bool
		wrong   string
	}{
		"right":                        {third: right},
		"less":                         {third: groupState{Count: 1, Chain: 3, Sum: 4}, early: true},
		"more":                         {third: groupState{Count: 3, Chain: 3, Sum: 4}, wrong: "3 commands, 2 were answered"},
		"more, and one is unknown":     {third: groupState{Count: 3, Chain: 3, Sum: 4}, unknown: true, early: true},
		"all more, and one is unknown": {third: groupState{Count: 3, Chain: 3, Sum: 4}, unknown: true, all: true},
		"other commands":               {third: groupState{Count: 2, Chain: 7, Sum: 8}, all: true, wrong: "other commands than those that were answered"},
		"another order":                {third: groupState{Count: 2, Chain: 8, Sum: 9}, wrong: "other commands than server 0"},
	} {
		t.Run(name, func(t *testing.T) {
			states := []groupState{right, right, c.third}
			if c.all {
				states = []groupState{c.third, c.third, c.third}
			}
			var answers []serverAnswer
			for _, s := range states {
				answers = append(answers, serverAnswer{Groups: []groupState{{}, s}})
			}
			early, err := compareGroups(want, answers, c.unknown)
			require.Equal(t, c.early, early != nil, "%v", early)
			if c.wrong == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.wrong)
			}
		})
	}
}

// TestTooManyGroups: other libraries than this one aren't given more groups than -peer-groups says, and
// the table has the reason.
func TestTooManyGroups(t *testing.T) {
	results := measureTiny(t, "-cell", "groups-create", "-mode", "memory", "-groups", "3,4", "-peer-groups", "3", "-peers", "raft,dragonboat")
	require.Len(t, results, 4)
	for _, r := range results {
		if r.Peer == "dragonboat" && r.Groups == 4 {
			require.Contains(t, r.Why, "-peer-groups")
		} else {
			require.Positive(t, r.Figures["led_s"], r.Peer)
		}
	}
}

// TestProcessIsLookedAt: where the system tells, a process has descriptors, and a port more when it
// listens.
func TestProcessIsLookedAt(t *testing.T) {
	before, ports, known := openFiles()
	if !known {
		t.Skip("this system doesn't tell")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	now, more, _ := openFiles()
	require.Greater(t, now, before)
	require.Equal(t, ports+1, more)
	require.NoError(t, listener.Close())
	size, known := residentBytes()
	require.True(t, known)
	require.Greater(t, size, uint64(1<<20))
	calls, known := writeCalls()
	require.True(t, known)
	require.Positive(t, calls)
}
