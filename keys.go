package raft

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/e17579a5/raft/wire"
)

// A cluster has a secret, its key, by which its members know each other before they have each
// other's names: a server that lags behind doesn't know a leader that has joined meanwhile. The key
// is a part of the configuration. So it gets to the members as everything else in the log does, and
// all of them agree on it.
//
//	step                                     the key
//	──────────────────────────────────────   ──────────────────────────────────────────────────────
//	the founding, or the level rises         is drawn
//	a server or a disk leaves                is outworn from here on: the server that leaves is
//	                                         sent this configuration, and knows the key
//	the last step of the same change         is replaced by one that only the new members are sent
//
// A server that leaves is sent nothing behind the configuration by which it leaves (progress.end),
// and a leader that isn't a member any more draws no key.
//
// Which key counts is decided by what is committed. A follower may hold a configuration that is
// never committed, with a key that no later leader knows. So each server demands the current key of
// the last configuration that it knows to be committed (guarded): every later leader has it in its
// log (Leader Completeness), and in its list of keys, unless that has been cut off since.
//
// But a server that has left knows that key, and the others have dealt with it as soon as the next
// one is committed. A follower hears of that one heartbeat later, and after a restart it knows of no
// commit at all. So a new key is demanded from when it is in the log, for a while in which a leader
// would be heard (keyDeadline). A leader that lacks that key, and that this server doesn't know by
// name, has to wait so long.

// keyring is what a server has handed out of the keys of its cluster.
type keyring struct {
	// committed and latest are the configurations from which told was made. told is what the
	// transport knows.
	committed, latest *Configuration    `state:"derived"`
	newest            bool              `state:"derived"` // what newKeyCounts said then
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

// newKeyPatience is the number of election timeouts in which a new key is demanded though it isn't
// known to be committed.
const newKeyPatience = 10

// keyAppended begins to demand the key of the latest configuration, if it is a new one.
func (c *Core) keyAppended() {
	final, latest := c.log.finalConfiguration(), c.log.configuration()
	if len(latest.Keys) > 0 && len(final.Keys) > 0 && latest.Keys[0] != final.Keys[0] {
		c.arm(keyDeadline, newKeyPatience*c.config.ElectionTimeout)
	}
}

// newKeyCounts says whether this server demands the key of its latest configuration, though it
// doesn't know that this one is committed.
func (c *Core) newKeyCounts() bool {
	latest := c.log.configuration()
	return c.armed(keyDeadline) && latest != nil && len(latest.Keys) > 0 && latest.Names(c.id, c.state.Incarnation)
}

// guarded returns the key that others must prove to this server, or the zero key if there is none.
// It is the current key of the last configuration that is known to be committed, or for a while that
// of a later one. A server that the committed configuration doesn't name is no member yet, or not
// any more: nobody has to prove anything to it.
func (c *Core) guarded() wire.ClusterKey {
	final := c.log.finalConfiguration()
	if final == nil || len(final.Keys) == 0 || !final.Names(c.id, c.state.Incarnation) {
		return wire.ClusterKey{}
	}
	if c.newKeyCounts() {
		return c.log.configuration().Keys[0]
	}
	return final.Keys[0]
}

// drainKeys hands out the keys that the transport demands and proves, if they have changed.
func (c *Core) drainKeys(e *Effects) {
	final, latest, newest := c.log.finalConfiguration(), c.log.configuration(), c.newKeyCounts()
	if final == c.keyring.committed && latest == c.keyring.latest && newest == c.keyring.newest {
		return
	}
	c.keyring.committed, c.keyring.latest, c.keyring.newest = final, latest, newest
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

// drawsKeys says whether this server draws keys for its cluster when it leads.
func (c *Core) drawsKeys() bool { return c.config.KeyLuck != [32]byte{} }

// renewsKey says whether the key of a configuration is to be replaced by this leader. Only a leader
// that stays a member may know the next one.
func (c *Core) renewsKey(configuration *Configuration) bool {
	return configuration.KeyOutworn && c.drawsKeys() && configuration.Counts(c.id, c.state.Incarnation)
}

// keyFollows says whether a change hasn't ended for a server that has asked for it, although its
// members are settled: another configuration is still to come, with a key that those who have left
// don't know. One of these gets no more than it has.
func (c *Core) keyFollows(configuration *Configuration, asked ServerID) bool {
	return configuration.KeyOutworn && c.drawsKeys() && configuration.Member(asked) != nil
}

// setKeys gives the configuration that this leader is about to append its keys: those of the one
// before, with a new one if there is none yet, or if the last one is outworn.
func (c *Core) setKeys(before, next *Configuration) {
	next.Keys, next.KeyOutworn = before.Keys, before.KeyOutworn
	if next.LevelInForce() < wire.LevelKeys {
		return
	}
	leaves := leavesOut(before, next)
	if c.drawsKeys() && (len(next.Keys) == 0 || !leaves && c.renewsKey(next)) {
		next.Keys, next.KeyOutworn = c.drawKey(next.Keys), false
	}
	next.KeyOutworn = len(next.Keys) > 0 && (next.KeyOutworn || leaves)
}

// drawKey returns a list of keys with a new one in front. The key follows from the secret luck of
// this start, and from the place of the entry that brings it, at which this server appends nothing
// else.
func (c *Core) drawKey(keys []wire.ClusterKey) []wire.ClusterKey {
	mac := hmac.New(sha256.New, c.config.KeyLuck[:])
	place := binary.BigEndian.AppendUint64(nil, uint64(c.state.Term))
	mac.Write(binary.BigEndian.AppendUint64(place, uint64(c.log.last+1)))
	key := wire.ClusterKey(mac.Sum(nil))
	return append([]wire.ClusterKey{key}, keys[:min(len(keys), wire.MaxClusterKeys-1)]...)
}

// leavesOut says whether a configuration doesn't name a disk any more that the one before it names.
func leavesOut(before, next *Configuration) bool {
	names := func(in []Member, m *Member) bool {
		i := wire.FindMember(in, m.ID)
		return i >= 0 && in[i].Incarnation == m.Incarnation
	}
	for _, half := range [2][]Member{before.Members, before.Old} {
		for i := range half {
			if m := &half[i]; !names(next.Members, m) && !names(next.Old, m) {
				return true
			}
		}
	}
	return false
}
