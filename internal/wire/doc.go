// Package wire is the byte format of Kafka's protocol: frame limits, request
// and response headers, the table of APIs, guarded decoding of any request,
// and hand-written codecs for Produce and Fetch, which carry nearly all bytes.
//
// It is not a place for rules about what a request means: it knows no
// partition, no error beyond a malformed frame, and does no I/O.
//
// # Layout
//
//	frame    = int32 size | header | body           size counts header and body
//	request  = int16 key | int16 version | int32 correlation | nullable string client
//	           [ tagged fields ]                    header v2, for flexible versions
//	response = int32 correlation [ tagged fields ]  never tagged for ApiVersions (KIP-511)
//
// # Invariants
//
//  1. No length or count taken from input sizes an allocation before it was
//     compared with the bytes that are really there.
//  2. Decoding never panics and its work is linear in the size of the input.
//     kmsg alone gives neither: a tag count of 2^32 makes it spin, and an array
//     of 1-byte elements makes it allocate a hundred times the input. Hence
//     every message is walked against its shape before kmsg sees it.
//  3. A message that ends early is refused; bytes behind its end are ignored, as in Kafka.
//  4. Views returned by the hot-path decoders alias the frame and die with it.
package wire
