package coalesce_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/internal/coalesce"
	"github.com/e17579a5/raft/wire"
)

// queue is a process in which groups wait to be founded.
type queue struct {
	t    *testing.T
	now  coalesce.Instant
	book *coalesce.Book
}

func newQueue(t *testing.T, places int) *queue {
	return &queue{t, 1, coalesce.NewBook(coalesce.Config{
		Self: "x", Start: 1, Heartbeat: heartbeat, ElectionTimeout: election, Shards: 1, Now: 1, Foundings: places,
	})}
}

func (q *queue) wait(again bool, groups ...wire.GroupID) {
	for _, id := range groups {
		require.True(q.t, q.book.WaitToFound(q.now, id, again))
	}
}

// founds returns the groups that may be founded since the last call.
func (q *queue) founds() (groups []wire.GroupID) {
	require.LessOrEqual(q.t, q.book.Deadline(), q.now+coalesce.Instant(election))
	var out coalesce.Out
	q.book.Drain(&out)
	for _, id := range out.Turns {
		var left coalesce.Left
		q.book.Leave(q.now, id, &left)
		if left.Found {
			groups = append(groups, id)
		}
		q.book.Leave(q.now, id, &left)
		require.False(q.t, left.Found, "it is told once")
	}
	return groups
}

func (q *queue) over(groups ...wire.GroupID) {
	for _, id := range groups {
		q.book.FoundingOver(q.now, id)
	}
}

// Only so many groups are founded at a time. Of those that wait, the new ones are founded first, and of
// these the last one.
func TestFewGroupsAreFoundedAtATime(t *testing.T) {
	q := newQueue(t, 4)
	q.wait(false, "a", "b", "c", "d", "e", "f")
	require.Equal(t, []wire.GroupID{"a", "b", "c", "d"}, q.founds())
	q.wait(true, "o")
	q.over("b")
	require.Equal(t, []wire.GroupID{"f"}, q.founds())
	q.wait(false, "g")
	require.Empty(t, q.founds())
	q.over("a", "c")
	require.Equal(t, []wire.GroupID{"g", "e"}, q.founds())
	q.over("d")
	require.Equal(t, []wire.GroupID{"o"}, q.founds())
	require.Empty(t, q.founds())
}

// Groups that have tried in vain don't take all places: their servers may not be there for a long time.
func TestGroupsThatTryAgainLeaveRoom(t *testing.T) {
	q := newQueue(t, 8)
	q.wait(true, "a", "b", "c", "d")
	require.Equal(t, []wire.GroupID{"a", "b"}, q.founds())
	q.wait(false, "n")
	require.Equal(t, []wire.GroupID{"n"}, q.founds())
	q.wait(true, "a") // in vain once more: it goes behind the others
	require.Equal(t, []wire.GroupID{"c"}, q.founds())
	q.over("b", "c")
	require.Equal(t, []wire.GroupID{"d", "a"}, q.founds())

	q = newQueue(t, 1)
	q.wait(true, "z")
	require.Equal(t, []wire.GroupID{"z"}, q.founds(), "there is always a place for one")
}

// A group whose founding takes too long leaves its place to others. So does one that ends, or that somebody
// else has founded while it waited.
func TestPlacesOfFoundingsComeBack(t *testing.T) {
	q := newQueue(t, 1)
	q.wait(false, "a", "b", "c", "d", "e")
	require.Equal(t, []wire.GroupID{"a"}, q.founds())
	q.over("e")
	q.now += coalesce.Instant(election) - 1
	q.book.Beat(q.now)
	require.Empty(t, q.founds())
	q.now++
	require.Equal(t, q.now, q.book.Deadline())
	q.book.Beat(q.now)
	require.Equal(t, []wire.GroupID{"d"}, q.founds())
	q.over("a")
	require.Empty(t, q.founds(), "it had no place any more")
	q.book.End(q.now, "c")
	q.book.End(q.now, "d")
	require.Equal(t, []wire.GroupID{"b"}, q.founds())
	q.over("b")
	q.wait(false, "g")
	require.Equal(t, []wire.GroupID{"g"}, q.founds())
}
