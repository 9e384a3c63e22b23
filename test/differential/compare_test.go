package differential

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// diff is one field in which two answers differ. Path has no indexes: all
// partitions of an answer are of one kind.
type diff struct {
	api         string
	version     int16
	path, where string
	kafka, ours string
	code        int16 // of the innermost element that has one: the same on both sides

	topic     string  // the name of the element's topic, "" if asked by id
	id        topicID // its symbol, if asked by id
	partition int32   // -1: not of a partition
	config    string  // the name of the element's config
}

func (d diff) String() string {
	return fmt.Sprintf("%s v%d %s (error %d): Apache Kafka %s, Tidemark %s", d.api, d.version, d.where, d.code, d.kafka, d.ours)
}

// signature groups differences that have one cause.
func (d diff) signature() string {
	return fmt.Sprintf("%s %s: %s / %s", d.api, d.path, shorten(d.kafka, 40), shorten(d.ours, 40))
}

// absent stands for a list's element that only the other answer has.
const absent = "absent"

// comparison collects the differences of one pair of answers.
type comparison struct {
	req       kmsg.Request
	topic     string
	id        topicID
	partition int32
	config    string
	code      int16
	diffs     []diff
}

func compare(req kmsg.Request, kafka, ours answer) []diff {
	c := &comparison{req: req, partition: -1}
	if a, b := kafka.outcome(), ours.outcome(); a != b {
		c.add("", "", a, b)
	} else if kafka.resp != nil {
		normalise(kafka.resp)
		normalise(ours.resp)
		c.walk("", "", reflect.ValueOf(kafka.resp), reflect.ValueOf(ours.resp))
	}
	return c.diffs
}

func (c *comparison) add(path, where, kafka, ours string) {
	c.diffs = append(c.diffs, diff{
		api: kmsg.Key(c.req.Key()).Name(), version: c.req.GetVersion(), path: path, where: where,
		kafka: kafka, ours: ours, code: c.code, topic: c.topic, id: c.id, partition: c.partition, config: c.config,
	})
}

// walk compares two values of one type.
func (c *comparison) walk(path, where string, a, b reflect.Value) {
	switch a.Kind() { // flat switch
	case reflect.Pointer:
		if a.IsNil() != b.IsNil() {
			c.add(path, where, show(a), show(b))
		} else if !a.IsNil() {
			c.walk(path, where, a.Elem(), b.Elem())
		}
	case reflect.Struct:
		c.structs(path, where, a, b)
	case reflect.Slice:
		c.slices(path, where, a, b)
	default:
		if !reflect.DeepEqual(a.Interface(), b.Interface()) {
			c.add(path, where, show(a), show(b))
		}
	}
}

// slices compares lists. Elements that name a topic or a partition are compared
// with those of the same name, the first with the first, and so on.
func (c *comparison) slices(path, where string, a, b reflect.Value) {
	elem := a.Type().Elem()
	switch {
	case elem.Kind() == reflect.Uint8:
		if x, y := batches(a.Bytes()), batches(b.Bytes()); x != y || a.IsNil() != b.IsNil() {
			c.add(path, where, x, y)
		}
		return
	case elem.Kind() == reflect.Struct && (has(elem, "Partition") || has(elem, "Topic")):
		for _, p := range pairs(a, b) {
			c.pair(path, fmt.Sprintf("%s[%d]", where, p.index), p)
		}
		return
	case a.IsNil() != b.IsNil() || a.Len() != b.Len():
		c.add(path, where, show(a), show(b))
		return
	}
	for i := range a.Len() {
		c.walk(path, fmt.Sprintf("%s[%d]", where, i), a.Index(i), b.Index(i))
	}
}

func has(t reflect.Type, name string) bool { _, ok := t.FieldByName(name); return ok }

// pair is one element of a list in both answers, or in one.
type pair struct {
	index int
	a, b  reflect.Value // invalid: absent
}

// pairs matches the elements of two lists.
func pairs(a, b reflect.Value) []pair {
	keys := func(v reflect.Value) []string {
		seen, out := map[string]int{}, make([]string, v.Len())
		for i := range out {
			k := ""
			for _, f := range []string{"Partition", "Topic", "TopicID"} {
				if has(v.Type().Elem(), f) {
					k += show(v.Index(i).FieldByName(f)) + "|"
				}
			}
			seen[k]++
			out[i] = fmt.Sprint(k, seen[k])
		}
		return out
	}
	ka, kb := keys(a), keys(b)
	at := map[string]int{}
	for i, k := range kb {
		at[k] = i
	}
	var out []pair
	for i, k := range ka {
		p := pair{index: i, a: a.Index(i)}
		if j, ok := at[k]; ok {
			p.b = b.Index(j)
			delete(at, k)
		}
		out = append(out, p)
	}
	for i, k := range kb {
		if _, left := at[k]; left {
			out = append(out, pair{index: i, b: b.Index(i)})
		}
	}
	return out
}

func (c *comparison) pair(path, where string, p pair) {
	if p.a.IsValid() && p.b.IsValid() {
		c.walk(path, where, p.a, p.b)
		return
	}
	v := p.a
	if !v.IsValid() {
		v = p.b
	}
	defer c.enter(v)()
	if parts := v.FieldByName("Partitions"); parts.IsValid() && parts.Len() > 0 { // each of them is absent
		none := reflect.MakeSlice(parts.Type(), 0, 0)
		if p.a.IsValid() {
			c.slices(join(path, "Partitions"), join(where, "Partitions"), parts, none)
		} else {
			c.slices(join(path, "Partitions"), join(where, "Partitions"), none, parts)
		}
		return
	}
	if code := v.FieldByName("ErrorCode"); code.IsValid() {
		outer := c.code
		c.code = int16(code.Int())
		defer func() { c.code = outer }()
	}
	kafka, ours := absent, absent
	if shown := element(v); p.a.IsValid() {
		kafka = shown
	} else {
		ours = shown
	}
	c.add(path, where, kafka, ours)
}

// element describes an element that is absent elsewhere: its batches, if it may
// have any.
func element(v reflect.Value) string {
	if f := v.FieldByName("RecordBatches"); f.IsValid() {
		return "batches " + batches(f.Bytes())
	}
	return fmt.Sprintf("%+v", v.Interface())
}

// enter notes of what topic and partition the differences are.
func (c *comparison) enter(v reflect.Value) (leave func()) {
	topic, id, partition, config := c.topic, c.id, c.partition, c.config
	if f := v.FieldByName("Topic"); f.IsValid() {
		c.topic = strings.Trim(show(f), `"`)
	}
	if f := v.FieldByName("TopicID"); f.IsValid() {
		c.id = f.Interface().(topicID)
	}
	if f := v.FieldByName("Partition"); f.IsValid() && f.Kind() == reflect.Int32 {
		c.partition = int32(f.Int())
	}
	if f := v.FieldByName("Name"); f.IsValid() && f.Kind() == reflect.String {
		c.config = f.String()
	}
	return func() { c.topic, c.id, c.partition, c.config = topic, id, partition, config }
}

func (c *comparison) structs(path, where string, a, b reflect.Value) {
	defer c.enter(a)()
	if code := a.FieldByName("ErrorCode"); code.IsValid() {
		if other := b.FieldByName("ErrorCode"); code.Int() != other.Int() {
			// What else differs follows from it.
			c.add(join(path, "ErrorCode"), join(where, "ErrorCode"), show(code), show(other))
			return
		}
		outer := c.code
		c.code = int16(code.Int())
		defer func() { c.code = outer }()
	}
	for i := range a.NumField() {
		f := a.Type().Field(i)
		if f.Name == "Version" || f.Name == "ThrottleMillis" || f.Name == "UnknownTags" || !f.IsExported() {
			continue
		}
		c.walk(join(path, f.Name), join(where, f.Name), a.Field(i), b.Field(i))
	}
}

func join(path, name string) string { return strings.TrimPrefix(path+"."+name, ".") }

func show(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.Pointer && v.IsNil():
		return "null"
	case v.Kind() == reflect.Pointer:
		return show(v.Elem())
	case v.Kind() == reflect.Slice && v.IsNil():
		return "null"
	case v.Kind() == reflect.String:
		return fmt.Sprintf("%q", v.String())
	case v.Kind() == reflect.Slice:
		return fmt.Sprintf("%d elements %+v", v.Len(), v.Interface())
	}
	return fmt.Sprint(v.Interface())
}
