package process

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// InNetwork runs a test in a network namespace of its own: the test binary once more, in a process
// where test gets the Network. It skips the test on a machine where no namespace can be made. flags are
// those of the tests that the process needs too.
func InNetwork(t *testing.T, test func(t *testing.T, n *Network), flags ...string) {
	const inside = "RAFT_TEST_NETWORK"
	if os.Getenv(inside) != "" {
		test(t, newNetwork(t))
		return
	}
	for _, tool := range []string{"unshare", "ip", "bridge"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("network namespaces need ", tool)
		}
	}
	if out, err := exec.Command("unshare", "-nm", "ip", "link", "add", "br0", "type", "bridge").CombinedOutput(); err != nil {
		t.Skipf("no network namespace, or no bridge in it, can be made here: %v: %s", err, out)
	}
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := NewGroup(t).Add("network", func() *exec.Cmd {
		arguments := append([]string{"-nm", binary, "-test.run=^" + t.Name() + "$", "-test.v"}, flags...)
		command := exec.Command("unshare", arguments...)
		command.Env = append(os.Environ(), inside+"=1")
		return command
	})
	p.Start()
	<-p.exited // the test has a deadline of its own
	out, err := os.ReadFile(p.log())
	if err != nil {
		t.Fatal(err)
	}
	t.Log(string(out))
	if code := p.AwaitExit(); code != 0 {
		t.Fatalf("the test in the network: %s", p.Command.ProcessState)
	}
}

// A Network is processes in network namespaces of their own, each with an address. A real kernel
// carries their packets over a bridge, where they can be cut off without a reset or an error.
type Network struct{ *Group }

// newNetwork makes the bridge. The test itself is at it, too.
func newNetwork(t testing.TB) *Network {
	n := &Network{NewGroup(t)}
	n.system("ip", "link", "set", "lo", "up")
	n.system("ip", "link", "add", "br0", "type", "bridge")
	n.system("ip", "addr", "add", Host(100)+"/24", "dev", "br0")
	n.system("ip", "link", "set", "br0", "up")
	return n
}

// Host returns the address of a process by its number, from 1 to 99. The test itself is 100.
func Host(number int) string { return fmt.Sprintf("10.9.0.%d", number) }

// system runs a command of the system.
func (n *Network) system(name string, arguments ...string) {
	n.t.Helper()
	if out, err := exec.Command(name, arguments...).CombinedOutput(); err != nil {
		n.t.Fatalf("%s %v: %v: %s", name, arguments, err, out)
	}
}

// Join starts a process that talks, in a namespace with the address of its number. make makes its
// command.
func (n *Network) Join(number int, name string, make func() *exec.Cmd) *Process {
	n.t.Helper()
	const script = `echo here; read line; ip link set lo up && ip addr add "$0"/24 dev eth0 && ip link set eth0 up && exec "$@"`
	p := n.Add(name, func() *exec.Cmd {
		command := make()
		joining := exec.Command("unshare", append([]string{"-n", "sh", "-c", script, Host(number)}, command.Args...)...)
		joining.Env = command.Env
		return joining
	})
	p.StartTalking()
	if line := p.Line(); line != "here" {
		n.t.Fatalf("%s says %q", name, line)
	}
	n.system("ip", "link", "add", port(p), "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprintf("/proc/%d/ns/net", p.Command.Process.Pid))
	n.system("ip", "link", "set", port(p), "master", "br0", "up")
	p.Tell("go on")
	return p
}

// port returns the name of the bridge's port that leads to a process.
func port(p *Process) string { return "to-" + p.Name }

// Cut lets none of the packets of a process through, to it or from it, until Heal.
func (n *Network) Cut(p *Process) {
	n.t.Helper()
	n.system("bridge", "link", "set", "dev", port(p), "state", "disabled")
}

// Heal lets the packets of a process through again.
func (n *Network) Heal(p *Process) {
	n.t.Helper()
	n.system("bridge", "link", "set", "dev", port(p), "state", "forwarding")
}
