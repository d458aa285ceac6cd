package main

import (
	"encoding/binary"

	eraft "go.etcd.io/raft/v3"
)

// An etcdRead is a read: a client that waits until the state machine is new enough.
type etcdRead struct {
	client int
	number uint64
}

// etcdReads gathers reads. One round of the read index protocol is under way at a time, as in
// etcd's server. Reads that come meanwhile share the next round.
type etcdReads struct {
	round    uint64
	underWay []etcdRead // the reads of this round; empty when no round is under way
	next     []etcdRead // the reads of the next round
}

// askToRead takes reads, and begins a round with all that have gathered unless a round is under
// way.
func (n *etcdNode) askToRead(reads []etcdRead) {
	r := &n.reads
	r.next = append(r.next, reads...)
	if len(r.underWay) > 0 || len(r.next) == 0 {
		return
	}
	r.round++
	r.underWay, r.next = r.next, nil
	n.raw.ReadIndex(binary.LittleEndian.AppendUint64(nil, r.round))
}

// readsConfirmed hands the reads of a round that was confirmed to the goroutine of the machine,
// where they wait until it has applied enough. Then it begins the next round.
func (n *etcdNode) readsConfirmed(state eraft.ReadState) {
	r := &n.reads
	if len(state.RequestCtx) != 8 || binary.LittleEndian.Uint64(state.RequestCtx) != r.round {
		return // the round began in an earlier term of leadership
	}
	n.applies.put(etcdApply{index: state.Index, reads: r.underWay})
	r.underWay = nil
	n.askToRead(nil)
}

// answerReads ends the waits of reads.
func (n *etcdNode) answerReads(reads []etcdRead) {
	for _, r := range reads {
		if w := &n.waiters[r.client]; w.number.Load() == r.number {
			w.answer <- etcdAnswer{}
		}
	}
}
