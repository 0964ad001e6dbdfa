package bench

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"
)

// Modes of the benchmark's account (protocol §1.1).
const (
	ModePlain = "plain"
	ModeSafe  = "safe"
)

// Account is the Official Account that every target of one run serves. Its credentials are drawn for the run.
type Account struct {
	ID         string `json:"id"`
	AppID      string `json:"app_id"`
	OriginalID string `json:"original_id"`
	Mode       string `json:"mode"` // ModePlain or ModeSafe
	Token      string `json:"token"`
	AESKey     string `json:"encoding_aes_key"` // 43 characters
}

// Rule answers exactly Text with Reply.
type Rule struct {
	Text  string `json:"text"`
	Reply string `json:"reply"`
}

// NewAccount draws an account with fresh credentials.
func NewAccount(mode string) Account {
	return Account{
		ID:         "bench",
		AppID:      "wx0be2c4000be2c400",
		OriginalID: "gh_0be2c4000be2",
		Mode:       mode,
		Token:      randomHex(16),
		AESKey:     randomKey(),
	}
}

// path is where WeChat posts this account's callbacks.
func (a Account) path() string { return "/wechat/callback/" + a.ID }

// rules returns the texts that users send and their answers. There are several so that an answer to another message of
// the same user shows.
func rules() []Rule {
	const count = 16
	list := make([]Rule, count)
	for i := range list {
		list[i] = Rule{
			Text:  fmt.Sprintf("价格 %d", i),
			Reply: fmt.Sprintf("您好！第 %d 号商品今天的价格是 %d 元，需要的话请回复“购买”。", i, 100+37*i),
		}
	}
	return list
}

// openID is the n-th user: 28 characters, as WeChat's are.
func openID(n uint32) string { return fmt.Sprintf("oBench%022d", n) }

// randomKey draws an EncodingAESKey: 43 characters of A-Z, a-z and 0-9 (protocol §1.1).
func randomKey() string {
	key := make([]byte, 43)
	for i := range key {
		n, _ := rand.Int(rand.Reader, big.NewInt(int64(len(alphanumeric)))) // rand.Reader never fails
		key[i] = alphanumeric[n.Int64()]
	}
	return string(key)
}

const alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b)
	return hex.EncodeToString(b)
}

func validMode(mode string) bool { return slices.Contains([]string{ModePlain, ModeSafe}, mode) }
