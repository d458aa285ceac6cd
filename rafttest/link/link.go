// Package link makes links to the page on which a run of the simulator (package sim) is replayed,
// and reads them. cmd/raftlab serves that page. A link holds the whole run in its fragment, which a
// browser keeps to itself: no server ever gets it.
//
// The fragment is a list of names and values, as in the query of an address. It has either
//
//	seed=4711&servers=3          a run that its seed draws, and the parameters that differ from
//	                             what the seed draws, by their names in a schedule's file
//	schedule=TEXT                a schedule: its text, deflated, in the letters of base64url
//
// and beside that
//
//	told=TEXT                    what was found broken when the run was first performed
//	step=12                      the step at which the page opens
package link

import (
	"bytes"
	"cmp"
	"compress/flate"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/e17579a5/raft/rafttest/sim"
)

// Address is where cmd/raftlab listens unless it is told otherwise.
const Address = "127.0.0.1:7070"

// PageVariable names the environment variable with the address of the replay page, for people who
// have put the page on a server of their own (raftlab -export). If it isn't set, links lead to the
// page that cmd/raftlab serves at Address.
const PageVariable = "RAFT_REPLAY_PAGE"

// Limits
const (
	// MaxLength is the number of characters that a link may have. Browsers take more, but not every
	// terminal, mail or chat does.
	MaxLength = 32_000
	// MaxText is the number of bytes that the text of a schedule may have.
	MaxText = 16 << 20
	// maxTold is the number of bytes that are kept of what was found broken.
	maxTold = 1000
)

// ErrTooLong says that a run is too large for a link. The page opens it as a file.
var ErrTooLong = errors.New("link: the schedule is too large for a link")

// A Run is what a link holds.
type Run struct {
	// Schedule is the schedule that is replayed. If it is nil, Params are the parameters of a run
	// that goes on by itself (sim.World.RunParams).
	Schedule *sim.Schedule
	Params   sim.Params
	// Told is what was found broken when the run was first performed, in words; "" for nothing. The
	// page has neither the state machine nor the version of the library with which that was.
	Told string
	// Step is the step at which the page opens, from 0; -1 if the page decides.
	Step int
}

// URL returns the link to a run. The error is ErrTooLong if the run is too large for one.
func (r *Run) URL() (string, error) {
	fragment, err := r.Fragment()
	if err != nil {
		return "", err
	}
	page := cmp.Or(os.Getenv(PageVariable), "http://"+Address+"/replay")
	return within(page + "#" + fragment)
}

func within(text string) (string, error) {
	if len(text) > MaxLength {
		return "", fmt.Errorf("%w: that has %d characters, of %d that are possible", ErrTooLong, len(text), MaxLength)
	}
	return text, nil
}

// Fragment returns the part of a link that follows the #. The error is ErrTooLong if the run is too
// large for a link.
func (r *Run) Fragment() (string, error) {
	var b strings.Builder
	if r.Schedule == nil {
		fmt.Fprintf(&b, "seed=%d", uint64(r.Params.Seed))
		for _, p := range differences(r.Params) {
			fmt.Fprintf(&b, "&%s=%d", p.name, p.value)
		}
	} else {
		text, err := r.Schedule.MarshalText()
		if err != nil {
			return "", fmt.Errorf("link: %w", err)
		}
		if len(text) > MaxText {
			return "", fmt.Errorf("%w: its text has %d bytes, of %d that are possible", ErrTooLong, len(text), MaxText)
		}
		b.WriteString("schedule=" + pack(text))
	}
	if r.Told != "" {
		b.WriteString("&told=" + url.QueryEscape(shortened(r.Told)))
	}
	if r.Step >= 0 {
		fmt.Fprintf(&b, "&step=%d", r.Step)
	}
	return within(b.String())
}

// shortened returns the beginning of a text, if the whole is too long.
func shortened(text string) string {
	if len(text) <= maxTold {
		return text
	}
	return strings.ToValidUTF8(text[:maxTold], "") + "…"
}

type value struct {
	name  string
	value int64
}

// differences returns the parameters that aren't those that the seed draws.
func differences(p sim.Params) []value {
	drawn := map[string]int64{}
	sim.Swarm(uint64(p.Seed)).Each(func(name string, value int64) { drawn[name] = value })
	var list []value
	p.Each(func(name string, v int64) {
		if was := drawn[name]; was != v && name != "seed" {
			list = append(list, value{name, v})
		}
		delete(drawn, name)
	})
	delete(drawn, "seed")
	for name := range drawn { // Each leaves out those that are 0
		list = append(list, value{name, 0})
	}
	slices.SortFunc(list, func(a, b value) int { return cmp.Compare(a.name, b.name) })
	return list
}

// Parse reads the fragment of a link, with or without its #.
func Parse(fragment string) (Run, error) {
	r := Run{Step: -1}
	values, err := url.ParseQuery(strings.TrimPrefix(fragment, "#"))
	if err != nil {
		return r, fmt.Errorf("link: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if n := len(values[name]); n > 1 {
			return r, fmt.Errorf("link: %s is given %d times", name, n)
		}
	}
	take := func(name string) (string, bool) {
		defer delete(values, name)
		return values.Get(name), values.Has(name)
	}
	r.Told, _ = take("told")
	if text, given := take("step"); given {
		if r.Step, err = strconv.Atoi(text); err != nil || r.Step < 0 {
			return r, fmt.Errorf("link: step: %q is not a step", text)
		}
	}
	text, packed := take("schedule")
	seed, drawn := take("seed")
	switch {
	case packed && drawn:
		return r, errors.New("link: it has both a schedule and a seed")
	case packed && len(values) > 0:
		return r, fmt.Errorf("link: %q means nothing beside a schedule", slices.Sorted(maps.Keys(values))[0])
	case packed:
		r.Schedule, err = unpack(text)
	case drawn:
		r.Params, err = params(seed, values)
	default:
		return r, errors.New("link: it has neither a schedule nor a seed")
	}
	return r, err
}

// params returns the parameters that a seed draws, with the changes that a link names.
func params(seed string, changes url.Values) (sim.Params, error) {
	n, err := strconv.ParseUint(seed, 10, 64)
	if err != nil {
		return sim.Params{}, fmt.Errorf("link: seed: %q is not a number from 0 to %d", seed, uint64(1<<64-1))
	}
	p := sim.Swarm(n)
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		v, err := strconv.ParseInt(changes.Get(name), 10, 64)
		if err != nil {
			return p, fmt.Errorf("link: %s: %q is not a number", name, changes.Get(name))
		}
		if err := p.Set(name, v); err != nil {
			return p, fmt.Errorf("link: %w", err)
		}
	}
	if err := p.CheckServers(); err != nil {
		return p, fmt.Errorf("link: %w", err)
	}
	return p, nil
}

// pack deflates a text.
func pack(text []byte) string {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestCompression) // the level is one that it knows
	_, _ = w.Write(text)                               // neither fails: a Buffer takes all
	_ = w.Close()
	return base64.RawURLEncoding.EncodeToString(b.Bytes())
}

// unpack inflates and reads the text of a schedule.
func unpack(packed string) (*sim.Schedule, error) {
	deflated, err := base64.RawURLEncoding.DecodeString(packed)
	if err != nil {
		return nil, fmt.Errorf("link: schedule: %w; is the link whole?", err)
	}
	text, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(deflated)), MaxText+1))
	if err != nil {
		return nil, fmt.Errorf("link: schedule: %w; is the link whole?", err)
	}
	if len(text) > MaxText {
		return nil, fmt.Errorf("link: schedule: its text has more than %d bytes", MaxText)
	}
	s := new(sim.Schedule)
	if err := s.UnmarshalText(text); err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	return s, nil
}
