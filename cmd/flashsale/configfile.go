package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"
)

// configFile is the YAML file that --config names: one key per flag, by the
// flag's name, for whatever command has that flag.
type configFile map[string]any

// loadConfig is a kong.ConfigurationLoader.
func loadConfig(r io.Reader) (kong.Resolver, error) {
	file := configFile{}
	if err := yaml.NewDecoder(r).Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("the configuration file is not a YAML mapping of flag names to values: %w", err)
	}
	return file, nil
}

// Validate refuses keys that no command has: a misspelt one would be ignored otherwise.
func (f configFile) Validate(app *kong.Application) error {
	known := map[string]bool{}
	var visit func(n *kong.Node)
	visit = func(n *kong.Node) {
		for _, flag := range n.Flags {
			known[flag.Name] = true
		}
		for _, child := range n.Children {
			visit(child)
		}
	}
	visit(app.Node)
	var unknown []string
	for key, value := range f {
		if !known[key] {
			unknown = append(unknown, key)
		}
		if _, nested := value.(map[string]any); nested {
			return fmt.Errorf("configuration file: %s must be a value or a list, not a mapping", key)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return fmt.Errorf("configuration file: no flag is called %s", strings.Join(unknown, ", "))
	}
	return nil
}

// Resolve gives a flag's value as kong's mappers take it.
func (f configFile) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, env := range flag.Envs {
		if _, set := os.LookupEnv(env); set {
			return nil, nil // the environment wins over the file
		}
	}
	switch v := f[flag.Name].(type) {
	case nil:
		return nil, nil
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = fmt.Sprint(e)
		}
		return out, nil
	default:
		return fmt.Sprint(v), nil
	}
}
