package wire_test

import (
	"reflect"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/e17579a5/raft/wire"
)

// drawBody draws a body of a kind: any value of its type.
func drawBody(t *rapid.T, kind wire.Kind) any {
	body := reflect.New(reflect.TypeOf(emptyMessage(kind).Body())).Elem()
	drawFields(t, body)
	return body.Interface()
}

// emptyMessage returns a message of a kind whose body is zero, as the decoder makes it.
func emptyMessage(kind wire.Kind) *wire.Message {
	m, err := wire.DecodeMessage([]byte{wire.Version, byte(kind), 0, 0, 0, 0, 0, 0})
	if err != nil {
		panic(err)
	}
	return &m
}

// messageOf returns a message with this body.
func messageOf(body any) wire.Message {
	return reflect.ValueOf(body).MethodByName("Message").Call(nil)[0].Interface().(wire.Message)
}

// bodyOf returns the body by the method of its kind's name.
func bodyOf(m *wire.Message) any {
	return reflect.ValueOf(m).MethodByName(m.Kind().String()).Call(nil)[0].Interface()
}

// drawFields gives the fields of a struct values, each of which may be zero.
func drawFields(t *rapid.T, v reflect.Value) {
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if !rapid.Bool().Draw(t, name+"?") {
			continue
		}
		switch f := v.Field(i).Addr().Interface().(type) {
		case *[]wire.Entry:
			*f = rapid.SliceOfN(drawEntry(), 1, 4).Draw(t, name)
		case *wire.Entry:
			*f = drawEntry().Draw(t, name)
			f.Kind = max(f.Kind, 1)
		case *[]uint64:
			*f = rapid.SliceOfN(rapid.Uint64(), 1, 4).Draw(t, name)
		case *[]wire.Server:
			*f = rapid.SliceOfN(drawServer(), 1, 4).Draw(t, name)
		case *[]wire.GroupID:
			*f = rapid.SliceOfN(drawGroupID(), 1, 4).Draw(t, name)
		case *[]wire.ServerID:
			*f = rapid.SliceOfN(drawServerID(), 1, 4).Draw(t, name)
		case *[]wire.Stand:
			*f = make([]wire.Stand, rapid.IntRange(1, 4).Draw(t, name))
			for i := range *f {
				drawFields(t, reflect.ValueOf(&(*f)[i]).Elem())
			}
		case *wire.GroupID:
			*f = drawGroupID().Draw(t, name)
		case *wire.ClusterID:
			copy(f[:], rapid.SliceOfN(rapid.Byte(), 0, len(f)).Draw(t, name))
		case **wire.Call:
			*f = &wire.Call{Kind: wire.CallKind(rapid.Byte().Draw(t, name)), Members: drawConfiguration().Draw(t, name).Members}
		case *time.Duration:
			*f = time.Duration(rapid.Int64Min(0).Draw(t, name))
		case *wire.ServerID:
			*f = drawServerID().Draw(t, name)
		default:
			switch v := v.Field(i); v.Kind() {
			case reflect.Bool:
				v.SetBool(true)
			case reflect.Uint64:
				v.SetUint(rapid.Uint64().Draw(t, name))
			case reflect.Uint8:
				v.SetUint(uint64(rapid.Byte().Draw(t, name)))
			case reflect.Struct:
				drawFields(t, v)
			default:
				panic("a field of a type that no body had before: " + v.Type().String())
			}
		}
	}
}

func drawMessage() *rapid.Generator[wire.Message] {
	return rapid.Custom(func(t *rapid.T) wire.Message {
		maybe := func(name string) uint64 {
			return rapid.OneOf(rapid.Just(uint64(0)), rapid.Uint64()).Draw(t, name)
		}
		m := messageOf(drawBody(t, rapid.SampledFrom(wire.Kinds()).Draw(t, "Kind")))
		m.From, m.To = drawServerID().Draw(t, "From"), drawServerID().Draw(t, "To")
		m.FromIncarnation = wire.Incarnation(maybe("FromIncarnation"))
		m.ToIncarnation = wire.Incarnation(maybe("ToIncarnation"))
		m.Term = wire.Term(maybe("Term"))
		m.FromStart = maybe("FromStart")
		m.Group = drawGroupID().Draw(t, "Group")
		copy(m.Cluster[:], rapid.SliceOfN(rapid.Byte(), 0, len(m.Cluster)).Draw(t, "Cluster"))
		return m
	})
}

func drawEntry() *rapid.Generator[wire.Entry] {
	return rapid.Custom(func(t *rapid.T) wire.Entry {
		e := wire.Entry{
			Index:  wire.Index(rapid.Uint64().Draw(t, "Index")),
			Term:   wire.Term(rapid.Uint64().Draw(t, "Term")),
			Kind:   wire.EntryKind(rapid.Byte().Draw(t, "Kind")),
			Origin: wire.Origin{Server: drawServerID().Draw(t, "Server"), Start: rapid.Uint64().Draw(t, "Start")},
			Number: rapid.Uint64().Draw(t, "Number"),
			Data:   rapid.SliceOf(rapid.Byte()).Draw(t, "Data"),
		}
		if len(e.Data) == 0 {
			e.Data = nil
		}
		return e
	})
}

func drawServerID() *rapid.Generator[wire.ServerID] {
	return rapid.Custom(func(t *rapid.T) wire.ServerID {
		return wire.ServerID(rapid.StringN(0, -1, wire.MaxServerID).Draw(t, "ID"))
	})
}

func drawGroupID() *rapid.Generator[wire.GroupID] {
	return rapid.Custom(func(t *rapid.T) wire.GroupID {
		return wire.GroupID(rapid.StringN(0, -1, wire.MaxGroupID).Draw(t, "Group"))
	})
}

func drawServer() *rapid.Generator[wire.Server] {
	return rapid.Custom(func(t *rapid.T) wire.Server {
		return wire.Server{ID: drawServerID().Draw(t, "ID"), Address: rapid.StringN(0, -1, 40).Draw(t, "Address")}
	})
}

func drawMembers(t *rapid.T, name string) []wire.Member {
	var members []wire.Member
	for _, id := range rapid.SliceOfNDistinct(drawServerID(), 0, 9, rapid.ID).Draw(t, name) {
		if id == "" {
			continue
		}
		members = append(members, wire.Member{
			Server:      wire.Server{ID: id, Address: rapid.StringN(0, -1, 40).Draw(t, "Address")},
			Role:        wire.MemberRole(rapid.ByteRange(1, 3).Draw(t, "Role")),
			Incarnation: wire.Incarnation(rapid.Uint64().Draw(t, "Incarnation")),
		})
	}
	slices.SortFunc(members, func(a, b wire.Member) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return members
}

func drawConfiguration() *rapid.Generator[wire.Configuration] {
	return rapid.Custom(func(t *rapid.T) wire.Configuration {
		c := wire.Configuration{Members: drawMembers(t, "Members")}
		copy(c.Cluster[:], rapid.SliceOfN(rapid.Byte(), 0, len(c.Cluster)).Draw(t, "Cluster"))
		if rapid.Bool().Draw(t, "settled") {
			return c
		}
		c.Old, c.Next = drawMembers(t, "Old"), drawMembers(t, "Next")
		c.Origin = wire.Origin{Server: drawServerID().Draw(t, "Origin"), Start: rapid.Uint64().Draw(t, "Start")}
		c.Number, c.Begun = rapid.Uint64().Draw(t, "Number"), rapid.Bool().Draw(t, "Begun")
		c.Refusal, c.About = wire.Refusal(rapid.Byte().Draw(t, "Refusal")), drawServerID().Draw(t, "About")
		c.Level = wire.Level(rapid.SampledFrom([]uint64{0, 2, 3, 1 << 63}).Draw(t, "Level"))
		copy(c.Recovered[:], rapid.SliceOfN(rapid.Byte(), 0, len(c.Recovered)).Draw(t, "Recovered"))
		for range rapid.IntRange(0, wire.MaxClusterKeys).Draw(t, "Keys") {
			key := wire.ClusterKey{rapid.ByteMin(1).Draw(t, "key")}
			copy(key[1:], rapid.SliceOfN(rapid.Byte(), 0, len(key)-1).Draw(t, "key"))
			c.Keys = append(c.Keys, key)
		}
		c.KeyOutworn = len(c.Keys) > 0 && rapid.Bool().Draw(t, "KeyOutworn")
		return c
	})
}
