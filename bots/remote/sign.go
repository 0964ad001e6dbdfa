package remote

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The headers of the Standard Webhooks scheme, https://www.standardwebhooks.com.
const (
	headerWebhookID        = "Webhook-Id"
	headerWebhookTimestamp = "Webhook-Timestamp"
	headerWebhookSignature = "Webhook-Signature"
)

// secretPrefix is in front of a secret that is base64, as Standard Webhooks writes them.
const secretPrefix = "whsec_"

// CheckSecret tells whether secrets can be used: one, or several with blanks between them.
func CheckSecret(secrets string) error {
	_, err := secretBytes(secrets)
	return err
}

// secretBytes are the keys of the secrets in text: with the prefix in base64, else as they stand. The errors quote none of them.
func secretBytes(secrets string) ([][]byte, error) {
	var keys [][]byte
	for i, s := range strings.Fields(secrets) {
		key := []byte(s)
		if encoded, ok := strings.CutPrefix(s, secretPrefix); ok {
			var err error
			if key, err = base64.StdEncoding.DecodeString(encoded); err != nil {
				return nil, fmt.Errorf("secret %d begins with %s, and is no base64 behind it", i+1, secretPrefix)
			}
		}
		if len(key) == 0 {
			return nil, fmt.Errorf("secret %d is empty", i+1)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("the secret is empty")
	}
	return keys, nil
}

// signature is the value of webhook-signature: one for each secret, so that both sides can change theirs one after the other.
func signature(secrets, id, timestamp string, body []byte) (string, error) {
	keys, err := secretBytes(secrets)
	if err != nil {
		return "", err
	}
	signed := make([]string, 0, len(keys))
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		_, _ = io.WriteString(mac, id+"."+timestamp+".") // a hash takes everything
		_, _ = mac.Write(body)
		signed = append(signed, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(signed, " "), nil
}
