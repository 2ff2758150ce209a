package reservation

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Unfit lists what of the Redis behind the gate may cost buyers their holds, or
// keep the gate from working, each in a sentence; none: nothing was found.
func (g *Gate) Unfit(ctx context.Context) (out []string, err error) {
	info, err := g.client.Info(ctx, "server").Result()
	if err != nil {
		return nil, readFailed(err)
	}
	for line := range strings.Lines(info) {
		version, ok := strings.CutPrefix(strings.TrimSpace(line), "redis_version:")
		major, _, _ := strings.Cut(version, ".")
		if n, err := strconv.Atoi(major); ok && (err != nil || n < 7) {
			out = append(out, fmt.Sprintf("Redis %s: before 7 a replica knows its master's scripts, so a failover could not be told from a server that was never away; use 7 or later", version))
		}
	}
	set := map[string]string{}
	for _, name := range []string{"appendonly", "appendfsync"} {
		got, err := g.client.ConfigGet(ctx, name).Result()
		if err != nil {
			return append(out, "Redis does not show its configuration; see to appendonly yes and appendfsync always"), nil //nolint:nilerr // it is managed, or embedded
		}
		set[name] = got[name]
	}
	switch {
	case set["appendonly"] != "yes":
		out = append(out, "appendonly "+set["appendonly"]+": a restart loses every hold, and the gate is rebuilt from the record")
	case set["appendfsync"] != "always":
		out = append(out, "appendfsync "+set["appendfsync"]+": a crash loses acknowledged holds, and the gate is rebuilt from the record; with batching, always is nearly free")
	}
	return out, nil
}
