package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/flashsale-engine/flashsale/api/buyertoken"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

const testKey = "0123456789abcdef0123456789abcdef"

// The other ways must be right to be worth a comparison: they sell what there
// is, once, to those who may.
func TestTheOtherWaysSellWhatThereIs(t *testing.T) {
	redis, postgres := testenv.OwnRedis(t).URL, testenv.Postgres(t)
	c, err := Client(redis, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	db := testenv.SQL(t, postgres)
	if _, err := db.Exec(Schema); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []Kind{Naive, NetHTTP, PGForUpdate, PGUpdate} {
		t.Run(string(kind), func(t *testing.T) {
			sale := "sale-" + string(kind)
			if err := c.Set(t.Context(), Prefix(sale)+"stock:A", 3, 0).Err(); err != nil {
				t.Fatal(err)
			}
			if _, err := db.Exec("INSERT INTO peer_stock VALUES ($1, 'A', 3)", sale); err != nil {
				t.Fatal(err)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- Serve(ctx, Options{Kind: kind, Redis: redis, Postgres: postgres, Key: testKey}, l) }()
			defer func() {
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}()
			token, err := buyertoken.Mint([]byte(testKey), "ann", "", 60e9)
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range []int{401, 201, 201, 201, 409, 409} {
				auth := "Bearer " + token
				if i == 0 {
					auth += "x"
				}
				req, err := http.NewRequest("POST", fmt.Sprintf("http://%s/v1/sales/%s/reservations", l.Addr(), sale), strings.NewReader(`{"lines":[{"sku":"A","quantity":1}]}`))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Authorization", auth)
				req.Header.Set("Idempotency-Key", fmt.Sprint(i))
				res, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				var out struct{ ID, State, Code string }
				err = json.NewDecoder(res.Body).Decode(&out)
				_ = res.Body.Close()
				if err != nil || res.StatusCode != want || (want == 201) != (out.State == "held" && out.ID != "") || (want == 409) != (out.Code == "sold_out") {
					t.Errorf("request %d: %d %+v, %v", i, res.StatusCode, out, err)
				}
			}
		})
	}
}
