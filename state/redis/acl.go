package redis

import "strings"

// ACLRules are what a Redis user needs to serve a store with these options: the words behind "ACL SETUSER <name> on ><password>".
// Without +info and +config|get the store works, and Promise cannot verify anything.
func ACLRules(o Options) string {
	o = o.withDefaults()
	rules := []string{
		"resetkeys", "~" + o.Prefix + ":*", "resetchannels", "-@all",
		"+evalsha", "+script|load", // change.lua, which itself calls
		"+get", "+set", "+getrange", "+setrange",
		"+ping", "+client|setname", "+info", "+config|get",
	}
	if o.WaitReplicas > 0 {
		rules = append(rules, "+wait")
	}
	if o.Mode == ModeCluster {
		rules = append(rules, "+cluster|slots", "+asking")
	} else {
		rules = append(rules, "+select") // for a database other than 0
	}
	return strings.Join(rules, " ")
}
