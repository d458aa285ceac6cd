package sim

import "github.com/e17579a5/raft"

type transcript struct{}

func (t *transcript) begin(w *World, e *Event, m *raft.Message) {}
func (t *transcript) end(w *World, happened bool)               {}
func (t *transcript) sent(m *raft.Message)                      {}
