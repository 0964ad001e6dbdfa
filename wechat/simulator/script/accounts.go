package script

import (
	"fmt"
	"os"

	"hongyan/wechat/simulator"
)

// Account is an Official Account as scripts and account files write it. The keys are those of Hongyan's own configuration where
// both have one.
type Account struct {
	ID              string         `yaml:"id"`
	AppID           string         `yaml:"app_id"`
	AppSecret       string         `yaml:"app_secret"`
	OriginalID      string         `yaml:"original_id"`
	Token           string         `yaml:"token"`
	AESKey          string         `yaml:"encoding_aes_key"`
	Mode            string         `yaml:"mode"`     // safe when absent
	Format          string         `yaml:"format"`   // xml when absent
	Callback        string         `yaml:"callback"` // URL
	MoreCallbacks   []string       `yaml:"more_callbacks"`
	CustomerService bool           `yaml:"customer_service"`
	DailyQuota      map[string]int `yaml:"daily_quota"`
	MinuteQuota     map[string]int `yaml:"minute_quota"`
	AllowedIPs      []string       `yaml:"allowed_ips"`
	Templates       []string       `yaml:"templates"`
	PermanentMedia  []string       `yaml:"permanent_media"`
	Agents          []string       `yaml:"agents"`
}

// Simulated is the account for a platform.
func (a Account) Simulated() simulator.Account {
	if a.Mode == "" {
		a.Mode = simulator.ModeSafe
	}
	return simulator.Account{
		ID: a.ID, AppID: a.AppID, AppSecret: a.AppSecret, OriginalID: a.OriginalID, Token: a.Token, AESKey: a.AESKey, Mode: a.Mode,
		Format: a.Format, CallbackURL: a.Callback, MoreURLs: a.MoreCallbacks, CustomerService: a.CustomerService,
		DailyQuota: a.DailyQuota, MinuteQuota: a.MinuteQuota, AllowedIPs: a.AllowedIPs, Templates: a.Templates,
		PermanentMedia: a.PermanentMedia, Agents: a.Agents,
	}
}

// OpenAccounts reads a file with a list `accounts`.
func OpenAccounts(file string) ([]simulator.Account, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the accounts: %w", err)
	}
	var in struct {
		Accounts []Account `yaml:"accounts"`
	}
	if err := decode(file, data, &in); err != nil {
		return nil, err
	}
	if len(in.Accounts) == 0 {
		return nil, fmt.Errorf("%s:1: there is no account; write a list under accounts", file)
	}
	out := make([]simulator.Account, 0, len(in.Accounts))
	for _, a := range in.Accounts {
		out = append(out, a.Simulated())
	}
	return out, nil
}
