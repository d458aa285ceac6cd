package tcp

import (
	"errors"
	"net"
	"sync"
	"time"
)

// A server that is down or set up wrongly fails again and again in the same way. The log gets one
// line about that for each repeatAfter, not one for each attempt.
const (
	repeatAfter = time.Minute
	maxRemarks  = 1024 // how many are remembered, before all are forgotten
)

// remarks are the errors that were logged, and when.
type remarks struct {
	mu   sync.Mutex
	seen map[string]time.Time
}

// isNew reports whether an error is worth a line in the log. about names what was tried, with the
// server peer.
func (r *remarks) isNew(about, peer string, err error) bool {
	key := about + "\x00" + peer + "\x00" + essence(err)
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, ok := r.seen[key]; ok && now.Sub(last) < repeatAfter {
		return false
	}
	if r.seen == nil || len(r.seen) >= maxRemarks {
		r.seen = make(map[string]time.Time)
	}
	r.seen[key] = now
	return true
}

// essence returns what two errors of the same kind have in common: it leaves out the ports.
func essence(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}
