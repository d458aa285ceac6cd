package raft

import (
	"context"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/e17579a5/raft/wire"
)

// A hostLink joins the groups of a host to its transport. It is the Handler that the transport has.
type hostLink struct {
	host *Host

	mu sync.Mutex
	// named counts the groups that name a server at an address.
	named map[ServerID]map[string]int
	// told is what the transport was told last.
	told map[ServerID]string

	// Any goroutine reads these: a copy of told, and when each of these servers was heard.
	addresses atomic.Pointer[map[ServerID]string]
	heard     atomic.Pointer[heardProcesses]
}

func (l *hostLink) init(h *Host) {
	l.host, l.named, l.told = h, make(map[ServerID]map[string]int), make(map[ServerID]string)
}

// Receive implements Handler.
func (l *hostLink) Receive(m wire.Message) {
	l.heardOf().note(m.From, l.host.clock.now())
	if m.Kind() == wire.KindProcessHeartbeat {
		l.host.book.receive(m)
	} else if n := l.host.node(m.Group); n != nil {
		n.inbox.receive(m)
	} else {
		l.host.opener.take(m)
	}
}

// heardOf says when which processes were heard.
func (l *hostLink) heardOf() heardProcesses {
	if heard := l.heard.Load(); heard != nil {
		return *heard
	}
	return nil
}

// Stream implements Handler.
func (l *hostLink) Stream(from ServerID, stream io.ReadCloser) {
	header, err := readStreamHeader(stream)
	if err == nil {
		if n := l.host.node(header.Group); n != nil {
			n.transfers.takeStream(from, header, stream)
			return
		}
		l.host.opener.wake(header.Group)
	} else {
		l.host.logger.Warn("raft: stream refused", "peer", from, "err", err)
	}
	_ = stream.Close() // nobody is left to be told of an error
}

// Lost implements Handler.
func (l *hostLink) Lost(server ServerID) {
	l.host.book.lost(server)
}

// name tells the transport which servers there are, after a group that has named some names others.
func (l *hostLink) name(was, are []Server) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range was {
		l.count(s, -1)
	}
	for _, s := range are {
		l.count(s, 1)
	}
	changed := false
	for _, s := range slices.Concat(was, are) {
		if address, ok := l.addressOf(s.ID); !ok {
			delete(l.told, s.ID)
			changed = true
		} else if told, known := l.told[s.ID]; !known || told != address {
			l.told[s.ID] = address
			changed = true
		}
	}
	if !changed {
		return
	}
	addresses, heard := maps.Clone(l.told), l.heardOf().with(l.told, l.host.clock.now())
	l.addresses.Store(&addresses)
	l.heard.Store(&heard)
	servers := make([]Server, 0, len(l.told))
	for _, id := range slices.Sorted(maps.Keys(l.told)) {
		servers = append(servers, Server{ID: id, Address: l.told[id]})
	}
	l.host.config.Transport.SetServers(servers)
}

// count notes that so many more groups name a server.
func (l *hostLink) count(s Server, more int) {
	at := l.named[s.ID]
	if at == nil {
		at = make(map[string]int)
		l.named[s.ID] = at
	}
	if at[s.Address] += more; at[s.Address] == 0 {
		delete(at, s.Address)
	}
	if len(at) == 0 {
		delete(l.named, s.ID)
	}
}

// addressOf returns where a server is: where most groups name it. While a server moves, some groups
// know it already and some don't; of two addresses with the same number it is the one that was told
// before.
func (l *hostLink) addressOf(id ServerID) (address string, named bool) {
	best := 0
	for _, at := range slices.SortedFunc(maps.Keys(l.named[id]), strings.Compare) {
		n := l.named[id][at]
		if n > best || n == best && at == l.told[id] {
			best, address, named = n, at, true
		}
	}
	return address, named
}

// A groupLink is the transport as a node of a host sees it.
type groupLink struct {
	host    *Host
	group   GroupID
	servers []Server // the loop alone uses it
}

// Start does nothing: the host's transport has started.
func (l *groupLink) Start(Server, Handler) error { return nil }

// SetServers names the group's servers.
func (l *groupLink) SetServers(servers []Server) {
	l.host.link.name(l.servers, servers)
	l.servers = servers
}

// Send sends a message within the group.
func (l *groupLink) Send(m wire.Message) {
	m.Group = l.group
	l.host.config.Transport.Send(m)
}

// OpenStream opens a stream. Its header names the group.
func (l *groupLink) OpenStream(ctx context.Context, to ServerID) (io.WriteCloser, error) {
	return l.host.config.Transport.OpenStream(ctx, to)
}

// Close leaves the servers of the group. The loop has ended.
func (l *groupLink) Close() error {
	l.SetServers(nil)
	return nil
}

// MaxMessage returns the limit of the host's transport.
func (l *groupLink) MaxMessage() int {
	if limited, ok := l.host.config.Transport.(messageLimiter); ok {
		return limited.MaxMessage()
	}
	return maxInt
}

// CheckAddress refuses addresses at which the host's transport finds nobody.
func (l *groupLink) CheckAddress(address string) error {
	if checker, ok := l.host.config.Transport.(addressChecker); ok {
		return checker.CheckAddress(address)
	}
	return nil
}
