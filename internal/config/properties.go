package config

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Setting is one raw value and where it came from, in words for an error text.
type Setting struct {
	Value string
	From  string // "server.properties line 12", "environment KAFKA_NODE_ID", "--override"
}

// ParseProperties reads Java's properties format: comments with # or !,
// separators = : or blanks, continuation lines, \uXXXX and the usual escapes.
// Of a repeated key the last one counts, as in Java.
func ParseProperties(name, text string) (map[string]Setting, error) {
	out := map[string]Setting{}
	lines := strings.Split(strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		start := i + 1
		line := strings.TrimLeft(lines[i], " \t\f")
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		for continues(line) && i+1 < len(lines) {
			i++
			line = line[:len(line)-1] + strings.TrimLeft(lines[i], " \t\f")
		}
		key, value := splitProperty(line)
		k, err := unescape(key)
		if err == nil {
			value, err = unescape(value)
		}
		if err != nil {
			return nil, fmt.Errorf("%s line %d: %w", name, start, err)
		}
		out[k] = Setting{Value: value, From: fmt.Sprintf("%s line %d", name, start)}
	}
	return out, nil
}

// continues reports whether the line ends in an odd number of backslashes.
func continues(line string) bool {
	n := 0
	for n < len(line) && line[len(line)-1-n] == '\\' {
		n++
	}
	return n%2 == 1
}

func splitProperty(line string) (key, value string) {
	end := len(line)
	for i := 0; i < len(line); i++ {
		if line[i] == '\\' {
			i++
			continue
		}
		if strings.IndexByte("=: \t\f", line[i]) >= 0 {
			end = i
			break
		}
	}
	key, rest := line[:end], strings.TrimLeft(line[end:], " \t\f")
	if rest != "" && (rest[0] == '=' || rest[0] == ':') {
		rest = strings.TrimLeft(rest[1:], " \t\f")
	}
	return key, rest
}

func unescape(s string) (string, error) {
	if strings.IndexByte(s, '\\') < 0 {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 't':
			b.WriteByte('\t')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 'f':
			b.WriteByte('\f')
		case 'u':
			if i+4 >= len(s) {
				return "", fmt.Errorf("%q ends inside a \\uXXXX escape", s)
			}
			v, err := strconv.ParseUint(s[i+1:i+5], 16, 16)
			if err != nil {
				return "", fmt.Errorf("%q: bad \\u escape: %w", s, err)
			}
			b.Write(utf8.AppendRune(nil, rune(v)))
			i += 4
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), nil
}
