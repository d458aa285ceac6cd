package main

import (
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/server/v3/storage/wal"
	eraft "go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// An etcdNode drives one server's RawNode.
type etcdNode struct {
	id      uint64
	machine *Machine
	storage *eraft.MemoryStorage
	wal     *wal.WAL // nil in mode memory
	saved   *pb.HardState
	waiters []etcdWaiter
	yields  bool
	leads   atomic.Bool
	syncs   atomic.Uint64

	raw     *eraft.RawNode // of the loop alone
	inbox   *etcdInbox
	appends *queue[*pb.Message]
	applies *queue[*pb.Message]
	links   [servers]etcdLink // to the others; the own one is nil
	network func() error      // closes the network; it may be nil

	stop    chan struct{}
	running sync.WaitGroup
	failing sync.Once
	err     error         // before failed is closed
	failed  chan struct{} // closed when the server failed, or stopped leading
}

// An etcdLink takes messages to another server, in order. It doesn't block, and keeps no slice.
type etcdLink interface{ send(messages []*pb.Message) }

// etcdInbox is what the loop has yet to step.
type etcdInbox struct {
	mu        sync.Mutex
	proposals [][]byte
	messages  []*pb.Message
	wake      chan struct{}
}

func newEtcdInbox() *etcdInbox { return &etcdInbox{wake: make(chan struct{}, 1)} }

// signal wakes the loop.
func (b *etcdInbox) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// propose takes the data of an entry.
func (b *etcdInbox) propose(data []byte) {
	b.mu.Lock()
	first := len(b.proposals) == 0
	b.proposals = append(b.proposals, data)
	b.mu.Unlock()
	if first {
		b.signal()
	}
}

// receive takes messages.
func (b *etcdInbox) receive(messages []*pb.Message) {
	b.mu.Lock()
	first := len(b.messages) == 0
	b.messages = append(b.messages, messages...)
	b.mu.Unlock()
	if first {
		b.signal()
	}
}

// take returns all, and goes on with the spare slices.
func (b *etcdInbox) take(proposals [][]byte, messages []*pb.Message) ([][]byte, []*pb.Message) {
	clear(proposals)
	clear(messages)
	b.mu.Lock()
	defer b.mu.Unlock()
	p, m := b.proposals, b.messages
	b.proposals, b.messages = proposals[:0], messages[:0]
	return p, m
}

// start starts the goroutines: the loop and the two for storage. They end when stop is closed.
func (n *etcdNode) start(tick time.Duration) {
	n.running.Go(func() { n.loop(tick) })
	n.running.Go(n.appendLoop)
	n.running.Go(n.applyLoop)
}

// fail ends all waits.
func (n *etcdNode) fail(err error) {
	n.failing.Do(func() {
		n.err = err
		close(n.failed)
	})
}

// close stops the goroutines and closes the files.
func (n *etcdNode) close() error {
	close(n.stop)
	var err error
	if n.network != nil {
		err = n.network()
	}
	n.running.Wait()
	if n.wal != nil {
		err = errors.Join(err, n.wal.Close())
	}
	return err
}

// loop steps what has gathered, and hands on what comes of it.
func (n *etcdNode) loop(tick time.Duration) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var proposals [][]byte
	var messages []*pb.Message
	var out [servers][]*pb.Message
	var compacted uint64
	for {
		select {
		case <-n.inbox.wake:
			if n.yields {
				runtime.Gosched()
			}
		case <-ticker.C:
			n.raw.Tick()
			compacted = n.compact(compacted)
		case <-n.stop:
			return
		}
		proposals, messages = n.inbox.take(proposals, messages)
		for _, m := range messages {
			// A message of a peer that is no member any more is refused; there is none.
			if err := n.raw.Step(m); err != nil {
				n.fail(err)
			}
		}
		n.propose(proposals)
		for n.raw.HasReady() {
			n.handle(n.raw.Ready(), &out)
		}
	}
}

// propose offers all proposals as one message.
func (n *etcdNode) propose(proposals [][]byte) {
	if len(proposals) == 0 {
		return
	}
	entries := make([]pb.Entry, len(proposals))
	pointers := make([]*pb.Entry, len(proposals))
	for i, data := range proposals {
		entries[i].Data = data
		pointers[i] = &entries[i]
	}
	id := n.id
	if err := n.raw.Step(&pb.Message{Type: pb.MsgProp.Enum(), From: &id, Entries: pointers}); err != nil {
		for _, data := range proposals {
			n.answer(data, etcdAnswer{err: err})
		}
	}
}

// handle hands the messages of a Ready to where they go.
func (n *etcdNode) handle(ready eraft.Ready, out *[servers][]*pb.Message) {
	if ready.SoftState != nil {
		leads := ready.SoftState.RaftState == eraft.StateLeader
		if n.leads.Swap(leads) && !leads {
			n.fail(nil)
		}
	}
	for _, m := range ready.Messages {
		switch to := m.GetTo(); to {
		case eraft.LocalAppendThread:
			n.appends.put(m)
		case eraft.LocalApplyThread:
			n.applies.put(m)
		default:
			out[to-1] = append(out[to-1], m)
		}
	}
	n.send(out)
}

// send sends and clears what is in out.
func (n *etcdNode) send(out *[servers][]*pb.Message) {
	for i := range out {
		if len(out[i]) > 0 {
			n.links[i].send(out[i])
			clear(out[i])
			out[i] = out[i][:0]
		}
	}
}

// respond delivers the responses of a local message: to the own loop, or to others.
func (n *etcdNode) respond(messages []*pb.Message, out *[servers][]*pb.Message) {
	for _, m := range messages {
		for _, r := range m.GetResponses() {
			out[r.GetTo()-1] = append(out[r.GetTo()-1], r)
		}
	}
	own := &out[n.id-1]
	if len(*own) > 0 {
		n.inbox.receive(*own)
		clear(*own)
		*own = (*own)[:0]
	}
	n.send(out)
}

// appendLoop makes writes durable, all that have gathered at once, and then delivers their responses.
func (n *etcdNode) appendLoop() {
	var messages []*pb.Message
	var out [servers][]*pb.Message
	for {
		select {
		case <-n.appends.wake:
		case <-n.stop:
			return
		}
		messages = n.appends.take(messages)
		if err := n.store(messages); err != nil {
			n.fail(err)
			return
		}
		n.respond(messages, &out)
	}
}

// store saves what the messages carry with one sync, and makes the entries readable.
func (n *etcdNode) store(messages []*pb.Message) error {
	var state *pb.HardState
	var entries []*pb.Entry
	for _, m := range messages {
		if m.Term != nil {
			state = &pb.HardState{Term: m.Term, Vote: m.Vote, Commit: m.Commit}
		}
		if len(entries) == 0 {
			entries = m.GetEntries()
		} else {
			entries = append(entries[:len(entries):len(entries)], m.GetEntries()...)
		}
	}
	if n.wal != nil {
		if state != nil && eraft.MustSync(state, n.saved, 0) || len(entries) > 0 {
			n.syncs.Add(1)
		}
		if err := n.wal.Save(state, entries); err != nil {
			return err
		}
	}
	if state != nil {
		n.saved = state
		if err := n.storage.SetHardState(state); err != nil {
			return err
		}
	}
	for _, m := range messages {
		if err := n.storage.Append(m.GetEntries()); err != nil {
			return err
		}
	}
	return nil
}

// applyLoop applies committed entries and answers who waits for them here.
func (n *etcdNode) applyLoop() {
	var messages []*pb.Message
	var out [servers][]*pb.Message
	for {
		select {
		case <-n.applies.wake:
		case <-n.stop:
			return
		}
		messages = n.applies.take(messages)
		for _, m := range messages {
			for _, e := range m.GetEntries() {
				if data := e.GetData(); e.GetType() == pb.EntryNormal && len(data) > 0 {
					n.answer(data, etcdAnswer{result: n.machine.Apply(data[etcdTag:])})
				}
			}
		}
		n.respond(messages, &out)
	}
}

// answer ends the wait for an entry with this data, if it was proposed here.
func (n *etcdNode) answer(data []byte, a etcdAnswer) {
	tag := binary.LittleEndian.Uint64(data)
	if tag>>etcdServerShift != n.id {
		return
	}
	w := &n.waiters[tag>>etcdNumberBits&(1<<(etcdServerShift-etcdNumberBits)-1)]
	if w.number.Load()&etcdNumberMask == tag&etcdNumberMask {
		w.answer <- a
	}
}

// compact forgets applied entries that every peer of a leader has, when there are many of them.
func (n *etcdNode) compact(compacted uint64) uint64 {
	limit := n.raw.BasicStatus().Applied
	if n.leads.Load() {
		n.raw.WithProgress(func(_ uint64, _ eraft.ProgressType, p tracker.Progress) { limit = min(limit, p.Match) })
	}
	if limit < compacted+etcdCompactEvery {
		return compacted
	}
	if err := n.storage.Compact(limit - etcdKeepEntries); err != nil {
		n.fail(err)
	}
	return limit
}
