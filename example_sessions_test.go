package raft_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/e17579a5/raft"
)

// A session is opened once for each client, and closed when the client is done for good.
func ExampleNode_OpenSession() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	node, _ := newTally()
	defer closeNodes(ctx, node)

	id, err := node.OpenSession(ctx)
	if err != nil {
		log.Fatal(err)
	}
	command := raft.SessionCommand{Session: id, Sequence: 1, Lowest: 1}
	sum, err := node.ProposeInSession(ctx, command, []byte("5"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("sum:", string(sum))

	if err := node.CloseSession(ctx, id); err != nil {
		log.Fatal(err)
	}
	_, err = node.ProposeInSession(ctx, command, []byte("5"))
	fmt.Println("no such session any more:", errors.Is(err, raft.ErrSessionExpired))
	// Output:
	// sum: 5
	// no such session any more: true
}

// A client that doesn't hear an answer sends the same command again, perhaps to another server. The
// command is applied once, and each answer is that of the one time.
func ExampleNode_ProposeInSession() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	node, _ := newTally()
	defer closeNodes(ctx, node)
	id, err := node.OpenSession(ctx)
	if err != nil {
		log.Fatal(err)
	}

	command := raft.SessionCommand{Session: id, Sequence: 1, Lowest: 1}
	for range 3 {
		sum, err := node.ProposeInSession(ctx, command, []byte("5"))
		switch {
		case errors.Is(err, raft.ErrSessionExpired):
			log.Fatal("nobody knows any more whether 5 was added")
		case err != nil:
			log.Fatal(err)
		}
		fmt.Println("sum:", string(sum))
	}
	// Output:
	// sum: 5
	// sum: 5
	// sum: 5
}

// A Session is what a client keeps. It numbers the commands, and notes which of them are done. Only
// the ID of the session and the numbers travel to the servers, with the command.
func ExampleSession() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	node, _ := newTally()
	defer closeNodes(ctx, node)
	id, err := node.OpenSession(ctx)
	if err != nil {
		log.Fatal(err)
	}

	session := raft.NewSession(id)
	for _, add := range []string{"5", "10"} {
		command, err := session.Next()
		if err != nil {
			log.Fatal(err) // too many commands are on their way
		}
		for {
			sum, err := node.ProposeInSession(ctx, command, []byte(add))
			if err == nil {
				fmt.Println(command.Sequence, "sum:", string(sum))
				break
			}
			unknown := errors.Is(err, raft.ErrOutcomeUnknown) && !errors.Is(err, raft.ErrSessionExpired)
			if !unknown || ctx.Err() != nil {
				log.Fatal(err)
			}
			// It may have been applied. To send it again is safe.
		}
		session.Done(command)
	}
	// Output:
	// 1 sum: 5
	// 2 sum: 15
}

// A client that was started again goes on after the last number that it may have used. So a client
// notes a number durably before it sends a command with it.
func ExampleResumeSession() {
	var id raft.SessionID // the client has noted it when the session was opened
	lastNoted := uint64(41)

	session := raft.ResumeSession(id, lastNoted+1)
	command, err := session.Next()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("number", command.Sequence, "and answers are needed from", command.Lowest, "on")
	// Output: number 42 and answers are needed from 42 on
}
