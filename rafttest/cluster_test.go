package rafttest_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/rafttest"
	"github.com/e17579a5/raft/rafttest/simfs"
)

func newLedger() *ledger { return new(ledger) }

// add proposes an amount at a server and returns the new sum.
func add(t *testing.T, node *raft.Node, amount int64) int64 {
	t.Helper()
	result, err := node.Propose(t.Context(), binary.AppendVarint(nil, amount))
	require.NoError(t, err)
	sum, n := binary.Varint(result)
	require.Positive(t, n)
	return sum
}

// TestClusterSurvivesFaults demands that no amount is lost in partitions, crashes and restarts, and
// that all servers have every amount.
func TestClusterSurvivesFaults(t *testing.T) {
	for name, options := range map[string]rafttest.ClusterOptions{
		"in memory": {},
		"on disks that lose what isn't synced": {
			Network: memory.Options{Seed: 5, Faults: memory.Faults{MinDelay: time.Millisecond, MaxDelay: 20 * time.Millisecond, Loss: 0.02}},
			Disk:    func(server int) rafttest.Disk { return rafttest.SimDisk(simfs.New(uint64(server)), openWAL) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := rafttest.NewCluster(t, 5, newLedger, options)
				require.Equal(t, 5, c.Len())
				require.EqualValues(t, 7, add(t, c.Node(0), 7))

				old := c.Leader()
				c.Isolate(old)
				require.EqualValues(t, 8, add(t, c.Node((old+1)%5), 1))
				require.NotEqual(t, old, c.Leader())
				c.Heal()
				require.EqualValues(t, 10, add(t, c.Node(old), 2))

				crashed := c.Leader()
				c.Crash(crashed)
				require.Equal(t, "stopped", c.Node(crashed).Status().Role)
				require.NotContains(t, c.Running(), crashed)
				require.EqualValues(t, 13, add(t, c.Node((crashed+1)%5), 3))
				c.Restart(crashed)

				for i := range c.Len() { // all of them at once
					c.Crash(i)
				}
				for i := range c.Len() {
					c.Restart(i)
				}
				require.EqualValues(t, 17, add(t, c.Node(2), 4))
				c.Shutdown(1)
				c.Restart(1)
				c.Converge()
				for i := range c.Len() {
					require.EqualValues(t, 17, c.Machine(i).sum, c.ID(i))
				}
			})
		})
	}
}

// TestClusterCrashIsSilent demands that a crashed server tells nobody anything: a caller that waits
// at it gets an error at once, and the other servers elect another leader.
func TestClusterCrashIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := rafttest.NewCluster(t, 3, newLedger, rafttest.ClusterOptions{})
		leader := c.Leader()
		c.Isolate(leader)
		failed := make(chan error)
		node := c.Node(leader)
		go func() {
			_, err := node.Propose(context.Background(), binary.AppendVarint(nil, 1))
			failed <- err
		}()
		synctest.Wait()
		c.Crash(leader)
		require.ErrorIs(t, <-failed, raft.ErrOutcomeUnknown)
		c.Heal()
		require.NotEqual(t, leader, c.Leader())
	})
}

// TestClusterCrashIsSudden demands that a crashed leader doesn't hand over its leadership. A
// handover would take time, and a crash takes none.
func TestClusterCrashIsSudden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := rafttest.NewCluster(t, 3, newLedger, rafttest.ClusterOptions{})
		leader := c.Leader()
		c.Isolate(leader) // a handover would take long now
		before := time.Now()
		c.Crash(leader)
		require.Equal(t, before, time.Now())
		c.Heal()
		c.Restart(leader)
		c.Converge()
	})
}

// A failedTest takes the place of a test that is to fail, and collects its failures.
type failedTest struct {
	testing.TB
	mu       sync.Mutex
	failures []string
	cleanups []func()
}

func (f *failedTest) Helper()          {}
func (f *failedTest) Cleanup(g func()) { f.cleanups = append(f.cleanups, g) }

func (f *failedTest) Errorf(format string, arguments ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failures = append(f.failures, fmt.Sprintf(format, arguments...))
}

func (f *failedTest) Fatalf(format string, arguments ...any) {
	f.Errorf(format, arguments...)
	runtime.Goexit()
}

// run runs a test and its cleanups to their end and returns the failures.
func (f *failedTest) run(test func(t testing.TB)) string {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() {
			for _, cleanup := range f.cleanups {
				cleanup()
			}
		}()
		test(f)
	}()
	<-ended
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.failures, "\n")
}

// A hangingMachine doesn't return from Apply until letGo is closed.
type hangingMachine struct {
	ledger
	letGo chan struct{}
}

func (h *hangingMachine) Apply(entries []raft.Entry, results [][]byte) {
	<-h.letGo
	h.ledger.Apply(entries, results)
}

// A misuse is a test that must fail, and texts that its failures must hold.
type misuse struct {
	test func(t testing.TB)
	want []string
}

// demandFailures runs tests that must fail, each in a bubble of its own.
func demandFailures(t *testing.T, tests map[string]misuse) {
	t.Helper()
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				failures := new(failedTest).run(c.test)
				for _, want := range c.want {
					require.Contains(t, failures, want)
				}
			})
		})
	}
}

// proposeOne proposes the amount 1. The outcome is the node's affair.
func proposeOne(node *raft.Node) {
	_, _ = node.Propose(context.Background(), binary.AppendVarint(nil, 1))
}

// TestClusterFailsTheTest demands that a cluster fails its test when its servers don't do what the
// test waits for.
func TestClusterFailsTheTest(t *testing.T) {
	copies := int64(0)
	drifting := func() *ledger {
		copies++
		mine := copies
		return &ledger{drift: func() int64 { return mine % 2 }}
	}
	demandFailures(t, map[string]misuse{
		"no leader": {
			func(t testing.TB) {
				c := rafttest.NewCluster(t, 3, newLedger, rafttest.ClusterOptions{})
				c.Leader()
				c.Crash(0)
				c.Crash(1)
				c.Leader()
			},
			[]string{"waited for a leader for 1m40s", "\n\ta: down", "\n\tc: ", "of term"},
		},
		"different states": {
			func(t testing.TB) {
				c := rafttest.NewCluster(t, 3, drifting, rafttest.ClusterOptions{})
				proposeOne(c.Node(0))
				c.Converge()
			},
			[]string{"servers a and b have applied the same commands, but their snapshots differ from byte 0 on"},
		},
		"doesn't converge": {
			func(t testing.TB) {
				c := rafttest.NewCluster(t, 3, newLedger, rafttest.ClusterOptions{})
				old := c.Leader()
				c.Isolate(old)
				proposeOne(c.Node((old + 1) % 3)) // the isolated server can't get the command
				c.Converge()
			},
			[]string{"waited for equal logs"},
		},
		"a machine panics": {
			func(t testing.TB) {
				c := rafttest.NewCluster(t, 1, func() *ledger { return &ledger{drift: func() int64 { panic("out of order") }} }, rafttest.ClusterOptions{})
				proposeOne(c.Node(0))
			},
			[]string{"close server a: ", "it had stopped: ", "out of order"},
		},
	})
}

// TestClusterFailsWhenAMachineHangs demands that Close fails the test, and shows what hangs, when a
// state machine doesn't return.
func TestClusterFailsWhenAMachineHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := make(chan struct{})
		failures := new(failedTest).run(func(t testing.TB) {
			c := rafttest.NewCluster(t, 1, func() *hangingMachine { return &hangingMachine{letGo: hung} }, rafttest.ClusterOptions{})
			go proposeOne(c.Node(0))
			synctest.Wait()
			c.Leader()
			c.Close()
		})
		close(hung)
		require.Contains(t, failures, "close server a: raft: close: context deadline exceeded")
		require.Contains(t, failures, "goroutines are left")
		require.Contains(t, failures, "hangingMachine")
	})
}

// TestClusterNamesWhatHangs demands that a cluster names the call of a state machine that hangs,
// and that nobody waits for its server any more: neither a caller nor the test.
func TestClusterNamesWhatHangs(t *testing.T) {
	for method, server := range map[string]string{
		"Apply": "server a", "Save": "server a", "Load": "start server a",
		"Snapshot": "server a", "WriteTo": "server a", "Close of what was captured": "server a",
	} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ended, began, waited := make(chan struct{}), time.Now(), time.Duration(0)
				const long = 10 * time.Minute
				end := sync.OnceFunc(func() { close(ended) })
				defer time.AfterFunc(long, end).Stop()
				called := func(call string) {
					if call == method {
						<-ended
					}
				}
				durable := func(_ int, config *raft.Config) {
					if method == "Load" || method == "Save" {
						config.Durable = &raft.DurableMachine{
							Load: func() (raft.Index, []byte, error) { called("Load"); return 0, nil, nil },
							Save: func(raft.Index, []byte) error { called("Save"); return nil },
						}
					}
				}
				failures := new(failedTest).run(func(t testing.TB) {
					c := rafttest.NewCluster(t, 3, func() calledMachine { return calledMachine{newCensus("")(), called} }, rafttest.ClusterOptions{Config: durable})
					proposeOne(c.Node(0))
					waited = time.Since(began)
					c.Converge()
				})
				end()
				require.Less(t, waited, long)
				require.Contains(t, failures, "rafttest: "+server+": rafttest_test.calledMachine: "+method+" hasn't returned within 1m0s: it hangs")
			})
		})
	}
}

// An unclosed storage fails to be closed.
type unclosed struct{ *memory.Storage }

func (unclosed) Close() error { return io.ErrNoProgress }

// TestClusterRefusesMisuse demands that a cluster fails a test that asks for what can't be.
func TestClusterRefusesMisuse(t *testing.T) {
	demandFailures(t, map[string]misuse{
		"runs already": {
			func(t testing.TB) { rafttest.NewCluster(t, 1, newLedger, rafttest.ClusterOptions{}).Restart(0) },
			[]string{"server a runs already"},
		},
		"down already": {
			func(t testing.TB) {
				c := rafttest.NewCluster(t, 1, newLedger, rafttest.ClusterOptions{})
				c.Crash(0)
				c.Crash(0)
			},
			[]string{"server a is down already"},
		},
		"down when shut down": {
			func(t testing.TB) {
				c := rafttest.NewCluster(t, 1, newLedger, rafttest.ClusterOptions{})
				c.Shutdown(0)
				c.Shutdown(0)
			},
			[]string{"server a is down already"},
		},
		"a config that Start refuses": {
			func(t testing.TB) {
				rafttest.NewCluster(t, 1, newLedger, rafttest.ClusterOptions{Config: func(_ int, c *raft.Config) { c.ID = "" }})
			},
			[]string{"start server a: raft: "},
		},
		"a disk that isn't closed": {
			func(t testing.TB) {
				c := rafttest.NewCluster(t, 1, newLedger, rafttest.ClusterOptions{Disk: func(int) rafttest.Disk {
					return rafttest.Disk{Open: func() (raft.Storage, error) { return unclosed{memory.NewStorage()}, nil }}
				}})
				c.Crash(0)
			},
			[]string{"close server a: ", io.ErrNoProgress.Error()},
		},
		"a machine without snapshots": {
			func(t testing.TB) {
				c := rafttest.NewCluster(t, 1, func() noSnapshots { return noSnapshots{newCensus("")().(*census)} }, rafttest.ClusterOptions{})
				c.Converge()
			},
			[]string{"server a: the call of Snapshot failed: not today"},
		},
		"too many": {
			func(t testing.TB) { rafttest.NewCluster(t, 27, newLedger, rafttest.ClusterOptions{}) },
			[]string{"a cluster of 27 servers, not from 1 to 26"},
		},
		"broken disk": {
			func(t testing.TB) {
				rafttest.NewCluster(t, 1, newLedger, rafttest.ClusterOptions{Disk: func(int) rafttest.Disk {
					return rafttest.Disk{Open: func() (raft.Storage, error) { return nil, io.ErrUnexpectedEOF }}
				}})
			},
			[]string{"open the disk of server a: unexpected EOF"},
		},
	})
}

// A test of a service runs in a bubble, where waiting takes no time.
func ExampleNewCluster() {
	testService := func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := rafttest.NewCluster(t, 3, newLedger, rafttest.ClusterOptions{})
			amount := binary.AppendVarint(nil, 5)
			if _, err := c.Node(0).Propose(t.Context(), amount); err != nil {
				t.Fatal(err)
			}
			c.Crash(c.Leader())
			if _, err := c.Node(c.Leader()).Propose(t.Context(), amount); err != nil {
				t.Fatal(err)
			}
			c.Converge()
			if sum := c.Machine(c.Leader()).sum; sum != 10 {
				t.Fatalf("the sum is %d", sum)
			}
		})
	}
	_ = testService // in a real test file this is a function named Test…; an example has no testing.T
}
