package raft

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/internal/coalesce"
	"github.com/e17579a5/raft/wire"
)

// A measuredDisk has so much room.
type measuredDisk struct {
	SharedStorage
	room uint64
}

func (d measuredDisk) Room() uint64 { return d.room }

// What a host finds to be the room of its disk is in each message that its Book sends from then on.
func TestHostTellsItsRoom(t *testing.T) {
	h := new(Host)
	h.config.Storage = measuredDisk{room: 1 << 40}
	h.book.host = h
	h.book.book = coalesce.NewBook(coalesce.Config{Self: "1", Start: 1, Heartbeat: time.Second, ElectionTimeout: 10 * time.Second, Shards: 1})
	require.False(t, h.book.lookAtRoom(), "it isn't full")
	round := wire.ProcessHeartbeat{Version: 1, Round: 1}.Message().In(wire.Envelope{From: "2", To: "1", FromStart: 1})
	h.book.book.Receive(1, &round)
	h.book.book.Beat(coalesce.Instant(time.Second))
	var out coalesce.Out
	h.book.book.Drain(&out)
	require.NotEmpty(t, out.Messages)
	require.Equal(t, uint64(1<<40+1), out.Messages[0].ProcessHeartbeat().Room)
}
