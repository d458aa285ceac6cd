//go:build js && wasm

// Command wasm is the part of raftlab's replay page that is compiled to WebAssembly: the library's
// own core and simulator. It runs in a worker of the page (replay-worker.js), which calls the
// functions below. Each returns JSON, {"value": …} or {"error": "…"}, and none panics.
package main

import (
	"encoding/json"
	"fmt"
	"runtime/debug"
	"syscall/js"

	"github.com/e17579a5/raft/cmd/raftlab/internal/player"
)

func main() {
	debug.SetGCPercent(400) // a run is made once and then kept
	var current *player.Player
	open := func(p *player.Player, err error) (any, error) {
		if err != nil {
			return nil, err
		}
		current = p
		return p.Summary(), nil
	}
	functions := map[string]func(a []js.Value) (any, error){
		"openLink": func(a []js.Value) (any, error) { return open(player.OpenLink(a[0].String())) },
		"openText": func(a []js.Value) (any, error) { return open(player.OpenText([]byte(a[0].String()))) },
		"at":       func(a []js.Value) (any, error) { return current.At(a[0].Int(), a[1].Int()), nil },
		"rows":     func(a []js.Value) (any, error) { return current.Rows(a[0].Int(), a[1].Int()), nil },
		"find":     func(a []js.Value) (any, error) { return current.Find(a[0].String(), a[1].Int(), a[2].Int()), nil },
	}
	object := js.Global().Get("Object").New()
	for name, f := range functions {
		object.Set(name, js.FuncOf(func(_ js.Value, arguments []js.Value) any { return answer(f, arguments) }))
	}
	js.Global().Set("raftReplay", object)
	select {}
}

// answer calls a function and returns what it returns as JSON. A panic is an error.
func answer(f func([]js.Value) (any, error), arguments []js.Value) (text string) {
	type result struct {
		Value any    `json:"value,omitempty"`
		Error string `json:"error,omitempty"`
	}
	encode := func(r result) string {
		b, err := json.Marshal(r)
		if err != nil {
			b, _ = json.Marshal(result{Error: err.Error()}) // a text can always be encoded
		}
		return string(b)
	}
	defer func() {
		if p := recover(); p != nil {
			text = encode(result{Error: fmt.Sprint(p)})
		}
	}()
	value, err := f(arguments)
	if err != nil {
		return encode(result{Error: err.Error()})
	}
	return encode(result{Value: value})
}
