package tcp_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/process"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wire"
)

// pausedPart is a variable of the environment. It makes TestServerThatIsPaused a server.
const pausedPart = "RAFT_TCP_TEST_PAUSED"

// pausedInterval is how often the timer of that server fires.
const pausedInterval = 500 * time.Millisecond

// A process that was paused for more than a second, with messages unread in its socket, isn't lost for
// anybody, nor is its connection. Its timers may fire before it has read them; one interval after a
// timer that fired late, it has.
func TestPausedProcess(t *testing.T) {
	t.Parallel() // it mostly waits
	const unread = 5000
	s := process.NewGroup(t).Add("b", func() *exec.Cmd {
		program, err := os.Executable()
		require.NoError(t, err)
		command := exec.Command(program, "-test.run=^TestServerThatIsPaused$", "-test.v")
		command.Env = append(os.Environ(), pausedPart+"=1")
		return command
	})
	s.StartTalking()
	transport, err := tcp.Listen("127.0.0.1:0", tcp.Options{})
	require.NoError(t, err)
	a := newServer(transport, "a")
	t.Cleanup(func() { a.close(t) })
	require.NoError(t, a.Start(raft.Server{ID: "a", Address: transport.Addr().String()}, a))
	a.SetServers([]raft.Server{{ID: "b", Address: answer(s)}})
	process.Await(t, func() bool { return a.Stats().Members[0].Connected }, "they don't connect")
	a.tell("b", 1)
	process.Await(t, func() bool { s.Tell("count"); return answer(s) == "1" }, "nothing arrives")
	s.Tell("watch")
	require.Equal(t, "watching", answer(s))

	s.Pause()
	for i := range uint64(unread) {
		a.tell("b", i)
	}
	process.Await(t, func() bool { return a.Stats().Members[0].QueuedMessages == 0 }, "the system takes no more")
	<-time.After(3 * pausedInterval)
	s.Resume()
	s.Tell("late")
	var atOnce, later int
	_, err = fmt.Sscan(answer(s), &atOnce, &later)
	require.NoError(t, err)
	t.Logf("of %d messages, %d were read when the timer fired late, and %d one interval later", unread, atOnce-1, later-1)
	require.Equal(t, unread+1, later)
	require.Empty(t, a.lost)
	b := a.Stats().Members[0]
	require.True(t, b.Connected)
	require.EqualValues(t, 1, b.Connects)
	require.Zero(t, b.Failures+b.Dropped)
	s.Tell("end")
	require.Zero(t, s.AwaitExit())
}

// A counter is a handler that counts messages.
type counter struct{ atomic.Int64 }

func (c *counter) Receive(wire.Message) { c.Add(1) }

func (c *counter) Lost(raft.ServerID) {}

func (c *counter) Stream(_ raft.ServerID, stream io.ReadCloser) { _ = stream.Close() }

// late waits until a timer, which is due an interval after start for the first time, fires late by more
// than half its interval. It returns how many messages had come by then, and by the next time.
func (c *counter) late(start time.Time) (atOnce, later int64) {
	for due := start.Add(pausedInterval); ; due = due.Add(pausedInterval) {
		<-time.After(time.Until(due))
		if atOnce != 0 {
			return atOnce, c.Load()
		}
		if time.Since(due) > pausedInterval/2 {
			atOnce, due = c.Load(), time.Now()
		}
	}
}

// TestServerThatIsPaused is the server of TestPausedProcess.
func TestServerThatIsPaused(t *testing.T) {
	if os.Getenv(pausedPart) == "" {
		t.Skip("it is a part of another test")
	}
	transport, err := tcp.Listen("127.0.0.1:0", tcp.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, transport.Close()) }()
	var messages counter
	require.NoError(t, transport.Start(raft.Server{ID: "b", Address: transport.Addr().String()}, &messages))
	answer := func(text ...any) { fmt.Println(append([]any{"answer:"}, text...)...) }
	answer(transport.Addr())
	watched := make(chan [2]int64, 1)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan() && lines.Text() != "end"; {
		switch lines.Text() {
		case "count":
			answer(messages.Load())
		case "watch":
			start := time.Now()
			go func() {
				atOnce, later := messages.late(start)
				watched <- [2]int64{atOnce, later}
			}()
			answer("watching")
		case "late":
			counts := <-watched
			answer(counts[0], counts[1])
		}
	}
}
