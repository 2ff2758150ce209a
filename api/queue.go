package api

import (
	"context"
	"math"
	"strconv"
	"strings"
	"sync"

	"github.com/valyala/fasthttp"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/problem"
)

// The waiting room. Its document and its tickets are the same for everybody, so a crowd
// that polls them costs Redis nothing; joining costs one call.

// Rooms are the waiting rooms of sales that have one.
type Rooms interface {
	// View gives a room's public document: CodeNotFound. It is read four times a second
	// at most, whoever asks.
	View(ctx context.Context, sale string) (*engine.RoomView, error)
	// Join gives a buyer a ticket, or the one they have, and admits them once they are
	// due: CodeNotFound, CodeSaleNotOpen, CodeGateFrozen.
	Join(ctx context.Context, sale, buyer string) (engine.RoomTicket, error)
	// Leave gives a ticket back, and says what has become of it.
	Leave(ctx context.Context, sale, buyer string) (state string, err error)
	// Ticket says where one stands, by the document alone: CodeNotFound.
	Ticket(ctx context.Context, sale string, number uint64) (engine.RoomTicket, error)
}

type roomForm struct {
	Sale         string  `json:"sale"`
	State        string  `json:"state"`
	Commitment   string  `json:"commitment"`
	Seed         string  `json:"seed,omitempty"`
	N            *int64  `json:"n,omitempty"`
	OpensAt      string  `json:"opens_at,omitempty"`
	OpenedAt     string  `json:"opened_at,omitempty"`
	Front        int64   `json:"front"`
	Rate         float64 `json:"rate"`
	Reach        *int64  `json:"reach,omitempty"`
	Limit        string  `json:"limit,omitempty"`
	Joined       int64   `json:"joined"`
	Claimed      int64   `json:"claimed"`
	Left         int64   `json:"left"`
	Lapsed       int64   `json:"lapsed"`
	LeaseSeconds float64 `json:"lease_seconds"`
	Now          string  `json:"now,omitempty"`
}

type ticketForm struct {
	Sale      string `json:"sale"`
	Ticket    uint64 `json:"ticket"`
	Place     *int64 `json:"place,omitempty"`
	State     string `json:"state"`
	Position  *int64 `json:"position,omitempty"`
	Wait      *int64 `json:"wait_seconds,omitempty"`
	Token     string `json:"token,omitempty"`
	ExpiresAt string `json:"expires_at,omitempty"`
	Waitlist  bool   `json:"waitlist,omitempty"`
}

func formRoom(v *engine.RoomView) roomForm {
	f := roomForm{Sale: v.Sale, State: v.State, Commitment: v.Commitment, Seed: v.Seed, N: known(v.N), Front: v.Front, Rate: v.Rate, Reach: known(v.Reach), Limit: v.Limit,
		Joined: v.Joined, Claimed: v.Claimed, Left: v.Left, Lapsed: v.Lapsed, LeaseSeconds: v.Lease.Seconds()}
	if !v.OpensAt.IsZero() {
		f.OpensAt = stamp(v.OpensAt)
	}
	if !v.OpenedAt.IsZero() {
		f.OpenedAt = stamp(v.OpenedAt)
	}
	return f
}

func formTicket(t engine.RoomTicket) ticketForm {
	f := ticketForm{Sale: t.Sale, Ticket: t.Number, Place: known(t.Place), State: t.State, Position: known(t.Position), Token: t.Token, Waitlist: t.State == engine.TicketUnreachable}
	if t.Wait >= 0 {
		seconds := int64(math.Ceil(t.Wait.Seconds()))
		f.Wait = &seconds
	}
	if t.Token != "" {
		f.ExpiresAt = stamp(t.Expires)
	}
	return f
}

// known is a number that may be left out: below 0 it is not known.
func known(n int64) *int64 {
	if n < 0 {
		return nil
	}
	return &n
}

// roomPages remembers what the last document of each room looks like.
type roomPages struct{ last sync.Map } // sale id → roomPage

type roomPage struct {
	view *engine.RoomView
	page page
}

func (p *roomPages) of(v *engine.RoomView) page {
	if last, ok := p.last.Load(v.Sale); ok && last.(roomPage).view == v {
		return last.(roomPage).page
	}
	form := formRoom(v)
	tag := etag(problem.Compact(form)) // whatever time it is
	form.Now = stamp(v.Now)
	made := page{body: problem.Compact(form), tag: tag, last: v.State == "closed"}
	p.last.Store(v.Sale, roomPage{v, made})
	return made
}

// room finds the waiting room of a path.
func (s *Server) room(sale string) (*engine.RoomView, error) {
	if s.opt.Rooms == nil || !saleID(sale) {
		return nil, engine.E(engine.CodeNotFound, "no such waiting room")
	}
	ctx, done := context.WithTimeout(s.base, s.opt.RequestTimeout)
	defer done()
	return s.opt.Rooms.View(ctx, sale)
}

const aSecond = "public, max-age=1"

func (s *Server) getQueue(x *exchange) error {
	v, err := s.room(x.param)
	if err != nil {
		return err
	}
	p := s.rooms.of(v)
	err = x.cacheable(p, aSecond)
	x.set(fasthttp.HeaderETag, "W/"+p.tag) // weak: it says the same, at another time
	return err
}

func (s *Server) joinQueue(x *exchange) error {
	if s.opt.Rooms == nil || !saleID(x.param) {
		return engine.E(engine.CodeNotFound, "no such waiting room")
	}
	if err := s.passPlace(x, true); err != nil {
		return err
	}
	if err := s.passBuyer(x, x.param, true); err != nil {
		return err
	}
	ctx, done := s.work(x, 0)
	defer done()
	t, err := s.opt.Rooms.Join(ctx, x.param, x.buyer)
	if err != nil {
		return err
	}
	status := fasthttp.StatusOK
	if t.New {
		status = fasthttp.StatusCreated
	}
	return x.json(status, formTicket(t))
}

func (s *Server) leaveQueue(x *exchange) error {
	if s.opt.Rooms == nil || !saleID(x.param) {
		return engine.E(engine.CodeNotFound, "no such waiting room")
	}
	ctx, done := s.work(x, 0)
	defer done()
	state, err := s.opt.Rooms.Leave(ctx, x.param, x.buyer)
	if err != nil {
		return err
	}
	return x.json(fasthttp.StatusOK, map[string]string{"sale": x.param, "state": state})
}

func (s *Server) getTicket(x *exchange) error {
	sale, text, _ := strings.Cut(x.param, "/queue/")
	number, err := strconv.ParseUint(text, 10, 32)
	if s.opt.Rooms == nil || !saleID(sale) || err != nil || text[0] == '+' {
		return engine.E(engine.CodeNotFound, "no such ticket")
	}
	ctx, done := s.work(x, 0)
	defer done()
	t, err := s.opt.Rooms.Ticket(ctx, sale, number)
	if err != nil {
		return err
	}
	x.set(fasthttp.HeaderCacheControl, aSecond)
	return x.json(fasthttp.StatusOK, formTicket(t))
}
