package rules

import "hongyan/bots/fold"

// Fold is a text in the form in which exact and contains compare it: see fold.Text.
func Fold(text string) string { return fold.Text(text) }
