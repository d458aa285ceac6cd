package raft

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/e17579a5/raft/wire"
)

// A hostOpener starts groups that other servers speak of. What they have said meanwhile is kept, up to
// a few messages for each group, and handed over then: so a group that is founded spreads at once.
type hostOpener struct {
	host  *Host
	queue *queue[GroupID]

	mu    sync.Mutex
	asked map[GroupID]asked
	// account counts the messages that are kept.
	account account
}

// asked is a group for which the opener was asked.
type asked struct {
	until    Instant // when it may be asked for again: never while it waits, and later if it was refused
	messages []wire.Message
}

// maxAsked bounds how many groups are remembered that HostConfig.Group was asked for, and keptMessages
// how many messages of each are kept. askAgain is after how long it is asked again for a group that it
// has refused.
const (
	maxAsked     = 1 << 16
	keptMessages = 4
	askAgain     = Instant(10 * time.Second)
)

// take has the group of a message started if HostConfig.Group knows it, and hands over the message
// then. It never blocks.
func (o *hostOpener) take(m wire.Message) {
	if o.ask(m.Group, &m) {
		o.queue.add(m.Group)
	}
}

// ask notes that a group is wanted, and returns true if the opener is to be told. message is nil for
// none.
func (o *hostOpener) ask(group GroupID, message *wire.Message) bool {
	now := o.host.clock.now()
	o.mu.Lock()
	defer o.mu.Unlock()
	a, known := o.asked[group]
	waits := known && a.until == never
	switch {
	case known && !waits && now < a.until, !known && len(o.asked) >= maxAsked:
		return false
	case message != nil && len(a.messages) < keptMessages && o.account.take(message.Size(), 1):
		a.messages = append(a.messages, *message)
	}
	a.until = never
	o.asked[group] = a
	return !waits
}

// wake has a group started.
func (o *hostOpener) wake(group GroupID) {
	if o.ask(group, nil) {
		o.queue.add(group)
	}
}

// begin starts the goroutine of the opener.
func (o *hostOpener) begin() { o.host.life.goroutines.Go(o.run) }

// run starts what was asked for.
func (o *hostOpener) run() {
	for {
		groups, _ := o.queue.take(nil)
		if groups == nil {
			return
		}
		for _, group := range groups {
			node, err := o.host.Group(group)
			if err != nil && !errors.Is(err, errNoGroup) && !errors.Is(err, ErrClosed) {
				o.host.logger.Error("raft: group not started", "group", group, "err", err)
			}
			messages := o.settled(group, err)
			if err != nil {
				continue
			}
			for i := range messages {
				node.inbox.receive(messages[i])
			}
		}
	}
}

// settled notes what became of a group, and returns the messages that were kept. Of groups that were
// refused long ago nothing is remembered.
func (o *hostOpener) settled(group GroupID, err error) []wire.Message {
	now := o.host.clock.now()
	o.mu.Lock()
	defer o.mu.Unlock()
	messages := o.asked[group].messages
	for i := range messages {
		o.account.give(messages[i].Size())
	}
	if err == nil {
		delete(o.asked, group)
	} else {
		o.asked[group] = asked{until: now + askAgain}
	}
	if len(o.asked) >= maxAsked {
		maps.DeleteFunc(o.asked, func(_ GroupID, a asked) bool { return a.until <= now })
	}
	return messages
}

// errNoGroup says that HostConfig.Group knows no such group.
var errNoGroup = fmt.Errorf("%w: no such group", ErrConfig)

// found lets a group that is new be founded at once. One server of the list campaigns, which differs
// from group to group. If that is another one, it is told of the group, by a message that says nothing
// else.
func (h *Host) found(l *loop, link *groupLink, bootstrap []Server) {
	first := l.coalesced.Found()
	if first == "" || first == h.config.ID {
		return
	}
	link.SetServers(slices.DeleteFunc(slices.Clone(bootstrap), func(s Server) bool { return s.ID == h.config.ID }))
	link.Send(wire.PreVoteResponse{}.Message().In(wire.Envelope{From: h.config.ID, To: first}))
}
