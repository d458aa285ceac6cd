package sim

import (
	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// drain takes the effects of a core and checks them. It checks messages against the disk as it is
// before the write that comes with them.
func (w *World) drain(i int) {
	s := &w.servers[i]
	s.mixed, s.held = s.held, false
	e := &w.effects
	w.drainAsking(s, e)
	w.observe(i)
	w.stats.Drains++
	w.noteAddresses(s, e)
	if e.Keys != nil {
		s.givenKeys(e.Keys)
	}
	w.checkRefused(i, false)
	for j := range e.Messages {
		m := &e.Messages[j]
		if m.To == outsider {
			continue // strangerSpeaks has looked at it
		}
		w.stats.Messages++
		if w.trace != nil {
			w.trace.sends(m, w.links[serverOf(m.From)][serverOf(m.To)].sent+1)
		}
		w.checkMessage(i, m)
		if w.violation != nil {
			return
		}
		w.asksNow(i, m)
		w.send(m)
	}
	if e.Write.Number != 0 && !w.handWrite(i, e.Write) {
		return
	}
	if len(s.writes) < int(w.params.Writes) || e.Write.Number != 0 {
		// Otherwise the log may have changed, while the write that tells so is still to come.
		w.checkCommitted(i)
		w.checkConfiguration(i)
		w.checkKeys(i)
	}
	if !w.handTasks(i, e) {
		return
	}
	if e.VerifySnapshot != nil {
		s.verify = e.VerifySnapshot
	}
	w.connectStreams(i, e)
	if len(e.Fetches) > 0 && len(s.fetches)+len(s.fetched) == 0 {
		s.read = w.drained(s)
	}
	s.fetches = append(s.fetches, e.Fetches...)
	for j := range e.SnapshotAnswers {
		w.checkSnapshotAnswer(i, &e.SnapshotAnswers[j])
	}
	for j := range e.Answers {
		if w.trace != nil {
			w.trace.answers(w, i, &e.Answers[j])
		}
		w.checkAnswer(i, &e.Answers[j])
	}
	w.checkCore(i)
	s.unsure = s.unsure && s.core.Status().Held > 0
	if w.timed && w.violation == nil {
		w.planLanes(i)
		w.planStreams()
	}
}

// noteAddresses notes the addresses that a core tells its transport.
func (w *World) noteAddresses(s *server, e *raft.Effects) {
	if e.Servers == nil {
		return
	}
	s.reached = s.reachedNow()
	s.known = [MaxServers]string{}
	for _, other := range e.Servers {
		if j := serverOf(other.ID); j < w.n {
			if s.known[j] = other.Address; other.Address == "" {
				s.known[j] = nowhere
			}
		}
	}
}

// handWrite checks a write of a core and hands it to the server's disk. It reports whether
// the write may be handed to it.
func (w *World) handWrite(i int, write raft.Write) bool {
	s := &w.servers[i]
	if w.trace != nil {
		w.trace.writes(w, i, &write)
	}
	w.checkWrite(i, &write)
	if w.violation != nil {
		return false
	}
	if len(s.writes) == 0 {
		s.wrote = w.drained(s)
	}
	s.writes = append(s.writes, &write)
	if d := s.ownLog(); d != nil {
		d.write(&write)
	}
	beyond := int64(0)
	for j := 1; j < len(write.Entries); j++ {
		beyond += int64(write.Entries[j].Size())
	}
	if beyond > w.params.WriteBytes {
		w.fail(BoundedMemory, i, "a write has %d bytes beyond its first entry, %d are allowed", beyond, w.params.WriteBytes)
	}
	if len(s.writes) > int(w.params.Writes) {
		w.fail(BoundedMemory, i, "%d writes are handed out at once", len(s.writes))
	}
	return true
}

// maxBatches bounds the batches that a state machine is handed and has not applied.
const maxBatches = 4

// handTasks hands what a core asks of the state machine to the lane of that. It reports whether the
// core may ask for it.
func (w *World) handTasks(i int, e *raft.Effects) bool {
	s := &w.servers[i]
	if e.RestoreSnapshot != nil {
		s.lane = append(s.lane, task{restore: e.RestoreSnapshot})
	}
	for _, entries := range e.Apply {
		if len(entries) == 0 {
			w.fail(StateMachineSafety, i, "hands an empty batch to the state machine")
			return false
		}
		s.lane = append(s.lane, task{entries: entries})
	}
	batches := 0
	for j := range s.lane {
		if s.lane[j].entries != nil {
			batches++
		}
	}
	if batches > maxBatches {
		w.fail(BoundedMemory, i, "hands %d batches to the state machine, %d are allowed", batches, maxBatches)
		return false
	}
	if e.TakeSnapshot != nil {
		if s.capture != nil {
			w.fail(SnapshotSound, i, "asks for a second snapshot while one is being taken")
			return false
		}
		s.lane = append(s.lane, task{take: e.TakeSnapshot})
	}
	return true
}

// checkCore lets a core check itself: now and then in a timed run, and always in a repeated one.
func (w *World) checkCore(i int) {
	core := w.servers[i].core
	w.checks++
	every := uint64(16)
	if w.checks > 20_000 {
		every = 512 // a run that doesn't end may have a log that grows and grows, and checking it takes long
	}
	if w.checks%every != 0 && w.timed {
		return
	}
	if err := core.Check(); err != nil {
		w.fail(CoreCheck, i, "%v", err)
	}
	if diverged := core.Status().Diverged; diverged != nil {
		w.fail(ReplicasEqual, i, "%v", diverged)
	}
}

// send puts a message on its way, or drops it if its address leads nowhere.
func (w *World) send(m *wire.Message) {
	from, to := serverOf(m.From), serverOf(m.To)
	l := &w.links[from][to]
	l.sent++
	if m.Kind() == wire.KindAppendRequest || m.Kind() == wire.KindHeartbeat {
		if m.Kind() == wire.KindHeartbeat && l.envelope.ToIncarnation != m.ToIncarnation {
			l.appends = 0 // the peer has another disk now
		}
		l.envelope = m.Envelope
	}
	known := w.servers[from].known[to]
	if m.Kind() == wire.KindIdentityRequest {
		if known = m.ToAddress; known == "" {
			known = nowhere
		}
	}
	if known == nowhere || !w.calm && known != "" && known != w.servers[to].address {
		w.stats.Dropped++
		if w.trace != nil {
			w.trace.loses(from, to, l.sent, true)
		}
		return // nobody listens there
	}
	if w.timed {
		w.transmit(m, l, from, to, l.sent)
		return
	}
	if len(l.bag) == 0 {
		l.base = l.sent - 1
	}
	l.bag = append(l.bag, sentMessage{message: *m, number: l.sent, label: label(m)})
}

// label returns a short name for the content of a message. Its upper 16 bits are the lower 16 bits
// of the term.
const (
	bitIndex = 4 + iota
	bitLogTerm
	bitHint
	bitCommit
	bitRound
	bitStart
	bitNumber
	bitGranted

	bitEntries = 14
	bitNumbers = 15
)

// label returns a short name for what a message says. Its upper half is the term.
func label(m *wire.Message) uint32 {
	h := mix(uint64(m.Kind())<<56 ^ uint64(m.Term)<<32 ^ m.Value(bitIndex))
	h = mix(h ^ m.Value(bitLogTerm)<<40 ^ m.Value(bitHint)<<20 ^ m.Value(bitCommit))
	h = mix(h ^ m.Value(bitRound)<<40 ^ m.Value(bitStart)<<20 ^ m.Value(bitNumber))
	h = mix(h ^ m.Value(bitEntries)<<32 ^ m.Value(bitNumbers)<<8)
	if m.Value(bitGranted) != 0 {
		h = mix(h + 1)
	}
	if entries := m.Entries(); len(entries) > 0 {
		last := &entries[len(entries)-1]
		h = mix(h ^ hashBytes(last.Data) ^ uint64(last.Term))
	}
	return uint32(m.Term&0xffff)<<16 | uint32(h&0xffff)
}

// find returns the message that a delivery names. That message may not exist because the events
// that led to it were left out. Then find returns the most similar message, so that the rest of the
// schedule means about the same as before. It returns nil if no message is similar.
func (w *World) find(e *Event) *wire.Message {
	l := &w.links[e.Peer][e.Server]
	if e.N > int64(l.base) && e.N <= int64(l.base)+int64(len(l.bag)) {
		if s := &l.bag[e.N-int64(l.base)-1]; s.label == e.Label && s.message.Kind() == e.Kind {
			return w.take(e, l, int(e.N-int64(l.base)-1))
		}
	}
	best, score := -1, 0
	for j := len(l.bag) - 1; j >= 0; j-- {
		s := &l.bag[j]
		if s.message.Kind() != e.Kind {
			continue
		}
		now := 1
		if s.label>>16 == e.Label>>16 {
			now += 2
		}
		if !s.delivered {
			now++
		}
		if s.label == e.Label {
			now += 4
		}
		if now > score {
			best, score = j, now
		}
	}
	if best < 0 || score == 1 {
		return nil
	}
	return w.take(e, l, best)
}

// take notes that a message is delivered, and corrects the event so that it names this message.
func (w *World) take(e *Event, l *link, j int) *wire.Message {
	s := &l.bag[j]
	s.delivered = true
	if w.trace != nil {
		w.trace.delivered(&s.message, s.number)
	}
	e.N, e.Label = int64(l.base)+int64(j)+1, s.label
	if w.record && len(w.history) > 0 {
		w.history[len(w.history)-1] = *e
	}
	return &s.message
}
