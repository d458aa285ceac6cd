package browsertest

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// leader waits until the page shows a leader other than one, and returns its ID and its digit.
func (p *page) leader(not string) (id, digit string) {
	p.t.Helper()
	p.await("a leader other than "+not, fmt.Sprintf(`document.querySelectorAll(".card.leader:not([data-server='%s'])").length == 1`, not))
	id = value[string](p, `document.querySelector(".card.leader")?.dataset.server ?? ""`)
	if id == "" || id == not {
		return p.leader(not) // it was one for a moment only
	}
	return id, p.digit(id)
}

// follower returns a server that doesn't lead.
func (p *page) follower() (id, digit string) {
	p.t.Helper()
	p.leader("")
	p.await("a follower", `document.querySelector(".card.follower") != null`)
	id = value[string](p, `document.querySelector(".card.follower").dataset.server`)
	return id, p.digit(id)
}

// digit returns the key that selects a server.
func (p *page) digit(id string) string {
	p.t.Helper()
	return value[string](p, fmt.Sprintf(`document.querySelector("[data-server='%s'] .who kbd").textContent`, id))
}

// shows waits until the card of a server has a class.
func (p *page) shows(id, class string) {
	p.t.Helper()
	p.await(id+" is "+class, fmt.Sprintf(`document.querySelector("[data-server='%s']")?.classList.contains("%s") ?? false`, id, class))
}

// logs waits until the page's log has a line with some text.
func (p *page) logs(text string) {
	p.t.Helper()
	p.await("the log says "+text, fmt.Sprintf(`document.getElementById("log").innerText.includes(%q)`, text))
}

// heal ends all faults.
func (p *page) heal() {
	p.t.Helper()
	p.press("\x1b")
	p.press("z")
	p.await("all servers take part", `document.querySelectorAll(".card").length == document.querySelectorAll(".card.leader, .card.follower:not(.faulty)").length`)
	p.leader("")
}

// button clicks the button of an action of a server.
func (p *page) button(id, action string) {
	p.t.Helper()
	p.click(fmt.Sprintf(`[data-server='%s'] [data-action='%s']`, id, action))
}

// One watches a cluster, breaks it in each way, by keys and by buttons, and sees it mend.
func TestLive(t *testing.T) {
	p := openPage(t, startLab(t), 1400, 900)
	p.leader("")
	for _, part := range []struct {
		name string
		play func(*page)
	}{
		{"paint", paint}, {"kill by key", killByKey}, {"pause by button", pauseByButton}, {"lines", cutLines}, {"drawing", cutByDrawing},
		{"damage", damage}, {"lost disk", loseDisk}, {"members", changeMembers}, {"judge", convict},
		{"every action", everyAction}, {"motion", reducedMotion}, {"narrow", narrow}, {"names", names},
	} {
		started := time.Now()
		part.play(p)
		p.heal()
		t.Logf("%s: %v", part.name, time.Since(started).Round(time.Millisecond))
	}
}

// The page is there soon: its first paint comes within a second. What else the machine does can only
// make it later, so the soonest of a few counts.
func paint(p *page) {
	soonest := math.Inf(1)
	for range 5 {
		took := value[float64](p, `performance.getEntriesByName("first-contentful-paint")[0].startTime`)
		p.t.Logf("first paint after %.0f ms", took)
		if soonest = min(soonest, took); soonest < 1000 {
			break
		}
		p.do(chromedp.Reload())
		p.leader("")
	}
	require.Less(p.t, soonest, 1000.0)
}

// The leader is killed by two keys, and another one is there within three seconds.
func killByKey(p *page) {
	first, digit := p.leader("")
	p.press(digit + "k")
	p.shows(first, "down")
	second, _ := p.leader(first)
	// Both times are the lab's own, in the page's log: the latest act, and the latest leader.
	took := value[float64](p, `(() => {
		const at = kind => new Date(document.querySelector("#log ." + kind + " time").dateTime).getTime();
		return at("leader") - at("act");
	})()`)
	p.t.Logf("%s led %.0f ms after %s was killed", second, took, first)
	require.Less(p.t, took, 3000.0)
	p.press("r")
	p.shows(first, "follower")
}

// A paused leader is replaced, and goes on as a follower.
func pauseByButton(p *page) {
	first, _ := p.leader("")
	p.button(first, "pause")
	p.shows(first, "paused")
	p.leader(first)
	require.Equal(p.t, "true", value[string](p, fmt.Sprintf(`document.querySelector("[data-server='%s'] [data-action='pause']").getAttribute("aria-pressed")`, first)))
	p.button(first, "pause")
	p.shows(first, "follower")
}

// state is an expression for the state of the first line.
const state = `document.querySelector(".pair").dataset.state`

// A line is cut by a click, by the keyboard, and one way.
func cutLines(p *page) {
	p.await("a whole line", state+` == "whole"`)
	for _, cut := range []func(){
		func() { p.do(chromedp.MouseClickXY(p.middle(`.pair .hit`))) },
		func() { p.do(chromedp.Focus(chromedp.CSS(`.pair`))); p.press("\r") },
		func() { p.press("1c2") },
	} {
		cut()
		p.await("a cut line", state+` == "cut"`)
		cut()
		p.await("a whole line", state+` == "whole"`)
	}
	p.press("1o2")
	p.await("a line that is cut one way", state+` == "cut from a to b"`)
	p.press("1c2")
	p.await("a whole line", state+` == "whole"`)
	p.press("1g2")
	p.await("a slow line", `document.querySelectorAll(".lane.slow").length == 2`)
}

// middle returns the middle of an element, in pixels.
func (p *page) middle(selector string) (x, y float64) {
	p.t.Helper()
	at := value[[]float64](p, fmt.Sprintf(`(() => { const b = document.querySelector(%q).getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()`, selector))
	return at[0], at[1]
}

// Lines are cut by drawing across them, and only those.
func cutByDrawing(p *page) {
	p.await("whole lines", `document.querySelectorAll(".pair[data-state=whole]").length == 3`)
	x, y := p.middle(`.node`) // the topmost: a stroke below it crosses both of its lines
	strokes := []chromedp.Action[chromedp.Void]{chromedp.MouseEvent(input.DispatchMouseEventTypeMousePressed, x-150, y+75, chromedp.ButtonLeft)}
	for step := -120.0; step <= 150; step += 30 {
		strokes = append(strokes, chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, x+step, y+75, chromedp.ButtonLeft))
	}
	p.do(append(strokes, chromedp.MouseEvent(input.DispatchMouseEventTypeMouseReleased, x+150, y+75, chromedp.ButtonLeft))...)
	p.await("two cut lines", `document.querySelectorAll(".pair[data-state=cut]").length == 2`)
	require.Equal(p.t, "whole", value[string](p, `document.querySelectorAll(".pair")[2].dataset.state`))
}

// Entries rot, are noticed at the next start, and come from the others.
func damage(p *page) {
	id, digit := p.follower()
	p.press(digit + "xr")
	p.logs("its disk has lost the bytes of")
	p.logs("the others have given it the lost bytes")
	p.shows(id, "follower")
}

// A server that has lost its disk takes no part, and the page offers what helps.
func loseDisk(p *page) {
	id, digit := p.follower()
	p.press(digit + "l")
	p.shows(id, "ill")
	p.await("what it says", fmt.Sprintf(`document.querySelector("[data-server='%s'] .says").innerText.includes("call Replace at another member")`, id))
	p.click(fmt.Sprintf(`[data-server='%s'] button.cure`, id))
	p.shows(id, "follower")
}

// A server is added and removed, and the leadership is handed over.
func changeMembers(p *page) {
	id, digit := p.follower()
	p.press(digit + "t")
	p.shows(id, "leader")
	p.press("a")
	p.shows("d", "follower")
	p.await("six lines", `document.querySelectorAll(".pair").length == 6`)
	p.press("4d")
	p.await("three servers", `document.querySelectorAll(".card").length == 3 && document.querySelectorAll(".node").length == 3`)
}

// The judge acquits, convicts stale reads, shows why, and judges anew.
func convict(p *page) {
	p.await("an acquittal", `document.getElementById("verdict").className == "good"`)
	_, digit := p.follower()
	p.press("uv" + digit + "i")
	p.await("a conviction", `document.getElementById("verdict").className == "bad"`)
	link := value[string](p, `document.querySelector("#judge-buttons a").href`)
	require.Contains(p.t, value[string](p, fmt.Sprintf(`(() => { const r = new XMLHttpRequest(); r.open("GET", %q, false); r.send(); return r.responseText; })()`, link)), "<html")
	p.press("v")
	p.await("reads that ask", `document.querySelector("#judge-buttons [aria-pressed=false]") != null`)
	p.heal()
	p.press("j")
	p.await("an acquittal", `document.getElementById("verdict").className == "good"`)
}

// Each action has a button and a key, and the list of keys has it.
func everyAction(p *page) {
	p.press("1")
	p.press("?")
	p.await("the list of keys", `document.getElementById("help").open`)
	listed := value[[]string](p, `[...document.querySelectorAll("#keys kbd")].map(k => k.textContent)`)
	require.Greater(p.t, len(listed), 20)
	for _, key := range listed {
		if strings.Contains("1–9 Esc ?", key) {
			continue
		}
		buttons := value[int](p, fmt.Sprintf(`[...document.querySelectorAll("main button, header button, #load")].filter(b => b.checkVisibility() && b.querySelector("kbd")?.textContent == %q).length`, key))
		require.Positive(p.t, buttons, "the key %s has a button", key)
	}
	p.press("\x1b")
	p.await("the list is closed", `!document.getElementById("help").open`)
}

// drawn is an expression: whether any message is drawn. It looks at a copy of the canvas, so that the
// page's own stays where the browser likes to have it.
const drawn = `(() => {
	const c = document.querySelector("#ring canvas"), copy = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
	copy.canvas.width = c.width;
	copy.canvas.height = c.height;
	copy.drawImage(c, 0, 0);
	return copy.getImageData(0, 0, c.width, c.height).data.some(v => v > 0);
})()`

// Messages travel, unless the user doesn't like motion.
func reducedMotion(p *page) {
	p.prefer("light", "no-preference")
	p.await("messages", drawn)
	p.prefer("light", "reduce")
	p.await("no messages", "!"+drawn)
	for range 10 {
		p.do(chromedp.Sleep(50 * time.Millisecond))
		require.False(p.t, value[bool](p, drawn))
	}
	p.prefer("light", "no-preference")
}

// A narrow page needs no scrolling to the side, whatever is open.
func narrow(p *page) {
	p.press("1")
	for _, width := range []int64{400, 320} {
		p.do(chromedp.EmulateViewport(width, 800))
		p.await("room for all", fmt.Sprintf("document.documentElement.scrollWidth <= %d", width))
		p.await("the ring", `document.querySelector("#ring svg").getBoundingClientRect().height > 250`)
	}
	p.do(chromedp.EmulateViewport(1400, 900))
}

// Whatever can be pressed has a name, and what has the focus shows it.
func names(p *page) {
	unnamed := value[[]string](p, `[...document.querySelectorAll("button, a, [role=button]")].filter(e =>
		!(e.getAttribute("aria-label") || e.textContent.trim()) || e.getAttribute("role") == "button" && e.tabIndex != 0).map(e => e.outerHTML)`)
	require.Empty(p.t, unnamed)
	p.press("\t")
	require.Equal(p.t, "solid", value[string](p, `getComputedStyle(document.activeElement).outlineStyle`))
}

// Without the token the page says what to do, and shows nothing. With a wrong one the lab refuses.
func TestToken(t *testing.T) {
	address := startLab(t, "-servers", "1")
	bare, _, _ := strings.Cut(address, "#")
	p := openPage(t, bare, 800, 600)
	p.await("what to do", `document.getElementById("summary").innerText.includes("Open the address that raftlab has printed")`)
	p.do(chromedp.Navigate("about:blank"), chromedp.Navigate(bare+"#0000"))
	p.await("the refusal", `document.getElementById("hint").innerText.includes("its token is of another run")`)
	require.Zero(t, value[int](p, `document.querySelectorAll(".card").length`))
	p.mu.Lock()
	defer p.mu.Unlock()
	require.Len(t, p.problems, 1)
	require.Contains(t, p.problems[0], "401")
	p.problems = nil
}
