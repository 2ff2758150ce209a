package redisdb

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestNoURLThatIsWrongSpellsItsPassword(t *testing.T) {
	for _, at := range []string{"redis://:hunter2@h:not-a-port/0", "redis://:hunter2@h:1\x7f/0", "http://:hunter2@h/0", "http://:hunter2@h/0?addr=x"} {
		if _, err := Connect(at, time.Second, 1); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", at, err)
		}
	}
}

func TestAClusterIsLookedAtAnewEachSecond(t *testing.T) {
	c, err := Connect("redis://:secret@h:1?addr=h:2", 2*time.Second, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	o := c.(*redis.ClusterClient).Options()
	if o.ClusterStateReloadInterval != time.Second || o.MaxRetries > 0 || o.DialTimeout != time.Second || o.ReadTimeout != 2*time.Second || o.PoolSize != 3 || o.Password != "secret" || len(o.Addrs) != 2 {
		t.Errorf("%+v", o)
	}
}

func TestOnlyWhatProvesItIsTakenForNotDone(t *testing.T) {
	for answer, refused := range map[string]bool{"LOADING Redis is loading": true, "OOM command not allowed": true, "ERR max number of clients reached": true,
		"ERR Error running script": false, "user_script:1: boom": false, "": false} {
		if Refused(answer) != refused {
			t.Errorf("%q: %v", answer, !refused)
		}
	}
	dial := &net.OpError{Op: "dial", Err: errors.New("refused")}
	for _, err := range []error{dial, fmt.Errorf("x: %w", dial), redis.ErrPoolTimeout, redis.ErrClosed} {
		if !NotSent(err) {
			t.Errorf("%v may have been sent", err)
		}
	}
	for _, err := range []error{&net.OpError{Op: "read", Err: errors.New("reset")}, errors.New("x"), nil} {
		if NotSent(err) {
			t.Errorf("%v was certainly not sent", err)
		}
	}
}
