package browsertest

import (
	"flag"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

var pictured = flag.String("pictured", "3", "number of servers in the pictures")

// TestPictures takes pictures of the page, wide and narrow, light and dark, for people to look at.
func TestPictures(t *testing.T) {
	if *shots == "" {
		t.Skip("it only takes pictures, with -shots")
	}
	p := openPage(t, startLab(t, "-servers", *pictured), 1400, 900)
	p.await("a leader", `document.querySelectorAll(".card.leader").length == 1`)
	p.press("u")
	p.do(chromedp.Sleep(12 * time.Second))
	p.press("2p4w1c3o")
	p.do(chromedp.Sleep(time.Second))
	p.press("3c4")
	p.do(chromedp.Sleep(3 * time.Second))
	for _, width := range []int64{1400, 400} {
		for _, scheme := range []string{"light", "dark"} {
			p.do(chromedp.EmulateViewport(width, 900))
			p.prefer(scheme, "no-preference")
			p.do(chromedp.Sleep(700 * time.Millisecond))
			p.shoot(scheme + map[int64]string{1400: "-wide", 400: "-narrow"}[width])
		}
	}
}
