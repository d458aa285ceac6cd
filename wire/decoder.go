package wire

import "github.com/e17579a5/raft/internal/codec"

// A Decoder decodes entries and messages, and remembers the server IDs that it has met. So an ID
// costs one allocation, however many entries name it, and a message costs one allocation for each
// of its lists. The zero value is ready for use, by one goroutine at a time.
type Decoder struct {
	last ServerID // the ID that was met last: most IDs come in runs
	ids  map[string]ServerID
	room []Entry // for the entries of small messages to come
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

// maxDecoderIDs bounds the number of IDs that a Decoder remembers. Past that it forgets all and
// starts afresh.
const maxDecoderIDs = 1024

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
