// Package packaging tests what is shipped beside the code: the container image
// without a container engine, compose.yaml, and the tables of the documents,
// which are compared with what running nodes say.
//
//	go test ./test/packaging                            # compare
//	go test ./test/packaging -run TestDocuments -update # write the tables anew
package packaging
