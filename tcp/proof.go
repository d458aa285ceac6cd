package tcp

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"slices"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A server belongs to the cluster if SetServers names it. But a server that was away doesn't know
// everybody who belongs to its cluster by now, and must still hear its leader. So whoever dials
// proves the keys of the cluster that it has, and whoever is dialled looks for the proof of the
// newest key that it has itself. Whoever is neither named nor has proved that key is a stranger.
//
//	knows the keys    proves    to a server whose newest key is    and is
//	3, 2, 1           3, 2, 1   1: it was away                     no stranger
//	1                 1         3: the sender was removed          a stranger
//	none              nothing   3: it never was a member           a stranger
//
// A proof shows a key without telling it, is good in one direction between two servers, and with
// TLS on one connection only.

// A proof is the HMAC-SHA256 of what it is bound to, under a key.
type proof [sha256.Size]byte

// maxProofs is how many proofs one side may send at a time.
const maxProofs = wire.MaxClusterKeys

// proofLabel tells proofs from everything else that is made of the same secrets. It is also the
// label under which TLS exports keying material: by its first word it is free to use (RFC 5705,
// section 4).
const proofLabel = "EXPERIMENTAL raft: a server of the cluster"

// exportedSize is how many bytes of keying material a proof is bound to.
const exportedSize = 32

// A session is what proofs are bound to.
type session struct {
	from, to raft.ServerID // the server that has dialled, and the one that it has reached
	exported []byte        // keying material of the TLS session (RFC 8446, section 7.5); none without TLS
}

// newSession returns the session of a connection. With TLS it completes the handshake of TLS.
func newSession(l *link, from, to raft.ServerID) (session, error) {
	s := session{from: from, to: to}
	conn, encrypted := l.conn.(*tls.Conn)
	if !encrypted {
		return s, nil
	}
	if err := conn.Handshake(); err != nil {
		return s, err
	}
	state := conn.ConnectionState()
	exported, err := state.ExportKeyingMaterial(proofLabel, nil, exportedSize)
	if err != nil {
		return s, fmt.Errorf("export keying material: %w", err)
	}
	s.exported = exported
	return s, nil
}

// prove returns the proof that the side which has dialled has the key.
func (s *session) prove(key *wire.ClusterKey) (p proof) {
	b := appendText(nil, proofLabel)
	b = appendText(b, string(s.from))
	b = appendText(b, string(s.to))
	b = appendText(b, string(s.exported))
	mac := hmac.New(sha256.New, key[:])
	mac.Write(b)
	mac.Sum(p[:0])
	return p
}

// A keyring is the keys of the cluster that this side has, the newest first. It never changes. A
// nil keyring has no keys.
type keyring struct{ keys []wire.ClusterKey }

func (r *keyring) empty() bool { return r == nil || len(r.keys) == 0 }

// prove returns the proofs of all keys.
func (r *keyring) prove(s *session) (proofs []proof) {
	if r.empty() {
		return nil
	}
	for i := range r.keys {
		proofs = append(proofs, s.prove(&r.keys[i]))
	}
	return proofs
}

// convinced says whether one of the proofs shows the newest key. How long it takes doesn't depend
// on which bytes are wrong.
func (r *keyring) convinced(s *session, proofs []proof) (yes bool) {
	if r.empty() {
		return false
	}
	want := s.prove(&r.keys[0])
	for i := range proofs {
		if hmac.Equal(proofs[i][:], want[:]) {
			yes = true
		}
	}
	return yes
}

// SetKeys takes the keys of the cluster, the newest first, as raft.Transport says. This side proves
// them to all servers, also on connections that stand already; and the connections that it has
// accepted are judged anew by the newest of them. From the first key on, streams of strangers are
// refused. More than wire.MaxClusterKeys keys are not used.
func (t *Transport) SetKeys(keys []wire.ClusterKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keys = &keyring{slices.Clone(keys[:min(len(keys), maxProofs)])}
	for _, p := range t.peers {
		p.judge()
		p.rouse() // the sender renews its proofs
	}
	for a := range t.arrivals {
		t.judge(a.link)
	}
}

// keyring returns the keys that this side has.
func (t *Transport) keyring() *keyring {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.keys
}

// judge looks whether the other side of a connection has proved the newest key. The caller holds
// mu.
func (t *Transport) judge(l *link) {
	l.proved.Store(t.keys.convinced(&l.session, l.proofs))
}

// judge looks whether the peer has proved the newest key on its connection for messages. The caller
// holds mu of the transport.
func (p *peer) judge() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range []*link{p.in, p.bulkIn} {
		if l != nil {
			p.transport.judge(l)
		}
	}
}

// renewed takes the proofs that the other side sends after its hello.
func (t *Transport) renewed(l *link, body []byte) error {
	text := texts{left: body[1:]}
	proofs := text.proofs()
	if !text.ok() {
		return fmt.Errorf("%w: malformed proofs", errFrame)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	l.proofs = proofs
	t.judge(l)
	return nil
}

// isStranger says whether a connection that was accepted comes from a stranger.
func (t *Transport) isStranger(l *link) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.judge(l)
	return t.peers[l.session.from].isStranger(l)
}

// A renewal is a frame with proofs in the midst of the frames with messages. It begins with a byte
// that no message begins with.
const renewal = 0

// renew puts a renewal ahead of a batch, if this side has other keys than the connection has seen
// proofs of.
func (l *link) renew(keys *keyring, batch []byte) []byte {
	if l.shown == keys {
		return batch
	}
	l.shown = keys
	frame := append(make([]byte, frameHeader), renewal)
	frame = appendProofs(frame, keys.prove(&l.session))
	sealFrame(frame)
	return append(frame, batch...)
}

func appendProofs(b []byte, proofs []proof) []byte {
	b = append(b, byte(len(proofs)))
	for i := range proofs {
		b = append(b, proofs[i][:]...)
	}
	return b
}

// proofs returns a number of proofs, which must be at most maxProofs.
func (t *texts) proofs() (proofs []proof) {
	n := int(t.byte())
	if n > maxProofs || len(t.left) < n*len(proof{}) {
		t.missing = true
		return nil
	}
	proofs = make([]proof, n)
	for i := range proofs {
		t.left = t.left[copy(proofs[i][:], t.left):]
	}
	return proofs
}
