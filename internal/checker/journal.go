package checker

import (
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/proto"

	"hongyan/messages"
)

// EntryOf decodes an entry of the log.
func EntryOf(sequence uint64, data []byte) (Entry, error) {
	e := new(messages.Entry)
	if err := proto.Unmarshal(data, e); err != nil {
		return Entry{}, fmt.Errorf("decode the log's entry %d: %w", sequence, err)
	}
	in := e.GetInbound()
	return Entry{
		Sequence: sequence, OpenID: in.GetOpenId(), MsgID: in.GetMsgId(), Key: messages.KeyOf(in).String(), Text: in.GetText().GetContent(),
	}, nil
}

// DeadLetterOf decodes an entry of the log of dead letters.
func DeadLetterOf(sequence uint64, data []byte) (DeadLetter, error) {
	d := new(messages.DeadLetter)
	if err := proto.Unmarshal(data, d); err != nil {
		return DeadLetter{}, fmt.Errorf("decode dead letter %d: %w", sequence, err)
	}
	return DeadLetter{OpenID: d.GetInbound().GetOpenId(), Key: messages.KeyOf(d.GetInbound()).String(), Reason: d.GetReason()}, nil
}

// Request asks a NATS server, as nats.Conn.Request does.
type Request func(subject string, data []byte) (reply []byte, err error)

// Walk reads a stream message by message, from a sequence on to its end, by JetStream's own API as NATS documents it: neither the
// engine's reader nor its checkpoints have a part in it. It returns the sequence behind the last message that was taken, from which the next
// walk goes on; with an error as well.
func Walk(request Request, stream, subjects string, from uint64, take func(sequence uint64, data []byte) error) (next uint64, err error) {
	const notFound = 10037
	for next = max(from, 1); ; {
		ask, err := json.Marshal(map[string]any{"seq": next, "next_by_subj": subjects})
		if err != nil {
			return next, err
		}
		data, err := request("$JS.API.STREAM.MSG.GET."+stream, ask)
		if err != nil {
			return next, fmt.Errorf("read %s from %d: %w", stream, next, err)
		}
		var reply struct {
			Message struct {
				Sequence uint64 `json:"seq"`
				Data     []byte `json:"data"`
			} `json:"message"`
			Error struct {
				Code int    `json:"err_code"`
				Text string `json:"description"`
			} `json:"error"`
		}
		if err := json.Unmarshal(data, &reply); err != nil {
			return next, fmt.Errorf("read %s from %d: %w", stream, next, err)
		}
		switch reply.Error.Code {
		case 0:
		case notFound:
			return next, nil
		default:
			return next, fmt.Errorf("read %s from %d: %s", stream, next, reply.Error.Text)
		}
		if err := take(reply.Message.Sequence, reply.Message.Data); err != nil {
			return next, fmt.Errorf("%s at %d: %w", stream, reply.Message.Sequence, err)
		}
		next = reply.Message.Sequence + 1
	}
}
