package chaos

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// toCommit is the longest that a commit takes. One that "loses its answer" takes
// that long, unless it is cut: then nobody hears of it. The others take no time.
const toCommit = 30 * time.Second

// hear serves lines until the test ends, answering each, and notes them.
func hear(t *testing.T) (addr string, heard func() []string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	var mu sync.Mutex
	var lines []string
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for r := bufio.NewReader(c); ; {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					mu.Lock()
					lines = append(lines, strings.TrimSpace(line))
					mu.Unlock()
					if strings.HasSuffix(line, "loses its answer\n") {
						_ = c.SetReadDeadline(time.Now().Add(toCommit))
						if _, err := r.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
							return
						}
						_ = c.SetReadDeadline(time.Time{})
					}
					fmt.Fprintln(c, "heard")
				}
			}()
		}
	}()
	return l.Addr().String(), func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string{}, lines...)
	}
}

// say sends a line over a connection of its own and says whether it was answered.
func say(t *testing.T, addr, line string) bool {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := fmt.Fprintln(c, line); err != nil {
		return false
	}
	_, err = bufio.NewReader(c).ReadString('\n')
	return err == nil
}

func newTestWire(t *testing.T, to string) *wire {
	t.Helper()
	w, err := newWire("test", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	if err := w.lead(to); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestACutLosesTheAnswerOrTheRequest(t *testing.T) {
	addr, heard := hear(t)
	w := newTestWire(t, addr)
	made, heal, err := w.cuts(&cutToxic{Match: "commit", Every: 2})
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range []string{"commit 0", "commit 1 loses its answer", "commit 2", "commit 3 is not heard"} {
		if got, want := say(t, w.addr(), line), i%2 == 0; got != want {
			t.Errorf("%s: answered %v", line, got)
		}
		if !say(t, w.addr(), "select") {
			t.Error("what does not match is cut")
		}
	}
	if made() != 2 {
		t.Errorf("%d cuts", made())
	}
	if err := heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if !say(t, w.addr(), "commit again") {
			t.Error("healed, it is cut")
		}
	}
	got := map[string]int{}
	for _, l := range heard() {
		got[l]++
	}
	if got["commit 1 loses its answer"] != 1 || got["commit 3 is not heard"] != 0 || got["commit 0"] != 1 || got["commit 2"] != 1 {
		t.Errorf("heard: %v", got)
	}
}

func TestAWireIsPluggedAndLedElsewhere(t *testing.T) {
	one, heardOne := hear(t)
	two, heardTwo := hear(t)
	w := newTestWire(t, one)
	if !say(t, w.addr(), "a") {
		t.Fatal("not answered")
	}
	if err := w.plug(false); err != nil {
		t.Fatal(err)
	}
	if say(t, w.addr(), "b") {
		t.Error("the plug is out, and it answers")
	}
	if err := w.plug(true); err != nil {
		t.Fatal(err)
	}
	if !say(t, w.addr(), "c") {
		t.Error("the plug is in, and it does not answer")
	}
	if err := w.lead(two); err != nil {
		t.Fatal(err)
	}
	if !say(t, w.addr(), "d") || len(heardOne()) != 2 || len(heardTwo()) != 1 {
		t.Errorf("one heard %v, the other %v", heardOne(), heardTwo())
	}
}

func TestTheFrontPassesOverANodeThatIsDown(t *testing.T) {
	addr, heard := hear(t)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = dead.Close()
	f, err := newFront(t.Context(), []string{dead.Addr().String(), addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.close)
	for range 4 {
		if !say(t, f.listener.Addr().String(), "hello") {
			t.Error("not answered")
		}
	}
	if len(heard()) != 4 {
		t.Errorf("heard %v", heard())
	}
	open, err := net.Dial("tcp", f.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	fmt.Fprintln(open, "and now it ends")
	if _, err := bufio.NewReader(open).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	f.close()
	if _, err := open.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlives the front")
	}
}
