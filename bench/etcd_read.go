package main

import (
	"encoding/binary"

	eraft "go.etcd.io/raft/v3"
)

// An etcdRead is a client that waits for its state machine to be new enough.
type etcdRead struct {
	client int
	number uint64
}

// etcdReads gathers reads: one round of the read index protocol is under way at a time, as in etcd's server, and what
// comes meanwhile shares the next one.
type etcdReads struct {
	round    uint64
	underWay []etcdRead // in round; none when there is no round
	next     []etcdRead
}

// askToRead begins a round, unless there is one.
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

// readsConfirmed hands the reads of a round to where they wait for the machine, and begins the next one.
func (n *etcdNode) readsConfirmed(state eraft.ReadState) {
	r := &n.reads
	if len(state.RequestCtx) != 8 || binary.LittleEndian.Uint64(state.RequestCtx) != r.round {
		return // of an earlier time of leadership
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
