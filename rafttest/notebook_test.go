package rafttest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"

	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
)

// A notebook counts words. A command is a word, whose result is how often it has come, or "-" and a
// word to forget. flaw names the mistake that the notebook makes; "" is none.
type notebook struct {
	flaw  string
	words map[string]int
	total int
	last  []byte // the last word
	open  int    // captures that aren't closed
	store *shelf // nil if it isn't durable
}

// tired is the number of words after which a notebook that tires tells the size of batches.
const tired = 60

// A page is what a snapshot has of a notebook.
type page struct {
	Words map[string]int
	Total int
	Last  string
}

func newNotebook(flaw string) *notebook { return &notebook{flaw: flaw, words: map[string]int{}} }

func (n *notebook) Apply(entries []raft.Entry, results [][]byte) {
	for i := range entries {
		data := entries[i].Data
		results[i] = n.apply(data, len(entries))
		switch n.flaw {
		case "changes the entry":
			if len(data) > 0 {
				data[0] = 'X'
			}
		case "returns the entry":
			results[i] = data
		case "keeps the entry":
			n.last = data
		case "panics":
			if len(data) == 0 {
				panic("a word has letters")
			}
		}
	}
	if n.flaw == "mixes servers" && entries[0].Origin.Server != entries[len(entries)-1].Origin.Server {
		n.total++ // which takes a cluster
	}
	if n.flaw == "counts batches" {
		n.total++
	}
	if n.flaw == "durable at once" {
		n.store.state = n.page()
	}
}

func (n *notebook) apply(data []byte, batch int) []byte {
	n.last = bytes.Clone(data)
	if word, ok := bytes.CutPrefix(data, []byte("-")); ok {
		delete(n.words, string(word))
		return nil
	}
	n.total++
	n.words[string(data)]++
	result := fmt.Appendf(nil, "%d of %d", n.words[string(data)], n.total)
	if n.flaw == "tells the batch" || n.flaw == "tires" && n.total > tired {
		result = strconv.AppendInt(result, int64(batch), 10)
	}
	return result
}

func (n *notebook) page() page {
	return page{maps.Clone(n.words), n.total, string(n.last)}
}

// WriteTo implements io.WriterTo.
func (p page) WriteTo(w io.Writer) (int64, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return 0, err
	}
	k, err := w.Write(b)
	return int64(k), err
}

// A transaction is a page that holds its notebook until it is closed.
type transaction struct {
	of   *notebook
	page page
}

// WriteTo implements io.WriterTo.
func (t *transaction) WriteTo(w io.Writer) (int64, error) {
	if t.of.flaw == "sees what comes later" {
		t.page = t.of.page()
	}
	return t.page.WriteTo(w)
}

// Close implements io.Closer.
func (t *transaction) Close() error {
	t.of.open--
	if t.of.flaw == "can't be closed" {
		return errors.New("still open")
	}
	return nil
}

func (n *notebook) Snapshot() (io.WriterTo, error) {
	if n.open++; n.open > 1 {
		return nil, errors.New("another capture is open")
	}
	captured := n.page()
	switch n.flaw {
	case "forgets the total":
		captured.Total = 0
	case "begins anew":
		n.total = 0
	}
	return &transaction{n, captured}, nil
}

func (n *notebook) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	restored := page{Words: map[string]int{}}
	switch n.flaw {
	case "merges":
		restored.Words = n.words
	case "adds up":
		restored.Total = n.total
	}
	if err := errors.Join(err, json.Unmarshal(b, &restored)); err != nil {
		return err
	}
	if n.flaw == "adds up" {
		restored.Total += n.total
	}
	n.words, n.total, n.last = restored.Words, restored.Total, []byte(restored.Last)
	if n.flaw == "restores at once" {
		n.store.state = n.page()
	}
	return nil
}

// A shelf keeps the state of a durable notebook.
type shelf struct {
	flaw   string
	state  page
	index  raft.Index
	beside []byte
	waits  int // calls of Save since the last one that was durable
	past   []shelf
	live   *notebook
	crash  int
	// what was saved, and isn't durable yet
	pending *shelf
}

func newShelf(flaw string) func() Store {
	return func() Store { return &shelf{flaw: flaw, state: page{Words: map[string]int{}}} }
}

// Open implements Store.
func (s *shelf) Open() (raft.StateMachine, raft.DurableMachine, error) {
	n := newNotebook(s.flaw)
	n.words, n.total, n.last, n.store = maps.Clone(s.state.Words), s.state.Total, []byte(s.state.Last), s
	if s.flaw == "survives a crash" && s.live != nil {
		n = s.live
		n.open = 0
	}
	s.live, s.pending = n, nil
	load := func() (raft.Index, []byte, error) {
		switch {
		case s.flaw == "can't load":
			return 0, nil, io.ErrUnexpectedEOF
		case s.flaw == "forgets the index":
			return 0, nil, nil
		}
		return s.index, s.beside, nil
	}
	return n, raft.DurableMachine{Load: load, Save: func(applied raft.Index, beside []byte) error { return s.save(n, applied, beside) }}, nil
}

func (s *shelf) save(n *notebook, applied raft.Index, beside []byte) error {
	if s.flaw == "can't save" {
		return errors.New("no paper")
	}
	next := shelf{state: n.page(), index: applied, beside: s.beside}
	if s.pending != nil {
		next.beside = s.pending.beside
	}
	switch {
	case beside != nil && s.flaw == "keeps what is beside":
		next.beside = beside
	case beside != nil || s.flaw == "forgets what is beside":
		next.beside = bytes.Clone(beside)
	}
	if s.flaw == "saves the index alone" && applied%2 == 0 {
		next.state = s.state
	}
	s.past = append(s.past, next)
	if s.waits++; s.flaw == "saves later" && s.waits%3 != 0 {
		s.pending = &next
		return nil
	}
	s.pending = nil
	s.state, s.index, s.beside = next.state, next.index, next.beside
	return nil
}

// Crash implements Store.
func (s *shelf) Crash() {
	s.crash++
	if s.flaw == "goes back" && s.crash > 1 && len(s.past) > 0 {
		s.state, s.index, s.beside = s.past[0].state, s.past[0].index, s.past[0].beside
	}
}

// words generates commands of a notebook.
func words() *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		return []byte(rapid.SampledFrom([]string{"", "-"}).Draw(t, "how") + rapid.StringOfN(rapid.SampledFrom([]rune("abc")), 0, 2, -1).Draw(t, "word"))
	})
}

// flaws are the mistakes of a notebook, with the rule that each breaks. Those of durable ones come
// after "durable ".
var flaws = map[string]string{
	"changes the entry":     ruleEntries,
	"returns the entry":     ruleLent,
	"keeps the entry":       ruleLent,
	"counts batches":        ruleBatches,
	"tells the batch":       ruleBatches,
	"panics":                ruleFails,
	"sees what comes later": ruleIsolation,
	"can't be closed":       ruleCloses,
	"forgets the total":     ruleRestores,
	"begins anew":           ruleCaptures,
	"merges":                ruleReplaces,
	"adds up":               ruleReplaces,

	"durable changes the entry":      ruleEntries,
	"durable merges":                 ruleReplaces,
	"durable at once":                ruleSaves,
	"durable restores at once":       ruleSaves,
	"durable survives a crash":       ruleSaves,
	"durable saves the index alone":  ruleSaves,
	"durable can't load":             ruleLoads,
	"durable forgets the index":      ruleSaves,
	"durable forgets what is beside": ruleLoads,
	"durable keeps what is beside":   ruleLoads,
	"durable goes back":              ruleLoads,
	"durable can't save":             ruleFails,
}

// property returns the property of a notebook with a flaw.
func property(flaw string) Property {
	durable, ok := bytes.CutPrefix([]byte(flaw), []byte("durable "))
	switch {
	case flaw == "durable at once":
		durable = []byte(flaw)
		fallthrough
	case ok:
		return Property{Store: newShelf(string(durable)), Command: words()}
	}
	return Property{Machine: func() raft.StateMachine { return newNotebook(flaw) }, Command: words()}
}

// names returns the flaws in their order.
func names() []string { return slices.Sorted(maps.Keys(flaws)) }

// drawn returns the run of a seed.
func drawn(seed uint64) *run {
	list := rapid.SliceOfN(words(), 1, maxCommands).Example(int(seed))
	return &run{seed: seed, commands: list}
}
