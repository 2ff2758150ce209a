package admission_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/flashsale-engine/flashsale/admission"
)

func seedOf(n uint64) admission.Seed {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	return sha256.Sum256(b[:])
}

func places(seed admission.Seed, n uint64) []uint64 {
	s := admission.NewShuffle(seed, n)
	out := make([]uint64, n)
	for i := range out {
		out[i] = s.Place(uint64(i))
	}
	return out
}

func TestAShuffleIsAPermutation(t *testing.T) {
	is := func(t interface{ Fatalf(string, ...any) }, seed admission.Seed, n uint64) {
		got := places(seed, n)
		slices.Sort(got)
		for i, p := range got {
			if p != uint64(i) {
				t.Fatalf("of %d places, number %d in order is %d", n, i, p)
			}
		}
	}
	for n := range uint64(70) { // every small domain: its edges are here
		is(t, seedOf(n), n)
	}
	rapid.Check(t, func(r *rapid.T) {
		seed := seedOf(rapid.Uint64().Draw(r, "seed"))
		is(r, seed, rapid.Uint64Range(0, 1100).Draw(r, "n"))
	})
	is(t, seedOf(1), 1<<12)
	is(t, seedOf(1), 1<<12+1)
}

func TestWhoJoinsAfterTheOpeningIsServedInOrder(t *testing.T) {
	s := admission.NewShuffle(seedOf(1), 3)
	for i := uint64(3); i < 100; i++ {
		if p := s.Place(i); p != i {
			t.Fatalf("ticket %d has place %d", i, p)
		}
	}
	if p := admission.NewShuffle(seedOf(1), 0).Place(0); p != 0 {
		t.Fatalf("the first to join an empty room has place %d", p)
	}
}

// A ticket is as likely to get one place as any other: chi-square over seeds, for
// the first, a middle and the last ticket. With k-1 degrees of freedom its mean is
// k-1 and its deviation √(2(k-1)); the bounds are five deviations up, and as many
// down, because too even is suspicious as well. The seeds are fixed, so it does not
// fail by chance; a network of two rounds, or one that leaves out the mask, fails it.
func TestPlacesAreUniform(t *testing.T) {
	for _, n := range []uint64{2, 3, 5, 16, 17, 100} {
		for _, ticket := range []uint64{0, n / 2, n - 1} {
			const seeds = 2000
			count := make([]float64, n)
			for s := range uint64(seeds) {
				count[admission.NewShuffle(seedOf(s), n).Place(ticket)]++
			}
			chi, expected := 0.0, seeds/float64(n)
			for _, c := range count {
				chi += (c - expected) * (c - expected) / expected
			}
			free := float64(n - 1)
			if off := chi - free; off*off > 25*2*free {
				t.Errorf("n %d, ticket %d: chi-square %.1f with %.0f degrees of freedom", n, ticket, chi, free)
			}
		}
	}
}

// Neighbours do not stay neighbours: the place of one ticket says nothing of the next one's.
func TestNeighboursAreScattered(t *testing.T) {
	const n = 10_000
	got, near := places(seedOf(7), n), 0
	for i := 1; i < n; i++ {
		if d := int64(got[i]) - int64(got[i-1]); d >= -100 && d <= 100 {
			near++
		}
	}
	if near < 120 || near > 280 { // 2 % are expected: 200, with a deviation of 14
		t.Errorf("%d of %d neighbours are within 100 places", near, n)
	}
}

// One more buyer makes another order: nobody can tell a good ticket before N is fixed.
func TestOneMoreBuyerMakesAnotherOrder(t *testing.T) {
	const n = 1000
	a, b, same := places(seedOf(7), n), places(seedOf(7), n+1), 0
	for i := range a {
		if a[i] == b[i] {
			same++
		}
	}
	if same > 10 { // one is expected
		t.Errorf("%d of %d tickets keep their places", same, n)
	}
}

// These pin the algorithm: whoever changes it changes its name as well.
func TestTheShufflesVectors(t *testing.T) {
	seed := admission.Seed(bytes.Repeat([]byte{0x5a}, 32))
	if got, want := admission.Commitment("demo", seed), "6582706d47234ea7771f997c58b8050ab67a8e147310c719059c2c17a6ea3136"; got != want {
		t.Errorf("commitment %s, want %s", got, want)
	}
	for _, v := range []struct {
		n    uint64
		want []uint64
	}{
		{0, []uint64{}},
		{1, []uint64{0}},
		{2, []uint64{0, 1}},
		{3, []uint64{2, 1, 0}},
		{4, []uint64{2, 3, 0, 1}},
		{5, []uint64{4, 0, 2, 3, 1}},
		{10, []uint64{1, 0, 7, 2, 3, 4, 5, 9, 6, 8}},
		{1000, []uint64{128, 931, 711, 807, 567, 623, 905, 291, 632, 270}},
		{1000000, []uint64{413177, 53411, 342571, 618963, 388716, 673970, 569687, 220671, 733678, 68777}},
		{4294967296, []uint64{1808743079, 2498823957, 4075901829, 2227207733, 3337003717, 2485565321, 1488126390, 3856526595, 477583359, 3928246901}},
	} {
		s, got := admission.NewShuffle(seed, v.n), []uint64{}
		for i := range v.want {
			got = append(got, s.Place(uint64(i)))
		}
		if !slices.Equal(got, v.want) {
			t.Errorf("n %d: %v, want %v", v.n, got, v.want)
		}
	}
}

// What a stranger computes from the public document alone, in another language.
func TestStrangersComeToTheSamePlaces(t *testing.T) {
	type claim struct {
		Ticket uint64 `json:"ticket"`
		Place  uint64 `json:"place"`
	}
	verify := func(sale string, seed admission.Seed, n uint64, commitment string, claims []claim) (string, error) {
		doc, err := json.Marshal(map[string]any{"sale": sale, "seed": hex.EncodeToString(seed[:]), "n": n, "commitment": commitment, "tickets": claims})
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "python3", "../scripts/verify-places.py")
		cmd.Stdin = bytes.NewReader(doc)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, n := range []uint64{0, 1, 2, 65, 500_000} {
		seed, s := seedOf(n), admission.NewShuffle(seedOf(n), n)
		var claims []claim
		for i := range min(n+3, 100) {
			claims = append(claims, claim{i, s.Place(i)})
		}
		if out, err := verify("demo", seed, n, admission.Commitment("demo", seed), claims); err != nil {
			t.Fatalf("n %d: %v: %s", n, err, out)
		}
		if n != 65 {
			continue
		}
		claims[0].Place++
		if out, err := verify("demo", seed, n, admission.Commitment("demo", seed), claims); err == nil || !strings.Contains(out, "WRONG ticket 0") {
			t.Fatalf("n %d: a wrong place passes: %s", n, out)
		}
		claims[0].Place--
		if out, err := verify("demo", seed, n, admission.Commitment("another", seed), claims); err == nil || !strings.Contains(out, "WRONG commitment") {
			t.Fatalf("n %d: a wrong commitment passes: %s", n, out)
		}
	}
}

func BenchmarkPlace(b *testing.B) {
	s := admission.NewShuffle(seedOf(1), 500_000)
	b.ReportAllocs()
	for i := range b.N {
		s.Place(uint64(i) % 500_000)
	}
}

func TestWhoseAPlaceIs(t *testing.T) {
	for _, n := range []uint64{1, 2, 3, 15, 16, 17, 1000, 1 << 12, 1<<12 + 1} {
		s := admission.NewShuffle(seedOf(n), n)
		for ticket := range n + 3 {
			if got := s.Ticket(s.Place(ticket)); got != ticket {
				t.Fatalf("of %d: the place of ticket %d is said to be that of %d", n, ticket, got)
			}
		}
	}
}
