package wire_test

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft/wire"
)

// TestBodiesComeOutAsTheyWentIn: a body of any kind, put into a message and taken out again, is the
// same; and a message of another kind has none of it.
func TestBodiesComeOutAsTheyWentIn(t *testing.T) {
	for _, kind := range wire.Kinds() {
		t.Run(kind.String(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				body := drawBody(t, kind)
				m := messageOf(body)
				require.Equal(t, kind, m.Kind())
				require.Equal(t, body, bodyOf(&m))
				require.Equal(t, body, m.Body())
				for _, other := range wire.Kinds() {
					if other != kind {
						require.Zero(t, reflect.ValueOf(&m).MethodByName(other.String()).Call(nil)[0].Interface(), "%v", other)
					}
				}
			})
		})
	}
}

// TestEveryFieldIsEncoded: no field of any body is forgotten in the encoding, in a comparison, or
// in the encoding for model checkers.
func TestEveryFieldIsEncoded(t *testing.T) {
	name := wire.Naming(func(id wire.ServerID) byte { return (string(id) + "\x00")[0] })
	for _, kind := range wire.Kinds() {
		zero := *emptyMessage(kind)
		for _, set := range settersOf(reflect.TypeOf(zero.Body()), nil) {
			body := reflect.New(reflect.TypeOf(zero.Body())).Elem()
			set.set(body)
			m := messageOf(body.Interface())
			require.NotEqual(t, wire.AppendMessage(nil, &zero), wire.AppendMessage(nil, &m), "%v.%s isn't encoded", kind, set.name)
			require.False(t, m.Equal(&zero), "%v.%s isn't compared", kind, set.name)
			require.NotEqual(t, name.AppendMessage(nil, &zero), name.AppendMessage(nil, &m), "%v.%s isn't in the state", kind, set.name)
		}
	}
}

// A setter gives one field of a struct, or of a struct inside it, a value that isn't zero.
type setter struct {
	name string
	set  func(v reflect.Value)
}

func settersOf(of reflect.Type, path []int) (all []setter) {
	for i := range of.NumField() {
		f, at := of.Field(i), append(append([]int(nil), path...), i)
		if f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[wire.Entry]() {
			for _, inner := range settersOf(f.Type, at) {
				all = append(all, setter{f.Name + "." + inner.name, inner.set})
			}
			continue
		}
		all = append(all, setter{f.Name, func(v reflect.Value) {
			v = v.FieldByIndex(at)
			switch v.Kind() {
			case reflect.Bool:
				v.SetBool(true)
			case reflect.Uint64, reflect.Uint8:
				v.SetUint(5)
			case reflect.Int64:
				v.SetInt(5)
			case reflect.String:
				v.SetString("x")
			case reflect.Slice:
				v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			case reflect.Pointer:
				v.Set(reflect.New(v.Type().Elem()))
			case reflect.Struct:
				v.Set(reflect.ValueOf(wire.Entry{Kind: wire.EntryConfiguration}))
			default:
				panic("a field of a type that no body had before: " + v.Type().String())
			}
		}})
	}
	return all
}

// TestKindsHaveNames: no two kinds have one name, and a number without a kind says so.
func TestKindsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for _, kind := range wire.Kinds() {
		require.False(t, seen[kind.String()], "%v", kind)
		seen[kind.String()] = true
	}
	require.Equal(t, "message kind 0", wire.Kind(0).String())
	require.Equal(t, "message kind 200", wire.Kind(200).String())
	require.Nil(t, new(wire.Message).Body())
}

// TestMessagesTellWhatTheySay: a message prints its kind, its way, and its body.
func TestMessagesTellWhatTheySay(t *testing.T) {
	m := wire.Heartbeat{Round: 7, Commit: 42}.Message()
	m.From, m.To, m.Term = "a", "b", 3
	require.Equal(t, "Heartbeat from a to b in term 3: {Acknowledged:{Index:0 Term:0} Commit:42 Stable:0 Round:7 Lease:0s}", m.String())
}

// TestValue: the value of a field, by the number of its bit, is the one that the body has.
func TestValue(t *testing.T) {
	m := wire.HeartbeatResponse{Durable: 1, Received: 2, Round: 3, Lost: 4, Fitness: 5, Level: 6}.Message()
	for bit, want := range map[uint]uint64{4: 1, 5: 0, 6: 2, 8: 3, 10: 4, 19: 0, 20: 5, 24: 6} {
		require.Equal(t, want, m.Value(bit), "bit %d", bit)
	}
	m = wire.CallRequest{Start: 1, Lowest: 2, Number: 3, Call: new(wire.Call)}.Message()
	for bit, want := range map[uint]uint64{9: 1, 10: 2, 15: 1, 17: 1, 16: 0, 14: 0} {
		require.Equal(t, want, m.Value(bit), "bit %d", bit)
	}
	m = wire.AppendResponse{Accepted: true}.Message()
	require.EqualValues(t, 1, m.Value(11))
}

// TestOfProcess: what a process says for itself is of a kind of its own, and within no group.
func TestOfProcess(t *testing.T) {
	for _, kind := range wire.Kinds() {
		m := *emptyMessage(kind)
		m.Group = ""
		require.Equal(t, kind == wire.KindProcessHeartbeat, m.OfProcess(), "%v", kind)
		m.Group = "g"
		require.False(t, m.OfProcess(), "%v within a group", kind)
	}
}
