package wire

import "github.com/e17579a5/raft/internal/codec"

// A Decoder decodes entries and messages, and remembers the IDs of servers and groups that it has
// met. So an ID costs one allocation, however many entries name it, and a message costs one
// allocation for each of its lists. The zero value is ready for use, by one goroutine at a time.
type Decoder struct {
	last   ServerID // the ID that was met last: most IDs come in runs
	ids    map[string]ServerID
	groups map[string]GroupID
	room   []Entry // for the entries of small messages to come
}

// entryRoom is how many entries the Decoder allocates at a time for small messages. A message of
// more than a quarter of that gets a list of its own.
const entryRoom = 64

// entries returns n entries that nothing else refers to.
func (d *Decoder) entries(n int) []Entry {
	if n > entryRoom/4 {
		return make([]Entry, n)
	}
	if n > len(d.room) {
		d.room = make([]Entry, entryRoom)
	}
	entries := d.room[:n:n]
	d.room = d.room[n:]
	return entries
}

// maxDecoderIDs bounds the number of servers' IDs that a Decoder remembers, and maxDecoderGroups
// that of groups' IDs. Past that it forgets all and starts afresh.
const (
	maxDecoderIDs    = 1024
	maxDecoderGroups = 1 << 17
)

// id returns the ID that b spells.
func (d *Decoder) id(b []byte) ServerID {
	if string(b) == string(d.last) {
		return d.last
	}
	id, ok := d.ids[string(b)]
	if !ok {
		if d.ids == nil || len(d.ids) >= maxDecoderIDs {
			d.ids = make(map[string]ServerID)
		}
		id = ServerID(b)
		d.ids[string(id)] = id
	}
	d.last = id
	return id
}

// group returns the group's ID that b spells.
func (d *Decoder) group(b []byte) GroupID {
	id, ok := d.groups[string(b)]
	if !ok {
		if d.groups == nil || len(d.groups) >= maxDecoderGroups {
			d.groups = make(map[string]GroupID)
		}
		id = GroupID(b)
		d.groups[string(id)] = id
	}
	return id
}

// A reader is a codec.Reader that knows the parts of entries and messages.
type reader struct {
	codec.Reader
	decoder *Decoder
}

func newReader(b []byte, d *Decoder) reader { return reader{codec.NewReader(b), d} }

func (r *reader) serverID(name string) ServerID {
	n := r.Uvarint(name)
	if n > MaxServerID {
		r.Fail("%s: a server ID of %d bytes, more than %d", name, n, MaxServerID)
		return ""
	}
	return r.decoder.id(r.Next(n, name))
}

// groupID reads the ID of a group, which isn't empty.
func (r *reader) groupID(name string) GroupID {
	id := r.anyGroup(name)
	if id == "" {
		r.Fail("%s is empty, yet present", name)
	}
	return id
}

// anyGroup reads the ID of a group.
func (r *reader) anyGroup(name string) GroupID {
	n := r.Uvarint(name)
	if n > MaxGroupID {
		r.Fail("%s: a group ID of %d bytes, more than %d", name, n, MaxGroupID)
		return ""
	}
	return r.decoder.group(r.Next(n, name))
}
