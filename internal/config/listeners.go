package config

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Listener is one socket that a node opens, and the address that it tells others.
type Listener struct {
	Name           string // upper case, as Kafka compares names
	Host           string // "" binds every address
	Port           int    // 0: any free port
	AdvertisedHost string // "" on controller listeners without advertised.listeners until resolved
	AdvertisedPort int
	Controller     bool
}

// Bind is the address to listen on.
func (l Listener) Bind() string { return net.JoinHostPort(l.Host, strconv.Itoa(l.Port)) }

// QuorumVoter is one entry of controller.quorum.voters.
type QuorumVoter struct {
	ID   int32
	Host string
	Port int
}

type endpoint struct {
	name, host string
	port       int
}

// parseEndpoint reads NAME://host:port; the host may be empty or an IPv6 address in brackets.
func parseEndpoint(s string) (endpoint, error) {
	name, rest, ok := strings.Cut(s, "://")
	i := strings.LastIndexByte(rest, ':')
	if !ok || name == "" || i < 0 {
		return endpoint{}, fmt.Errorf("%q: want NAME://host:port", s)
	}
	port, err := strconv.Atoi(rest[i+1:])
	if err != nil || port < 0 || port > 65535 {
		return endpoint{}, fmt.Errorf("%q: port %q: want 0 to 65535", s, rest[i+1:])
	}
	host := strings.TrimSuffix(strings.TrimPrefix(rest[:i], "["), "]")
	return endpoint{strings.ToUpper(name), host, port}, nil
}

func parseEndpoints(v values, name string) ([]endpoint, error) {
	var out []endpoint
	for _, s := range v.list(name) {
		e, err := parseEndpoint(s)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", v.from(name), name, err)
		}
		if slices.ContainsFunc(out, func(o endpoint) bool { return o.name == e.name }) {
			return nil, fmt.Errorf("%s: %s: listener name %s is used twice", v.from(name), name, e.name)
		}
		if slices.ContainsFunc(out, func(o endpoint) bool { return o.port == e.port && e.port != 0 && o.host == e.host }) {
			return nil, fmt.Errorf("%s: %s: %s://%s:%d uses an address that another listener has", v.from(name), name, e.name, e.host, e.port)
		}
		out = append(out, e)
	}
	return out, nil
}

// parseListeners combines listeners, advertised.listeners and
// controller.listener.names, and refuses security protocols that aren't built yet.
func parseListeners(v values, ignore []string) ([]Listener, []string, error) {
	binds, err := parseEndpoints(v, "listeners")
	if err != nil {
		return nil, nil, err
	}
	adv, err := parseEndpoints(v, "advertised.listeners")
	if err != nil {
		return nil, nil, err
	}
	controllers := upper(v.list("controller.listener.names"))
	var out []Listener
	for _, b := range binds {
		l := Listener{Name: b.name, Host: b.host, Port: b.port, Controller: slices.Contains(controllers, b.name)}
		l.AdvertisedHost, l.AdvertisedPort = b.host, b.port
		if i := slices.IndexFunc(adv, func(a endpoint) bool { return a.name == b.name }); i >= 0 {
			l.AdvertisedHost, l.AdvertisedPort = adv[i].host, adv[i].port
		}
		if isAny(l.AdvertisedHost) {
			if l.AdvertisedHost == "0.0.0.0" || l.AdvertisedHost == "::" {
				if slices.ContainsFunc(adv, func(a endpoint) bool { return a.name == b.name }) {
					return nil, nil, fmt.Errorf("%s: advertised.listeners: %s://%s: clients can't connect to that address; name this host", v.from("advertised.listeners"), b.name, l.AdvertisedHost)
				}
			}
			l.AdvertisedHost = hostname()
		}
		out = append(out, l)
	}
	for _, a := range adv {
		if !slices.ContainsFunc(binds, func(b endpoint) bool { return a.name == b.name }) {
			return nil, nil, fmt.Errorf("%s: advertised.listeners names %s, which listeners doesn't have", v.from("advertised.listeners"), a.name)
		}
	}
	warnings, err := checkProtocols(v, out, ignore)
	return out, warnings, err
}

func isAny(host string) bool { return host == "" || host == "0.0.0.0" || host == "::" }

func hostname() string {
	if h, err := os.Hostname(); err == nil && h != "" {
		return h
	}
	return "localhost"
}

func upper(in []string) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = strings.ToUpper(s)
	}
	return out
}

// checkProtocols refuses every listener in use that isn't PLAINTEXT.
func checkProtocols(v values, ls []Listener, ignore []string) ([]string, error) {
	const mapKey, interKey = "listener.security.protocol.map", "security.inter.broker.protocol"
	protocol := map[string]string{"CONTROLLER": "PLAINTEXT"}
	for _, p := range v.list(mapKey) {
		name, proto, ok := strings.Cut(p, ":")
		if !ok {
			return nil, fmt.Errorf("%s: %s: %q: want NAME:PROTOCOL", v.from(mapKey), mapKey, p)
		}
		protocol[strings.ToUpper(strings.TrimSpace(name))] = strings.ToUpper(strings.TrimSpace(proto))
	}
	var warnings []string
	for _, l := range ls {
		proto, ok := protocol[l.Name]
		switch {
		case !ok:
			return nil, fmt.Errorf("%s: %s has no entry for listener %s; add %s:PLAINTEXT", v.from(mapKey), mapKey, l.Name, l.Name)
		case proto == "PLAINTEXT":
		case slices.Contains(ignore, mapKey):
			warnings = append(warnings, fmt.Sprintf("%s: listener %s asks for %s but serves PLAINTEXT because of --ignore-unsupported %s", v.from(mapKey), l.Name, proto, mapKey))
		default:
			return nil, fmt.Errorf("%s: listener %s maps to %s; only PLAINTEXT is supported yet, and serving it unprotected would be worse than not starting "+
				"(--ignore-unsupported %s serves it as PLAINTEXT)", v.from(mapKey), l.Name, proto, mapKey)
		}
	}
	if p := v.raw(interKey); !strings.EqualFold(p, "PLAINTEXT") {
		if !slices.Contains(ignore, interKey) {
			return nil, refusal(interKey, Setting{From: v.from(interKey)})
		}
		warnings = append(warnings, fmt.Sprintf("%s: %s=%s is IGNORED because of --ignore-unsupported", v.from(interKey), interKey, p))
	}
	return warnings, nil
}

func parseVoters(v values) ([]QuorumVoter, error) {
	const key = "controller.quorum.voters"
	var out []QuorumVoter
	for _, s := range v.list(key) {
		id, addr, ok := strings.Cut(s, "@")
		n, err := strconv.ParseInt(id, 10, 32)
		host, port, aerr := net.SplitHostPort(addr)
		p, perr := strconv.Atoi(port)
		if !ok || err != nil || aerr != nil || perr != nil || n < 0 || host == "" || p < 0 || p > 65535 {
			return nil, fmt.Errorf("%s: %s: %q: want id@host:port", v.from(key), key, s)
		}
		if slices.ContainsFunc(out, func(q QuorumVoter) bool { return q.ID == int32(n) }) {
			return nil, fmt.Errorf("%s: %s: id %d is used twice", v.from(key), key, n)
		}
		out = append(out, QuorumVoter{ID: int32(n), Host: host, Port: p})
	}
	return out, nil
}
