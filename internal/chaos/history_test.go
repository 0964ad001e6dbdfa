package chaos

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/fxamacker/cbor/v2"

	"hongyan/conversation"
	"hongyan/internal/checker"
	"hongyan/messages"
)

// history is every change of every record, in the order in which Redis made them, as its append-only file has them. It is read
// bit by bit while Redis writes; only whole commands are taken.
type history struct {
	dir     string           // Redis' folder
	read    map[string]int64 // bytes taken, by file
	records map[string]*past
	users   map[string]*checker.User // by OpenID
	fences  map[string]uint64        // epoch of a partition's checkpoint, by its tag
	floors  map[string]uint64        // floor in it
	writes  int
	faults  []string // violations of I4, and of I2 and I3 as far as records show them
}

// past is one record's.
type past struct {
	header
	user  *checker.User // nil for a checkpoint
	known map[string]int
	state conversation.State
}

// header is what stands in front of a record's value (docs/decisions/0009-redis.md).
type header struct {
	deleted                             bool
	incarnation, number, epoch, writeID uint64
}

const headerBytes = 34

func newHistory(dir string) *history {
	return &history{
		dir: dir, read: map[string]int64{}, records: map[string]*past{}, users: map[string]*checker.User{},
		fences: map[string]uint64{}, floors: map[string]uint64{},
	}
}

// follow takes what was written since.
func (h *history) follow() error {
	files, err := filepath.Glob(filepath.Join(h.dir, "appendonlydir", "*.incr.aof"))
	if err != nil {
		return err
	}
	slices.SortFunc(files, func(a, b string) int { return incrementOf(a) - incrementOf(b) })
	for _, file := range files {
		if err := h.followFile(file); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

// incrementOf is N of appendonly.aof.N.incr.aof.
func incrementOf(file string) int {
	parts := strings.Split(filepath.Base(file), ".")
	n, err := strconv.Atoi(parts[len(parts)-3])
	if err != nil {
		return 0
	}
	return n
}

func (h *history) followFile(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Seek(h.read[file], io.SeekStart); err != nil {
		return err
	}
	in := bufio.NewReaderSize(f, 1<<20)
	for {
		command, size, err := readCommand(in)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil // the rest is not written yet
		}
		if err != nil {
			return fmt.Errorf("at byte %d: %w", h.read[file], err)
		}
		h.read[file] += size
		h.take(command)
	}
}

// readCommand reads one command in the form of Redis' protocol: *<count>, and $<length> for each word.
func readCommand(in *bufio.Reader) (words [][]byte, size int64, err error) {
	number := func(mark byte) (int, error) {
		line, err := in.ReadString('\n')
		if err != nil {
			return 0, io.ErrUnexpectedEOF
		}
		size += int64(len(line))
		if line[0] != mark {
			return 0, fmt.Errorf("%q stands where %q was expected", line, mark)
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	for { // annotations, such as #TS:1700000000
		next, err := in.Peek(1)
		if err != nil {
			return nil, 0, io.EOF
		}
		if next[0] != '#' {
			break
		}
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, 0, io.EOF
		}
		size += int64(len(line))
	}
	count, err := number('*')
	if err != nil {
		return nil, 0, err
	}
	for range count {
		length, err := number('$')
		if err != nil {
			return nil, 0, err
		}
		word := make([]byte, length+2)
		if _, err := io.ReadFull(in, word); err != nil {
			return nil, 0, io.ErrUnexpectedEOF
		}
		size += int64(len(word))
		words = append(words, word[:length])
	}
	return words, size, nil
}

func (h *history) fault(format string, args ...any) {
	h.faults = append(h.faults, fmt.Sprintf(format, args...))
}

// take judges one command. Scripts stand in the file as the commands that they ran.
func (h *history) take(words [][]byte) {
	if len(words) == 0 {
		return
	}
	name := strings.ToUpper(string(words[0]))
	switch name {
	case "SELECT", "MULTI", "EXEC":
		return
	}
	if len(words) < 2 {
		h.fault("I4: Redis ran %s, which no record knows", name)
		return
	}
	key := string(words[1])
	if strings.Contains(key, ":probe:") {
		return
	}
	switch {
	case name == "SET" && len(words) >= 3:
		h.set(key, words[2])
	case name == "SETRANGE" && len(words) == 4 && string(words[2]) == "0":
		// A write that found itself there already: the header is written once more as it is.
		if now, err := readHeader(words[3]); err != nil || h.records[key] == nil || now != h.records[key].header {
			h.fault("I4: %s: a header was written over another: %x", key, words[3])
		}
	default:
		h.fault("I4: %s: %s changes a record past its version", key, name)
	}
}

func readHeader(data []byte) (header, error) {
	if len(data) < headerBytes || data[0] != 1 {
		return header{}, fmt.Errorf("%d bytes that are no record", len(data))
	}
	word := func(at int) uint64 { return binary.BigEndian.Uint64(data[at:]) }
	return header{deleted: data[1]&1 != 0, incarnation: word(2), number: word(10), epoch: word(18), writeID: word(26)}, nil
}

// set is one committed write.
func (h *history) set(key string, data []byte) {
	h.writes++
	now, err := readHeader(data)
	if err != nil {
		h.fault("I4: %s: %v", key, err)
		return
	}
	old := h.records[key]
	switch {
	case old == nil || old.deleted:
		if now.number != 1 {
			h.fault("I4: %s begins with version %d", key, now.number)
		}
	case now.incarnation != old.incarnation:
		h.fault("I4: %s: incarnation %x was put over %x, which was not deleted", key, now.incarnation, old.incarnation)
	case now.deleted:
	case now.number != old.number+1:
		h.fault("I4: %s: version %d follows version %d", key, now.number, old.number)
	}
	if old != nil && now.epoch < old.epoch {
		h.fault("I4: %s: epoch %d wrote over epoch %d", key, now.epoch, old.epoch)
	}
	if old == nil {
		old = &past{known: map[string]int{}}
		h.records[key] = old
	}
	old.header = now
	tag, user, ok := partOf(key)
	switch {
	case !ok:
		h.fault("I4: %s is no record's key", key)
	case user == "":
		h.fences[tag] = now.epoch
		if floor, err := floorOf(data[headerBytes:]); err != nil {
			h.fault("%s: %v", key, err)
		} else {
			h.floors[tag] = floor
		}
	default:
		// An owner writes its epoch into the checkpoint before it touches a user (takeover, rule 3): lower is stale, higher too early.
		if fence := h.fences[tag]; now.epoch != fence {
			h.fault("I4: %s: epoch %d wrote, when the partition's checkpoint had epoch %d", key, now.epoch, fence)
		}
		if !now.deleted && !strings.Contains(key, "}:user:_:") { // the engine's own records are no users'
			h.turn(key, user, old, data[headerBytes:])
		}
	}
}

// partOf takes a key apart: <prefix>:{pNN}:checkpoint or <prefix>:{pNN}:user:<account>:<OpenID>.
func partOf(key string) (tag, user string, ok bool) {
	_, rest, ok1 := strings.Cut(key, ":{")
	tag, rest, ok2 := strings.Cut(rest, "}:")
	if !ok1 || !ok2 {
		return "", "", false
	}
	if rest == "checkpoint" {
		return tag, "", true
	}
	parts := strings.SplitN(rest, ":", 3)
	if len(parts) != 3 || parts[0] != "user" {
		return "", "", false
	}
	return tag, parts[2], true
}

// turn compares a user's record with the one before it: what does this one write say happened?
func (h *history) turn(key, openID string, old *past, value []byte) {
	s, err := conversation.Decode(value)
	if err != nil {
		h.fault("%s: version %d: %v", key, old.number, err)
		return
	}
	if old.user == nil {
		old.user = new(checker.User)
		h.users[openID] = old.user
	}
	u, before := old.user, old.state
	if before.Applied.After(s.Applied) {
		h.fault("I3: %s: version %d applied %v after %v", key, old.number, s.Applied, before.Applied)
	}
	if s.Counts.Turns > before.Counts.Turns+1 || s.Counts.Turns < before.Counts.Turns {
		h.fault("I2: %s: version %d has %d turns, the one before it %d", key, old.number, s.Counts.Turns, before.Counts.Turns)
	}
	if s.Counts.Turns > before.Counts.Turns {
		u.Turns = append(u.Turns, lastTurn(s.Turns)...)
	}
	for i := range s.Keys.Len() {
		k := s.Keys.At(i)
		name, outcome := k.Key.String(), conversation.OutcomeWord(k.Outcome)
		if at, ok := old.known[name]; ok {
			if was := u.Messages[at].Outcome; was != outcome && ends(was) {
				h.fault("I2: %s: version %d ends message %s as %s, which had ended as %s", key, old.number, name, outcome, was)
			}
			u.Messages[at].Outcome = outcome
			continue
		}
		old.known[name] = len(u.Messages)
		u.Messages = append(u.Messages, checker.Message{Key: name, Outcome: outcome})
	}
	u.Counts = checker.Counts{
		Turns: int(s.Counts.Turns), Answered: int(s.Counts.Answered), Silent: int(s.Counts.Silent), Dead: int(s.Counts.Dead),
		Dropped: int(s.Counts.Dropped), Kept: int(s.Counts.Kept),
	}
	u.Kept, u.Dead = nil, nil
	for _, k := range s.Kept {
		u.Kept = append(u.Kept, struct{ Key string }{k.Key.String()})
	}
	for _, b := range s.Burials {
		u.Dead = append(u.Dead, struct{ Key, Reason string }{b.Key.String(), b.Reason})
	}
	old.state = s
}

// ends tells whether an outcome is final. An answer that nobody could deliver may still become a dead letter.
func ends(outcome string) bool {
	return outcome != "" && outcome != conversation.OutcomeWord(messages.Outcome_OUTCOME_NONE) &&
		outcome != conversation.OutcomeWord(messages.Outcome_OUTCOME_ANSWERED)
}

// lastTurn is what the newest turn said: the user's words and the bot's behind them.
func lastTurn(turns []conversation.Turn) []checker.Turn {
	from := len(turns)
	for from > 0 && turns[from-1].Role != conversation.RoleUser {
		from--
	}
	var out []checker.Turn
	for _, t := range turns[max(0, from-1):] {
		role := "bot"
		if t.Role == conversation.RoleUser {
			role = "user"
		}
		out = append(out, checker.Turn{Role: role, Text: t.Text})
	}
	return out
}

// user is what the newest record of a user says; nil where there is none.
func (h *history) user(openID string) *checker.User { return h.users[openID] }

// floorOf is the floor in a checkpoint: everything in the partition's log up to there is settled.
func floorOf(value []byte) (uint64, error) {
	var c struct {
		Floor uint64 `cbor:"4,keyasint"`
	}
	if err := cbor.Unmarshal(value, &c); err != nil {
		return 0, fmt.Errorf("a checkpoint cannot be read: %w", err)
	}
	return c.Floor, nil
}
