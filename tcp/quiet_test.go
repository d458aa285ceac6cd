package tcp_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// A failure that repeats in the same way gets a line in the log now and then only.
func TestLogIsQuiet(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		c.start("b")
		a := c.start("a")
		a.SetServers([]raft.Server{{ID: "c", Address: address("b")}, {ID: "d", Address: address("d")}})
		for range 1000 {
			a.tell("c", 1)
			a.tell("d", 1)
			pass(100 * time.Millisecond)
		}
		require.Equal(t, 2, strings.Count(c.log.String(), `msg="tcp: can't connect" node=a peer=c`), "in 100 s")
		require.Equal(t, 2, strings.Count(c.log.String(), `msg="tcp: can't connect" node=a peer=d`))
		require.Equal(t, 2, strings.Count(c.log.String(), `msg="tcp: drop a connection" node=b peer=a`))
	})
}
