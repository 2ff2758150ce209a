// Command composecheck checks a Compose file without Docker. It loads the file
// with the reference implementation of the Compose specification, which checks it
// against the specification's schema and resolves variables and merges, and then
// checks what the schema can't know: that everything named exists, that what
// others wait for can become healthy, and that the engine is configured.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// engineEnv is what cmd/flashsale reads, and serve can't do without.
var engineEnv = []string{
	"FLASHSALE_REDIS_URL", "FLASHSALE_POSTGRES_URL", "FLASHSALE_KAFKA_BROKERS", "FLASHSALE_LISTEN",
	"FLASHSALE_ADMIN_LISTEN", "FLASHSALE_ROLES", "FLASHSALE_ADMIN_TOKEN", "FLASHSALE_BUYER_KEY", "FLASHSALE_PAYMENT_URL",
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: composecheck FILE")
		os.Exit(2)
	}
	problems, project, err := check(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "composecheck:", err)
		os.Exit(1)
	}
	for _, p := range problems {
		fmt.Fprintln(os.Stderr, "composecheck:", p)
	}
	if len(problems) > 0 {
		os.Exit(1)
	}
	fmt.Printf("composecheck: %s is sound: %s\n", filepath.Base(os.Args[1]), strings.Join(project.ServiceNames(), ", "))
}

func check(file string) ([]string, *types.Project, error) {
	opts, err := cli.NewProjectOptions([]string{file}, cli.WithResolvedPaths(true)) // no environment: the defaults have to do
	if err != nil {
		return nil, nil, err
	}
	project, err := opts.LoadProject(context.Background())
	if err != nil {
		return nil, nil, err
	}
	var problems []string
	for _, name := range project.ServiceNames() {
		problems = append(problems, checkService(project, name)...)
	}
	problems = append(problems, checkEngine(project)...)
	return problems, project, nil
}

// checkService looks at one service: image, dependencies, volumes.
func checkService(p *types.Project, name string) (problems []string) {
	add := func(format string, args ...any) {
		problems = append(problems, name+": "+fmt.Sprintf(format, args...))
	}
	s := p.Services[name]
	switch {
	case s.Build == nil && !strings.Contains(s.Image, ":"):
		add("image %q has no tag", s.Image)
	case strings.HasSuffix(s.Image, ":latest"):
		add("image %q isn't pinned", s.Image)
	}
	if s.Build != nil {
		dockerfile := s.Build.Dockerfile
		if !filepath.IsAbs(dockerfile) {
			dockerfile = filepath.Join(s.Build.Context, dockerfile)
		}
		if _, err := os.Stat(dockerfile); err != nil {
			add("build: %v", err)
		}
	}
	for dep, d := range s.DependsOn {
		target := p.Services[dep] // exists: the loader has checked
		healthcheck := target.HealthCheck != nil && !target.HealthCheck.Disable
		switch {
		case d.Condition == types.ServiceConditionHealthy && !healthcheck:
			add("waits for %s to be healthy, which has no health check", dep)
		case d.Condition == types.ServiceConditionStarted && s.NetworkMode != "service:"+dep: // a shared network implies it
			add("waits only for %s to be started, not to work", dep)
		case d.Condition == types.ServiceConditionCompletedSuccessfully && target.Restart == "unless-stopped":
			add("waits for %s to end, which is restarted for ever", dep)
		}
	}
	return problems
}

// checkEngine looks at how the engine is wired to the rest.
func checkEngine(p *types.Project) (problems []string) {
	for _, name := range []string{"redis", "postgres", "kafka", "migrate", "engine", "sandbox"} {
		if _, ok := p.Services[name]; !ok {
			return []string{"there is no service " + name}
		}
	}
	engine := p.Services["engine"]
	for _, key := range engineEnv {
		if _, ok := engine.Environment[key]; !ok {
			problems = append(problems, "engine: "+key+" is not set")
		}
	}
	for key, backend := range map[string]string{
		"FLASHSALE_REDIS_URL": "redis", "FLASHSALE_POSTGRES_URL": "postgres", "FLASHSALE_KAFKA_BROKERS": "kafka",
	} {
		if v := engine.Environment[key]; v != nil && !strings.Contains(*v, backend+":") {
			problems = append(problems, fmt.Sprintf("engine: %s=%s doesn't lead to the service %s", key, *v, backend))
		}
	}
	for _, dep := range []string{"redis", "postgres", "kafka", "migrate"} {
		if _, ok := engine.DependsOn[dep]; !ok {
			problems = append(problems, "engine: doesn't wait for "+dep)
		}
	}
	if url := engine.Environment["FLASHSALE_PAYMENT_URL"]; url != nil && strings.Contains(*url, "127.0.0.1") &&
		p.Services["sandbox"].NetworkMode != "service:engine" {
		problems = append(problems, "engine: pays at its own loopback, where no sandbox listens")
	}
	if roles := engine.Environment["FLASHSALE_ROLES"]; roles != nil {
		for _, role := range []string{"api", "relay", "writer", "reaper", "payments"} {
			if !slices.Contains(strings.Split(*roles, ","), role) {
				problems = append(problems, "engine: nobody has the role "+role)
			}
		}
	}
	return problems
}
