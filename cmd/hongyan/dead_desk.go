package main

import (
	"context"

	"hongyan/config"
	"hongyan/messages"
	"hongyan/stream"
)

// deadDesk is the log and its dead letters as the admin listener sees them, which is there before they are.
type deadDesk struct{ desk }

// Letters implements console.DeadLetters.
func (d deadDesk) Letters(ctx context.Context, f stream.LetterFilter, cursor uint64, limit int) (stream.LetterPage, error) {
	if err := d.up(); err != nil {
		return stream.LetterPage{}, err
	}
	return d.journal.Letters(ctx, f, cursor, limit)
}

// Letter implements console.DeadLetters.
func (d deadDesk) Letter(ctx context.Context, id string) (*messages.DeadLetter, uint64, error) {
	if err := d.up(); err != nil {
		return nil, 0, err
	}
	return d.journal.Letter(ctx, id)
}

// Drop implements console.DeadLetters.
func (d deadDesk) Drop(ctx context.Context, id string, revision uint64) error {
	if err := d.up(); err != nil {
		return err
	}
	return d.journal.Drop(ctx, id, revision)
}

// DeadEnd implements console.DeadLetters.
func (d deadDesk) DeadEnd(ctx context.Context) (uint64, error) {
	if err := d.up(); err != nil {
		return 0, err
	}
	return d.journal.DeadEnd(ctx)
}

// Partitions implements console.DeadLetters.
func (d deadDesk) Partitions() int {
	if d.up() != nil {
		return 0
	}
	return d.journal.Partitions()
}

// Accept implements console.Log.
func (d deadDesk) Accept(ctx context.Context, entry *messages.Entry) (messages.Position, error) {
	if err := d.up(); err != nil {
		return messages.Position{}, err
	}
	return d.journal.Accept(ctx, entry)
}

// accountIDs are the ids of the configured accounts.
func accountIDs(cfg *config.Config) []string {
	ids := make([]string, 0, len(cfg.Accounts))
	for i := range cfg.Accounts {
		ids = append(ids, cfg.Accounts[i].ID)
	}
	return ids
}
