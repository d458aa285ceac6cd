package raft

import (
	"slices"

	"github.com/e17579a5/raft/wire"
)

// keyring is what a server has handed out of the keys of its cluster.
type keyring struct {
	// committed and latest are the configurations from which told was made. told is what the
	// transport knows.
	committed, latest *Configuration    `state:"derived"`
	told              []wire.ClusterKey `state:"derived" clone:"shared"`
}

// finalConfiguration returns the last configuration that is known to be committed, or nil if there
// is none. That is the latest one, or the one before: a leader appends no configuration before the
// last one is committed. A configuration that is alone is committed too. Either a snapshot has
// brought it, or it is the one that founded the cluster; and a server that holds that one lets
// nobody found the cluster again.
func (l *entryLog) finalConfiguration() *Configuration {
	n := len(l.configurations)
	if n > 1 && l.configurations[n-1].index > l.commit {
		n--
	}
	if n == 0 {
		return nil
	}
	return l.configurations[n-1].configuration
}

// guarded returns the key that others must prove to this server, or the zero key if there is none.
// It is the current key of the last configuration that is known to be committed: every later leader
// holds that configuration, however far this server lags behind. A server that this configuration
// doesn't name is no member yet, or not any more: nobody has to prove anything to it.
func (c *Core) guarded() wire.ClusterKey {
	final := c.log.finalConfiguration()
	if final == nil || len(final.Keys) == 0 || !final.Names(c.id, c.state.Incarnation) {
		return wire.ClusterKey{}
	}
	return final.Keys[0]
}

// drainKeys hands out the keys that the transport demands and proves, if they have changed.
func (c *Core) drainKeys(e *Effects) {
	final, latest := c.log.finalConfiguration(), c.log.configuration()
	if final == c.keyring.committed && latest == c.keyring.latest {
		return
	}
	c.keyring.committed, c.keyring.latest = final, latest
	keys := []wire.ClusterKey{}
	if guarded := c.guarded(); guarded != (wire.ClusterKey{}) {
		keys = append(keys, guarded)
		for _, key := range slices.Concat(latest.Keys, final.Keys) {
			if !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	if !slices.Equal(keys, c.keyring.told) {
		c.keyring.told, e.Keys = keys, keys
	}
}
