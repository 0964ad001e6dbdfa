package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hongyan/wechat/crypt"
	"hongyan/wechat/simulator"
)

const (
	sendToken  = "pamtest"
	sendAESKey = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
	sendAppID  = "wxb11529c136998cb6"
)

// callback is a server of the account demo in safe mode that answers what the test wants: content is Content or Event, and an
// empty answer is `success`.
func callback(t *testing.T, answer func(content string) (status int, text string)) (config string) {
	t.Helper()
	codec, err := crypt.NewCodec(sendToken, sendAESKey, sendAppID)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var sealed struct{ Encrypt string }
		body, _ := io.ReadAll(r.Body)
		if err := xml.Unmarshal(body, &sealed); err != nil {
			t.Errorf("callback body: %v", err)
		}
		q := r.URL.Query()
		if r.URL.Path != "/wechat/callback/demo" || codec.Sign(q.Get("timestamp"), q.Get("nonce"), sealed.Encrypt) != q.Get("msg_signature") {
			t.Errorf("callback %s is not genuine", r.URL.Path)
		}
		plain, err := codec.Decrypt(sealed.Encrypt)
		if err != nil {
			t.Errorf("callback: %v", err)
		}
		var in struct{ ToUserName, FromUserName, Content, Event, EventKey, Label, PicUrl, Location_X, MsgId string }
		if err := xml.Unmarshal(plain, &in); err != nil {
			t.Errorf("callback: %v", err)
		}
		status, text := answer(in.Content + in.Event + in.EventKey + in.Label + in.PicUrl + in.Location_X)
		if status != http.StatusOK || text == "" {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "success")
			return
		}
		reply := fmt.Sprintf("<xml><ToUserName>%s</ToUserName><FromUserName>%s</FromUserName><CreateTime>1</CreateTime><MsgType>text</MsgType><Content><![CDATA[%s]]></Content></xml>",
			in.FromUserName, in.ToUserName, text)
		encrypt := codec.Encrypt([]byte(reply), [16]byte{7})
		fmt.Fprintf(w, "<xml><Encrypt>%s</Encrypt><MsgSignature>%s</MsgSignature><TimeStamp>1</TimeStamp><Nonce>n</Nonce></xml>", encrypt, codec.Sign("1", "n", encrypt))
	}))
	t.Cleanup(server.Close)
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	return sendConfig(t, "0.0.0.0:"+port)
}

// sendConfig writes a configuration whose callback listens at address, and returns its path.
func sendConfig(t *testing.T, address string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "hongyan.yaml")
	text := fmt.Sprintf("listen: {callback: %q}\naccounts:\n  - {id: demo, app_id: %s, mode: safe, token: %s, encoding_aes_key: %s, reply: {deliveries: 2}}\n",
		address, sendAppID, sendToken, sendAESKey)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// send runs the command alone.
func send(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, notes bytes.Buffer
	cmd := newSendCommand()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&notes)
	code = finish(cmd.ExecuteContext(t.Context()), &notes)
	return code, out.String(), notes.String()
}

func TestSend(t *testing.T) {
	t.Parallel()
	file := callback(t, func(content string) (int, string) {
		if content == "嘘" {
			return http.StatusOK, ""
		}
		return http.StatusOK, "您说：" + content + "\n第二行"
	})
	for _, test := range []struct {
		name string
		args []string
		code int
		out  string
	}{
		{"text", []string{"--account", "demo", "--user", "u1", "你好"}, exitOK, "您说：你好\n第二行\n"},
		{"only account", []string{"你好"}, exitOK, "您说：你好\n第二行\n"},
		{"event", []string{"--event", "CLICK", "--event-key", "HELP"}, exitOK, "您说：CLICKHELP\n第二行\n"},
		{"location", []string{"--location", "39.9055,116.3976", "天安门"}, exitOK, "您说：天安门39.905500\n第二行\n"},
		{"image", []string{"--image", "http://p/1.jpg"}, exitOK, "您说：http://p/1.jpg\n第二行\n"},
		{"silence", []string{"嘘"}, exitAbsent, ""},
		{"nothing to say", nil, exitUsage, ""},
		{"contradiction", []string{"--type", "text", "--event", "CLICK", "x"}, exitUsage, ""},
		{"no place", []string{"--location", "91,0"}, exitUsage, ""},
		{"unknown account", []string{"--account", "other", "x"}, exitError, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			code, out, notes := send(t, append([]string{"-c", file}, test.args...)...)
			if code != test.code || out != test.out {
				t.Errorf("exit code %d, output %q; want %d, %q\n%s", code, out, test.code, test.out, notes)
			}
			if code != exitOK && notes == "" {
				t.Error("nothing on the standard error says why")
			}
		})
	}
}

func TestSendJSON(t *testing.T) {
	t.Parallel()
	file := callback(t, func(content string) (int, string) { return http.StatusOK, content })
	code, out, notes := send(t, "-c", file, "-o", "json", "--msg-id", "77", "--create-time", "1700000000", "价格")
	var result simulator.Result
	if err := json.Unmarshal([]byte(out), &result); code != exitOK || err != nil {
		t.Fatalf("exit code %d, %v\n%s%s", code, err, out, notes)
	}
	if result.MsgID != "77" || result.CreateTime != 1700000000 || result.Answer == nil || result.Answer.Content != "价格" || len(result.Deliveries) != 1 {
		t.Errorf("result %+v", result)
	}
}

func TestSendUnanswered(t *testing.T) {
	t.Parallel()
	file := callback(t, func(string) (int, string) { return http.StatusForbidden, "" })
	code, out, notes := send(t, "-c", file, "--timeout", "300ms", "你好")
	if code != exitAbsent || out != "" || !strings.Contains(notes, "gave up waiting") || !strings.Contains(notes, "403") {
		t.Errorf("exit code %d, output %q\n%s", code, out, notes)
	}
}

func TestSendToNobody(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	code, _, notes := send(t, "-c", sendConfig(t, address), "你好")
	if code != exitError || !strings.Contains(notes, "hongyan dev") {
		t.Errorf("exit code %d\n%s", code, notes)
	}
	code, _, notes = send(t, "-c", filepath.Join(t.TempDir(), "none.yaml"), "你好")
	if code != exitError || !strings.Contains(notes, "none.yaml") {
		t.Errorf("exit code %d\n%s", code, notes)
	}
}
