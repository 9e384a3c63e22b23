package main

// kind is how a scalar looks on the wire. All messages use Kafka's flexible
// encoding: compact lengths and a tagged section at the end of every struct.
type kind string

const (
	boolean kind = "boolean"
	i8      kind = "i8"
	i16     kind = "i16"
	u16     kind = "u16"
	i32     kind = "i32"
	i64     kind = "i64"
	f64     kind = "f64"
	uuid    kind = "uuid"
	str     kind = "str"
	blob    kind = "bytes"
	nested  kind = "nested"
)

// minSize is the least number of bytes that one value takes, which bounds how
// many elements a claimed array length can have.
var minSize = map[kind]int{
	boolean: 1, i8: 1, i16: 2, u16: 2, i32: 4, i64: 8, f64: 8, uuid: 16, str: 1, blob: 1,
}

var plainType = map[kind]string{
	boolean: "bool", i8: "int8", i16: "int16", u16: "uint16", i32: "int32", i64: "int64", f64: "float64",
	uuid: "model.UUID", str: "string", blob: "[]byte",
}

// field is one field in wire order; tagged fields come last, by tag.
type field struct {
	name string
	kind kind
	typ  string // Go type; "" for the plain type of the kind
	elem string // nested: name of the message
	doc  string

	since  int16  // first version of the message that has the field
	array  bool   // a compact array of kind
	null   bool   // null is allowed and is a nil slice or pointer
	absent string // the value that means "not set"; the Go field is a pointer
	tagged bool
	tag    int
}

// message is a record, a control record or a nested struct.
type message struct {
	name   string
	goName string // Go struct to fill, if another message declares it
	doc    string
	key    int16 // records and controls only

	// levels[v] is the lowest metadata.version at which version v may be written.
	levels []int16
	fields []field
}

func broker(name, doc string) field {
	return field{name: name, kind: i32, typ: "model.BrokerID", doc: doc}
}

func brokers(name, doc string) field {
	f := broker(name, doc)
	f.array = true
	return f
}

func uuids(name, typ, doc string) field {
	return field{name: name, kind: uuid, typ: typ, array: true, doc: doc}
}

func (f field) from(version int16) field      { f.since = version; return f }
func (f field) nullable() field               { f.null = true; return f }
func (f field) at(tag int) field              { f.tagged, f.tag = true, tag; return f }
func (f field) unlessSet(v string) field      { f.absent = v; return f }
func scalar(n string, k kind, d string) field { return field{name: n, kind: k, doc: d} }
func typed(n string, k kind, t, d string) field {
	return field{name: n, kind: k, typ: t, doc: d}
}
func structs(n, elem, goType, d string) field {
	return field{name: n, kind: nested, elem: elem, typ: goType, array: true, doc: d}
}

var nestedMessages = []message{
	{name: "Endpoint", doc: "Endpoint is where one listener of a node can be reached.", fields: []field{
		scalar("Name", str, "listener name, upper case by convention"),
		scalar("Host", str, "advertised host"),
		scalar("Port", u16, "advertised port"),
		scalar("Security", i16, "0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL; unused in a Voter"),
	}},
	{name: "FeatureRange", doc: "FeatureRange is the range of levels of one feature that a node supports.",
		fields: []field{
			scalar("Name", str, "feature name, for example metadata.version"),
			scalar("Min", i16, "lowest supported level"),
			scalar("Max", i16, "highest supported level"),
		}},
	{name: "QuotaEntityPart", doc: "QuotaEntityPart is one component of the entity that a quota applies to.",
		fields: []field{
			scalar("Type", str, "user, client-id or ip"),
			scalar("Name", str, "nil is the default entity of the type").nullable(),
		}},
	{name: "Voter", doc: "Voter is one member of the controller quorum (KIP-853).", fields: []field{
		broker("ID", "node id"),
		typed("Dir", uuid, "model.DirectoryID", "directory that holds its log; a wiped node has a new one"),
		structs("Endpoints", "voterEndpoint", "Endpoint", "controller listeners"),
		{name: "KRaftVersion", kind: nested, elem: "VersionRange", typ: "VersionRange", doc: "supported kraft.version"},
	}},
	{name: "voterEndpoint", goName: "Endpoint", fields: []field{
		scalar("Name", str, ""), scalar("Host", str, ""), scalar("Port", u16, ""),
	}},
	{name: "VersionRange", doc: "VersionRange is an inclusive range of supported levels.", fields: []field{
		scalar("Min", i16, "lowest supported level"),
		scalar("Max", i16, "highest supported level"),
	}},
	{name: "LeaderVoter", doc: "LeaderVoter is one voter as listed by LeaderChange.", fields: []field{
		broker("ID", "node id"),
		typed("Dir", uuid, "model.DirectoryID", "its directory id").from(1),
	}},
}

var controls = []message{
	{name: "LeaderChange", key: 2, doc: "LeaderChange is the first record that a quorum leader appends in its epoch.",
		levels: []int16{0, 0}, fields: []field{
			broker("LeaderID", "the leader"),
			structs("Voters", "LeaderVoter", "LeaderVoter", "the voters of the epoch"),
			structs("Granting", "LeaderVoter", "LeaderVoter", "the voters that granted their vote"),
		}},
	{name: "SnapshotHeader", key: 3, doc: "SnapshotHeader is the first record of a snapshot.",
		levels: []int16{0}, fields: []field{
			scalar("LastContainedLogTimestamp", i64, "append time of the last batch contained, ms"),
		}},
	{name: "SnapshotFooter", key: 4, doc: "SnapshotFooter is the last record of a complete snapshot.",
		levels: []int16{0}},
	{name: "KRaftVersion", key: 5, doc: "KRaftVersion finalises kraft.version (KIP-853).",
		levels: []int16{0}, fields: []field{scalar("Level", i16, "finalised kraft.version")}},
	{name: "KRaftVoters", key: 6, doc: "KRaftVoters replaces the voter set (KIP-853).",
		levels: []int16{0}, fields: []field{structs("Voters", "Voter", "Voter", "every voter")}},
}
