// Package tcp carries messages between servers over TCP, with mutual TLS if wanted. Its Transport
// is a raft.Transport.
//
// # Connections
//
// A server sends to another server over a connection that it has dialled itself, and receives over
// the one that the other server has dialled: one connection for each peer and direction. Each
// stream has a connection of its own, and so has each message that names the address where it goes.
// Large messages have one connection for each peer and direction, while there are any. That is so
// however many groups the servers' processes serve.
//
// A connection begins with a handshake. The server that dials sends
//
//	magic      4 bytes, "raft"
//	protocol   1 byte, the version of this package's format
//	wire       1 byte, wire.Version
//	hello      a frame: 1 byte for the purpose of the connection, the server's own ID, its own
//	           address, and the ID of the server that it means to reach, each of the three a
//	           length (2 bytes) and that many bytes; and proofs. The purpose is 1 for messages, 2
//	           for a stream, 3 for a single message, after which the other side closes the
//	           connection, 4 for large messages
//
// and the server that was dialled answers
//
//	magic, protocol, wire as above
//	answer     a frame: 1 byte, accepted 1 or refused 2, then the ID of the answering server and
//	           the reason of a refusal, each a length (2 bytes) and that many bytes
//
// From then on, data flows from the server that has dialled, in frames. A frame is
//
//	checksum   4 bytes, the CRC-32C of everything behind it
//	length     4 bytes, of the body
//	body       one message in the encoding of wire.AppendMessage, or a piece of a stream
//
// All numbers are little-endian. A frame without a body ends a stream. A connection that ends
// without it has broken the stream.
//
// On a connection for messages, large ones too, a frame whose body begins with a byte 0 brings new
// proofs, which follow that byte. They take the place of the earlier ones. A frame without a body
// is a question. The other side answers with a receipt: a frame whose body is a number of 8 bytes,
// which says how many bytes behind the handshake it has read. All messages in them were handled. It
// also sends a receipt when it has read 64 KiB since the last one. Nothing else flows in that
// direction. A connection on which anything else arrives is closed.
//
// # Who belongs to the cluster
//
// A server belongs to the cluster in the eyes of the one that it has dialled if SetServers names it
// there, or if it has proved the newest key that SetKeys has given there. Anybody else is a
// stranger: its messages are marked (wire.Envelope.Stranger), so that the core admits next to
// nothing of them, and its streams are refused from the first key on. That is judged at each
// message, so a server that is removed is a stranger at once, on a connection that stands as on a
// new one; and one that is added is none any more.
//
// Names are enough for those who know each other. The key is for a server that was away and doesn't
// know its new leader: the leader proves every key that it has, old ones too, and the server finds
// the one that it knows. A server that was removed knows none but old keys, and the others have a
// newer one. The server that was dialled proves nothing: nothing is believed of it but that it has
// read what was sent.
//
// Proofs are
//
//	number     1 byte, at most wire.MaxClusterKeys
//	proofs     as many times 32 bytes: for each key the HMAC-SHA256 (RFC 2104), under this key, of
//	           four texts, each a length (2 bytes) and that many bytes: the label
//	           "EXPERIMENTAL raft: a server of the cluster", the ID of the server that has dialled,
//	           the ID of the server that it means to reach, and 32 bytes that the session of TLS
//	           exports under the same label without a context (RFC 8446, section 7.5); without
//	           TLS, the last text is empty
//
// So a proof tells no key, and is worth nothing between two other servers, in the other direction,
// or on another connection with TLS. When the keys of a server change, it sends new proofs on the
// connections that stand, ahead of the next message.
//
// Without TLS nobody proves a name, and a proof is the same on each connection: whoever reaches the
// port can claim to be a member. With TLS, servers demand version 1.3 of each other, whose sessions
// always export.
//
// A process that serves several groups doesn't call SetKeys, and SetServers names the members of all
// its groups. Then a server is a member for this package if it is a member of any group: its messages
// aren't marked in any of them, and it has the places of a member. Anybody else is a stranger in all
// groups, a new leader too as long as SetServers doesn't name it. In such a process nothing but TLS
// and Options.Authorize tells who may speak in a group.
//
// # Order, and the turns of groups
//
// What is written to a connection at a time is 256 KiB at most, unless one message is larger, and on
// Linux the system takes no more than that ahead of what it can send (TCP_NOTSENT_LOWAT). First
// comes what a process says for itself (wire.Message.OfProcess); then all votes, heartbeats and
// answers, in order; and then appends, forwards and whatever else has entries, each group in its turn
// (deficit round robin): in a turn, a group may send 16 KiB, and what it could send less in earlier
// turns because its next message was larger. So each group that has something to send gets the same
// share of the connection, and one that seldom sends waits for one turn of each of the others. A
// heartbeat stays behind the appends of its own group that wait.
//
// A process that serves the group "" alone sends everything in order.
//
// # Large messages
//
// An append or a forward to a member that is larger than wire.LargeMessage travels on a connection
// of its own. So the heartbeats, votes and answers that are sent after it overtake it, also where it
// takes longer than an election timeout. Until the other side has read it, appends and forwards of
// its group follow it on that connection, so that they keep their order. There, too, groups take
// turns. The connection is dialled when there
// is a large message, and closed when there was none for 10 s. If it breaks, what it carried is
// lost.
//
// # A server that is gone without a word
//
// When a host loses its power, or a network drops everything, no packet says so. TCP notices after
// a quarter of an hour, since the buffer of the socket takes what is written. Keep-alive doesn't
// help, because it is silent while something isn't acknowledged. So a server that has read nothing
// for Options.WriteTimeout, although there was something to read, loses its connection, and is
// dialled again at once. A question goes out with what is written, at most four times in that time.
// Where nothing is written, nothing is asked.
//
// The system could watch over that, too (TCP_USER_TIMEOUT), but not every system can, a system
// acknowledges what a hung process doesn't read, and no test in memory would see it. A receipt is
// the answer of the process itself, and costs a small frame in each direction each second or so.
//
// While a server doesn't answer, another attempt to connect is begun every 250 ms, and the first
// one that ends decides. So a network that heals is noticed within that time, and not when the
// system sends the first packet of a connection again, which it does more and more seldom.
//
// # Places
//
// Whoever reaches the port can connect, say nothing, and come again. So every stage of a connection
// has a deadline, and a limited number of places:
//
//	stage                            ends after                 places
//	until the hello has come         Options.DialTimeout        512
//	messages of a member             never (keep-alive)         1 for each member
//	messages of a guest              30 s without a message     64 guests
//	large messages                   30 s without a byte        1 for each member or guest; none for
//	                                                            strangers from the first key on
//	a single message                 Options.WriteTimeout       as a guest
//	a stream, before its first byte  Options.DialTimeout        8 for each member,
//	a stream, later                  30 s without a byte        16 for all guests
//
// A member is a server that SetServers names; a guest is any other. Nobody else can take the places
// of a member. A guest isn't counted while its connection for messages has proved the newest key,
// and its streams and large messages are as a member's. Neither is a guest to which this side has
// sent a message that names its address, for 30 s, so that a server can be added although strangers
// are there.
//
// Where all places are taken, the newest connection gets in, and an older one makes room. Among
// those without a hello, one is shown out that doesn't come from where a member is or was; of these
// one of the address (of IPv6, the network of 64 bits) from which most of them come; of these the
// oldest. Among guests it is one that has sent no message, and of these the oldest; if all have,
// the one whose last message is the oldest. Among streams of a member, or of the guests, it is the
// one that has brought nothing for longest, if that is at least 3 s; otherwise the new one is
// refused. The streams of all groups of a member share its places.
//
// A guest is dialled only when there is something to send to it. When it has hung up, and nothing
// was sent to it for 30 s, the connection to it is closed, and it is forgotten.
//
// What a stream brings bounds the time on its receiving side only. Its sender may wait for as long
// as the receiver doesn't read: whoever has opened it ends it by its context.
//
// # Losses
//
// Messages wait in a bounded queue for each peer. A message is dropped if it doesn't fit into the
// queue, if it waits for a server that can't be reached, or if it was being written when its
// connection broke. Messages with entries are dropped before votes, heartbeats and answers, which
// have a part of the queue to themselves. Of a group that has more waiting than what is free, they are
// dropped although there is room: of n groups that flood the queue, each comes to have one part in
// n+1 of it, and one part stays free for the others.
//
// # Memory
//
// The data of received entries stays in the memory that it was read into. Such a piece of memory
// holds up to 64 KiB, or one larger message, and is freed when nothing in it is used any more. A
// message without entries leaves no memory behind. Of a member, a connection remembers the names of
// the groups that it has spoken of, 131,072 at most; of a stranger none. A group for which nothing
// waits to be sent costs nothing. A connection costs 64 KiB (8 KiB during the
// handshake), and besides at most about twice as much memory as the other side has sent, whatever
// size it claims for a message.
//
// A member's message may have up to Options.MaxFrame, so the connection of a member holds that much
// at most, and twice as much while it grows. A stranger's message may have 512 KiB; one stranger at
// a time may send a larger one, and gets 30 s for it and 30 s more for each 4 MiB. So all strangers
// together hold 128 times 576 KiB and one message of MaxFrame, and all connections without a hello
// hold 4 MiB.
//
// # The log, and functions of the user's
//
// The log gets a line when a cause is new, and after that one line a minute while it comes again:
// the last one, with how many were left out before it (left_out). What happened, the member that it
// happened to, and the kind of error make a cause; the text of the error doesn't, since it may hold
// a time, a port or what a stranger has sent. All strangers are one.
//
// A panic in Options.Dial, Listen, Logger, Authorize, in a function of TLS, or in a connection or a
// listener that they return, is an error of that attempt or connection. So it is when they end their
// goroutine. A Logger that blocks holds up nobody, and a Dial that blocks holds up only what is
// sent to that server; Close waits for either up to a second, and leaves behind the goroutine that
// is inside the call. Close waits for Authorize, for functions of TLS, and for connections that don't
// return when they are closed.
//
// # Goroutines
//
// Close ends all of them, and waits until they have ended.
//
//	accept     one; owns the listener.
//	receive    one for each accepted connection; reads it and calls the Handler.
//	send       one for each peer; dials, and writes what is queued. Ends when the peer is
//	           forgotten.
//	bulk       one for each peer that large messages go to, while there are any; does the same.
//	log        one while there is something to be logged; calls the Logger.
//	ask        one for each message that names its address; dials, and ends when the message was
//	           received.
//	heed       one for each dialled connection for messages; reads the receipts, and notices when
//	           the connection breaks. Ends with the connection.
//	attempt    one for each call of Options.Dial. Ends when that call does, or soon afterwards.
package tcp
