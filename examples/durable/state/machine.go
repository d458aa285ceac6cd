// Package state is what state machines with a database of their own have in common: where the
// database is, how it is replaced by a snapshot, and how long it stays open. Packages boltstate,
// pebblestate and sqlitestate each add a kind of database.
package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/e17579a5/raft"
)

// A Database is the state of a machine on the disk, with the index and the bytes of
// raft.DurableMachine. One goroutine at a time calls its methods, but for those of a Capture.
type Database interface {
	// Apply applies commands, as raft.StateMachine.Apply does. Nothing of that is durable before
	// Save, or else all of it is undone by a crash. An error stops the server.
	Apply(entries []raft.Entry, results [][]byte) error

	// Save keeps what was applied since the last Save, with the index and the bytes, in one step: after
	// a crash the database is as it was after this Save or after an earlier one. beside is nil if the
	// bytes are to stay. After an error, Save may be called again with the same arguments.
	Save(applied raft.Index, beside []byte) error

	// Sync returns when what was saved outlasts a power cut. A Database that sees to that in Save has
	// nothing to do.
	Sync() error

	// Load returns what Save was last given; 0 and nil for an empty database.
	Load() (applied raft.Index, beside []byte, err error)

	// Capture syncs what was saved, and returns it, to be copied while Apply and Save go on. The
	// Capture is closed before the Database is. If something was applied and not saved, it belongs to
	// the Capture, which is then copied and closed before anything else happens.
	Capture() (Capture, error)

	// Fill puts the records of a copy into an empty database, up to the end of the copy. Nothing of it
	// need be durable before Sync.
	Fill(from *CopyReader) error

	Close() error
}

// A Capture is the content of a database at one moment.
type Capture interface {
	// Copy writes all records, in an order that depends on the content alone.
	Copy(to *CopyWriter) error
	Close() error
}

// A Machine is a raft.StateMachine whose state is in a Database. It goes into a raft.Config together
// with what Durable returns. It is closed after the node.
type Machine[D Database] struct {
	place *place
	open  func(folder string) (D, error)

	current *held[D]
	next    *held[D] // what was restored, until it is saved
	unsaved bool     // something was applied since the last Save

	mu     sync.Mutex // guards current for View, and what follows
	failed error      // what went wrong when an old database was closed and removed
}

// A held is an open database. Once it is retired, its last user closes it, and removes it if another
// one has taken its place. The mutex of the Machine guards all but the first two.
type held[D Database] struct {
	database D
	name     string // of its folder
	users    int
	captures map[*Captured[D]]bool // those that are open; each is a user
	retired  bool
	replaced bool
	gone     chan struct{} // closed when it is closed
}

// Options are for tests. The zero value is right for everybody else.
type Options struct {
	// Step, when not nil, is called between any two steps by which files are made, renamed and
	// removed, and says which step was the last one.
	Step func(what string)
}

// Open opens the state in a folder, or makes an empty one. open opens the database in a folder of its
// own, or makes it if the folder is empty. One Machine at a time may use the folder; the node's
// storage, which has a lock, is opened first.
func Open[D Database](dir string, open func(folder string) (D, error), options Options) (*Machine[D], error) {
	place, err := openPlace(dir, options.Step)
	if err != nil {
		return nil, err
	}
	m := &Machine[D]{place: place, open: open}
	if place.current != "" {
		if m.current, err = m.hold(place.current); err != nil {
			return nil, err
		}
		return m, nil
	}
	if m.current, err = m.create(); err != nil {
		return nil, err
	}
	if err := place.choose(m.current.name); err != nil {
		return nil, errors.Join(err, m.current.database.Close())
	}
	return m, nil
}

// hold opens a database.
func (m *Machine[D]) hold(name string) (*held[D], error) {
	database, err := m.open(m.place.path(name))
	if err != nil {
		return nil, fmt.Errorf("state: open %s: %w", m.place.path(name), err)
	}
	return &held[D]{database: database, name: name, captures: map[*Captured[D]]bool{}, gone: make(chan struct{})}, nil
}

// create makes an empty database.
func (m *Machine[D]) create() (*held[D], error) {
	name, err := m.place.create()
	if err != nil {
		return nil, err
	}
	h, err := m.hold(name)
	if err != nil {
		return nil, errors.Join(err, m.place.remove(name))
	}
	m.place.reached("database made")
	return h, nil
}

// Durable returns what goes into raft.Config.Durable.
func (m *Machine[D]) Durable() *raft.DurableMachine {
	return &raft.DurableMachine{Load: m.load, Save: m.save}
}

// Apply implements raft.StateMachine. It panics if the database fails, which stops the server.
func (m *Machine[D]) Apply(entries []raft.Entry, results [][]byte) {
	m.Change(func(database D) error { return database.Apply(entries, results) })
}

// Change is Apply for a machine around this one, which knows its commands better. change changes the
// database as Database.Apply does, and the next Save keeps that. If it returns an error, Change panics
// as Apply does: a database that fails stops the server.
func (m *Machine[D]) Change(change func(D) error) {
	m.unsaved = true
	if err := change(m.latest().database); err != nil {
		panic(fmt.Errorf("state: apply: %w", err))
	}
}

// Latest returns the database with what was applied or restored last, saved or not. It is valid until
// the next Save after a Restore. Neither Apply, Change, Restore, Save nor Close may run beside whoever
// reads it; View needs no such care.
func (m *Machine[D]) Latest() D { return m.latest().database }

// latest returns the database with what was applied or restored last.
func (m *Machine[D]) latest() *held[D] {
	if m.next != nil {
		return m.next
	}
	return m.current
}

func (m *Machine[D]) load() (raft.Index, []byte, error) { return m.current.database.Load() }

// save saves what was applied; or, after Restore, makes the new database the one that counts. Until
// then a crash leaves the old one: what is in the new one has no index before.
func (m *Machine[D]) save(applied raft.Index, beside []byte) error {
	if m.next == nil {
		err := m.current.database.Save(applied, beside)
		m.unsaved = m.unsaved && err != nil
		return err
	}
	if beside == nil { // the bytes are to stay, and the new database has none
		var err error
		if _, beside, err = m.current.database.Load(); err != nil {
			return err
		}
	}
	if err := m.next.database.Save(applied, beside); err != nil {
		return err
	}
	if err := m.next.database.Sync(); err != nil { // a database that counts has its index
		return err
	}
	m.place.reached("index saved")
	if m.place.current != m.next.name {
		if err := m.place.choose(m.next.name); err != nil {
			return err
		}
	}
	m.mu.Lock()
	old := m.current
	m.current, m.next = m.next, nil
	m.mu.Unlock()
	m.unsaved = false
	m.replace(old)
	return nil
}

// replace lets a database end that doesn't count any more.
func (m *Machine[D]) replace(old *held[D]) {
	m.mu.Lock()
	old.replaced = true
	m.mu.Unlock()
	m.retire(old)
}

// retire lets a database end with its last user.
func (m *Machine[D]) retire(h *held[D]) {
	m.mu.Lock()
	h.retired = true
	last := h.users == 0
	m.mu.Unlock()
	if last {
		m.end(h)
	}
}

// release ends a use of a database.
func (m *Machine[D]) release(h *held[D]) {
	m.mu.Lock()
	h.users--
	last := h.retired && h.users == 0
	m.mu.Unlock()
	if last {
		m.end(h)
	}
}

// end closes a database that nobody uses any more. That it can't be removed does no harm: the next
// start tries again.
func (m *Machine[D]) end(h *held[D]) {
	err := h.database.Close()
	if h.replaced {
		err = errors.Join(err, m.place.remove(h.name))
	}
	m.mu.Lock()
	m.failed = errors.Join(m.failed, err)
	m.mu.Unlock()
	close(h.gone)
}

// Snapshot implements raft.StateMachine. It returns a consistent copy, which is written while Apply
// goes on.
func (m *Machine[D]) Snapshot() (io.WriterTo, error) {
	s, err := m.Capture()
	if err != nil {
		return nil, err
	}
	if m.unsaved { // no node asks for that, but a test may
		var all bytes.Buffer
		_, err := s.WriteTo(&all)
		return &all, errors.Join(err, s.Close())
	}
	return s, nil
}

// Capture returns the state as of the last Save, for a machine around this one that writes snapshots
// of its own form. If something was applied since, it returns the state with that, and must be closed
// before anything else happens.
func (m *Machine[D]) Capture() (*Captured[D], error) {
	h := m.latest()
	captured, err := h.database.Capture()
	if err != nil {
		return nil, fmt.Errorf("state: capture: %w", err)
	}
	s := &Captured[D]{machine: m, captured: captured, from: h}
	m.mu.Lock()
	defer m.mu.Unlock()
	h.users++
	h.captures[s] = true
	return s, nil
}

// Captured is a Capture whose database stays open until it is closed.
type Captured[D Database] struct {
	machine  *Machine[D]
	captured Capture
	from     *held[D]
}

// Content returns what the Database has captured.
func (s *Captured[D]) Content() Capture { return s.captured }

// Unsaved says whether something was applied since the last Save.
func (m *Machine[D]) Unsaved() bool { return m.unsaved }

// WriteTo writes the copy.
func (s *Captured[D]) WriteTo(w io.Writer) (int64, error) {
	copied, err := writeCopy(s.captured, w)
	return copied.written, err
}

// writeCopy writes a copy of what was captured.
func writeCopy(captured Capture, w io.Writer) (*CopyWriter, error) {
	copied, err := NewCopyWriter(w)
	if err == nil {
		err = captured.Copy(copied)
	}
	if err == nil {
		err = copied.End()
	}
	return copied, err
}

// Close lets the database go. A second call does nothing.
func (s *Captured[D]) Close() error {
	s.machine.mu.Lock()
	open := s.from.captures[s]
	delete(s.from.captures, s)
	s.machine.mu.Unlock()
	if !open {
		return nil
	}
	defer s.machine.release(s.from)
	return s.captured.Close()
}

// Restore implements raft.StateMachine. It fills a new database, reads that back, and compares the two.
// Nothing else has changed when it fails, or before save is called.
func (m *Machine[D]) Restore(r io.Reader) error {
	return m.RestoreBy(func(database D) error { return m.fill(database, r) })
}

// RestoreBy is Restore for a machine around this one whose snapshots are of its own form. fill fills
// an empty database, reads it back, and returns an error if that isn't what the snapshot says.
func (m *Machine[D]) RestoreBy(fill func(D) error) error {
	if old := m.next; old != nil { // an earlier Restore wasn't saved
		m.next = nil
		m.replace(old)
	}
	h, err := m.create()
	if err != nil {
		return fmt.Errorf("state: restore: %w", err)
	}
	if err := fill(h.database); err != nil {
		return errors.Join(fmt.Errorf("state: restore: %w", err), h.database.Close(), m.place.remove(h.name))
	}
	m.next, m.unsaved = h, false
	return nil
}

// fill fills a database with a copy and checks what it has become.
func (m *Machine[D]) fill(database D, r io.Reader) error {
	from, err := NewCopyReader(r)
	from.passed = func() { m.place.reached("records filled") }
	if err == nil {
		err = database.Fill(from)
	}
	if err != nil {
		return err
	}
	m.place.reached("database filled")
	captured, err := database.Capture()
	if err != nil {
		return err
	}
	back, err := writeCopy(captured, io.Discard)
	if err := errors.Join(err, captured.Close()); err != nil {
		return err
	}
	if back.sum.Sum32() != from.sum.Sum32() || back.count != from.count {
		return fmt.Errorf("the database has other content than the copy that it was filled with: %d records, not %d", back.count, from.count)
	}
	m.place.reached("database checked")
	return nil
}

// View calls view with the database, which stays open meanwhile. After raft.Node.Read it shows all that
// was acknowledged before. Any number of goroutines may call View while commands are applied, and view
// calls only methods that the Database has for that.
func (m *Machine[D]) View(view func(D) error) error {
	m.mu.Lock()
	h := m.current
	if h == nil {
		m.mu.Unlock()
		return errClosed
	}
	h.users++
	m.mu.Unlock()
	defer m.release(h)
	return view(h.database)
}

var errClosed = errors.New("state: closed")

// Close closes the database, when no View runs any more. It is called when the node is closed, or will
// never be: a capture that is still open is closed. What was applied and not saved is undone.
func (m *Machine[D]) Close() error {
	m.mu.Lock()
	open := []*held[D]{m.current, m.next}
	m.current, m.next = nil, nil
	m.mu.Unlock()
	var err error
	for _, h := range open {
		if h == nil {
			continue
		}
		m.mu.Lock()
		captures := slices.Collect(maps.Keys(h.captures))
		m.mu.Unlock()
		for _, s := range captures {
			err = errors.Join(err, s.Close())
		}
		m.retire(h)
		<-h.gone
	}
	return errors.Join(err, m.failed)
}
