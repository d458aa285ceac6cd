package shard

import "strings"

// Slots is the number of slots. MaxShards is the largest number of shards: each has one slot at least.
const (
	Slots     = 16384
	MaxShards = Slots
)

// Slot returns the slot of a key, as in Redis Cluster: CRC16 of the key, modulo 16,384. If the key has
// something between its first { and the next }, only that counts: so {user:1}.name and {user:1}.mail are
// in one slot.
func Slot(key string) int {
	if _, after, found := strings.Cut(key, "{"); found {
		if tag, _, closed := strings.Cut(after, "}"); closed && tag != "" {
			key = tag
		}
	}
	return int(crc16(key)) % Slots
}

// Of returns which of so many shards has the slot of a key. Each shard has a run of slots.
func Of(key string, shards int) int { return OfSlot(Slot(key), shards) }

// OfSlot returns which of so many shards has a slot.
func OfSlot(slot, shards int) int { return slot * shards / Slots }

// Run returns the first and the last slot of one of so many shards.
func Run(shard, shards int) (first, last int) {
	return (shard*Slots + shards - 1) / shards, ((shard+1)*Slots+shards-1)/shards - 1
}

// crc16 is the CRC-16 of XMODEM: its polynomial is 0x1021, and it begins with 0.
func crc16(text string) (sum uint16) {
	for i := range len(text) {
		sum = sum<<8 ^ crcTable[byte(sum>>8)^text[i]]
	}
	return sum
}

var crcTable = func() (table [256]uint16) {
	for i := range table {
		sum := uint16(i) << 8
		for range 8 {
			carry := sum >> 15
			sum = sum<<1 ^ carry*0x1021
		}
		table[i] = sum
	}
	return table
}()
