package messages

// IsEvent tells an event from a message that a user wrote.
func (k Kind) IsEvent() bool { return k >= Kind_KIND_SUBSCRIBE }

// Repliable tells whether WeChat shows a passive reply to this push (wechat-protocol §3): false for unsubscribe, job results,
// account notices and unknown kinds, which are answered with a bare success.
func (k Kind) Repliable() bool {
	switch k {
	case Kind_KIND_UNKNOWN, Kind_KIND_UNSUBSCRIBE, Kind_KIND_TEMPLATE_JOB_FINISH, Kind_KIND_MASS_JOB_FINISH,
		Kind_KIND_PUBLISH_JOB_FINISH, Kind_KIND_SUBSCRIBE_MSG_POPUP, Kind_KIND_SUBSCRIBE_MSG_CHANGE,
		Kind_KIND_SUBSCRIBE_MSG_SENT, Kind_KIND_KF_CREATE_SESSION, Kind_KIND_KF_CLOSE_SESSION,
		Kind_KIND_KF_SWITCH_SESSION, Kind_KIND_USER_INFO_MODIFIED, Kind_KIND_USER_AUTHORIZATION_REVOKE,
		Kind_KIND_USER_AUTHORIZATION_CANCELLATION, Kind_KIND_ACCOUNT_VERIFICATION:
		return false
	default:
		return true
	}
}

// ForUser tells whether the push goes to its user's actor. The others (job results, account notices, unknown kinds and pushes
// without a sender) end once the log has them (DESIGN §2).
func (in *Inbound) ForUser() bool {
	if in.GetOpenId() == "" {
		return false
	}
	switch in.GetKind() {
	case Kind_KIND_UNKNOWN, Kind_KIND_TEMPLATE_JOB_FINISH, Kind_KIND_MASS_JOB_FINISH, Kind_KIND_PUBLISH_JOB_FINISH,
		Kind_KIND_SUBSCRIBE_MSG_SENT, Kind_KIND_ACCOUNT_VERIFICATION:
		return false
	default:
		return true
	}
}
