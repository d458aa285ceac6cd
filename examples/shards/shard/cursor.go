package shard

// PlaceBits is how many bits a Cursor has for the place within a shard. With the shard's number it has 53: as
// many as the numbers of JavaScript take, since a cursor goes through clients.
const PlaceBits = 39

// A Cursor says where a list of all keys of a store goes on: in a shard, and there from a place on. All shards
// before it are done. Keys have the same places at every server, and never change their shard. So a list goes
// on at any server, also while shards move.
type Cursor struct {
	Shard int
	Place uint64 // less than 1<<PlaceBits
}

// CursorOf returns the cursor that a number stands for, in a store with so many shards. It returns false if
// there is no such cursor.
func CursorOf(number uint64, shards int) (Cursor, bool) {
	if number>>PlaceBits >= uint64(shards) {
		return Cursor{}, false
	}
	return Cursor{int(number >> PlaceBits), number & (1<<PlaceBits - 1)}, true
}

// Number returns the number that stands for the cursor. It is 0 for the first shard from its beginning on.
func (c Cursor) Number() uint64 { return uint64(c.Shard)<<PlaceBits | c.Place }

// After returns where a list goes on when so many shards, beginning with the cursor's, are done. It returns
// false if none is left.
func (c Cursor) After(done, shards int) (Cursor, bool) {
	next := c.Shard + done
	return Cursor{Shard: next}, next < shards
}
