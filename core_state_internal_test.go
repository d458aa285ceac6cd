package raft

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/wire"
)

// These tests find by reflection everything that a core is made of. Suppose that a field is added
// and forgotten where its struct is encoded or cloned. Then one of these tests fails, and names the
// field.

// elsewhere are fields that aren't encoded, of types that don't belong to the core alone.
var elsewhere = map[string]string{
	"Envelope.ToAddress":         derived, // from Round, in which a leader numbers its questions
	"Envelope.Stranger":          derived, // a core sends no message that has it
	"SnapshotMeta.Configuration": derived, // it is the one at ConfigurationIndex
}

// unchanging are the types whose values never change once they exist. Clones may share what they
// point to.
var unchanging = map[reflect.Type]bool{
	reflect.TypeFor[[]byte](): true, reflect.TypeFor[Entry](): true, reflect.TypeFor[wire.Message](): true,
	reflect.TypeFor[Configuration](): true, reflect.TypeFor[wire.Call](): true, reflect.TypeFor[SnapshotMeta](): true,
	reflect.TypeFor[storedSnapshot](): true, reflect.TypeFor[refusal](): true, reflect.TypeFor[Divergence](): true, reflect.TypeFor[error](): true,
}

// The reasons why a field isn't encoded, as its tag gives them (core_state.go).
const (
	luck      = "luck"
	derived   = "derived"
	transient = "transient"
	fixed     = "fixed"
)

// settable returns the field as one that may be set, even if it isn't exported.
func settable(v reflect.Value) reflect.Value {
	return reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
}

// populate fills a value, and all that it reaches, with values that aren't zero.
func populate(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("state") != fixed {
				populate(settable(v.Field(i)))
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			populate(v.Index(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		populate(v.Index(0))
		populate(v.Index(1))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		populate(v.Elem())
	case reflect.Interface:
		if v.Type() == reflect.TypeFor[error]() {
			v.Set(reflect.ValueOf(errors.New("one")))
			return
		}
		populate(v.Elem().Elem()) // a role
	default:
		scalar(v, 1)
	}
}

// scalar sets a value of a simple type to the n-th of its values.
func scalar(v reflect.Value, n int64) {
	switch {
	case v.Kind() == reflect.Bool:
		v.SetBool(n == 1)
	case v.Kind() == reflect.String:
		v.SetString(string(rune('a' + n)))
	case v.CanInt():
		v.SetInt(n)
	case v.CanUint():
		v.SetUint(uint64(n))
	default:
		panic(fmt.Sprintf("a core has no %v", v.Type()))
	}
}

// populated returns a core in a role, in which everything has some value. No core could get there.
// But it lacks nothing that a core can have.
func populated(r role) *Core {
	c := &Core{role: r}
	populate(reflect.ValueOf(c).Elem())
	c.config = &CoreConfig{CompareResults: true}
	// These fields only count in comparison with others.
	c.out.issued, c.out.termWrite, c.out.leaseWrite = 5, 5, 5
	for i := range c.out.held {
		c.out.held[i].after = 5
	}
	switch r := r.(type) {
	case *candidate:
		r.ownVote = 5
	case *leader:
		r.released = 0
	}
	// These values aren't encoded because nobody needs them any more.
	for i := range c.reads {
		for j := range c.reads[i].waiting {
			c.reads[i].waiting[j].canceled = false
		}
	}
	c.proposals.skip, c.proposals.done = 0, 0
	return c
}

// roles are the roles that a core can have.
func roles() []role { return []role{&follower{}, &candidate{}, &recovering{}, &leader{}} }

// ledger looks for parts of a core that aren't encoded.
type ledger struct {
	core   *Core
	before []byte
	seen   map[string]bool // the fields that there are, by type and name
}

func (l *ledger) encode() (b []byte) {
	defer func() {
		if recover() != nil {
			b = nil // it was looked at, and can't be so
		}
	}()
	return l.core.AppendState(nil, func(id ServerID) byte { return (string(id) + "\x00")[0] })
}

// findings are what was found about a part of a core. missing are the paths to values that should
// be encoded and aren't, or the other way round. right counts the other values.
type findings struct {
	missing []string
	right   int
}

func (f *findings) add(more findings) {
	f.missing, f.right = append(f.missing, more.missing...), f.right+more.right
}

// compare looks whether the encoding shows the change that was made at a path, and whether it
// should.
func (l *ledger) compare(path, why string) findings {
	shows := !bytes.Equal(l.before, l.encode())
	switch {
	case why == "" && !shows:
		return findings{missing: []string{path + " isn't encoded, and no tag says why"}}
	case why != "" && shows:
		return findings{missing: []string{path + " is encoded, though it is said to be " + why}}
	}
	return findings{right: 1}
}

// walk changes everything that a value reaches, one thing after the other. why is the reason why
// the value isn't encoded, or "".
func (l *ledger) walk(v reflect.Value, path, why string) (found findings) {
	was := reflect.New(v.Type()).Elem()
	was.Set(v)
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			found.add(l.walkField(v, i, path, why))
		}
	case reflect.Array, reflect.Slice:
		for i := range v.Len() {
			found.add(l.walk(v.Index(i), fmt.Sprintf("%s[%d]", path, i), why))
		}
		if v.Kind() == reflect.Slice {
			v.SetLen(v.Len() - 1)
			found.add(l.compare("the length of "+path, why))
		}
	case reflect.Pointer:
		found = l.walk(v.Elem(), path, why)
		v.SetZero()
		found.add(l.compare("whether there is a "+path, why))
	case reflect.Interface:
		if v.Type() != reflect.TypeFor[error]() {
			return l.walk(v.Elem().Elem(), path+".("+v.Elem().Type().String()+")", why)
		}
		v.Set(reflect.ValueOf(errors.New("another")))
		found = l.compare(path, why)
	default:
		if scalar(v, 2); v.Equal(was) {
			scalar(v, 1) // it wasn't what populate makes of it
		}
		found = l.compare(path, why)
	}
	v.Set(was)
	return found
}

// walkField does the same for a field of a struct. A field of which nothing is encoded is one
// finding.
func (l *ledger) walkField(v reflect.Value, i int, path, why string) findings {
	field := v.Type().Field(i)
	name := v.Type().Name() + "." + field.Name
	path += "." + field.Name
	l.seen[name] = true
	if because := field.Tag.Get("state") + elsewhere[name]; because != "" {
		if !slices.Contains([]string{luck, derived, transient, fixed}, because) {
			return findings{missing: []string{path + " has a tag that means nothing: " + because}}
		}
		why = because
	}
	if why == fixed {
		return findings{}
	}
	found := l.walk(settable(v.Field(i)), path, why)
	if len(found.missing) > 1 && found.right == 0 && why == "" {
		found.missing = []string{path + " isn't encoded, and no tag says why"}
	}
	return found
}

// Everything that a core has decides what the core does next and is in its encoding, or its tag
// says why it needn't be.
func TestEverythingIsEncoded(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range roles() {
		t.Run(fmt.Sprintf("%T", r), func(t *testing.T) {
			l := &ledger{core: populated(r), seen: seen}
			l.before = l.encode()
			require.NotEmpty(t, l.before)
			found := l.walk(reflect.ValueOf(l.core).Elem(), "Core", "")
			require.Equal(t, l.before, l.encode(), "everything was changed back")
			require.Empty(t, strings.Join(found.missing, "\n"), "core_state.go says what is to be done")
		})
	}
	for field := range elsewhere {
		require.True(t, seen[field], "there is no %s", field)
	}
}

// shared returns the paths to values that two values share though they may be changed. said
// records, for each field with the tag clone:"shared", whether anything is shared there.
func shared(a, b reflect.Value, path string, said map[string]bool) (found []string) {
	if unchanging[a.Type()] {
		return nil
	}
	switch a.Kind() {
	case reflect.Struct:
		for i := range a.NumField() {
			field := a.Type().Field(i)
			if field.Tag.Get("state") == fixed {
				continue
			}
			inside := shared(settable(a.Field(i)), settable(b.Field(i)), path+"."+field.Name, said)
			if name := a.Type().Name() + "." + field.Name; field.Tag.Get("clone") == "shared" {
				said[name] = said[name] || len(inside) > 0
			} else {
				found = append(found, inside...)
			}
		}
	case reflect.Pointer, reflect.Interface:
		switch {
		case a.IsNil() || b.IsNil() || a.Kind() == reflect.Pointer && unchanging[a.Type().Elem()]:
		case a.Kind() == reflect.Pointer && a.Pointer() == b.Pointer():
			return []string{path}
		default:
			return shared(a.Elem(), b.Elem(), path, said)
		}
	case reflect.Slice:
		from, to := a.Pointer(), a.Pointer()+uintptr(a.Cap())*a.Type().Elem().Size()
		if first := b.Pointer(); first < to && from < first+uintptr(b.Cap())*b.Type().Elem().Size() {
			return []string{path}
		}
		fallthrough
	case reflect.Array:
		for i := range min(a.Len(), b.Len()) {
			found = append(found, shared(a.Index(i), b.Index(i), fmt.Sprintf("%s[%d]", path, i), said)...)
		}
	}
	return found
}

// A clone is equal to its original. They share nothing that could be changed.
func TestClonesAreApart(t *testing.T) {
	said := map[string]bool{}
	for _, r := range roles() {
		c := populated(r)
		last := &c.log.tail.chunks[1]
		last.entries = append(make([]Entry, 0, 8), last.entries...) // there is room behind them
		n := c.Clone()
		require.Equal(t, c, n)
		require.Empty(t, shared(reflect.ValueOf(c).Elem(), reflect.ValueOf(n).Elem(), "Core", said), "a clone has them too")
		require.NotSame(t, &last.entries[0], &n.log.tail.chunks[1].entries[0], "both would write into the room")
	}
	for field, is := range said {
		require.True(t, is, "%s isn't shared, though its tag says so", field)
	}
}

// leftovers returns the paths to values that are transient and not empty.
func leftovers(v reflect.Value, path string) (found []string) {
	if !mayLeave(v.Type()) {
		return nil
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			field, f := v.Type().Field(i), settable(v.Field(i))
			switch {
			case field.Tag.Get("state") == fixed:
			case field.Tag.Get("state") != transient:
				found = append(found, leftovers(f, path+"."+field.Name)...)
			case f.Kind() == reflect.Slice && f.Len() > 0 || f.Kind() != reflect.Slice && !f.IsZero():
				found = append(found, path+"."+field.Name)
			}
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			return leftovers(v.Elem(), path)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			found = append(found, leftovers(v.Index(i), fmt.Sprintf("%s[%d]", path, i))...)
		}
	}
	return found
}

// leaving are the types for which mayLeave was asked, with the answers.
var leaving = map[reflect.Type]bool{}

// mayLeave says whether a value of a type may hold a transient one.
func mayLeave(t reflect.Type) bool {
	may, known := leaving[t]
	if !known {
		may = reachesTransient(t, map[reflect.Type]bool{})
		leaving[t] = may
	}
	return may
}

func reachesTransient(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] || unchanging[t] || t == reflect.TypeFor[error]() {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return reachesTransient(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			switch field := t.Field(i); field.Tag.Get("state") {
			case fixed:
			case transient:
				return true
			default:
				if reachesTransient(field.Type, seen) {
					return true
				}
			}
		}
	}
	return false
}

// A trio is three cores that do at once whatever there is to do. Each time a core was drained,
// nothing transient may be left in it.
type trio struct {
	t       *testing.T
	now     Instant
	list    []Server
	cores   map[ServerID]*Core
	network []wire.Message
	streams uint64
}

func newTrio(t *testing.T) *trio {
	r := &trio{t: t, list: []Server{{ID: "a"}, {ID: "b"}, {ID: "c"}}, cores: map[ServerID]*Core{}}
	for i, server := range r.list {
		c, err := NewCore(CoreConfig{ID: server.ID, Bootstrap: r.list, Incarnation: Incarnation(i + 1), CompareResults: true})
		require.NoError(t, err)
		r.cores[server.ID] = c
	}
	return r
}

func (r *trio) drain(c *Core, e *Effects) {
	c.Drain(e)
	require.Empty(r.t, leftovers(reflect.ValueOf(c).Elem(), "Core"))
}

// turn drains a core, and performs its effects.
func (r *trio) turn(c *Core) {
	var e Effects
	r.drain(c, &e)
	r.network = append(r.network, e.Messages...)
	if e.Write.Number != 0 {
		c.Persisted(r.now, e.Write.Number)
	}
	for _, f := range e.Fetches {
		c.Fetched(r.now, f, nil)
	}
	for _, entries := range e.Apply {
		last := entries[len(entries)-1]
		c.Applied(r.now, Batch{Last: last.Index, Term: last.Term, Fingerprints: []wire.Fingerprint{{Index: last.Index}}})
	}
	if e.TakeSnapshot != nil {
		c.SnapshotTaken(r.now, 1)
	}
	if e.RestoreSnapshot != nil {
		c.Restored(r.now)
	}
	if e.VerifySnapshot != nil {
		c.SnapshotVerified(r.now, nil)
	}
	for _, s := range e.Sends {
		r.streams++
		to, head := r.cores[s.Header.To], s.Header.SnapshotStream()
		to.StreamOpened(r.now, r.streams, s.Header)
		r.drain(to, &e)
		to.StreamEnded(r.now, r.streams, head.Bytes, StreamComplete)
		c.SnapshotSent(r.now, s.Stream, nil)
	}
}

// A field that is said to be transient is empty when a core has been drained, whatever has happened
// to the core.
func TestNothingTransientIsLeft(t *testing.T) {
	r := newTrio(t)
	for step := range 250 {
		cut := step > 40 && step < 110 // c misses so much that it needs a snapshot
		r.now += Instant(50 * time.Millisecond)
		for _, server := range r.list {
			c := r.cores[server.ID]
			c.Tick(r.now)
			c.Propose(r.now, nil)
			c.Read(r.now)
			if step%20 == 0 {
				c.Snapshot(r.now)
			}
			if step%100 == 99 {
				c.Call(r.now, wire.Call{Kind: wire.CallTransfer})
			}
			r.turn(c)
			r.turn(c)
		}
		sent := r.network
		r.network = nil
		for _, m := range sent {
			if !cut || m.To != "c" && m.From != "c" {
				r.cores[m.To].Receive(r.now, m)
				r.turn(r.cores[m.To])
			}
		}
	}
	require.Positive(t, r.streams)
	require.Greater(t, r.cores["c"].Status().Applied, Index(50))
}
