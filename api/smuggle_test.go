package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/flashsale-engine/flashsale/engine"
)

// smuggled is what an attacker would like to be taken for a request of its own.
const smuggled = "DELETE /v1/reservations/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

// hostile gives requests about whose end or target two readers could disagree, and
// what becomes of each: refused with 400 and the connection closed, or read in the
// one way that leaves nothing over.
func hostile(t *testing.T) map[string]struct{ request, then string } {
	t.Helper()
	length := fmt.Sprintf("Content-Length: %d\r\n", len(oneShoe))
	te := "Transfer-Encoding: chunked\r\n"
	plain := post(t, length, oneShoe)
	in := func(was, is string) string { return strings.Replace(plain, was, is, 1) + smuggled }
	chunk := func(body string) string { return post(t, te, body) + smuggled }
	whole := fmt.Sprintf("%x\r\n%s\r\n", len(oneShoe), oneShoe)
	const refused, served, twice = "400", "201", "201 401" // 401: the second was a request of its own, in the open
	return map[string]struct{ request, then string }{
		"nothing wrong":                               {plain, served},
		"a length, then an encoding":                  {post(t, length+te, chunked(oneShoe)) + smuggled, refused},
		"an encoding, then a length":                  {post(t, te+length, chunked(oneShoe)) + smuggled, refused},
		"the same length twice":                       {post(t, length+length, oneShoe) + smuggled, refused},
		"two lengths":                                 {post(t, length+"Content-Length: 0\r\n", oneShoe) + smuggled, refused},
		"a list of lengths":                           {post(t, fmt.Sprintf("Content-Length: %d, %[1]d\r\n", len(oneShoe)), oneShoe) + smuggled, refused},
		"a signed length":                             {in("Content-Length: ", "Content-Length: +"), refused},
		"a negative length":                           {in("Content-Length: ", "Content-Length: -"), refused},
		"a hexadecimal length":                        {post(t, "Content-Length: 0x10\r\n", oneShoe) + smuggled, refused},
		"a length with a fraction":                    {post(t, "Content-Length: 4.0\r\n", oneShoe) + smuggled, refused},
		"a length with a blank in it":                 {post(t, "Content-Length: 1 0\r\n", oneShoe) + smuggled, refused},
		"an empty length":                             {post(t, "Content-Length:\r\n", oneShoe) + smuggled, refused},
		"a length beyond 64 bits":                     {post(t, "Content-Length: 36893488147419103232\r\n", oneShoe) + smuggled, refused},
		"a length under a name like it":               {post(t, length+"Content_Length: 0\r\n", oneShoe) + smuggled, twice},
		"an encoding twice":                           {post(t, te+te, chunked(oneShoe)) + smuggled, refused},
		"chunked, chunked":                            {post(t, "Transfer-Encoding: chunked, chunked\r\n", chunked(oneShoe)) + smuggled, refused},
		"chunked and another":                         {post(t, te+"Transfer-Encoding: x\r\n", chunked(oneShoe)) + smuggled, refused},
		"identity":                                    {post(t, "Transfer-Encoding: identity\r\n"+length, oneShoe) + smuggled, refused},
		"xchunked":                                    {post(t, "Transfer-Encoding: xchunked\r\n"+length, oneShoe) + smuggled, refused},
		"chunked with a parameter":                    {post(t, "Transfer-Encoding: chunked;q=1\r\n", chunked(oneShoe)) + smuggled, refused},
		"chunked in quotes":                           {post(t, "Transfer-Encoding: \"chunked\"\r\n"+length, oneShoe) + smuggled, refused},
		"chunked behind a vertical tab":               {post(t, "Transfer-Encoding: \x0bchunked\r\n"+length, oneShoe) + smuggled, refused},
		"an empty encoding":                           {post(t, "Transfer-Encoding:\r\n"+length, oneShoe) + smuggled, refused},
		"chunks in HTTP/1.0":                          {strings.Replace(post(t, te, chunked(oneShoe)), "HTTP/1.1", "HTTP/1.0", 1) + smuggled, refused},
		"a blank before a colon":                      {post(t, "Transfer-Encoding : chunked\r\n", chunked(oneShoe)) + smuggled, refused},
		"a tab before a colon":                        {post(t, length+"X-Some\t: thing\r\n", oneShoe) + smuggled, refused},
		"a blank in a name":                           {post(t, length+"X Some: thing\r\n", oneShoe) + smuggled, refused},
		"a folded line":                               {post(t, length+"X-Some: thing\r\n Transfer-Encoding: chunked\r\n", oneShoe) + smuggled, refused},
		"a folded length":                             {post(t, "Content-Length:\r\n "+fmt.Sprint(len(oneShoe))+"\r\n", oneShoe) + smuggled, refused},
		"a blank before the first header":             {in("Host: x", " Host: x"), refused},
		"a header without a colon":                    {post(t, length+"Transfer-Encoding\r\n", oneShoe) + smuggled, refused},
		"a header without a name":                     {post(t, length+": chunked\r\n", oneShoe) + smuggled, refused},
		"a NUL in a value":                            {post(t, length+"X-Some: a\x00b\r\n", oneShoe) + smuggled, refused},
		"a NUL in a name":                             {post(t, length+"X-So\x00me: a\r\n", oneShoe) + smuggled, refused},
		"a lone CR in a value":                        {post(t, length+"X-Some: a\rTransfer-Encoding: chunked\r\n", oneShoe) + smuggled, refused},
		"a lone LF after a header":                    {post(t, "X-Some: a\nContent-Length: 0\r\n"+length, oneShoe) + smuggled, refused},
		"a lone LF after a good header":               {in("Host: x\r\n", "Host: x\n"), refused},
		"a lone LF after the request line":            {in("HTTP/1.1\r\n", "HTTP/1.1\n"), twice},
		"lone LFs before the body":                    {in("\r\n\r\n{", "\n\n{"), refused},
		"a lone LF ends the headers":                  {in("\r\n\r\n{", "\r\n\n{"), refused},
		"a chunk with an extension":                   {chunk(fmt.Sprintf("%x;a=b\r\n%s\r\n0\r\n\r\n", len(oneShoe), oneShoe)), twice},
		"a chunk with an extension of two lines":      {chunk(fmt.Sprintf("%x;a\nb\r\n%s\r\n0\r\n\r\n", len(oneShoe), oneShoe)), refused},
		"a chunk with a lone CR in its extension":     {chunk(fmt.Sprintf("%x;a\rb\r\n%s\r\n0\r\n\r\n", len(oneShoe), oneShoe)), refused},
		"a last chunk with an extension of two lines": {chunk(whole + "0;a\nb\r\n\r\n"), refused},
		"a chunk size with a sign":                    {chunk(fmt.Sprintf("+%x\r\n%s\r\n0\r\n\r\n", len(oneShoe), oneShoe)), refused},
		"a negative chunk size":                       {chunk("-1\r\n" + oneShoe + "\r\n0\r\n\r\n"), refused},
		"a chunk size with 0x":                        {chunk(fmt.Sprintf("0x%x\r\n%s\r\n0\r\n\r\n", len(oneShoe), oneShoe)), refused},
		"a chunk size behind a blank":                 {chunk(" " + whole + "0\r\n\r\n"), refused},
		"a chunk size before a blank":                 {chunk(strings.Replace(whole, "\r\n", " \r\n", 1) + "0\r\n\r\n"), twice},
		"a chunk size that overflows":                 {chunk("10000000000000000\r\n" + oneShoe + "\r\n0\r\n\r\n"), refused},
		"a chunk size of many zeros":                  {chunk(strings.Repeat("0", 4000) + whole + "0\r\n\r\n"), refused},
		"no chunk size":                               {chunk("\r\n" + oneShoe + "\r\n0\r\n\r\n"), refused},
		"a lone LF after a chunk size":                {chunk(strings.Replace(whole, "\r\n", "\n", 1) + "0\r\n\r\n"), refused},
		"a lone CR after a chunk size":                {chunk(strings.Replace(whole, "\r\n", "\r", 1) + "0\r\n\r\n"), refused},
		"a chunk longer than it says":                 {chunk(fmt.Sprintf("%x\r\n%sxx\r\n0\r\n\r\n", len(oneShoe), oneShoe)), refused},
		"a chunk without its end":                     {chunk(strings.TrimSuffix(whole, "\r\n") + "0\r\n\r\n"), refused},
		"a lone LF after a chunk":                     {chunk(strings.TrimSuffix(whole, "\r\n") + "\n0\r\n\r\n"), refused},
		"a trailer":                                   {chunk(whole + "0\r\nX-Some: thing\r\n\r\n"), twice},
		"a trailer that is a length":                  {chunk(whole + "0\r\nContent-Length: 5\r\n\r\n"), refused},
		"a last chunk of two zeros":                   {chunk(whole + "00\r\n\r\n"), twice},
		"an absolute target":                          {in("POST /", "POST http://x/"), twice},
		"an absolute target of another host":          {in("POST /", "POST http://y/"), refused},
		"an absolute target of no HTTP":               {in("POST /", "POST ftp://x/"), refused},
		"a target of a host alone":                    {"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n" + smuggled, refused},
		"a target of a star":                          {"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n" + smuggled, "404 401"},
		"a target that is no path":                    {in("POST /", "POST "), refused},
		"a target with a blank":                       {in("/reservations HTTP", "/reservations x HTTP"), refused},
		"a target with a NUL":                         {in("/reservations HTTP", "/reservations\x00 HTTP"), refused},
		"a target with a fragment":                    {in("/reservations HTTP", "/reservations#x HTTP"), refused},
		"no target":                                   {"GET HTTP/1.1\r\nHost: x\r\n\r\n" + smuggled, refused},
		"no version":                                  {"GET /healthz\r\nHost: x\r\n\r\n" + smuggled, refused},
		"two blanks in the request line":              {in("POST /", "POST  /"), refused},
		"a tab in the request line":                   {in("POST /", "POST\t/"), refused},
		"a blank before the request line":             {" " + plain + smuggled, refused},
		"a method that is no token":                   {in("POST /", "PO(ST /"), refused},
		"HTTP/1.2":                                    {in("HTTP/1.1", "HTTP/1.2"), refused},
		"HTTP/2.0":                                    {in("HTTP/1.1", "HTTP/2.0"), refused},
		"HTTP/01.1":                                   {in("HTTP/1.1", "HTTP/01.1"), refused},
		"http/1.1":                                    {in("HTTP/1.1", "http/1.1"), refused},
		"the preface of HTTP/2":                       {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + smuggled, refused},
		"a ClientHello":                               {"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", refused},
		"no host":                                     {in("Host: x\r\n", ""), refused},
		"an empty host":                               {in("Host: x", "Host: "), refused},
		"two hosts":                                   {in("Host: x", "Host: x\r\nHost: y"), refused},
		"the same host twice":                         {in("Host: x", "Host: x\r\nHost: x"), refused},
		"a host with a path":                          {in("Host: x", "Host: x/y"), refused},
		"a host with a user":                          {in("Host: x", "Host: a@x"), refused},
		"a host with a blank":                         {in("Host: x", "Host: x y"), refused},
		"a host with a comma":                         {in("Host: x", "Host: x, y"), refused},
		"garbage after a request":                     {plain + "\x00\x01garbage\r\n\r\n" + smuggled, "201 400"},
		"a second request cut into the first":         {plain + "POST /\r\n\r\n" + smuggled, "201 400"},
		"a body of a GET that looks like requests":    {"GET /healthz HTTP/1.1\r\nHost: x\r\n" + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(smuggled)) + smuggled, "200"},
		"two requests at once":                        {plain + smuggled, twice},
		"an empty line before the request":            {"\r\n" + plain + smuggled, twice},
		"an upgrade":                                  {in("Host: x", "Host: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c"), twice},
		"another expectation":                         {in("Host: x", "Host: x\r\nExpect: 200-ok"), twice},
	}
}

func TestWhatTwoReadersCouldReadInTwoWaysIsRefused(t *testing.T) {
	for way, change := range map[string][]func(*Options){"quick": {}, "usual": {usualWay}, "quick over TLS": {overTLS(t)}, "usual over TLS": {overTLS(t), usualWay}} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int64
			d := openTCP(t, &fake{reserve: func(_ context.Context, r engine.ReserveRequest) (engine.Reservation, error) {
				asked.Add(1)
				return held(r.Buyer), nil
			}}, change...)
			for name, c := range hostile(t) {
				before := asked.Load()
				got, closed := d.hearAll(c.request)
				if got != c.then || strings.HasSuffix(c.then, "400") && !closed {
					t.Errorf("%s: answered %q, closed %v; not %q", name, got, closed, c.then)
				}
				if n := asked.Load() - before; n != int64(strings.Count(c.then, "201")) {
					t.Errorf("%s: the engine was asked %d times", name, n)
				}
			}
		})
	}
}

// hearAll says something, nothing more after it, and gives the statuses of all
// answers, and whether the last said that it is the last.
func (d *door) hearAll(request string) (statuses string, closed bool) {
	d.t.Helper()
	c := d.dial()
	defer func() { _ = c.Close() }()
	c.say(request)
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		must(d.t, w.CloseWrite())
	}
	var all []string
	for {
		res, err := http.ReadResponse(c.r, nil)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				all = append(all, err.Error())
			}
			return strings.Join(all, " "), closed
		}
		closed = res.Close
		_, err = io.Copy(io.Discard, res.Body)
		must(d.t, err)
		must(d.t, res.Body.Close())
		all = append(all, fmt.Sprint(res.StatusCode))
	}
}
