package browsertest

import (
	"flag"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

var pictured = flag.String("pictured", "3", "number of servers in the pictures")

// TestPictures takes pictures of the page, wide and narrow, light and dark, for people to look at.
func TestPictures(t *testing.T) {
	if *shots == "" {
		t.Skip("it only takes pictures, with -shots")
	}
	p := openPage(t, startLab(t, "-servers", *pictured), 1400, 900)
	wait := func(d time.Duration) { p.do(chromedp.Sleep(d)) }
	p.leader("")
	p.press("u")
	wait(20 * time.Second)
	_, digit := p.leader("")
	p.press(digit + "k")
	wait(6 * time.Second)
	p.press("r")
	wait(12 * time.Second)
	first, digit := p.follower()
	p.press(digit + "p")
	p.shows(first, "paused")
	_, digit = p.follower()
	p.press(digit + "w")
	wait(3 * time.Second)
	if *pictured != "3" {
		id, digit := p.follower()
		leader, to := p.leader("")
		require.NotEqual(t, id, leader)
		p.press(to + "o" + digit)
		wait(3 * time.Second)
	}
	p.press("\x1b")
	for _, width := range []int64{1400, 400} {
		for _, scheme := range []string{"light", "dark"} {
			p.do(chromedp.EmulateViewport(width, 900))
			p.prefer(scheme, "no-preference")
			wait(700 * time.Millisecond)
			p.shoot(scheme + map[int64]string{1400: "-wide", 400: "-narrow"}[width])
		}
	}
	p.press("?")
	p.shoot("keys")
}
