// Command firstorder measures how long it takes from a clean clone to a first confirmed
// order in a browser, and prints every command and click of it. Run it by make first-order.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/chromedp/chromedp"
)

const patience = 10 * time.Minute

func main() {
	repo := flag.String("repo", ".", "The repository to clone: a folder or a URL.")
	cold := flag.Bool("cold", false, "Begin with an empty build cache, as on a machine that has never built it; modules are those that are there.")
	args := flag.String("args", "", "Options for the demo, for when another one is running: --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0.")
	flag.Parse()
	ctx, done := context.WithTimeout(context.Background(), patience)
	defer done()
	if err := run(ctx, *repo, *args, *cold); err != nil {
		fmt.Fprintln(os.Stderr, "firstorder:", err)
		os.Exit(1)
	}
}

// steps prints what was done and how long it took.
type steps struct{ began, last time.Time }

func (s *steps) took(what string) {
	now := time.Now()
	fmt.Printf("%7.1f s  %7.1f s  %s\n", now.Sub(s.last).Seconds(), now.Sub(s.began).Seconds(), what)
	s.last = now
}

func run(ctx context.Context, repo, args string, cold bool) (err error) {
	dir, err := os.MkdirTemp("", "first-order-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var env []string // without what the make that has started this has set for it
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "MAKE") && !strings.HasPrefix(v, "MFLAGS=") && !strings.HasPrefix(v, "ARGS=") {
			env = append(env, v)
		}
	}
	if cold {
		env = append(env, "GOCACHE="+filepath.Join(dir, "build"))
	}
	clone := filepath.Join(dir, "flashsale")
	fmt.Println(" this took      so far")
	s := &steps{time.Now(), time.Now()}

	git := exec.CommandContext(ctx, "git", "clone", "--quiet", repo, clone)
	git.Stderr = os.Stderr
	if err := git.Run(); err != nil {
		return fmt.Errorf("git clone: %w", err)
	}
	s.took("git clone " + repo + " flashsale && cd flashsale")

	words := []string{"make", "demo"}
	if args != "" {
		words = append(words, "ARGS="+args)
	}
	demo := exec.Command(words[0], words[1:]...)
	demo.Dir, demo.Env, demo.Stderr = clone, env, os.Stderr
	demo.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	out, err := demo.StdoutPipe()
	if err == nil {
		err = demo.Start()
	}
	if err != nil {
		return err
	}
	defer func() { // as Ctrl-C does
		_ = syscall.Kill(-demo.Process.Pid, syscall.SIGINT)
		_ = demo.Wait()
	}()
	shop, err := address(ctx, out)
	if err != nil {
		return err
	}
	s.took(strings.Join(words, " ") + ", which prints " + shop)
	return buy(ctx, s, shop)
}

// address reads on until the demo prints where its shop is.
func address(ctx context.Context, out io.Reader) (string, error) {
	found := make(chan string, 1)
	go func() {
		defer close(found)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if f := strings.Fields(lines.Text()); len(f) == 2 && f[0] == "shop" {
				found <- f[1]
			}
		}
	}()
	select {
	case at, ok := <-found:
		if !ok {
			return "", errors.New("make demo ended before it printed the shop's address")
		}
		return at, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func buy(ctx context.Context, s *steps, shop string) error {
	alloc, stop := chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox)...)
	defer stop()
	browser, done := chromedp.NewContext(alloc)
	defer done()
	if err := chromedp.Do(browser, chromedp.EmulateViewport(1440, 900), chromedp.Navigate(shop)); err != nil {
		return err
	}
	if err := see(browser, `document.querySelector("#panel[data-state=shop]") && !document.getElementById("reserve").disabled`); err != nil {
		return err
	}
	s.took("open that address in a browser: the shop is there")
	if err := errors.Join(chromedp.Do(browser, chromedp.Click(chromedp.CSS("#reserve"))), see(browser, `document.querySelector("#panel[data-state=held]")`)); err != nil {
		return err
	}
	s.took("click Reserve: it is held")
	if err := chromedp.Do(browser, chromedp.SendKeys(chromedp.CSS("#email"), "buyer@example.com"), chromedp.Click(chromedp.CSS("#pay"))); err != nil {
		return err
	}
	if err := see(browser, `document.querySelector("#panel[data-state=order]")`); err != nil {
		return err
	}
	order, err := chromedp.Run(browser, chromedp.Evaluate[string](`document.getElementById("order").textContent`))
	if err != nil {
		return err
	}
	s.took("type an email address, click Pay: order " + order + " is confirmed")
	return nil
}

// see waits for something on the page.
func see(ctx context.Context, what string) error {
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		if yes, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+what+")")); yes && err == nil {
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("it never came to %s", what)
		}
	}
}
