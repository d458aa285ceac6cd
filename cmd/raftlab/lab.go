package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wal/vfs"
)

// osFiles is the file system beneath the disks.
var osFiles = vfs.OS

// Limits of the cluster. Each server has a digit as its key on the page.
const (
	minServers = 1
	maxServers = 9
)

// settings are what the flags say of the cluster.
type settings struct {
	servers             int
	folder              string // "" for one that is removed in the end
	heartbeat, election time.Duration
}

// A lab is a cluster, its network, its clients and the judge of what these see.
type lab struct {
	settings settings
	folder   string
	network  *network
	judge    *judge
	tally    *tally
	clients  *clients
	calls    context.Context // of calls about the cluster; ends with the lab
	cancel   context.CancelFunc

	mu      sync.Mutex
	servers []*server // in the order of their digits
	named   int       // how many IDs were given away
	over    bool      // no server comes any more
	news    news
	seen    seen
}

// newLab founds a cluster, and starts its clients.
func newLab(s settings) (*lab, error) {
	if s.servers < minServers || s.servers > maxServers {
		return nil, fmt.Errorf("%d servers: from %d to %d are possible", s.servers, minServers, maxServers)
	}
	if s.heartbeat <= 0 || s.election < 2*s.heartbeat {
		return nil, fmt.Errorf("an election timeout of %v: it must be at least twice as long as the heartbeat, which is %v and must be positive", s.election, s.heartbeat)
	}
	folder, err := s.folder, error(nil)
	if folder == "" {
		folder, err = os.MkdirTemp("", "raftlab")
	} else if files, failed := os.ReadDir(folder); failed == nil && len(files) > 0 {
		err = fmt.Errorf("%s isn't empty: the lab founds a new cluster each time", folder)
	}
	if err != nil {
		return nil, err
	}
	b := &lab{settings: s, folder: folder, network: newNetwork(), judge: newJudge(), tally: newTally()}
	b.calls, b.cancel = context.WithCancel(context.Background())
	b.clients = newClients(b.judge, b.tally, b.hosts)
	var founders []raft.Server
	for range s.servers {
		id := b.nextID()
		founders = append(founders, raft.Server{ID: id, Address: string(id)})
		b.servers = append(b.servers, b.newServer(id))
	}
	for _, founder := range b.servers {
		if err := founder.start(founders); err != nil {
			return nil, errors.Join(err, b.close())
		}
	}
	return b, b.clients.setLoad("light")
}

// close ends everything, and removes the files unless the user has named a folder for them.
func (b *lab) close() error {
	b.cancel()
	b.judge.end()
	b.clients.close()
	b.mu.Lock()
	b.over = true
	b.mu.Unlock()
	for _, s := range b.list() {
		s.retire()
	}
	b.network.end()
	if b.settings.folder != "" {
		return nil
	}
	return os.RemoveAll(b.folder)
}

// nextID returns an ID that no server has had: a, b, … z, aa, ab, …
func (b *lab) nextID() raft.ServerID {
	id := ""
	for n := b.named; ; n = n/26 - 1 {
		id = string(rune('a'+n%26)) + id
		if n < 26 {
			break
		}
	}
	b.named++
	return raft.ServerID(id)
}

// list returns the servers in the order of their digits.
func (b *lab) list() []*server {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.servers)
}

// hosts returns the servers to which clients go.
func (b *lab) hosts() (hosts []host) {
	for _, s := range b.list() {
		hosts = append(hosts, s)
	}
	return hosts
}

// find returns a server by its ID.
func (b *lab) find(id raft.ServerID) (*server, error) {
	for _, s := range b.list() {
		if s.id == id {
			return s, nil
		}
	}
	return nil, fmt.Errorf("there is no server %q", id)
}

// others returns all servers but one.
func (b *lab) others(than *server) (others []*server) {
	for _, s := range b.list() {
		if s != than {
			others = append(others, s)
		}
	}
	return others
}

// heal ends all faults of lines, disks and processes that stand still, and starts what is down.
func (b *lab) heal() {
	servers := b.list()
	for _, from := range servers {
		for _, to := range servers {
			l := b.network.line(from.id, to.id)
			l.cut.set(false)
			l.slow.Store(false)
		}
	}
	for _, s := range servers {
		s.disk.heal()
		if state, _ := s.state(); state == statePaused {
			_ = s.pause(false) // it may have been killed meanwhile
		}
		if state, _ := s.state(); state == stateDown || state == stateStopped {
			_ = s.start(nil) // or have been started
		}
	}
}

// callPatience bounds calls about the cluster.
const callPatience = 20 * time.Second

// call makes a call about the cluster at a server that runs, other than one: at the leader, if it is
// known. Any member would do.
func (b *lab) call(other *server, do func(ctx context.Context, node *raft.Node) error) error {
	var chosen *raft.Node
	for _, s := range b.others(other) {
		node, _ := s.serve()
		if state, _ := s.state(); node == nil || state == statePaused {
			continue
		}
		l := node.Leadership()
		if chosen == nil && l.Leader != "" || l.Leader == s.id {
			chosen = node
		}
	}
	if chosen == nil {
		return errors.New("no server that could be asked knows a leader")
	}
	ctx, cancel := context.WithTimeout(b.calls, callPatience)
	defer cancel()
	return do(ctx, chosen)
}

// add starts another server, and makes it a voter.
func (b *lab) add() (raft.ServerID, error) {
	b.mu.Lock()
	if b.over {
		b.mu.Unlock()
		return "", errOver
	}
	if len(b.servers) == maxServers {
		b.mu.Unlock()
		return "", fmt.Errorf("there are %d servers already, and each needs a digit", maxServers)
	}
	id := b.nextID()
	s := b.newServer(id)
	b.servers = append(b.servers, s)
	b.mu.Unlock()
	if err := s.start(nil); err != nil {
		return id, err
	}
	err := b.call(s, func(ctx context.Context, node *raft.Node) error {
		_, err := node.AddServer(ctx, raft.Server{ID: id, Address: string(id)})
		return err
	})
	if errors.Is(err, raft.ErrNotApplied) {
		return id, errors.Join(err, b.dismiss(s))
	}
	return id, err
}

// remove removes a server from the cluster, and then from the lab. One that is no member is only
// removed from the lab.
func (b *lab) remove(s *server) error {
	err := b.call(s, func(ctx context.Context, node *raft.Node) error {
		_, err := node.RemoveServer(ctx, s.id)
		return err
	})
	if err != nil && !errors.Is(err, raft.ErrNotMember) {
		return err
	}
	return b.dismiss(s)
}

// dismiss removes a server from the lab, with its files.
func (b *lab) dismiss(s *server) error {
	s.retire()
	b.mu.Lock()
	b.servers = slices.DeleteFunc(b.servers, func(o *server) bool { return o == s })
	b.mu.Unlock()
	b.network.forget(s.id)
	return errors.Join(os.RemoveAll(s.folder), os.RemoveAll(s.older()))
}

// replace makes the present disk of a server the one that counts. If the server can't go on with it,
// an empty one takes its place first.
func (b *lab) replace(s *server) error {
	node, _ := s.serve()
	if node == nil || errors.Is(node.Status().Trouble, raft.ErrRolledBack) {
		if err := s.lose(); err != nil {
			return err
		}
	}
	return b.call(s, func(ctx context.Context, node *raft.Node) error {
		_, err := node.Replace(ctx, raft.Server{ID: s.id, Address: string(s.id)})
		return err
	})
}

// transfer hands the leadership over to a server.
func (b *lab) transfer(to *server) error {
	return b.call(nil, func(ctx context.Context, node *raft.Node) error { return node.TransferLeadership(ctx, to.id) })
}

// reason returns an error's text for people, without the names of packages.
func reason(err error) string {
	text := strings.ReplaceAll(err.Error(), "raftlab: ", "")
	return strings.ReplaceAll(strings.ReplaceAll(text, "raft: ", ""), "\n", "; ")
}
