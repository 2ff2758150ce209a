package main

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"
)

// A flag with the tag type:"secret" takes its value, or @ and the file that has it:
// --buyer-key @/run/secrets/buyer-key, FLASHSALE_BUYER_KEY=@/run/secrets/buyer-key.
// Of a flag that takes several, each line of the file is one. @@ begins a value that
// begins with @. config print hides what has the tag.

// mostSecret bounds such a file.
const mostSecret = 1 << 20

// secretMapper is kong's mapper of the tag.
func secretMapper(ctx *kong.DecodeContext, target reflect.Value) error {
	token := ctx.Scan.Pop()
	var given []string
	switch v := token.Value.(type) {
	case string:
		if given = []string{v}; target.Kind() == reflect.Slice {
			given = kong.SplitEscaped(v, ctx.Value.Tag.Sep)
		}
	case []any: // a list of the configuration file
		for _, e := range v {
			given = append(given, fmt.Sprint(e))
		}
	default:
		return errors.New("missing value, expecting a secret or @FILE")
	}
	var all []string
	for _, g := range given {
		text, err := secret(g)
		if err != nil {
			return err
		}
		if target.Kind() == reflect.Slice && text != g {
			all = append(all, strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })...)
		} else {
			all = append(all, text)
		}
	}
	switch {
	case target.Kind() == reflect.Slice:
		target.Set(reflect.AppendSlice(target, reflect.ValueOf(all)))
	case len(all) == 1:
		target.SetString(all[0])
	default:
		return errors.New("expecting one secret")
	}
	return nil
}

// secret gives a value that was given as itself or as a file's, less the line's end.
func secret(s string) (string, error) {
	file, at := strings.CutPrefix(s, "@")
	if !at || strings.HasPrefix(file, "@") {
		return file, nil // it begins with @ itself, or with none
	}
	info, err := os.Stat(file) //nolint:gosec // a file that the configuration names
	if err != nil {
		return "", err
	}
	if info.Size() > mostSecret {
		return "", fmt.Errorf("%s: longer than any secret", file)
	}
	b, err := os.ReadFile(file) //nolint:gosec // the same
	if err != nil {
		return "", err
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if text == "" {
		return "", fmt.Errorf("%s: is empty", file)
	}
	return text, nil
}
