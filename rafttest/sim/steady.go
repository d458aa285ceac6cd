package sim

import "time"

// Steady returns parameters of a cluster in ordinary service, without faults. There is a heartbeat
// every 100 ms, and a command about every 50 ms, at any server. Every server keeps its state in a
// real log. If a caller sets FaultKinds, there is a fault about every ten election timeouts, and a
// server that crashes is down for two.
func Steady(seed uint64, servers int) Params {
	p := Calm(seed, servers)
	ms := int64(time.Millisecond)
	p.WAL, p.Segment = 1, 1<<20
	p.Jitter, p.Tail = ms, 64<<10
	p.ClientTime, p.Reads, p.CommandSize = 57*ms, 0, 64 // spread makes that 50 ms on average
	p.FaultTime, p.DownTime, p.FaultKinds = 10*p.Election, 2*p.Election, 0
	return p
}

// Overloaded returns parameters of a cluster whose disks work steadily, at throughput bytes a
// second, and whose clients want ten times of what the disks do. Nothing ever fails. The commands
// have size bytes on average. At each server wait no more than the disks do in two seconds.
func Overloaded(seed uint64, servers int, throughput, size int64) Params {
	p := Calm(seed, servers)
	p.Throughput, p.CommandSize, p.Reads = throughput, 2*size, 0
	p.ClientTime = max(size*int64(time.Second)/throughput/10, 1000)
	p.MaxWaiting = min(max(2*throughput, 4*size), p.MaxWaiting)
	p.FaultKinds = 0
	return p
}

// RunFor performs a run with given parameters that lasts for span nanoseconds. A cluster is
// founded, clients work, and faults happen as the parameters say.
func (w *World) RunFor(p Params, span int64) Result {
	w.reset(p)
	w.stamped = true
	w.guard(func() {
		w.step(Event{Op: OpFound}, nil)
		if w.violation != nil {
			return
		}
		w.beginTimed(phaseFaults)
		w.queue.push(item{at: w.now, what: itemClient})
		w.queue.push(item{at: w.now + p.FaultTime, what: itemFault})
		w.loop(w.now+span, func() bool { return false })
		w.endTimed()
		w.step(Event{Op: OpSettle}, nil)
	})
	return w.result()
}
