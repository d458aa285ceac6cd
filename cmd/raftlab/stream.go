package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// viewEvery is how often the page gets a view at most.
const viewEvery = 100 * time.Millisecond

// A hub makes views, as long as anybody looks, and hands each of them to all who do. Somebody who is
// slow misses views, but no news.
type hub struct {
	lab *lab

	mu       sync.Mutex
	watchers map[chan *view]struct{} // of room for one
}

func newHub(b *lab) *hub { return &hub{lab: b, watchers: map[chan *view]struct{}{}} }

// run makes views until ctx ends.
func (h *hub) run(ctx context.Context) {
	views, spans := time.NewTicker(viewEvery), time.NewTicker(spanLength)
	defer views.Stop()
	defer spans.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-spans.C:
			h.lab.tally.next()
		case <-views.C:
			if h.isWatched() {
				h.hand(h.lab.look())
			}
		}
	}
}

func (h *hub) isWatched() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.watchers) > 0
}

// hand hands a view to all who look. It takes the place of one that wasn't fetched.
func (h *hub) hand(v *view) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		select {
		case <-w:
		default:
		}
		w <- v // there is room: nobody else puts anything there
	}
}

// watch returns the channel on which views come until leave is called.
func (h *hub) watch() (views chan *view, leave func()) {
	views = make(chan *view, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers[views] = struct{}{}
	return views, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers, views)
	}
}

// A welcome is the first event of a stream: what the page can do.
type welcome struct {
	Actions    []action `json:"actions"`
	Loads      []string `json:"loads"`
	MaxServers int      `json:"maxServers"`
	SpanMillis int64    `json:"spanMillis"`
	MaxSpans   int      `json:"maxSpans"`
}

// serveEvents streams views as server-sent events.
func (h *hub) serveEvents(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	hello := welcome{Actions: actions, MaxServers: maxServers, SpanMillis: spanLength.Milliseconds(), MaxSpans: maxSpans}
	for _, l := range loads {
		hello.Loads = append(hello.Loads, l.name)
	}
	out := http.NewResponseController(w)
	if send(w, out, "welcome", hello) != nil {
		return
	}
	views, leave := h.watch()
	defer leave()
	told, counted := 0, 0
	for {
		select {
		case <-r.Context().Done():
			return
		case v := <-views:
			mine := *v
			mine.news(&told)
			mine.spans(&counted)
			if send(w, out, "view", mine) != nil {
				return
			}
		}
	}
}

// news leaves out what was told before.
func (v *view) news(told *int) {
	for len(v.News) > 0 && v.News[0].Number <= *told {
		v.News = v.News[1:]
	}
	if n := len(v.News); n > 0 {
		*told = v.News[n-1].Number
	}
}

// spans leaves out what was counted before.
func (v *view) spans(counted *int) {
	v.Spans = v.Spans[max(len(v.Spans)-(v.Span-*counted), 0):]
	*counted = v.Span
}

// send writes an event.
func send(w http.ResponseWriter, out *http.ResponseController, name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", name, data); err != nil {
		return err
	}
	return out.Flush()
}
