package coalesce_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/internal/coalesce"
	"github.com/e17579a5/raft/wire"
)

// queue is a process that is to campaign for groups.
type queue struct {
	t      *testing.T
	now    coalesce.Instant
	book   *coalesce.Book
	founds bool // whether they are to be founded
}

func newQueue(t *testing.T, places int) *queue {
	return &queue{t: t, now: 1, book: coalesce.NewBook(coalesce.Config{
		Self: "x", Start: 1, Heartbeat: heartbeat, ElectionTimeout: election, Shards: 1, Now: 1, Foundings: places, Elections: places,
	})}
}

func (q *queue) wait(again bool, groups ...wire.GroupID) {
	for _, id := range groups {
		require.True(q.t, q.book.WaitToCampaign(q.now, id, q.founds, again))
	}
}

// called returns the groups for which the process may campaign since the last call.
func (q *queue) called() (groups []wire.GroupID) {
	require.LessOrEqual(q.t, q.book.Deadline(), q.now+coalesce.Instant(election))
	var out coalesce.Out
	q.book.Drain(&out)
	for _, id := range out.Turns {
		var left coalesce.Left
		q.book.Leave(q.now, id, &left)
		if left.Campaign {
			groups = append(groups, id)
		}
		q.book.Leave(q.now, id, &left)
		require.False(q.t, left.Campaign, "it is told once")
	}
	return groups
}

func (q *queue) over(groups ...wire.GroupID) {
	for _, id := range groups {
		q.book.CampaignOver(q.now, id)
	}
}

// A process campaigns for so many groups at a time. Of those that wait, the new ones come first, and of these the
// last one.
func TestFewCampaignsAtATime(t *testing.T) {
	q := newQueue(t, 4)
	q.wait(false, "a", "b", "c", "d", "e", "f")
	require.Equal(t, []wire.GroupID{"a", "b", "c", "d"}, q.called())
	q.wait(true, "o")
	q.over("b")
	require.Equal(t, []wire.GroupID{"f"}, q.called())
	q.wait(false, "g")
	require.Empty(t, q.called())
	q.over("a", "c")
	require.Equal(t, []wire.GroupID{"g", "e"}, q.called())
	q.over("d")
	require.Equal(t, []wire.GroupID{"o"}, q.called())
	require.Empty(t, q.called())
}

// Groups that have tried in vain don't take all places: their servers may not be there for a long time.
func TestGroupsThatTryAgainLeaveRoom(t *testing.T) {
	q := newQueue(t, 8)
	q.wait(true, "a", "b", "c", "d")
	require.Equal(t, []wire.GroupID{"a", "b"}, q.called())
	q.wait(false, "n")
	require.Equal(t, []wire.GroupID{"n"}, q.called())
	q.wait(true, "a") // in vain once more: it goes behind the others
	require.Equal(t, []wire.GroupID{"c"}, q.called())
	q.over("b", "c")
	require.Equal(t, []wire.GroupID{"d", "a"}, q.called())

	q = newQueue(t, 1)
	q.wait(true, "z")
	require.Equal(t, []wire.GroupID{"z"}, q.called(), "there is always a place for one")
}

// A group whose election takes too long leaves its place to others. So does one that ends, or that somebody
// else leads while it waits.
func TestPlacesOfCampaignsComeBack(t *testing.T) {
	q := newQueue(t, 1)
	q.wait(false, "a", "b", "c", "d", "e")
	require.Equal(t, []wire.GroupID{"a"}, q.called())
	q.over("e")
	q.now += coalesce.Instant(election) - 1
	q.book.Beat(q.now)
	require.Empty(t, q.called())
	q.now++
	require.Equal(t, q.now, q.book.Deadline())
	q.book.Beat(q.now)
	require.Equal(t, []wire.GroupID{"d"}, q.called())
	q.over("a")
	require.Empty(t, q.called(), "it had no place any more")
	q.book.End(q.now, "c")
	q.book.End(q.now, "d")
	require.Equal(t, []wire.GroupID{"b"}, q.called())
	q.over("b")
	q.wait(false, "g")
	require.Equal(t, []wire.GroupID{"g"}, q.called())
}

// Groups that can't be founded, however many they are, don't hold up the elections of others.
func TestFoundingsHaveALineOfTheirOwn(t *testing.T) {
	q := newQueue(t, 2)
	q.founds = true
	q.wait(false, "a", "b", "c")
	require.Equal(t, []wire.GroupID{"a", "b"}, q.called())
	q.founds = false
	q.wait(false, "d")
	q.wait(true, "e")
	require.Equal(t, []wire.GroupID{"d", "e"}, q.called())
	q.wait(false, "f", "g")
	q.over("a")
	require.Equal(t, []wire.GroupID{"c"}, q.called())
	q.over("d")
	require.Equal(t, []wire.GroupID{"g"}, q.called())
}
