package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// nodeModules is an environment variable: the folder in which npm has put the packages redis and
// ioredis.
const nodeModules = "REDIS_TEST_NODE_MODULES"

// A nodeClient is a library of npm, in a process that testdata/stock.cjs runs in.
type nodeClient struct {
	command *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
}

// requireNode skips the test where newNodeClient can't work.
func requireNode(t *testing.T) {
	t.Helper()
	if os.Getenv(nodeModules) == "" {
		t.Skipf("%s isn't set: npm install --prefix DIR redis ioredis, and set it to DIR/node_modules", nodeModules)
	}
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("there is no node here")
	}
}

// newNodeClient starts a process that uses a library. A word more makes it a client of Redis Cluster.
func newNodeClient(t *testing.T, library, address, protocol string, more ...string) stock {
	host, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	c := &nodeClient{command: exec.Command("node", append([]string{"testdata/stock.cjs", library, host, port, protocol}, more...)...)}
	c.command.Env = append(os.Environ(), "NODE_PATH="+os.Getenv(nodeModules))
	c.command.Stderr = os.Stderr
	c.in, err = c.command.StdinPipe()
	require.NoError(t, err)
	out, err := c.command.StdoutPipe()
	require.NoError(t, err)
	c.out = bufio.NewReader(out)
	require.NoError(t, c.command.Start())
	var connected string
	require.NoError(t, c.answer(&connected))
	require.Equal(t, "connected", connected)
	return c
}

// call calls a function of the script.
func (c *nodeClient) call(result any, op string, args ...any) error {
	text, err := json.Marshal(map[string]any{"op": op, "args": args})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c.in, "%s\n", text); err != nil {
		return err
	}
	return c.answer(result)
}

func (c *nodeClient) answer(result any) error {
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return err
	}
	var answer struct {
		Result json.RawMessage
		Error  string
	}
	if err := json.Unmarshal(line, &answer); err != nil {
		return fmt.Errorf("%w: %s", err, line)
	}
	if answer.Error != "" {
		return errors.New(answer.Error)
	}
	return json.Unmarshal(answer.Result, result)
}

func (c *nodeClient) set(key, value string) error {
	var ok string
	return c.call(&ok, "set", key, value)
}

func (c *nodeClient) get(key string) (value string, err error) {
	err = c.call(&value, "get", key)
	return value, err
}

func (c *nodeClient) pipeline(key string, n int) (results []int64, err error) {
	err = c.call(&results, "pipeline", key, n)
	return results, err
}

func (c *nodeClient) transact(key string, between func()) (conflict bool, err error) {
	var value string
	if err := c.call(&value, "begin", key); err != nil {
		return false, err
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		return false, err
	}
	between()
	done := false
	err = c.call(&done, "exec", key, fmt.Sprint(n+1))
	return !done, err
}

func (c *nodeClient) hash(key string, fields map[string]string) (all map[string]string, err error) {
	err = c.call(&all, "hash", key, fields)
	return all, err
}

func (c *nodeClient) close() {
	_ = c.in.Close() // ends the script
	ended := make(chan error, 1)
	go func() { ended <- c.command.Wait() }()
	select {
	case <-ended:
	case <-time.After(patience):
		_ = c.command.Process.Kill()
	}
}
