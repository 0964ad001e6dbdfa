// Package messages is the contract that Hongyan's parts share: the protobuf messages that stand in the log and travel
// between nodes (messages.proto), a user's identity and partition, the dedupe key, and the trace of a message's way.
// It is the lowest layer and imports nothing of Hongyan.
package messages

//go:generate protoc --proto_path=. --go_out=. --go_opt=paths=source_relative --plugin=protoc-gen-go=../.build/protoc-gen-go messages.proto
