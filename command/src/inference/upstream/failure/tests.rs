use events::refusal::ErrorCode;

use super::*;

/// The first call of a target has failed, and another one is left.
const FIRST: CallsSoFar = CallsSoFar { calls: 1, is_last: false };

fn refused(status: u16, kind: UpstreamRefusalKind) -> CallFailure {
    let is_limit = matches!(kind, UpstreamRefusalKind::RateLimited { .. });
    blaming(status, kind, if is_limit { KeyBlame::Likely } else { KeyBlame::None })
}

fn blaming(status: u16, kind: UpstreamRefusalKind, key_blame: KeyBlame) -> CallFailure {
    CallFailure { cause: Cause::Refused(UpstreamRefusal { status, kind, key_blame }), status: Some(status) }
}

fn rejected_with(status: u16) -> CallFailure {
    CallFailure { cause: Cause::Rejected(Box::default()), status: Some(status) }
}

fn limited(seconds: u64) -> CallFailure {
    refused(429, UpstreamRefusalKind::RateLimited { retry_after: Some(Duration::from_secs(seconds)) })
}

#[test]
fn a_failure_says_whether_its_key_is_to_blame() {
    use SetAsideReason::{OutOfMoney, Refused};
    let wrong = |status, key_blame| blaming(status, UpstreamRefusalKind::Credentials, key_blame);
    let not_accepted = |reason, status, blame| Some(KeyFailure::NotAccepted { reason, status, blame });
    for (failure, wanted) in [
        (wrong(401, KeyBlame::Certain), not_accepted(Refused, 401, KeyBlame::Certain)),
        (wrong(401, KeyBlame::Likely), not_accepted(Refused, 401, KeyBlame::Likely)),
        (wrong(403, KeyBlame::Likely), not_accepted(Refused, 403, KeyBlame::Likely)),
        (wrong(400, KeyBlame::ByWords), not_accepted(Refused, 400, KeyBlame::ByWords)),
        (
            blaming(400, UpstreamRefusalKind::OutOfMoney, KeyBlame::ByWords),
            not_accepted(OutOfMoney, 400, KeyBlame::ByWords),
        ),
        (refused(401, UpstreamRefusalKind::Credentials), Some(KeyFailure::Other)),
        (refused(403, UpstreamRefusalKind::Credentials), Some(KeyFailure::Other)),
        (
            blaming(429, UpstreamRefusalKind::OutOfMoney, KeyBlame::Likely),
            not_accepted(OutOfMoney, 429, KeyBlame::Likely),
        ),
        (refused(402, UpstreamRefusalKind::OutOfMoney), Some(KeyFailure::Other)),
        (limited(7), Some(KeyFailure::Limited(Duration::from_secs(7)))),
        (blaming(429, UpstreamRefusalKind::RateLimited { retry_after: None }, KeyBlame::None), Some(KeyFailure::Other)),
        (CallFailure::of(Cause::NoToken(TokenError::Refused(400))), not_accepted(Refused, 400, KeyBlame::Certain)),
        (CallFailure::of(Cause::NoToken(TokenError::Timeout)), None),
        (CallFailure::of(Cause::WrongKey(KeyFault::NotOfAws)), Some(KeyFailure::Other)),
        (CallFailure::of(Cause::KeysAtLimit(Duration::ZERO)), None),
        (refused(500, UpstreamRefusalKind::Transient { retry_after: None }), None),
        (refused(404, UpstreamRefusalKind::BadRequest), None),
        (rejected_with(400), None),
        (CallFailure::of(Cause::Timeout), None),
    ] {
        assert_eq!(failure.of_key(), wanted, "{failure:?}");
    }
}

/// Holds: http.upstream-alone, http.upstreams-all
#[test]
fn a_single_failure_is_shown_as_it_is_and_several_are_summed_up() {
    let (silent, broken) = (CallFailure::of(Cause::Timeout), CallFailure::of(Cause::Send(SendError::Closed)));
    let error = LargeBodyError::Busy(BoundOf::Process);
    let not_written = CallFailure::of(Cause::NotWritten { error, charge: "nothing was sent" });
    for (failures, targets, code) in [
        (vec![silent.clone()], 1, ErrorCode::UpstreamTimeout),
        (vec![silent.clone()], 2, ErrorCode::UpstreamTimeout),
        (vec![broken.clone()], 1, ErrorCode::UpstreamError),
        (vec![limited(7)], 1, ErrorCode::RateLimited),
        (vec![limited(7), limited(3)], 2, ErrorCode::RateLimited),
        (vec![limited(7), broken.clone()], 2, ErrorCode::AllProvidersUnavailable),
        (vec![silent, broken.clone()], 2, ErrorCode::AllProvidersUnavailable),
        (vec![broken, not_written], 3, ErrorCode::Overloaded),
        (vec![], 2, ErrorCode::AllProvidersUnavailable),
    ] {
        assert_eq!(refusal_of(&failures, targets, false).code, code, "{failures:?} of {targets}");
    }
    let limited = refusal_of(&[limited(7), limited(3)], 2, false);
    assert_eq!((limited.retry_after, &limited.details["retry_after"]), (Some(Duration::from_secs(3)), &3.into()));
}

/// Holds: http.upstream-rejected
#[test]
fn a_rejection_speaks_for_all_targets_and_no_other_is_called() {
    let rejection = Rejection { message: Some("too long".into()), code: Some("too_long".into()), param: None };
    let failure = CallFailure { cause: Cause::Rejected(Box::new(rejection)), status: Some(422) };
    assert_eq!((failure.is_rejection(), failure.retry_after(FIRST, 0), failure.reason()), (true, None, "status"));
    let broken = CallFailure::of(Cause::Send(SendError::Closed));
    let refusal = refusal_of(&[broken, failure.clone()], 3, false);
    assert_eq!((refusal.code, &*refusal.message), (ErrorCode::UpstreamRejected, "too long"));
    assert_eq!(
        serde_json::Value::Object(refusal.details),
        serde_json::json!({ "reason": "status", "upstream_status": 422, "upstream_code": "too_long" })
    );
    let in_band = CallFailure { status: None, ..failure };
    let refusal = in_band.refusal_alone();
    assert_eq!((refusal.code, &refusal.details["reason"]), (ErrorCode::UpstreamRejected, &"in_band_error".into()));
}

#[test]
fn messages_tell_the_operator_what_to_check() {
    for (failure, hint) in [
        (CallFailure::of(Cause::Send(SendError::Connect)), "it is running"),
        (CallFailure::of(Cause::Send(SendError::Resolve)), "resolved"),
        (CallFailure::of(Cause::Send(SendError::Tls)), "https"),
        (CallFailure::of(Cause::Send(SendError::Forbidden)), "allow_private_network"),
        (refused(401, UpstreamRefusalKind::Credentials), "api_key"),
        (CallFailure::of(Cause::NoToken(TokenError::Refused(400))), "api_key"),
        (CallFailure::of(Cause::NoToken(TokenError::Key)), "service account"),
        (CallFailure::of(Cause::WrongKey(KeyFault::NotOfAws)), "ACCESS_KEY_ID:SECRET_ACCESS_KEY"),
        (CallFailure::of(Cause::WrongKey(KeyFault::NoRegion)), "region"),
        (CallFailure::of(Cause::WrongSettings), "base_url"),
        (CallFailure::of(Cause::NoToken(TokenError::Failed(404))), "token_uri"),
        (CallFailure::of(Cause::NoToken(TokenError::Timeout)), "access tokens"),
        (refused(400, UpstreamRefusalKind::BadRequest), "inference profile"),
        (refused(404, UpstreamRefusalKind::BadRequest), "base_url"),
        (refused(405, UpstreamRefusalKind::BadRequest), "its kind"),
        (refused(500, UpstreamRefusalKind::Transient { retry_after: None }), "answered with status 500"),
        (refused(302, UpstreamRefusalKind::Other), "answered with status 302"),
        (rejected_with(400), "refused the request"),
        (rejected_with(413), "too large"),
    ] {
        let message = refusal_of(std::slice::from_ref(&failure), 1, false).message;
        assert!(message.contains(hint), "{failure:?}: {message}");
    }
}

#[test]
fn settings_that_cannot_be_sent_are_no_credentials() {
    for (cause, reason) in [
        (Cause::WrongSettings, "wrong_settings"),
        (Cause::WrongKey(KeyFault::NotAHeader), "credentials"),
        (Cause::NoToken(TokenError::Failed(302)), "credentials"),
    ] {
        assert_eq!(CallFailure::of(cause).refusal_alone().details["reason"], reason);
    }
}

#[test]
fn only_a_call_that_cannot_have_been_billed_is_retried_at_the_same_target() {
    let short = Some(Duration::from_millis(200));
    for (failure, again) in [
        (CallFailure::of(Cause::Send(SendError::Connect)), true),
        (CallFailure::of(Cause::Send(SendError::Forbidden)), false),
        (CallFailure::of(Cause::Send(SendError::Closed)), false),
        (CallFailure::of(Cause::Send(SendError::Busy)), false),
        (CallFailure::of(Cause::Send(SendError::ProviderFull)), false),
        (CallFailure::of(Cause::Send(SendError::Refused)), true),
        (CallFailure::of(Cause::Timeout), false),
        (refused(503, UpstreamRefusalKind::Transient { retry_after: None }), true),
        (refused(429, UpstreamRefusalKind::RateLimited { retry_after: short }), true),
        (limited(2), false),
        (refused(429, UpstreamRefusalKind::OutOfMoney), false),
        (refused(405, UpstreamRefusalKind::BadRequest), false),
        (rejected_with(400), false),
        (CallFailure::of(Cause::Fault(UpstreamFault::Truncated)), false),
    ] {
        assert_eq!(failure.retry_after(FIRST, 0).is_some(), again, "{failure:?}");
        assert_eq!(failure.retry_after(CallsSoFar { calls: 2, is_last: false }, 0), None);
    }
}

#[test]
fn want_of_room_in_this_process_is_nobodys_fault() {
    for error in [SendError::ProviderFull, SendError::NoSocket, SendError::NoLookUp] {
        let failure = CallFailure::of(Cause::Send(error));
        assert_eq!(
            (failure.reason(), failure.blame(), failure.answered()),
            ("no_place", Blame::Nobody, Answered::Unasked)
        );
        assert!(failure.found_no_room() && failure.retry_after(FIRST, 0).is_none());
        assert_eq!(failure.refusal_alone().code, ErrorCode::Overloaded);
    }
    assert_eq!(CallFailure::of(Cause::Send(SendError::Resolve)).blame(), Blame::Target);
}

#[test]
fn a_request_counts_as_not_sent_only_if_the_cause_shows_it() {
    for (cause, may_have_been_sent) in [
        (Cause::Send(SendError::Connect), false),
        (Cause::Send(SendError::ConnectTimeout), false),
        (Cause::Send(SendError::Busy), false),
        (Cause::Send(SendError::NoSocket), false),
        (Cause::Send(SendError::NoLookUp), false),
        (Cause::Send(SendError::Closed), true),
        (Cause::Send(SendError::Malformed), true),
        (Cause::Untranslatable, false),
        (Cause::NoCredentials, false),
        (Cause::KeysAtLimit(Duration::ZERO), false),
        (Cause::Withdrawn, false),
        (Cause::Timeout, true),
        (Cause::Fault(UpstreamFault::Truncated), true),
        (Cause::Rejected(Box::default()), true),
    ] {
        let failure = CallFailure::of(cause);
        assert_eq!(failure.may_have_been_sent(), may_have_been_sent, "{failure:?}");
    }
    assert!(refused(503, UpstreamRefusalKind::Transient { retry_after: None }).may_have_been_sent());
    assert!(limited(1).may_have_been_sent());
}

/// Holds: inf.retries
#[test]
fn a_target_that_says_when_to_come_back_is_waited_for_longer_and_again_if_no_other_is_left() {
    let down = |millis: u64| {
        let retry_after = Some(Duration::from_millis(millis));
        refused(503, UpstreamRefusalKind::Transient { retry_after })
    };
    let at_once = refused(503, UpstreamRefusalKind::Transient { retry_after: None });
    for (failure, calls, is_last, jitter, wanted) in [
        (&at_once, 1, true, 0, Some(100)),
        (&at_once, 1, false, 255, Some(200)),
        (&at_once, 2, true, 0, None),
        (&down(0), 1, true, 0, Some(100)),
        (&down(1000), 1, false, 0, Some(1000)),
        (&down(1000), 1, false, 255, Some(1250)),
        (&down(1000), 2, false, 0, None),
        (&down(1001), 1, false, 0, None),
        (&down(1001), 1, true, 0, Some(1001)),
        (&limited(2), 2, true, 255, Some(2500)),
        (&limited(2), 3, true, 0, None),
        (&limited(3), 1, true, 0, None),
    ] {
        let wait = failure.retry_after(CallsSoFar { calls, is_last }, jitter);
        assert_eq!(wait, wanted.map(Duration::from_millis), "{failure:?} after {calls} calls, last: {is_last}");
    }
}
