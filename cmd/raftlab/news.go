package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// The kinds of what the lab tells.
const (
	actEvent      = "act"      // somebody did something to the cluster
	leaderEvent   = "leader"   // a server leads
	membersEvent  = "members"  // the members have changed
	snapshotEvent = "snapshot" // a server has another snapshot
	troubleEvent  = "trouble"  // something is wrong with a server
	mendedEvent   = "mended"   // something isn't wrong any more
)

// A piece of news is a line of the page's log.
type piece struct {
	Number int           `json:"number"` // from 1 on
	At     int64         `json:"at"`     // milliseconds since 1970
	Kind   string        `json:"kind"`
	Server raft.ServerID `json:"server"` // "" for the cluster
	Text   string        `json:"text"`
}

// maxNews is how many pieces of news are kept.
const maxNews = 200

// news are the latest pieces of news.
type news struct {
	mu     sync.Mutex
	pieces []piece
	count  int
}

// tell adds a piece of news.
func (b *lab) tell(kind string, server raft.ServerID, text string) {
	n := &b.news
	n.mu.Lock()
	defer n.mu.Unlock()
	n.count++
	n.pieces = append(n.pieces, piece{n.count, time.Now().UnixMilli(), kind, server, text})
	if len(n.pieces) > maxNews {
		n.pieces = n.pieces[len(n.pieces)-maxNews:]
	}
}

// after returns the pieces behind a number.
func (n *news) after(number int) (pieces []piece) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.pieces {
		if n.pieces[i].Number > number {
			return append(pieces, n.pieces[i:]...)
		}
	}
	return nil
}

// seen is what was told already, though every server has something to tell of it.
type seen struct {
	mu      sync.Mutex
	term    raft.Term
	members raft.Index
}

// isNew says whether a term, or the configuration at an index, wasn't told yet.
func isNew[T raft.Term | raft.Index](s *seen, newest *T, value T) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if value <= *newest {
		return false
	}
	*newest = value
	return true
}

// listen tells what a node knows, until it has stopped.
func (b *lab) listen(s *server, node *raft.Node) {
	var lost, troubled, full bool
	for event := range node.Events(context.Background()) {
		switch e := event.(type) {
		case raft.Leadership:
			if e.Ready && isNew(&b.seen, &b.seen.term, e.Term) {
				b.tell(leaderEvent, s.id, fmt.Sprintf("leads in term %d", e.Term))
			}
		case raft.Membership:
			if e.Committed && isNew(&b.seen, &b.seen.members, e.Index) {
				b.tell(membersEvent, "", "members: "+membersText(&e.Configuration))
			}
		case raft.CurrentSnapshot:
			if e.Index > 0 && e.Received {
				b.tell(snapshotEvent, s.id, fmt.Sprintf("has received a snapshot up to entry %d", e.Index))
			} else if e.Index > 0 {
				b.tell(snapshotEvent, s.id, fmt.Sprintf("has a snapshot up to entry %d", e.Index))
			}
		case raft.Damage:
			if len(e.Lost) > 0 {
				b.tell(troubleEvent, s.id, "its disk has lost the bytes of "+rangesText(e.Lost))
			} else if lost {
				b.tell(mendedEvent, s.id, "the others have given it the lost bytes")
			}
			lost = len(e.Lost) > 0
		case raft.Trouble:
			if e.Err != nil {
				b.tell(troubleEvent, s.id, reason(e.Err))
			} else if troubled {
				b.tell(mendedEvent, s.id, "takes part again")
			}
			troubled = e.Err != nil
		case raft.DiskFull:
			if e.Full {
				b.tell(troubleEvent, s.id, "its disk is full")
			} else if full {
				b.tell(mendedEvent, s.id, "its disk has room again")
			}
			full = e.Full
		}
	}
}

// membersText names the members.
func membersText(c *raft.Configuration) string {
	var names []string
	for i := range c.Members {
		name := string(c.Members[i].ID)
		if c.Members[i].Role != raft.Voter {
			name += " (learner)"
		}
		names = append(names, name)
	}
	text := strings.Join(names, ", ")
	if c.Old != nil {
		text += ", while the majorities of the old and the new ones are needed"
	}
	return text
}

// rangesText names entries.
func rangesText(ranges []wire.Range) string {
	var texts []string
	for _, r := range ranges {
		if r.First == r.Last {
			texts = append(texts, fmt.Sprint("entry ", r.First))
		} else {
			texts = append(texts, fmt.Sprintf("entries %d–%d", r.First, r.Last))
		}
	}
	return strings.Join(texts, ", ")
}
