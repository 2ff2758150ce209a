package chaos

import (
	"testing"
	"time"
)

func TestNormalIsARowOfProbesThatAreWell(t *testing.T) {
	began := time.Now()
	p := &prober{}
	add := func(at int, reserve, order string) {
		p.done = append(p.done, probe{began: began.Add(time.Duration(at) * 100 * time.Millisecond), reserve: reserve, order: order})
	}
	for i := range 5 { // before the moment that is asked about: of no account
		add(i, "", "")
	}
	add(10, "", "")
	add(11, "503 unavailable", "")
	for i := 12; i < 15; i++ {
		add(i, "", "202")
	}
	if _, _, known := p.normal(began.Add(time.Second)); known {
		t.Fatal("it is not known yet")
	}
	for i := 24; i >= 15; i-- { // in any order
		add(i, "", "")
	}
	selling, ordering, known := p.normal(began.Add(time.Second))
	if !known || selling != 200*time.Millisecond || ordering != 500*time.Millisecond {
		t.Errorf("selling after %s, ordering after %s, %v", selling, ordering, known)
	}
	total, told := p.seen(began.Add(time.Second), began.Add(1450*time.Millisecond))
	if total != 5 || told["reserve 503 unavailable"] != 1 || told["checkout 202"] != 3 {
		t.Errorf("%d probes were told %v", total, told)
	}
}

func TestTheTableGoesBetweenItsMarks(t *testing.T) {
	r := Report{Pass: true, Verify: []byte(`{"oversold":0,"lost":0,"drift":0,"unpaid":0}`), Normal: Normal{Selling: 0.5, Ordering: 1},
		Plan: Plan{Events: []Event{{Fault: "redis.kill", For: time.Second}}}, Seen: map[string]int64{"reserve 503 unavailable": 2}, Crowd: crowd{Errors: map[string]int64{"checkout 503 unavailable": 1}}}
	out, err := Fill("before\n"+MatrixBegin+"\nold\n"+MatrixEnd+"\nafter\n", Matrix([]Report{r}, nil))
	want := "| `redis.kill` | " + faults["redis.kill"].does + ", for 1s | " + faults["redis.kill"].expect + " | 503 unavailable × 3 | 0.5 s, 1.0 s | 0 0 0 0 | pass |\n"
	if err != nil || out != "before\n"+MatrixBegin+"\n"+Matrix(nil, nil)+want+MatrixEnd+"\nafter\n" {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := Fill("no marks", ""); err == nil {
		t.Error("a document without marks is filled")
	}
}
