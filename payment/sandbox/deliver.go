package sandbox

import (
	"container/heap"
	"fmt"
	"slices"
	"time"
)

// byDue is a heap of deliveries, the next one first.
type byDue []*Delivery

func (q byDue) Len() int { return len(q) }
func (q byDue) Less(i, j int) bool {
	if q[i].due.Equal(q[j].due) {
		return q[i].N < q[j].N
	}
	return q[i].due.Before(q[j].due)
}

func (q byDue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

// Push is of container/heap.
func (q *byDue) Push(x any) {
	d := x.(*Delivery)
	d.place = len(*q)
	*q = append(*q, d)
}

// Pop is of container/heap.
func (q *byDue) Pop() any {
	old := *q
	d := old[len(old)-1]
	old[len(old)-1] = nil
	*q, d.place = old[:len(old)-1], -1
	return d
}

// changed queues what subscribers are to hear of a change. It never waits.
func (h *hooks) changed(before, after *Intent) {
	if !h.some.Load() {
		return
	}
	for _, kind := range eventsOf(before, after) {
		fault, delay := h.faults.hook(kind)
		h.emit(kind, after, fault, delay)
	}
}

// emit makes an event and its deliveries, and gives the event's id.
func (h *hooks) emit(kind string, in *Intent, fault Kind, delay time.Duration) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events++
	e := &event{id: fmt.Sprintf("evt_%s%08d", h.run, h.events), kind: kind, created: h.now().Unix(), intent: in}
	for _, end := range h.ends {
		if len(end.Events) == 0 || slices.Contains(end.Events, kind) {
			h.enqueue(e, end.URL, fault, delay)
		}
	}
	h.poke()
	return e.id
}

// enqueue queues one event for one endpoint. h.mu is held.
func (h *hooks) enqueue(e *event, url string, fault Kind, delay time.Duration) {
	if len(h.open) >= maxOpen {
		h.overflow++
		return
	}
	now := time.Now()
	deliver := func(k Kind, due time.Time) *Delivery {
		h.count++
		d := &Delivery{N: h.count, Event: e.id, Type: e.kind, Intent: e.intent.ID, Attempt: e.intent.Attempt(), URL: url,
			Fault: k, Status: "pending", event: e, due: due, place: -1}
		h.open[d.N] = d
		return d
	}
	first := deliver(fault, now)
	switch fault {
	case Forged, Stale: // it comes before the real one, as if somebody had been quicker
		first.then = []*Delivery{deliver("", now)}
	case Duplicate:
		first.then = []*Delivery{deliver(fault, now)}
	case Late:
		first.due = now.Add(delay)
	case OutOfOrder:
		first.due = now.Add(delay)
		h.held = append(h.held, first)
	case Dropped:
		h.finish(first, "dropped")
		return
	}
	heap.Push(&h.queue, first)
}

func (h *hooks) poke() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// deliverAll hands out deliveries as they fall due, a few at a time.
func (h *hooks) deliverAll() {
	defer h.done.Done()
	for {
		next := h.handOut()
		t := time.NewTimer(next)
		select {
		case <-h.stop:
			t.Stop()
			return
		case <-h.wake:
		case <-t.C:
		}
		t.Stop()
	}
}

// handOut starts what is due and gives the time until something else is.
func (h *hooks) handOut() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.queue) > 0 && h.working < hookWorkers && !h.closed {
		if wait := time.Until(h.queue[0].due); wait > 0 {
			return wait
		}
		d := heap.Pop(&h.queue).(*Delivery)
		h.held = slices.DeleteFunc(h.held, func(o *Delivery) bool { return o == d })
		i := slices.IndexFunc(h.ends, func(o Webhook) bool { return o.URL == d.URL })
		if i < 0 { // nobody wants it any more
			h.finish(d, "failed")
			continue
		}
		h.working++
		h.done.Add(1)
		go h.try(d, h.ends[i].Secret)
	}
	return time.Hour // whoever ends a delivery or adds one pokes
}

// try makes one delivery and files how it went.
func (h *hooks) try(d *Delivery, secret string) {
	defer h.done.Done()
	code, err := h.post(d, secret)
	h.mu.Lock()
	defer h.mu.Unlock()
	defer h.poke()
	h.working--
	d.Tries++
	d.Code, d.Error, d.At = code, "", time.Now().UnixMilli()
	if err != nil {
		d.Error = err.Error()
	}
	switch {
	case err == nil && code >= 200 && code < 300:
		h.finish(d, "delivered")
	case (d.Fault == Forged || d.Fault == Stale) && err == nil:
		h.finish(d, "refused") // as it should be: there is nothing to repeat
	case d.Tries >= hookTries:
		h.finish(d, "failed")
	default:
		d.due = time.Now().Add(min(h.base<<(d.Tries-1), maxHookPause))
		heap.Push(&h.queue, d)
	}
}

// finish moves a delivery to the list of what is over, and lets go what waited
// for it. h.mu is held.
func (h *hooks) finish(d *Delivery, status string) {
	d.Status = status
	delete(h.open, d.N)
	h.finished = append(h.finished, d)
	if len(h.finished) > maxListed {
		h.finished[0] = nil
		h.finished = h.finished[1:]
	}
	for _, next := range d.then {
		heap.Push(&h.queue, next)
	}
	d.then, d.event = nil, nil
	if status != "delivered" {
		return
	}
	for _, o := range h.held { // it has been overtaken
		if o.URL == d.URL && o.N < d.N && o.place >= 0 {
			o.due = time.Now()
			heap.Fix(&h.queue, o.place)
		}
	}
}
