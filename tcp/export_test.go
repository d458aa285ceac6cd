package tcp

// What tests of other packages need to know.
const (
	MaxGuests     = maxGuests
	MaxStreams    = maxStreams
	MaxHandshakes = maxHandshakes
	StreamChunk   = streamChunk
)
