package example

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// chatRequest is the part of a chat completion request that the example looks at.
type chatRequest struct {
	Model         string        `json:"model"`
	Messages      []chatMessage `json:"messages"`
	Stream        bool          `json:"stream"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	MaxTokens           int             `json:"max_tokens"`
	MaxCompletionTokens int             `json:"max_completion_tokens"`
	Tools               []tool          `json:"tools"`
	ToolChoice          json.RawMessage `json:"tool_choice"`
}

// limit is how many tokens the answer may have; 0: any number.
func (r *chatRequest) limit() int {
	if r.MaxCompletionTokens > 0 {
		return r.MaxCompletionTokens
	}
	return r.MaxTokens
}

type chatMessage struct {
	Role       string     `json:"role"`
	Content    content    `json:"content"`
	ToolCalls  []toolCall `json:"tool_calls"`
	ToolCallID string     `json:"tool_call_id"`
}

type tool struct {
	Type     string `json:"type"`
	Function struct {
		Name       string     `json:"name"`
		Parameters parameters `json:"parameters"`
	} `json:"function"`
}

// parameters are the arguments of a tool, as far as the example fills them in.
type parameters struct {
	Properties map[string]struct {
		Type any `json:"type"`
	} `json:"properties"`
}

type toolCall struct {
	ID       string       `json:"id,omitempty"`
	Type     string       `json:"type,omitempty"`
	Function functionCall `json:"function"`
}

type functionCall struct {
	Name      string `json:"name,omitempty"`
	Arguments string `json:"arguments"`
}

// content is a message's content: a text, nothing, or parts. Of pictures only size and type are kept.
type content struct {
	text   string
	images []image
}

// image is a picture that came with a message.
type image struct {
	kind string // content type, from the bytes themselves; empty where only an address came
	size int    // bytes
}

func (c *content) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	if b[0] == '"' {
		return json.Unmarshal(b, &c.text)
	}
	var parts []struct {
		Type     string `json:"type"`
		Text     string `json:"text"`
		ImageURL struct {
			URL string `json:"url"`
		} `json:"image_url"`
	}
	if err := json.Unmarshal(b, &parts); err != nil {
		return errors.New("content is neither a text nor a list of parts")
	}
	var texts []string
	for _, p := range parts {
		switch p.Type {
		case "text":
			texts = append(texts, p.Text)
		case "image_url":
			picture, err := imageOf(p.ImageURL.URL)
			if err != nil {
				return err
			}
			c.images = append(c.images, picture)
		default:
			return fmt.Errorf("content has a part of type %q; the example knows text and image_url", p.Type)
		}
	}
	c.text = strings.Join(texts, "\n")
	return nil
}

// imageOf looks at a picture: a data URL, or an address, which is not fetched.
func imageOf(address string) (image, error) {
	data, inline := strings.CutPrefix(address, "data:")
	if !inline {
		if !strings.HasPrefix(address, "http://") && !strings.HasPrefix(address, "https://") {
			return image{}, errors.New("image_url is neither a data URL nor an address of http or https")
		}
		return image{}, nil
	}
	head, encoded, found := strings.Cut(data, ",")
	if !found || !strings.HasSuffix(head, ";base64") {
		return image{}, errors.New("image_url is a data URL without base64")
	}
	bytes, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(bytes) == 0 {
		return image{}, errors.New("image_url is a data URL whose base64 cannot be read")
	}
	return image{kind: http.DetectContentType(bytes), size: len(bytes)}, nil
}

// readRequest decodes and checks a request. The error is in OpenAI's form.
func readRequest(w http.ResponseWriter, r *http.Request) (*chatRequest, *apiError) {
	in := &chatRequest{}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(in); err != nil {
		return nil, &apiError{Message: "The request cannot be read: " + err.Error(), Type: invalidRequest}
	}
	if in.Model == "" {
		return nil, &apiError{Message: "You must provide a model.", Type: invalidRequest, Param: "model"}
	}
	if len(in.Messages) == 0 {
		return nil, &apiError{Message: "There must be at least one message.", Type: invalidRequest, Param: "messages"}
	}
	for i, m := range in.Messages {
		switch m.Role {
		case "system", "developer", roleUser, "assistant":
		case roleTool:
			if in.caller(i) == "" {
				return nil, &apiError{
					Message: fmt.Sprintf("messages[%d]: no assistant message before it has a call of the id %q.", i, m.ToolCallID),
					Type:    invalidRequest, Param: "messages",
				}
			}
		default:
			return nil, &apiError{Message: fmt.Sprintf("messages[%d] has the role %q.", i, m.Role), Type: invalidRequest, Param: "messages"}
		}
	}
	return in, nil
}

const (
	roleUser = "user"
	roleTool = "tool"
)

// caller is the name of the tool whose result message i is; empty where nobody called it.
func (r *chatRequest) caller(i int) string {
	for j := i - 1; j >= 0; j-- {
		for _, call := range r.Messages[j].ToolCalls {
			if call.ID == r.Messages[i].ToolCallID {
				return call.Function.Name
			}
		}
	}
	return ""
}
