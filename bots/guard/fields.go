package guard

import "hongyan/messages"

// readable are the texts of an answer that its user reads. Addresses and ids are none.
func readable(a *messages.Answer) []*string {
	switch c := a.GetContent().(type) {
	case *messages.Answer_Text:
		return []*string{&c.Text.Content}
	case *messages.Answer_Video:
		return []*string{&c.Video.Title, &c.Video.Description}
	case *messages.Answer_Music:
		return []*string{&c.Music.Title, &c.Music.Description}
	case *messages.Answer_News:
		var all []*string
		for _, article := range c.News.GetArticles() {
			all = append(all, &article.Title, &article.Description)
		}
		return all
	case *messages.Answer_Menu:
		all := []*string{&c.Menu.Head, &c.Menu.Tail}
		for _, option := range c.Menu.GetOptions() {
			all = append(all, &option.Content)
		}
		return all
	case *messages.Answer_MiniProgramPage:
		return []*string{&c.MiniProgramPage.Title}
	default:
		return nil
	}
}
