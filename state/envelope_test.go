package state_test

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"hongyan/state"
)

func FuzzEnvelope(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("not ours"))
	f.Add(state.EncodeEnvelope(false, state.Version{Incarnation: 1, Number: 2, Epoch: 3, WriteID: 4}, []byte("value")))
	f.Add(state.EncodeEnvelope(true, state.Version{Incarnation: math.MaxUint64, Number: 1, WriteID: 1}, nil))
	f.Add(state.EncodeEnvelope(false, state.Version{}, []byte("zero ids")))
	f.Add(append([]byte{2}, make([]byte, 40)...))
	f.Add(append([]byte{1, 0x80}, bytes.Repeat([]byte{1}, 40)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, value, deleted, err := state.DecodeEnvelope(data)
		if err != nil {
			return
		}
		if again := state.EncodeEnvelope(deleted, v, value); !bytes.Equal(again, data) {
			t.Errorf("%x was read as %+v %x and written as %x", data, v, value, again)
		}
	})
}

func TestEnvelope(t *testing.T) {
	t.Parallel()
	want := state.Version{Incarnation: 0x0102030405060708, Number: 1, Epoch: 0, WriteID: math.MaxUint64}
	data := state.EncodeEnvelope(false, want, []byte("v"))
	const hex = "\x01\x00" + "\x01\x02\x03\x04\x05\x06\x07\x08" + "\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\x00\x00\x00\x00\x00\x00\x00\x00" + "\xff\xff\xff\xff\xff\xff\xff\xff" + "v"
	if string(data) != hex {
		t.Errorf("the stored form changed: %x", data)
	}
	if v, value, deleted, err := state.DecodeEnvelope(data); err != nil || v != want || string(value) != "v" || deleted {
		t.Errorf("got %+v %q %v %v", v, value, deleted, err)
	}
	for name, data := range map[string][]byte{
		"empty": nil, "cut off": data[:state.EnvelopeHead-1], "later format": append([]byte{2}, data[1:]...),
		"unknown flag": append([]byte{1, 2}, data[2:]...), "no ids": make([]byte, 50),
	} {
		if _, _, _, err := state.DecodeEnvelope(data); !errors.Is(err, state.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
