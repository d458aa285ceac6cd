package wire

import (
	"fmt"
	"strconv"
	"strings"
)

// A Kind says what a Message asks, answers or tells. Each kind has a body of its own type:
// KindHeartbeat has a Heartbeat, and so on. Requests are answered by a server in any role;
// responses are consumed by the role that asked.
type Kind uint8

// maxKinds bounds the kinds. Nothing stops a later version from raising it.
const maxKinds = 64

// OfProcess says whether a process that serves groups says the message for itself, and not within a
// group. There are few such messages, and all its groups depend on them: a transport hands them on
// ahead of all others.
func (m *Message) OfProcess() bool { return m.body.kind == KindProcessHeartbeat && m.Group == "" }

// kinds has the kindInfo of each kind. Each file of bodies registers its own.
var kinds [maxKinds]kindInfo

// A kindInfo is what this version knows of a kind. It is zero where there is no such kind.
type kindInfo struct {
	kind   Kind
	name   string
	fields field // the fields that the body may have
	body   func(m *Message) any
}

// register adds kinds to the table.
func register(infos ...kindInfo) struct{} {
	for _, info := range infos {
		if kinds[info.kind].known() {
			panic(fmt.Sprintf("wire: %s and %s have one number", kinds[info.kind].name, info.name))
		}
		kinds[info.kind] = info
	}
	return struct{}{}
}

// infoOf returns the kindInfo of the kind whose body is a T.
func infoOf[T any, B interface {
	*T
	pack(p *packer)
}](kind Kind) kindInfo {
	var b T
	all := body{kind: kind}
	B(&b).pack(&packer{body: &all, mode: collects})
	if n := all.fields.numbers(); n > maxNumbers {
		panic(fmt.Sprintf("wire: %T has %d numbers, more than %d", b, n, maxNumbers))
	}
	name := strings.TrimPrefix(fmt.Sprintf("%T", b), "wire.")
	return kindInfo{kind, name, all.fields, func(m *Message) any {
		var b T
		B(&b).pack(m.open(kind))
		return b
	}}
}

func (i *kindInfo) known() bool { return i.name != "" }

// Kinds returns all kinds that this version knows, in order.
func Kinds() []Kind {
	var known []Kind
	for i := range kinds {
		if kinds[i].known() {
			known = append(known, kinds[i].kind)
		}
	}
	return known
}

// known says whether this version knows the kind.
func (k Kind) known() bool { return k < maxKinds && kinds[k].known() }

// String returns the name of the kind, which is that of the body's type.
func (k Kind) String() string {
	if k.known() {
		return kinds[k].name
	}
	return "message kind " + strconv.Itoa(int(k))
}

// Body returns the body of the message, as a value of its own type.
func (m *Message) Body() any {
	if k := m.body.kind; k.known() {
		return kinds[k].body(m)
	}
	return nil
}
