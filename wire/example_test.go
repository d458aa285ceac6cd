package wire_test

import (
	"errors"
	"fmt"
	"log"

	"github.com/e17579a5/raft/wire"
)

// A transport sends the bytes of a message, and makes a message from the bytes that arrive. This is
// for people who write a transport.
func ExampleAppendMessage() {
	sent := wire.Heartbeat{Round: 7, Commit: 42}.Message().In(wire.Envelope{From: "a", To: "b", Term: 3})
	frame := wire.AppendMessage(nil, &sent)

	received, err := wire.DecodeMessage(frame)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(received.From, "leads in term", received.Term)
	if received.Kind() == wire.KindHeartbeat {
		heartbeat := received.Heartbeat()
		fmt.Println("commit", heartbeat.Commit)
	}
	_, err = wire.DecodeMessage(frame[:len(frame)-1])
	fmt.Println("cut off:", errors.Is(err, wire.ErrMalformed))
	// Output:
	// a leads in term 3
	// commit 42
	// cut off: true
}

// A storage keeps the bytes of entries one behind the other. DecodeEntry returns the bytes that
// follow the first entry. This is for people who write a storage.
func ExampleDecodeEntry() {
	var log []byte
	for i, command := range []string{"add 5", "add 10"} {
		entry := wire.Entry{Index: wire.Index(i + 1), Term: 1, Kind: wire.EntryCommand, Data: []byte(command)}
		log = wire.AppendEntry(log, &entry)
	}

	for len(log) > 0 {
		entry, rest, err := wire.DecodeEntry(log)
		if err != nil {
			fmt.Println("the log is damaged:", err)
			return
		}
		fmt.Printf("%d: %s\n", entry.Index, entry.Data)
		log = rest
	}
	// Output:
	// 1: add 5
	// 2: add 10
}
