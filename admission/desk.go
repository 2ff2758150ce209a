package admission

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// Desk is the waiting rooms of a node: what buyers, storefronts and the engine ask of
// them. It is safe for concurrent use.
type Desk struct {
	queue *Queue
	sales engine.Sales
	hash  engine.Hasher
	now   func() time.Time

	mu    sync.Mutex // writers of rooms
	rooms atomic.Pointer[map[uint32]*deskRoom]
}

var (
	_ engine.Admissions = (*Desk)(nil)
	_ engine.Rooms      = (*Desk)(nil)
)

// NewDesk makes a desk. now judges tokens: this node's clock.
func NewDesk(q *Queue, sales engine.Sales, hash engine.Hasher, now func() time.Time) *Desk {
	d := &Desk{queue: q, sales: sales, hash: hash, now: now}
	d.rooms.Store(&map[uint32]*deskRoom{})
	return d
}

// deskRoom is what a node keeps of a sale's room.
type deskRoom struct {
	keys *Keys
	view viewCache
	next atomic.Uint64 // of the room's generation, and above every ticket seen here

	mu    sync.Mutex
	taken map[int64]Taken // not told yet; by second of the claims
}

// of finds or makes what is kept of a sale's room. Finding it allocates nothing.
func (d *Desk) of(s *engine.Sale) *deskRoom {
	if r := (*d.rooms.Load())[s.No]; r != nil {
		return r
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	have := *d.rooms.Load()
	if r := have[s.No]; r != nil {
		return r
	}
	keys, err := NewKeys(1, map[byte][]byte{1: tokenKey(s)})
	if err != nil {
		panic(err) // a hash is long enough to be a key
	}
	r := &deskRoom{keys: keys, taken: map[int64]Taken{}}
	next := maps.Clone(have)
	next[s.No] = r
	d.rooms.Store(&next)
	return r
}

// tokenKey is what a sale's tokens are signed with. It follows from the sale's own
// secret, which every node reads from the record: there is nothing to distribute, and
// no sale shares one with another.
func tokenKey(s *engine.Sale) []byte {
	h := hmac.New(sha256.New, s.Secret[:])
	h.Write([]byte("flashsale/admission/key/v1"))
	_ = binary.Write(h, binary.BigEndian, s.No) // a hash takes everything
	return h.Sum(nil)
}

func roomOf(s *engine.Sale) Room {
	return Room{Sale: s.No, ID: s.ID, Epoch: s.Admission.Epoch}
}

// room finds a sale's waiting room: CodeNotFound.
func (d *Desk) room(ctx context.Context, sale string) (*engine.Sale, error) {
	s, err := d.sales.Sale(ctx, sale)
	switch {
	case err != nil:
		return nil, err
	case s.Admission == nil:
		return nil, engine.E(engine.CodeNotFound, "the sale has no waiting room")
	case s.Admission.Epoch == 0:
		return nil, engine.E(engine.CodeNotFound, "the sale's waiting room is not there before the sale is armed")
	}
	return s, nil
}

// Arm implements engine.Rooms.
func (d *Desk) Arm(ctx context.Context, s *engine.Sale) error {
	r, a := roomOf(s), s.Admission
	if err := d.queue.Arm(ctx, r, Terms{Seed: a.Seed, OpensAt: a.OpensAt, Lease: a.Lease, Use: a.Use}); err != nil {
		return err
	}
	if r.Epoch--; r.Epoch > 0 {
		_ = d.queue.Drop(ctx, r) // nobody can use what is left of it; if it stays, it takes room
	}
	return nil
}

// Admit implements engine.Admissions.
func (d *Desk) Admit(s *engine.Sale, b engine.BuyerKey, token string) (engine.Right, error) {
	if token == "" {
		return engine.Right{}, engine.NotAdmitted(s, engine.AdmissionMissing, "the sale has a waiting room; the Admission-Token header is missing")
	}
	t, err := d.of(s).keys.Verify(token, roomOf(s), b, d.now())
	switch {
	case err == nil:
		return engine.Right{ID: t.ID(), Since: t.Expires.Add(-s.Admission.Use).UnixMilli()}, nil
	case errors.Is(err, ErrTokenExpired):
		return engine.Right{}, engine.NotAdmitted(s, engine.AdmissionExpired, "the admission token has expired")
	case errors.Is(err, ErrTokenOther):
		return engine.Right{}, engine.NotAdmitted(s, engine.AdmissionOther, "the admission token is another buyer's, or for another sale")
	}
	return engine.Right{}, engine.NotAdmitted(s, engine.AdmissionForged, "the admission token is none of this sale's")
}

// Took implements engine.Admissions. What it hears is told to the room now and then,
// by Run: it guides the pace, and losing some of it does no harm.
func (d *Desk) Took(s *engine.Sale, r engine.Right, units int) {
	own := d.of(s)
	own.mu.Lock()
	defer own.mu.Unlock()
	t := own.taken[r.Since/1000]
	own.taken[r.Since/1000] = Taken{t.Buyers + 1, t.Units + int64(units)}
}

// tellTaken passes on what Took has heard.
func (d *Desk) tellTaken(ctx context.Context, s *engine.Sale) error {
	own := d.of(s)
	own.mu.Lock()
	taken := own.taken
	if len(taken) > 0 {
		own.taken = map[int64]Taken{}
	}
	own.mu.Unlock()
	if len(taken) == 0 {
		return nil
	}
	return d.queue.Take(ctx, roomOf(s), taken)
}

// Join gives a buyer a ticket, or the one they have, and admits them if they are due.
func (d *Desk) Join(ctx context.Context, sale, buyer string) (engine.RoomTicket, error) {
	s, err := d.room(ctx, sale)
	if err != nil {
		return engine.RoomTicket{}, err
	}
	if over(s) {
		return engine.RoomTicket{}, closed().With("state", string(s.State))
	}
	b := d.hash.Buyer(s, buyer)
	t, err := d.queue.Enter(ctx, roomOf(s), b)
	if err != nil {
		return engine.RoomTicket{}, err
	}
	v, err := d.view(ctx, s)
	if err != nil {
		return engine.RoomTicket{}, err
	}
	d.of(s).gave(roomOf(s), t.Number)
	out := placed(v, t.Number, t.Place)
	out.New = t.New
	if t.Standing == Admitted {
		out.State, out.Position, out.Wait, out.Expires = engine.TicketAdmitted, 0, 0, t.Expires
		out.Token, err = d.of(s).keys.Sign(t.Token(roomOf(s), b))
	}
	return out, err
}

// Leave gives a buyer's ticket back, and says what has become of it. It can be repeated,
// and an admission stays.
func (d *Desk) Leave(ctx context.Context, sale, buyer string) (state string, err error) {
	s, err := d.room(ctx, sale)
	if err != nil {
		return "", err
	}
	at, err := d.queue.Leave(ctx, roomOf(s), d.hash.Buyer(s, buyer))
	if err != nil {
		return "", err
	}
	switch at {
	case Admitted:
		return engine.TicketAdmitted, nil
	case Lapsed:
		return engine.TicketPassed, nil
	}
	return engine.TicketLeft, nil
}

// Ticket says where a ticket stands, from the public document alone: CodeNotFound.
func (d *Desk) Ticket(ctx context.Context, sale string, number uint64) (engine.RoomTicket, error) {
	s, err := d.room(ctx, sale)
	if err != nil {
		return engine.RoomTicket{}, err
	}
	v, err := d.view(ctx, s)
	if err != nil {
		return engine.RoomTicket{}, err
	}
	if number >= uint64(v.Joined) && !d.of(s).has(roomOf(s), number) {
		return engine.RoomTicket{}, engine.E(engine.CodeNotFound, "no such ticket")
	}
	place := int64(-1)
	if v.N >= 0 {
		if place, err = d.queue.place(ctx, roomOf(s), v.N, number); err != nil {
			return engine.RoomTicket{}, err
		}
	}
	return placed(v, number, place), nil
}

// gave notes a ticket that the document may not count yet.
func (r *deskRoom) gave(room Room, number uint64) {
	seen := uint64(room.Epoch)<<32 | number + 1
	for was := r.next.Load(); was < seen && !r.next.CompareAndSwap(was, seen); was = r.next.Load() {
	}
}

func (r *deskRoom) has(room Room, number uint64) bool {
	next := r.next.Load()
	return next>>32 == uint64(room.Epoch) && number < next&(1<<32-1)
}

// placed says where a place stands.
func placed(v *engine.RoomView, number uint64, place int64) engine.RoomTicket {
	t := engine.RoomTicket{Sale: v.Sale, Number: number, Place: place, State: engine.TicketWaiting, Position: -1, Wait: -1}
	switch {
	case place < 0:
	case place < v.Front:
		t.Position, t.Wait, t.State = 0, 0, engine.TicketReached
		if place < v.Over {
			t.State = engine.TicketPassed
		}
	default:
		t.Position = place - v.Front
		if v.Rate > 0 && v.Limit != string(LimitRamp) { // a front that doubles its speed each second says nothing of when
			t.Wait = time.Duration(float64(t.Position) / v.Rate * float64(time.Second))
		}
		if v.Reach >= 0 && place >= v.Reach {
			t.State, t.Wait = engine.TicketUnreachable, -1
		}
	}
	if v.State == string(Closed) && t.State != engine.TicketPassed {
		t.State, t.Wait = engine.TicketClosed, -1
	}
	return t
}

func over(s *engine.Sale) bool {
	return s.State == engine.SaleDraining || s.State == engine.SaleClosed
}
