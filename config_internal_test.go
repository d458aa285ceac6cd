package raft

import (
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A setting that Config and CoreConfig share by name reaches the core: none is forgotten on the
// way.
func TestEverySettingReachesTheCore(t *testing.T) {
	shared, core := 0, reflect.TypeFor[CoreConfig]()
	for i := range reflect.TypeFor[Config]().NumField() {
		field := reflect.TypeFor[Config]().Field(i)
		same, both := core.FieldByName(field.Name)
		if !both || same.Type != field.Type {
			continue
		}
		shared++
		config := alone(nil)
		config.Machine = breaker{}
		config.Heartbeat, config.ElectionTimeout = 20*time.Millisecond, time.Second
		config.ID, config.Bootstrap, config.Seed = "a", []Server{{ID: "a"}}, 1
		v := reflect.ValueOf(&config).Elem().Field(i)
		switch v.Kind() {
		case reflect.Int:
			v.SetInt(1001)
		case reflect.Int64:
			v.SetInt(int64(400 * time.Millisecond))
		case reflect.Uint64:
			v.SetUint(2)
		case reflect.Bool:
			v.SetBool(true)
		case reflect.String:
			v.SetString("a")
		case reflect.Slice:
			if v.Type() == reflect.TypeFor[[]ServerID]() {
				v.Set(reflect.ValueOf([]ServerID{"b"}))
				break
			}
			v.Set(reflect.ValueOf([]Server{{ID: "a", Address: "here"}}))
		default:
			require.Fail(t, "a setting of a new type", "%s: %v", field.Name, field.Type)
		}
		want := v.Interface()
		settings, err := config.normalize()
		require.NoError(t, err, field.Name)
		require.Equal(t, want, reflect.ValueOf(settings).FieldByName(field.Name).Interface(), "%s is lost", field.Name)
	}
	require.Greater(t, shared, 15)
}
