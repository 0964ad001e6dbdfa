package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hongyan/config"
	"hongyan/wechat/simulator"
)

// sending is what the flags of `hongyan send` say.
type sending struct {
	file, account, user        string
	kind, event, eventKey      string
	image, location, messageID string
	createTime                 int64
	timeout                    time.Duration
	asJSON                     func() (bool, error)
}

// errGaveUp ends a message that --timeout cut short: it is unanswered, not failed.
var errGaveUp = errors.New("gave up waiting (--timeout)")

// newSendCommand is `hongyan send`.
func newSendCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "send [text]",
		Short: "Say something as a user, through a really signed callback 模拟用户发一条消息",
		Long: `Push one message to a running node as WeChat would: signed, encrypted in the account's mode, cut off after 5 s and
delivered again up to the account's reply.deliveries. Address and credentials come from -c FILE, else from what
hongyan dev wrote to ` + devConfigFile + `.

The standard output is the answer's text alone; everything else goes to the standard error.

Exit codes: 0 answered · 1 it could not be sent · 2 wrong command line · 3 not answered (silence, or WeChat's fault banner)`,
		Example: `  hongyan send --account demo --user u1 你好
  hongyan send --event CLICK --event-key HELP
  hongyan send --location 39.9055,116.3976 天安门广场
  hongyan send -o json 帮助`,
		Args: cobra.MaximumNArgs(1),
	}
	var s sending
	flags := cmd.Flags()
	flags.StringVarP(&s.file, "config", "c", "", "configuration of the node (default "+devConfigFile+")")
	flags.StringVar(&s.account, "account", "", "account id (default: the only one that is configured)")
	flags.StringVar(&s.user, "user", "u1", "OpenID of the user")
	flags.StringVar(&s.kind, "type", "", "text, image, voice, video, shortvideo, location, link (the text is its address) or event; by default what the other flags say")
	flags.StringVar(&s.event, "event", "", "send an event: subscribe, unsubscribe, SCAN, CLICK, VIEW or any other")
	flags.StringVar(&s.eventKey, "event-key", "", "the event's EventKey as WeChat sends it, for example qrscene_123 or HELP")
	flags.StringVar(&s.image, "image", "", "send a picture: its address, which becomes PicUrl")
	flags.StringVar(&s.location, "location", "", "send a place: latitude,longitude in degrees; the text is its label")
	flags.StringVar(&s.messageID, "msg-id", "", "MsgId, to repeat a message (default: a new one)")
	flags.Int64Var(&s.createTime, "create-time", 0, "CreateTime in Unix seconds (default: now)")
	flags.DurationVar(&s.timeout, "timeout", 0, "give up after this long altogether (default: as long as WeChat delivers)")
	s.asJSON = outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		inJSON, err := s.asJSON()
		if err != nil {
			return err
		}
		m, err := s.message(args)
		if err != nil {
			return usageError(cmd, err)
		}
		cfg, err := loadForClient(s.file)
		if err != nil {
			return err
		}
		result, err := s.push(cmd.Context(), cfg, m)
		if err != nil && !errors.Is(err, errGaveUp) {
			return err
		}
		gaveUp := err
		if inJSON {
			err = writeJSON(cmd.OutOrStdout(), result)
		} else {
			err = showResult(cmd.OutOrStdout(), cmd.ErrOrStderr(), result)
		}
		if err == nil && !result.Answered {
			return exitWith(exitAbsent, gaveUp)
		}
		return err
	}
	return cmd
}

// message is what the flags and the text ask for.
func (s *sending) message(args []string) (simulator.Message, error) {
	text := strings.Join(args, "")
	m := simulator.Message{Type: s.kind, MsgID: s.messageID, CreateTime: s.createTime}
	if m.Type == "" {
		switch {
		case s.event != "":
			m.Type = "event"
		case s.image != "":
			m.Type = "image"
		case s.location != "":
			m.Type = "location"
		default:
			m.Type = "text"
		}
	}
	for _, f := range []struct{ flag, value, kind string }{
		{"--event", s.event, "event"}, {"--event-key", s.eventKey, "event"}, {"--image", s.image, "image"}, {"--location", s.location, "location"},
	} {
		if f.value != "" && m.Type != f.kind {
			return m, fmt.Errorf("%s does not go with a message of type %s", f.flag, m.Type)
		}
	}
	if s.user == "" {
		return m, errors.New("--user must not be empty")
	}
	switch m.Type {
	case "text":
		m.Content = text
		if text == "" {
			return m, errors.New("say what to send, for example: hongyan send 你好")
		}
		return m, nil
	case "event":
		m.Event, m.EventKey = s.event, s.eventKey
		if s.event == "" {
			return m, errors.New("--type event needs --event")
		}
	case "image":
		m.PicURL = s.image
	case "location":
		m.Label = text
		return m, parseLocation(s.location, &m)
	case "link":
		m.URL = text
		if text == "" {
			return m, errors.New("--type link needs its address as the text")
		}
		return m, nil
	case "voice", "video", "shortvideo":
	default:
		return m, fmt.Errorf("--type %s: write text, image, voice, video, shortvideo, location, link or event", m.Type)
	}
	if text != "" {
		return m, fmt.Errorf("a message of type %s has no text", m.Type)
	}
	return m, nil
}

// parseLocation reads "latitude,longitude" in degrees.
func parseLocation(location string, m *simulator.Message) error {
	latitude, longitude, ok := strings.Cut(location, ",")
	var errLatitude, errLongitude error
	m.Latitude, errLatitude = strconv.ParseFloat(strings.TrimSpace(latitude), 64)
	m.Longitude, errLongitude = strconv.ParseFloat(strings.TrimSpace(longitude), 64)
	inside := m.Latitude >= -90 && m.Latitude <= 90 && m.Longitude >= -180 && m.Longitude <= 180
	if !ok || errLatitude != nil || errLongitude != nil || !inside {
		return fmt.Errorf("--location %q: write latitude,longitude in degrees, for example 39.9055,116.3976", location)
	}
	return nil
}

// push sends m through a platform that has just this account.
func (s *sending) push(ctx context.Context, cfg *config.Config, m simulator.Message) (devResult, error) {
	account, err := chooseAccount(cfg, s.account)
	if err != nil {
		return devResult{}, err
	}
	if s.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.timeout, errGaveUp)
		defer cancel()
	}
	if account.CustomerService { // only the platform that knows of the message takes a pushed answer
		if out, err := sendByDev(ctx, cfg, devMessage{Account: account.ID, OpenID: s.user, Message: m}); !errors.Is(err, errNoDev) {
			return out, err
		}
	}
	address, err := callbackAddress(ctx, cfg.Listen.Callback)
	if err != nil {
		return devResult{}, err
	}
	platform, err := simulator.New(simulator.Options{
		Deliveries: account.Reply.Deliveries,
		Accounts: []simulator.Account{{
			ID: account.ID, AppID: account.AppID, OriginalID: account.OriginalID, Mode: string(account.Mode),
			Token: account.Token.Reveal(), AESKey: account.EncodingAESKey.Reveal(),
			CallbackURL: "http://" + address + "/wechat/callback/" + account.ID,
		}},
	})
	if err != nil {
		return devResult{}, err
	}
	defer platform.Close()
	return s.plainly(platform.Push(ctx, account.ID, s.user, m))
}

// plainly is what a platform without an API of its own sees.
func (s *sending) plainly(r simulator.Result, err error) (devResult, error) {
	return devResult{Result: r}, err
}

// chooseAccount finds the account by id; without one, the only account.
func chooseAccount(cfg *config.Config, id string) (*config.Account, error) {
	if id == "" && len(cfg.Accounts) == 1 {
		return &cfg.Accounts[0], nil
	}
	var ids []string
	for i := range cfg.Accounts {
		ids = append(ids, cfg.Accounts[i].ID)
	}
	if i := slices.Index(ids, id); i >= 0 {
		return &cfg.Accounts[i], nil
	}
	if id == "" {
		return nil, fmt.Errorf("several accounts are configured: choose one with --account (%s)", strings.Join(ids, ", "))
	}
	return nil, fmt.Errorf("there is no account %s in the configuration; it has %s", printable(id), strings.Join(ids, ", "))
}

// callbackAddress is where the callback listener of the configured node is found from this machine, and something listens there.
func callbackAddress(ctx context.Context, listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("listen.callback %q: %w", listen, err)
	}
	if port == "0" {
		return "", errors.New("listen.callback has port 0, so the node's real port is not known: configure a fixed one")
	}
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	address := net.JoinHostPort(host, port)
	ctx, cancel := context.WithTimeout(ctx, simulator.DefaultCutoff)
	defer cancel()
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return "", fmt.Errorf("nothing listens at %s, where the callback should be: %w\nstart it with `hongyan dev`, or with `hongyan serve -c FILE`", address, err)
	}
	_ = connection.Close()
	return address, nil
}

// showResult writes the answer's text to out; what became of the message goes to notes.
func showResult(out, notes io.Writer, r devResult) error {
	for _, d := range r.Deliveries {
		if d.Detail != "" {
			fmt.Fprintf(notes, "delivery %d: %s: %s\n", d.Number, d.Outcome, d.Detail)
			if d.Status == http.StatusForbidden {
				fmt.Fprintln(notes, "the node refuses the callback: is it running with this configuration?")
			}
		}
	}
	switch {
	case r.Answered:
		answers := r.Pushed
		if r.Answer != nil {
			answers = append([]*simulator.Answer{r.Answer}, answers...)
		}
		var texts []string
		for _, a := range answers {
			texts = append(texts, answerText(a))
		}
		text := strings.Join(texts, "\n")
		if isTerminal(out) {
			text = withoutControls(text)
		}
		_, err := fmt.Fprintln(out, text)
		return err
	case r.Banner:
		fmt.Fprintf(notes, "no answer; WeChat shows: %s\n", simulator.Banner)
	case r.Silent:
		fmt.Fprintln(notes, "no answer: the node chose to say nothing")
	}
	return nil
}

// answerText is an answer in words: of a text its content, of everything else what a reader can use.
func answerText(a *simulator.Answer) string {
	join := func(parts ...string) string {
		return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "\n")
	}
	switch a.Type {
	case "text":
		return a.Content
	case "music":
		return join(a.Title, a.Description, a.MusicURL, a.HQMusicURL)
	case "news":
		var cards []string
		for _, article := range a.Articles {
			cards = append(cards, join(article.Title, article.Description, article.URL))
		}
		return join(cards...)
	case "transfer_customer_service":
		return join("["+a.Type+"]", a.KfAccount)
	default:
		return join("["+a.Type+"] "+a.MediaID, a.Title, a.Description)
	}
}

// withoutControls keeps an answer from steering the terminal.
func withoutControls(text string) string {
	return strings.Map(func(r rune) rune {
		if (r < 0x20 && r != '\n' && r != '\t') || (r >= 0x7f && r < 0xa0) {
			return -1
		}
		return r
	}, text)
}
