package raft_test

import (
	"context"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
	"fmt"
)

func TestZZSlow(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("ZZ"))
	if n == 0 { t.Skip() }
	var w *wreckage
	synctest.Test(t, func(t *testing.T) { w = wreck(t, 4) })
	worst := time.Duration(0)
	for i := range n {
		lost := 0b000001001110
		if os.Getenv("ZALL") != "" {
			lost = i * 7919 % 4096
			if lost & (lost >> 4) & (lost >> 8) & 15 != 0 { continue }
		}
		synctest.Test(t, func(t *testing.T) {
			disks := w.damage(t, lost)
			c := onLogs(t, disks)
			for _, id := range c.ids { c.start(id) }
			for _, id := range c.ids {
				began := time.Now()
				err := c.nodes[id].Read(within(t, time.Minute))
				if d := time.Since(began); d > worst { worst = d; fmt.Println(i, lost, id, d) }
				if err != nil {
					for _, id := range c.ids { fmt.Printf("%d %012b %v %+v\n", i, lost, err, c.nodes[id].Status()) }
					t.Fatal("slow")
				}
			}
			for _, id := range c.ids { c.nodes[id].Close(context.Background()) }
		})
	}
}
