// Package config is Hongyan's configuration: one documented struct, its defaults, and a loader that reports every fault at
// once with file, line, column, what is wrong and what to write instead. It is read by cmd alone; every other package gets
// plain options.
//
// Values come from three places, the later ones win: the defaults, the YAML file, and the environment. A key's variable is
// its path in capitals behind HONGYAN_, so nats.max_bytes is HONGYAN_NATS_MAX_BYTES. Accounts and bots are addressed by
// their names, with "-" written as "_": HONGYAN_ACCOUNTS_DEMO_TOKEN, HONGYAN_BOTS_MODEL_API_KEY. Lists are separated by
// commas; an empty variable counts as not set. The environment changes what the file has; it adds no account and no bot.
//
// Secrets may also be files, so that they need not stand in the configuration: beside every secret key there is the same
// one with _file (token_file, HONGYAN_ACCOUNTS_DEMO_TOKEN_FILE). Line ends at the file's end do not count. Giving a key in
// both forms in one place is a fault.
//
// Relative paths are relative to the folder of the configuration file, whichever place they come from. Unknown keys are
// faults. An empty value ("key:") leaves the default.
package config
