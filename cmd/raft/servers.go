package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/admin"
	"github.com/e17579a5/raft/httpapi"
)

// environment is the variable that names the servers if no flag does.
const environment = "RAFT_SERVERS"

// lookTimeout is how long a server has to say what it knows.
const lookTimeout = 5 * time.Second

// A cluster is the servers that the command line names.
type cluster struct {
	clients       []*admin.Client
	servers       string
	ca, cert, key string
	group         string
	timeout       time.Duration
}

// flags adds the flags that say which servers there are.
func (s *cluster) flags(flags *flag.FlagSet) {
	flags.StringVar(&s.servers, "servers", os.Getenv(environment), "the `addresses` of the administration of all servers, separated by commas; "+environment+" says it too")
	flags.StringVar(&s.ca, "ca", "", "the `file` with the certificates of the authorities of https servers (default: those of the system)")
	flags.StringVar(&s.cert, "cert", "", "the `file` with the certificate to show to https servers")
	flags.StringVar(&s.key, "key", "", "the `file` with the key of -cert")
	flags.StringVar(&s.group, "group", "", "the `name` of the group that it is about, of servers with many")
	flags.DurationVar(&s.timeout, "timeout", admin.DefaultTimeout, "how long a change may take")
}

// connect makes the clients. The error says what is wrong with a flag.
func (s *cluster) connect() error {
	if s.servers == "" {
		return errors.New("no servers: name them with -servers, or with " + environment)
	}
	if s.timeout < time.Millisecond || s.timeout > admin.MaxTimeout {
		return fmt.Errorf("-timeout %v: must be from 1ms to %v", s.timeout, admin.MaxTimeout)
	}
	secure, err := s.tls()
	if err != nil {
		return err
	}
	for address := range strings.SplitSeq(s.servers, ",") {
		client, err := admin.NewClient(strings.TrimSpace(address), secure)
		if err != nil {
			return fmt.Errorf("-servers: %w", err)
		}
		if s.group != "" {
			client = client.Group(raft.GroupID(s.group))
		}
		s.clients = append(s.clients, client)
	}
	return nil
}

// tls returns what to speak TLS with.
func (s *cluster) tls() (*tls.Config, error) {
	secure := &tls.Config{MinVersion: tls.VersionTLS12}
	if (s.cert == "") != (s.key == "") {
		return nil, errors.New("-cert and -key need each other")
	}
	if s.cert != "" {
		own, err := tls.LoadX509KeyPair(s.cert, s.key)
		if err != nil {
			return nil, fmt.Errorf("-cert, -key: %w", err)
		}
		secure.Certificates = []tls.Certificate{own}
	}
	if s.ca != "" {
		text, err := os.ReadFile(s.ca)
		if err != nil {
			return nil, fmt.Errorf("-ca: %w", err)
		}
		secure.RootCAs = x509.NewCertPool()
		if !secure.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("-ca: %s holds no certificate", s.ca)
		}
	}
	return secure, nil
}

// A view is what one server has answered, or why it hasn't.
type view struct {
	client *admin.Client
	status admin.Status
	err    error
}

// name returns the server's ID, or else what the command line calls it.
func (v *view) name() string {
	if v.err != nil {
		return v.client.Name()
	}
	return string(v.status.ID)
}

// look asks all servers at once what they know. The views are in the order of the command line.
func (s *cluster) look(ctx context.Context) []view {
	ctx, cancel := context.WithTimeout(ctx, min(s.timeout, lookTimeout))
	defer cancel()
	views := make([]view, len(s.clients))
	var asking sync.WaitGroup
	for i, client := range s.clients {
		asking.Go(func() {
			status, err := client.Status(ctx)
			views[i] = view{client, status, err}
		})
	}
	asking.Wait()
	return views
}

// leading returns the view of the server that leads: of those that say so, the one with the highest
// term. It is nil if none does.
func leading(views []view) (found *view) {
	for i := range views {
		v := &views[i]
		if v.err == nil && v.status.Role == "leader" && (found == nil || v.status.Term > found.status.Term) {
			found = v
		}
	}
	return found
}

// latest returns the view with the latest configuration. It is nil if no server that has answered
// belongs to a cluster.
func latest(views []view) (found *view) {
	for i := range views {
		v := &views[i]
		if v.err == nil && v.status.Membership.Index > 0 && (found == nil || v.status.Membership.Index > found.status.Membership.Index) {
			found = v
		}
	}
	return found
}

// silence says, for each server that hasn't answered, why not.
func silence(views []view) error {
	var all []error
	for i := range views {
		if v := &views[i]; v.err != nil {
			all = append(all, fmt.Errorf("server %s doesn't answer: %w", v.name(), v.err))
		}
	}
	return errors.Join(all...)
}

// candidates returns the servers to ask for a change, the best one first: the leader, then those that
// take part in the cluster, and the server that the change is about last.
func candidates(views []view, about raft.ServerID) (clients []*admin.Client) {
	rank := func(v *view) int {
		switch {
		case v.status.Trouble != "" || v.status.Membership.Index == 0:
			return 3
		case v.status.ID == about:
			return 2
		case v.status.Role != "leader":
			return 1
		}
		return 0
	}
	var able []*view
	for i := range views {
		if views[i].err == nil {
			able = append(able, &views[i])
		}
	}
	slices.SortStableFunc(able, func(a, b *view) int { return cmp.Compare(rank(a), rank(b)) })
	for _, v := range able {
		clients = append(clients, v.client)
	}
	return clients
}

// elsewhere says whether another server may do what this one hasn't done.
func elsewhere(err error) bool {
	failed, ok := errors.AsType[*httpapi.Error](err)
	return ok && failed.Outcome == httpapi.NotApplied &&
		slices.Contains([]string{"no_answer", "closed", "stopped", "removed", "no_part", "forbidden"}, failed.Code)
}

// try has one server after the other do something, until one has, or it isn't known whether it has.
func try[T any](clients []*admin.Client, do func(*admin.Client) (T, error)) (done T, by *admin.Client, err error) {
	for _, client := range clients {
		done, err = do(client)
		if err == nil || !elsewhere(err) {
			return done, client, err
		}
	}
	return done, nil, err
}

// wait tells a server how long a change may take.
func (s *cluster) wait() admin.Wait { return admin.Wait{TimeoutMS: s.timeout.Milliseconds()} }

// patience returns a context for a change. It ends a little later than the server gives up: the server
// knows what has become of it.
func (s *cluster) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.timeout+lookTimeout)
}

// failed says why a change wasn't made, or that it isn't known whether it was, and returns the exit
// code.
func (c *call) failed(err error) int {
	failure, ok := errors.AsType[*httpapi.Error](err)
	if !ok {
		failure = &httpapi.Error{Code: "failed", Outcome: httpapi.Unknown, Message: err.Error()}
	}
	if c.json {
		c.printJSON(failure)
	}
	if failure.Outcome != httpapi.Unknown {
		return c.end(c.fail(exitNot, fmt.Errorf("not done: %s (%s)", failure.Message, failure.Code)))
	}
	return c.end(c.fail(exitUntold, fmt.Errorf("THE OUTCOME IS UNKNOWN: it may have been done, or may be done yet: %s (%s); look before you do it again",
		failure.Message, failure.Code)))
}
