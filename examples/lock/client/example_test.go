package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"strings"
	"time"

	"github.com/e17579a5/raft/examples/lock/client"
)

// A program holds a lock while it writes to the store. It stops when its lease may be over, and the
// store gets the token, since the program may notice that too late.
func ExampleClient_Acquire() {
	ctx := context.Background()
	c, err := client.New(client.Options{Servers: []string{"127.0.0.1:8180", "127.0.0.1:8181", "127.0.0.1:8182"}})
	if err != nil {
		log.Fatal(err)
	}
	defer func() {
		if err := c.Close(ctx); err != nil {
			log.Print(err)
		}
	}()
	lock, err := c.Acquire(ctx, "door", client.Terms{Lease: 10 * time.Second, Owner: "example"})
	if err != nil {
		log.Fatal(err)
	}
	body := strings.NewReader(fmt.Sprintf(`{"token": %d, "value": "hello"}`, lock.Token()))
	request, err := http.NewRequestWithContext(lock.Context(), http.MethodPut, "http://127.0.0.1:8190/store/greeting", body)
	if err != nil {
		log.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	switch {
	case errors.Is(context.Cause(lock.Context()), client.ErrLeaseOver):
		log.Print("the lease may be over, and the write was carried out or not")
	case err != nil:
		log.Print(err)
	default:
		fmt.Println(answer.Status) // 409: another holder has been here
		if err := answer.Body.Close(); err != nil {
			log.Print(err)
		}
	}
	if err := lock.Release(ctx); err != nil {
		log.Print(err)
	}
}
