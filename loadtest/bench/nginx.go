package bench

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/loadtest/bench/peers"
)

// skipped says why something is not measured here; that is no failure.
type skipped struct{ why string }

func (s skipped) Error() string { return s.why }

//go:embed nginx.conf
var nginxConf string

// luaModules are where systems put nginx' Lua module.
var luaModules = []string{"/usr/lib/nginx/modules/ngx_http_lua_module.so", "/usr/lib64/nginx/modules/ngx_http_lua_module.so", "/usr/share/nginx/modules/ngx_http_lua_module.so"}

// findNginx finds nginx and, unless it is built in, its Lua module.
func findNginx(cfg Config) (bin string, modules []string, err error) {
	if bin, err = exec.LookPath(cfg.nginx()); err != nil {
		return "", nil, skipped{"nginx is not installed"}
	}
	built, _ := exec.Command(bin, "-V").CombinedOutput()
	if strings.Contains(string(built), "lua-nginx-module") || strings.Contains(string(built), "ngx_lua") {
		return bin, nil, nil
	}
	places := luaModules
	if cfg.NginxLua != "" {
		places = []string{cfg.NginxLua}
	}
	for _, m := range places {
		if _, err := os.Stat(m); err == nil {
			// Debian's is built upon the development kit, a module of its own.
			if kit := filepath.Join(filepath.Dir(m), "ndk_http_module.so"); exists(kit) {
				modules = append(modules, kit)
			}
			return bin, append(modules, m), nil
		}
	}
	return "", nil, skipped{"nginx is installed without its Lua module (Debian: libnginx-mod-http-lua)"}
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// startNginx runs nginx with one worker on the server's processor.
func (w *world) startNginx(ctx context.Context) (*server, error) {
	bin, modules, err := findNginx(w.cfg)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "flashsale-bench-nginx-")
	if err != nil {
		return nil, err
	}
	w.atEnd(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	if err := w.redis.ScriptLoad(ctx, peers.ScriptA).Err(); err != nil {
		return nil, err
	}
	at, err := url.Parse(w.stack.Redis.URL)
	if err != nil {
		return nil, err
	}
	var loads strings.Builder
	for _, m := range modules {
		fmt.Fprintf(&loads, "load_module %s;\n", m)
	}
	path := ""
	if w.cfg.NginxLuaPath != "" {
		path = fmt.Sprintf("lua_package_path %q;", w.cfg.NginxLuaPath)
	}
	conf := strings.NewReplacer("@MODULES@", loads.String(), "@LUA_PATH@", path, "@LISTEN@", addr, "@SHA@", peers.ScriptSHA(), "@REDIS_PORT@", at.Port(),
		"@LIMIT@", fmt.Sprint(peers.Limit), "@LIFE@", fmt.Sprint(peers.Life.Milliseconds())).Replace(nginxConf)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	p, err := start(ctx, "nginx", w.server, false, bin, "-p", dir, "-c", file, "-e", filepath.Join(dir, "error.log"))
	if err != nil {
		return nil, err
	}
	w.atEnd(p.stop)
	for end := time.Now().Add(10 * time.Second); ; {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			_ = c.Close()
			return &server{process: p, addr: addr, url: w.stack.Redis.URL, redis: w.redis}, nil
		}
		select {
		case <-p.done:
			log, _ := os.ReadFile(filepath.Join(dir, "error.log"))
			return nil, fmt.Errorf("bench: nginx ended: %s %s", p.lastWords(), log)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(end) {
			return nil, errors.Join(errors.New("bench: nginx does not answer"), err)
		}
	}
}
