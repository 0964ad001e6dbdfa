package prose

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPlain(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, want string }{
		{"nothing to do", "你好，1 + 1 = 2。", "你好，1 + 1 = 2。"},
		{"headings", "# 标题\n\n### 小标题 ###\n正文 #话题# #1", "标题\n\n小标题\n正文 #话题# #1"},
		{"emphasis", "这是**重点**，这是*轻点*，这是***又重又轻***，~~没了~~。", "这是重点，这是轻点，这是又重又轻，没了。"},
		{"no emphasis", "2*3*4 ** x ** a * b * c", "2*3*4 ** x ** a * b * c"},
		{"names stay", "用 __init__ 和 snake_case_name 和 _private", "用 __init__ 和 snake_case_name 和 _private"},
		{"links", "见[官网](https://example.com/a_(b)?c=1)和[https://x.cn](https://x.cn)", "见官网 (https://example.com/a_(b)?c=1)和https://x.cn"},
		{"pictures", "![雁](https://x.cn/a.png) ![](https://x.cn/b.png)", "雁 (https://x.cn/a.png) https://x.cn/b.png"},
		{"no links", "[1] a[i](j) [x](y)", "[1] a[i](j) [x](y)"},
		{"code", "用 `a*b*c` 和 ``x`` 吧", "用 a*b*c 和 x 吧"},
		{"a block of code stays", "看：\n```go\nx := a * b // **not bold**\n# no title\n```\n完", "看：\nx := a * b // **not bold**\n# no title\n完"},
		{"a fence that nothing closes stays", "```\n**a**", "```\na"},
		{"lists", "* 一\n  * 二\n+ 三\n- 四\n1. 五", "- 一\n  - 二\n- 三\n- 四\n1. 五"},
		{"quotes", "> 他说\n>> 她说\na > b", "他说\n她说\na > b"},
		{"rulers", "上\n\n---\n\n下\n***\n完", "上\n\n下\n\n完"},
		{"tables", "| 城市 | **天气** |\n|:---|---:|\n| 北京 | 晴 |\n| 上海 | 雨 |\n\n完", "城市 | 天气\n北京 | 晴\n上海 | 雨\n\n完"},
		{"no table", "a | b\nc | d", "a | b\nc | d"},
		{"escapes", `5 \* 3，\#1，\[x\]`, `5 * 3，#1，\[x\]`},
		{"lines", "a\r\n\r\n\r\n\r\nb\n", "a\n\nb"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := Plain(tt.in); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

// FuzzPlain finds that text only becomes less, and that what has no mark of Markdown stays.
func FuzzPlain(f *testing.F) {
	f.Add("# a\n**b** [c](https://d) `e`\n|f|g|\n|-|-|\n|h|i|\n```\nj\n```")
	f.Add("***a** b*\n> * c\n~~~\n~~~")
	f.Fuzz(func(t *testing.T, text string) {
		got := Plain(text)
		if len(got) > len(text)+strings.Count(text, "|")*2 { // a table's cells get blanks around their bars
			t.Errorf("%q became longer: %q", text, got)
		}
		if utf8.ValidString(text) && !utf8.ValidString(got) {
			t.Errorf("%q became invalid: %q", text, got)
		}
		if !strings.ContainsAny(text, "#*[`~\\>|-_+\r") && !strings.Contains(text, "\n") && got != strings.TrimSpace(text) {
			t.Errorf("%q was changed to %q", text, got)
		}
	})
}
