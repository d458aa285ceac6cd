package admin

import (
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/httpapi"
)

// A Status is what one server knows: raft.Status as JSON. It asks no other server. All times are in
// milliseconds.
type Status struct {
	ID            raft.ServerID `json:"id"`
	Role          string        `json:"role"`
	Term          raft.Term     `json:"term"`
	Leader        raft.ServerID `json:"leader"` // "" while the server knows none
	LeaderAddress string        `json:"leader_address,omitempty"`
	Membership    Membership    `json:"membership"`

	// These say how far the server has come in the log.
	Snapshot raft.Index `json:"snapshot"`
	Applied  raft.Index `json:"applied"`
	Commit   raft.Index `json:"commit"`
	Stable   raft.Index `json:"stable"`
	Last     raft.Index `json:"last"`

	// Pending counts the callers at this server that wait, and Waiting says what the oldest of each
	// kind waits for.
	Pending Pending   `json:"pending"`
	Waiting []Waiting `json:"waiting,omitempty"`

	// HandingOver is the server to which this leader hands over. LeaseMS is how long its lease runs.
	HandingOver raft.ServerID `json:"handing_over,omitempty"`
	LeaseMS     int64         `json:"lease_ms,omitempty"`
	// Peers are the other servers, as this leader knows them.
	Peers []Peer `json:"peers,omitempty"`
	// Receiving is the snapshot that this server is sent.
	Receiving *SnapshotTransfer `json:"receiving,omitempty"`
	// Disk, CatchUp and Machine are the lanes of the node.
	Disk    Lane `json:"disk"`
	CatchUp Lane `json:"catch_up"`
	Machine Lane `json:"machine"`
	// RoomBytes is for how many bytes of entries the disk has room; nil if nobody knows, or if it has
	// no end.
	RoomBytes *uint64 `json:"room_bytes,omitempty"`
	// Lost are the entries whose bytes the disk has lost.
	Lost []Range `json:"lost,omitempty"`

	// NoLeader says why the server knows no leader. Trouble says why it takes no part in its cluster.
	// Problems are all other things that aren't well. They are texts for people.
	NoLeader string   `json:"no_leader,omitempty"`
	Trouble  string   `json:"trouble,omitempty"`
	Problems []string `json:"problems,omitempty"`
}

// A Membership is a configuration of the cluster. Index is that of its entry in the log; 0 says that
// the server belongs to no cluster yet.
type Membership struct {
	Cluster string     `json:"cluster"`
	Index   raft.Index `json:"index"`
	Level   uint64     `json:"level"`
	Members []Member   `json:"members"`
	// While a change is under way, Next are the members that are to be, if servers still catch up for
	// it. Old are those that were, if a majority of both is needed.
	Old  []Member `json:"old,omitempty"`
	Next []Member `json:"next,omitempty"`
}

// A Member is a server of the cluster.
type Member struct {
	ID      raft.ServerID `json:"id"`
	Address string        `json:"address"` // where the other servers reach it
	Role    string        `json:"role"`    // "voter", "learner" or "joining"
	Disk    string        `json:"disk"`    // raft.Incarnation, in hexadecimal digits
}

// Pending counts callers that wait, by what they have called.
type Pending struct {
	Commands int `json:"commands"`
	Reads    int `json:"reads"`
	Calls    int `json:"calls"`
}

// A Waiting says what the oldest call of its kind waits for.
type Waiting struct {
	Kind    string          `json:"kind"` // "command", "read" or "call"
	On      raft.WaitReason `json:"on"`
	ForMS   int64           `json:"for_ms"`
	Index   raft.Index      `json:"index,omitempty"`
	Servers []raft.ServerID `json:"servers,omitempty"`
	Text    string          `json:"text"` // all of it, for people
}

// A Peer is another server, as a leader knows it.
type Peer struct {
	ID       raft.ServerID     `json:"id"`
	Match    raft.Index        `json:"match"`
	Next     raft.Index        `json:"next"`
	Sending  string            `json:"sending"`
	InFlight int               `json:"in_flight"`
	Bytes    int               `json:"in_flight_bytes"`
	SilentMS int64             `json:"silent_ms"`
	Snapshot *SnapshotTransfer `json:"snapshot,omitempty"`
	Trouble  string            `json:"trouble,omitempty"`
	Full     bool              `json:"full,omitempty"`
}

// A SnapshotTransfer says where the transfer of a snapshot stands.
type SnapshotTransfer struct {
	Peer  raft.ServerID `json:"peer,omitempty"`
	Index raft.Index    `json:"index"`
	Stage string        `json:"stage"`
	Done  uint64        `json:"done"`
	Size  uint64        `json:"size"`
}

// A Lane says what a lane of the node has to do.
type Lane struct {
	Pending int    `json:"pending"`
	ForMS   int64  `json:"for_ms"`
	Waits   string `json:"waits,omitempty"`
}

// A Range is a range of entries, both ends included.
type Range struct {
	First raft.Index `json:"first"`
	Last  raft.Index `json:"last"`
}

// status answers what this server knows.
func (h *handler) status(*http.Request) (any, error) {
	is := h.node.Status()
	return statusOf(&is), nil
}

// statusOf returns a status for people and programs.
func statusOf(is *raft.Status) Status {
	s := Status{
		ID: is.ID, Role: is.Role, Term: is.Term, Leader: is.Leader, LeaderAddress: is.LeaderAddress, Membership: membershipOf(is),
		Snapshot: is.Snapshot, Applied: is.Applied, Commit: is.Commit, Stable: is.Stable, Last: is.Last,
		Pending:     Pending{is.PendingProposals, is.PendingReads, is.PendingCalls},
		HandingOver: is.HandingOver, LeaseMS: is.Lease.Milliseconds(), Receiving: transferOf(is.Receiving),
		Disk: laneOf(is.Disk), CatchUp: laneOf(is.CatchUp), Machine: laneOf(is.Machine), Trouble: text(is.Trouble),
		Problems: httpapi.ProblemsOf(is),
	}
	for _, oldest := range []struct {
		kind string
		wait *raft.Wait
	}{{"command", is.Command}, {"read", is.Read}, {"call", is.Call}} {
		if w := oldest.wait; w != nil {
			w.For = w.For.Round(time.Millisecond)
			s.Waiting = append(s.Waiting, Waiting{oldest.kind, w.On, w.For.Milliseconds(), w.Index, w.Servers, w.String()})
		}
	}
	for i := range is.Peers {
		p := &is.Peers[i]
		s.Peers = append(s.Peers, Peer{
			ID: p.ID, Match: p.Match, Next: p.Next, Sending: p.Sending, InFlight: p.InFlight, Bytes: p.InFlightBytes,
			SilentMS: p.Silent.Milliseconds(), Snapshot: transferOf(p.Snapshot), Trouble: text(p.Trouble), Full: p.Full,
		})
	}
	if is.Room != math.MaxUint64 && is.Stuck == "" {
		s.RoomBytes = &is.Room
	}
	if is.Damage != nil {
		for _, lost := range is.Damage.Lost {
			s.Lost = append(s.Lost, Range{lost.First, lost.Last})
		}
	}
	if is.NoLeader != nil {
		is.NoLeader.For = is.NoLeader.For.Round(time.Millisecond)
		s.NoLeader = is.NoLeader.String()
	}
	return s
}

// membershipOf returns the configuration that a server knows.
func membershipOf(is *raft.Status) Membership {
	list := func(members []raft.Member) (all []Member) {
		for _, m := range members {
			all = append(all, Member{m.ID, m.Address, m.Role.String(), fmt.Sprintf("%016x", uint64(m.Incarnation))})
		}
		return all
	}
	m := Membership{
		Index: is.ConfigurationIndex, Level: uint64(is.Level), Members: list(is.Members), Old: list(is.Old), Next: list(is.Next),
	}
	if m.Members == nil {
		m.Members = []Member{}
	}
	if is.Cluster != (raft.ClusterID{}) {
		m.Cluster = is.Cluster.String()
	}
	return m
}

func transferOf(t *raft.TransferStatus) *SnapshotTransfer {
	if t == nil {
		return nil
	}
	return &SnapshotTransfer{t.Peer, t.Index, t.Stage, t.Done, t.Size}
}

func laneOf(l raft.LaneStatus) Lane { return Lane{l.Pending, l.For.Milliseconds(), text(l.Waits)} }

// text returns what an error says; "" for nil.
func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
