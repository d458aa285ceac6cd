package main

import (
	"encoding/binary"
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
	sole    bool // the cluster has no other server
	syncs   atomic.Uint64
	stall   *stall
	// leading has a channel that is closed when the leadership ends; it is nil while this server
	// doesn't lead.
	leading atomic.Pointer[chan struct{}]
	leader  atomic.Uint64 // the leader, as far as this server knows; 0 while it knows none

	raw     *eraft.RawNode // used by the loop alone
	inbox   *etcdInbox
	appends *queue[*pb.Message]
	applies *queue[etcdApply]
	links   []atomic.Pointer[etcdLink] // to the other servers; nil for this one
	network etcdNetwork
	reads   etcdReads // used by the loop alone

	stop    chan struct{}
	running sync.WaitGroup
	failing sync.Once
	err     error         // set before failed is closed
	failed  chan struct{} // closed when the server has failed
}

// An etcdApply is what the loop hands to the machine: committed entries, or reads that wait until
// the machine has applied an index.
type etcdApply struct {
	message *pb.Message
	index   uint64
	reads   []etcdRead
}

// etcdInbox has what the loop hasn't stepped yet.
type etcdInbox struct {
	mu        sync.Mutex
	proposals [][]byte
	messages  []*pb.Message
	reads     []etcdRead
	lost      []uint64 // servers that couldn't be reached
	leave     bool     // whether the leadership is to be handed over
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

// read takes a read.
func (b *etcdInbox) read(r etcdRead) {
	b.mu.Lock()
	first := len(b.reads) == 0
	b.reads = append(b.reads, r)
	b.mu.Unlock()
	if first {
		b.signal()
	}
}

// unreachable takes a server that couldn't be reached.
func (b *etcdInbox) unreachable(id uint64) {
	b.mu.Lock()
	b.lost = append(b.lost, id)
	b.mu.Unlock()
	b.signal()
}

// handOver takes the request to hand the leadership over.
func (b *etcdInbox) handOver() {
	b.mu.Lock()
	b.leave = true
	b.mu.Unlock()
	b.signal()
}

// take moves everything into t, and goes on with the slices of t.
func (b *etcdInbox) take(t *etcdInbox) {
	clear(t.proposals)
	clear(t.messages)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.proposals, t.proposals = t.proposals[:0], b.proposals
	b.messages, t.messages = t.messages[:0], b.messages
	b.reads, t.reads = t.reads[:0], b.reads
	b.lost, t.lost = t.lost[:0], b.lost
	b.leave, t.leave = false, b.leave
}

// start starts the goroutines: the loop, and those that append and apply. They end when stop is
// closed.
func (n *etcdNode) start(tick time.Duration) {
	n.running.Go(func() { n.loop(tick) })
	n.running.Go(n.appendLoop)
	n.running.Go(n.applyLoop)
}

// fail remembers the first error, and ends all waits with it.
func (n *etcdNode) fail(err error) {
	n.failing.Do(func() {
		n.err = err
		close(n.failed)
	})
}

// Close stops the goroutines and closes the files.
func (n *etcdNode) Close() error {
	close(n.stop)
	n.network.close()
	n.running.Wait()
	if n.wal != nil {
		return n.wal.Close()
	}
	return nil
}

// loop steps what has gathered, and hands on the library's output.
func (n *etcdNode) loop(tick time.Duration) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var taken etcdInbox
	out := make([][]*pb.Message, len(n.links))
	var compacted uint64
	if n.sole { // no other server can lead, so there is nothing to wait for
		if err := n.raw.Campaign(); err != nil {
			n.fail(err)
		}
		n.inbox.signal()
	}
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
		n.inbox.take(&taken)
		n.step(&taken)
		for n.raw.HasReady() {
			n.handle(n.raw.Ready(), out)
		}
	}
}

// step gives the library what was taken from the inbox.
func (n *etcdNode) step(taken *etcdInbox) {
	for _, m := range taken.messages {
		// The library may refuse a message, such as a forwarded proposal. Nothing is wrong then.
		_ = n.raw.Step(m)
	}
	for _, id := range taken.lost {
		n.raw.ReportUnreachable(id)
	}
	if taken.leave {
		n.raw.TransferLeader(n.id%uint64(len(n.links)) + 1)
	}
	n.propose(taken.proposals)
	n.askToRead(taken.reads)
}

// propose hands all proposals to the library as one message.
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

// handle hands the messages of a Ready to their receivers.
func (n *etcdNode) handle(ready eraft.Ready, out [][]*pb.Message) {
	if ready.SoftState != nil {
		n.leader.Store(ready.SoftState.Lead)
		n.lead(ready.SoftState.RaftState == eraft.StateLeader)
	}
	for _, m := range ready.Messages {
		switch to := m.GetTo(); to {
		case eraft.LocalAppendThread:
			n.appends.put(m)
		case eraft.LocalApplyThread:
			n.applies.put(etcdApply{message: m})
		default:
			out[to-1] = append(out[to-1], m)
		}
	}
	n.send(out)
	for _, r := range ready.ReadStates {
		n.readsConfirmed(r)
	}
}

// lead notes whether this server leads. It ends all waits when the server stops leading.
func (n *etcdNode) lead(leads bool) {
	was := n.leading.Load()
	switch {
	case leads && was == nil:
		n.reads = etcdReads{round: n.reads.round}
		n.leading.Store(new(make(chan struct{})))
	case !leads && was != nil:
		n.reads = etcdReads{round: n.reads.round}
		n.leading.Store(nil)
		close(*was)
	}
}

// send sends and clears what is in out.
func (n *etcdNode) send(out [][]*pb.Message) {
	for i := range out {
		if len(out[i]) > 0 {
			if link := n.links[i].Load(); link != nil { // in memory the other server may not have started yet
				(*link).send(out[i])
			}
			clear(out[i])
			out[i] = out[i][:0]
		}
	}
}

// respond delivers the responses of local messages: to this server's loop, or to other servers.
func (n *etcdNode) respond(messages []*pb.Message, out [][]*pb.Message) {
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

// appendLoop makes writes durable, all that have gathered at once, and then delivers their
// responses.
func (n *etcdNode) appendLoop() {
	var messages []*pb.Message
	out := make([][]*pb.Message, len(n.links))
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
		n.respond(messages, out)
	}
}

// store saves the contents of the messages with one sync, and makes the entries readable.
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
			n.stall.hold()
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

// applyLoop applies committed entries, and answers the clients that wait here for them and for
// reads.
func (n *etcdNode) applyLoop() {
	var items []etcdApply
	var messages []*pb.Message
	var applied uint64
	var waiting []etcdApply // reads, in the order of their indexes
	out := make([][]*pb.Message, len(n.links))
	for {
		select {
		case <-n.applies.wake:
		case <-n.stop:
			return
		}
		items = n.applies.take(items)
		for _, item := range items {
			if item.message == nil {
				waiting = append(waiting, item)
				continue
			}
			for _, e := range item.message.GetEntries() {
				if data := e.GetData(); e.GetType() == pb.EntryNormal && len(data) > 0 {
					n.answer(data, etcdAnswer{result: n.machine.Apply(data[etcdTag:])})
				}
				applied = e.GetIndex()
			}
			messages = append(messages, item.message)
		}
		for len(waiting) > 0 && waiting[0].index <= applied {
			n.answerReads(waiting[0].reads)
			waiting = waiting[1:]
		}
		n.respond(messages, out)
		clear(messages)
		messages = messages[:0]
	}
}

// answer ends the wait for an entry with these data, if the entry was proposed here.
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

// compact forgets applied entries when there are many of them. A leader forgets only entries that
// every peer has.
func (n *etcdNode) compact(compacted uint64) uint64 {
	limit := n.raw.BasicStatus().Applied
	if n.Leads() {
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
