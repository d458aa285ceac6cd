package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// A snapshot is a header and all claims, as JSON values one after the other: the locks by their
// names, and the claims of a lock in their order.
type snapshot struct {
	last   uint64
	claims []claim
}

// snapshotHeader is the first value of a snapshot.
type snapshotHeader struct {
	Last   uint64 `json:"last"`
	Claims int    `json:"claims"`
}

// Snapshot captures the state: the claims are copied now, and written later.
func (m *machine) Snapshot() (io.WriterTo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &snapshot{last: m.last, claims: make([]claim, 0, m.count)}
	for _, name := range slices.Sorted(maps.Keys(m.locks)) {
		for _, c := range m.locks[name] {
			s.claims = append(s.claims, *c)
		}
	}
	return s, nil
}

// WriteTo writes the snapshot.
func (s *snapshot) WriteTo(w io.Writer) (n int64, err error) {
	counted := &counter{w: w}
	buffered := bufio.NewWriter(counted)
	encoder := json.NewEncoder(buffered)
	err = encoder.Encode(snapshotHeader{s.last, len(s.claims)})
	for i := range s.claims {
		if err != nil {
			break
		}
		err = encoder.Encode(&s.claims[i])
	}
	err = errors.Join(err, buffered.Flush())
	return counted.n, err
}

// A counter counts what is written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// Restore replaces the state by a snapshot. One that can't be read changes nothing.
func (m *machine) Restore(r io.Reader) error {
	restored, err := readSnapshot(r)
	if err != nil {
		return fmt.Errorf("lock: read snapshot: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, wake := range m.waiting { // whoever waits looks for itself
		close(wake)
	}
	clear(m.waiting)
	if m.feed != nil {
		for _, claims := range m.locks {
			for _, c := range claims {
				m.feed.note(sighting{c.Name, c.Claim, c.Stamp}, 0)
			}
		}
	}
	m.last, m.locks, m.count = restored.last, restored.locks, restored.count
	for _, claims := range m.locks {
		for _, c := range claims {
			m.touched(c)
		}
	}
	return nil
}

func readSnapshot(r io.Reader) (*machine, error) {
	decoder := json.NewDecoder(r)
	var header snapshotHeader
	if err := decoder.Decode(&header); err != nil {
		return nil, err
	}
	m := newMachine()
	m.last = header.Last
	for m.count = 0; m.count < header.Claims; m.count++ {
		c := new(claim)
		if err := decoder.Decode(c); err != nil {
			return nil, fmt.Errorf("claim %d of %d: %w", m.count+1, header.Claims, err)
		}
		m.locks[c.Name] = append(m.locks[c.Name], c)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("there is more than the claims")
	}
	return m, m.check()
}

// check says which invariant the state breaks; nil if none.
func (m *machine) check() error {
	count, claims, tokens := 0, map[uint64]bool{}, map[uint64]bool{}
	for name, queue := range m.locks {
		if len(queue) == 0 || len(queue) > 1+maxWaiters {
			return fmt.Errorf("lock %s has %d claims", name, len(queue))
		}
		owners := map[string]bool{}
		for i, c := range queue {
			switch {
			case c.Name != name || owners[c.Owner] || claims[c.Claim]:
				return fmt.Errorf("lock %s: claim %d of %s is there twice", name, c.Claim, c.Owner)
			case (c.Token != 0) != (i == 0):
				return fmt.Errorf("lock %s: claim %d at place %d has token %d", name, c.Claim, i, c.Token)
			case c.Claim == 0 || c.Token > m.last || c.Stamp > m.last || c.Claim > m.last || c.Stamp < c.Claim || c.Stamp < c.Token || c.Token != 0 && c.Token <= c.Claim:
				return fmt.Errorf("lock %s: claim %d, token %d and stamp %d, but the latest number is %d", name, c.Claim, c.Token, c.Stamp, m.last)
			case c.Token != 0 && tokens[c.Token]:
				return fmt.Errorf("token %d is there twice", c.Token)
			case i > 1 && c.Claim < queue[i-1].Claim:
				return fmt.Errorf("lock %s: claim %d waits behind %d", name, c.Claim, queue[i-1].Claim)
			case c.Lease < minLease || c.Lease > maxLease || c.Wait < 0 || c.Wait > maxWait:
				return fmt.Errorf("lock %s: claim %d has a lease of %v and waits for %v", name, c.Claim, c.Lease, c.Wait)
			}
			owners[c.Owner], claims[c.Claim], tokens[c.Token] = true, true, true
			count++
		}
	}
	if count != m.count || count > maxClaims {
		return fmt.Errorf("there are %d claims, counted as %d", count, m.count)
	}
	return nil
}

// A lockState is what a lock looks like to those who ask.
type lockState struct {
	holder  *claim // a copy; nil if the lock is free
	waiters []string
}

// state returns the state of a lock.
func (m *machine) state(name string) (s lockState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, c := range m.locks[name] {
		if i == 0 {
			holder := *c
			s.holder = &holder
			continue
		}
		s.waiters = append(s.waiters, c.Owner)
	}
	return s
}

// look returns a claim: its place (0 for the holder) and what it is, as of now. If it waits, changed
// is closed when it doesn't wait any more. The place is -1 if there is no such claim.
func (m *machine) look(name string, number uint64) (place int, is claim, changed <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	place = slices.IndexFunc(m.locks[name], func(c *claim) bool { return c.Claim == number })
	if place < 0 {
		return place, claim{}, nil
	}
	is = *m.locks[name][place]
	if place == 0 {
		return place, is, nil
	}
	wake, found := m.waiting[number]
	if !found {
		wake = make(chan struct{})
		m.waiting[number] = wake
	}
	return place, is, wake
}
