package raft

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A steady disk needs a delay for each write, and time for its bytes.
type steadyDisk struct {
	delay  time.Duration
	second int // bytes
}

func (d steadyDisk) takes(bytes int) time.Duration {
	return d.delay + time.Duration(float64(bytes)/float64(d.second)*float64(time.Second))
}

// write lets a disk do so many full writes, and returns the room afterwards.
func (d steadyDisk) write(t *tempo, now *Instant, writes int, config *CoreConfig) int {
	for range writes {
		bytes := t.room
		t.begin(*now)
		*now += Instant(d.takes(bytes))
		t.done(*now, bytes, 1, config.goal(), micros(config.goal()))
	}
	return t.room
}

// The room becomes what the disk does in the goal, from 1 MB/s up to maxRoom. The delay that each
// write takes anyway doesn't count: a disk that is slow to begin isn't given little for that.
func TestTempoFollowsTheDisk(t *testing.T) {
	config := CoreConfig{Heartbeat: 100 * time.Millisecond, ElectionTimeout: time.Second}
	for _, delay := range []time.Duration{0, time.Millisecond, 10 * time.Millisecond, 60 * time.Millisecond} {
		for _, second := range []int{1 << 20, 5 << 20, 20 << 20, 50 << 20, 200 << 20, 1 << 30} {
			tempo, now, d := newTempo(&config), Instant(0), steadyDisk{delay, second}
			for _, bytes := range []int{0, 100, 5000} { // an election, and a few commands
				tempo.begin(now)
				now += Instant(d.takes(bytes))
				tempo.done(now, bytes, 1, config.goal(), micros(config.goal()))
			}
			want := min(max(float64(second)*config.goal().Seconds(), float64(micros(config.goal()))), maxRoom)
			room := d.write(&tempo, &now, 60, &config)
			near := func(room int) {
				require.Greater(t, float64(room), want/3, "%v", d)
				require.Less(t, float64(room), want*1.5, "%v", d)
			}
			near(room)

			// A hiccup spoils little, and not for long.
			tempo.begin(now)
			now += Instant(time.Second)
			tempo.done(now, room, 1, config.goal(), micros(config.goal()))
			require.GreaterOrEqual(t, tempo.room, room/2)
			near(d.write(&tempo, &now, 60, &config))
		}
	}
}

// A disk that becomes slower is given less within a few writes.
func TestTempoFallsWithTheDisk(t *testing.T) {
	config := CoreConfig{Heartbeat: 100 * time.Millisecond, ElectionTimeout: time.Second}
	tempo, now := newTempo(&config), Instant(0)
	steadyDisk{time.Millisecond, 200 << 20}.write(&tempo, &now, 20, &config)
	slow := steadyDisk{time.Millisecond, 5 << 20}
	slow.write(&tempo, &now, 6, &config)
	require.Less(t, slow.takes(tempo.room), config.Heartbeat)
}

// What was measured says nothing while no time passes: a model checker sees a constant.
func TestTempoStandsStillWithTheTime(t *testing.T) {
	config := CoreConfig{Heartbeat: 100 * time.Millisecond, ElectionTimeout: time.Second}
	tempo := newTempo(&config)
	before := tempo
	for range 10 {
		tempo.begin(0)
		tempo.done(0, tempo.room, 1, config.goal(), 1)
	}
	require.Equal(t, before, tempo)
	require.Equal(t, 250_000, tempo.room)
}
