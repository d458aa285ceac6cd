// Package typed is the short way to a replicated state machine, for whoever has Go types for its
// commands and results. It needs nothing but the standard library and this module.
//
//	type words []string // the state that is replicated
//
//	func (w *words) Apply(word string) (int, error) { *w = append(*w, word); return len(*w), nil }
//
//	node, err := typed.Start(new(words), raft.Config{…}) // without a Machine
//	n, err := node.Propose(ctx, "hello")                 // at any server; n is an int
//	err = node.Read(ctx, func() { … })                   // nothing is applied meanwhile
//
// What is promised is what package raft promises. This package adds:
//
//   - Codecs. Commands and results are [JSON], unless [Options] name another [Codec]: [Binary], [Sum]
//     for an interface, or one of your own. A type of which JSON would lose something is refused by
//     [Start]. There is no codec by encoding/gob: it writes maps in a random order, numbers types in
//     the order in which a process first meets them, and leaves out fields that the receiver doesn't
//     know. So the same value has different bytes on different servers.
//   - Errors. An error of [Machine.Apply] is a result like any other: it is the same on every server,
//     it is kept for the session that has sent the command, and Propose returns it as a [*Refusal].
//     errors.Is and errors.As find in it what [Options].Errors names.
//   - Commands of a newer version. A server never leaves out a command that it doesn't know: it stops
//     with an [*UnknownCommandError]. So that no server has to, a new kind of command can be given a
//     [Level]: it is refused with raft.ErrNotInForce until all servers know it.
//   - Snapshots of the state as JSON, or as you like (see [Machine]).
//   - A lock: what Read is given runs while nothing is applied. So a Machine needs no mutex.
//
// [Options.StateMachine] returns the raft.StateMachine that all this makes, and [Options.Encode] the
// bytes of a command: with these two rafttest.Check tests a Machine.
//
// With codecs that allocate nothing, a command costs about what it costs when the same is done by hand
// (BenchmarkTyped).
//
// # The bytes
//
// A command is a varint and the bytes of its codec. The varint is 1 more than the level of the
// command. If it is 0, what follows is for the levels: a byte 1, the name of a server and the level
// that it knows; or a byte 2, a level, the number of servers and their names. A name is its length,
// as a varint, and its bytes.
//
// A result is a byte and what it says: 0, the bytes of the codec; 1, a Refusal, which is its text,
// the number of errors that are found in it and, of each, the name and the length of its JSON with
// the JSON (both a varint and bytes); 2, the text that says why the result has no bytes; 3, for the
// levels, the level in force, the number of servers that don't know the one that was asked for, and
// their names.
//
// A snapshot is a byte 1, the level in force, the number of servers with their names and levels, and
// then the state.
package typed
