//! What holds for every policy, and a few that are spelt out.

use proptest::prelude::*;

use super::*;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn failed(code: Code, retryable: bool) -> Outcome {
    let mut outcome = Outcome::failed(code, "it failed");
    if let Some(failure) = &mut outcome.failure {
        failure.retryable = retryable;
    }
    outcome
}

fn policy(retries: u32, backoff: &str, retry_on: &[&str]) -> RetryPolicy {
    RetryPolicy {
        retries,
        backoff: backoff.parse().unwrap(),
        retry_on: retry_on.iter().map(|&word| word.to_owned()).collect(),
    }
}

fn any_backoff() -> impl Strategy<Value = Backoff> {
    let ms = || (0..2_678_400_000_u64).prop_map(Duration::from_millis);
    prop_oneof![
        ms().prop_map(Backoff::Fixed),
        (ms(), ms()).prop_map(|(a, b)| Backoff::Exponential {
            first: a.min(b),
            cap: a.max(b)
        }),
        prop::collection::vec(ms(), 2..6).prop_map(Backoff::List),
    ]
}

proptest! {
    #[test]
    fn a_backoff_is_read_as_it_was_written(backoff in any_backoff()) {
        prop_assert_eq!(backoff.to_string().parse::<Backoff>().unwrap(), backoff.clone());
        let json = serde_json::to_string(&backoff).unwrap();
        prop_assert_eq!(serde_json::from_str::<Backoff>(&json).unwrap(), backoff);
    }

    #[test]
    fn a_pause_keeps_its_cap_and_grows_with_the_random_number(
        first in 0..1000_u64, cap in 1000..5000_u64, retry in any::<u32>(), low in 0.0..1.0_f64, high in 0.0..1.0_f64,
    ) {
        let (low, high) = (low.min(high), low.max(high));
        let backoff = Backoff::Exponential { first: seconds(first), cap: seconds(cap) };
        prop_assert!(backoff.pause(retry, high) <= seconds(cap));
        prop_assert!(backoff.pause(retry, low) <= backoff.pause(retry, high));
        prop_assert!(backoff.pause(1, 0.999) <= seconds(first));
        prop_assert!(backoff.pause(retry, 0.5) <= backoff.pause(retry.saturating_add(1), 0.5));
    }

    #[test]
    fn there_are_never_more_attempts_than_allowed(
        backoff in any_backoff(), retries in 0..20_u32, before in 0..40_u32, random in 0.0..1.0_f64,
    ) {
        let policy = RetryPolicy { retries, backoff, retry_on: vec![] };
        let pause = policy.pause(&failed(Code::TaskError, true), before, None, random);
        prop_assert_eq!(pause.is_some(), before < retries);
    }

    #[test]
    fn no_retry_begins_after_the_deadline(
        backoff in any_backoff(), before in 0..5_u32, left in 0..3_000_000_000_u64, random in 0.0..1.0_f64,
        after in prop::option::of(-1.0..1e12_f64),
    ) {
        let left = Duration::from_millis(left);
        let mut outcome = failed(Code::TaskError, true);
        outcome.failure.as_mut().unwrap().retry_after_seconds = after;
        let policy = RetryPolicy { retries: 9, backoff, retry_on: vec![] };
        if let Some(pause) = policy.pause(&outcome, before, Some(left), random) {
            prop_assert!(pause < left);
        }
    }

    #[test]
    fn a_trail_keeps_the_first_and_the_newest(count in 1..200_u32) {
        let attempt = |attempt| {
            let mut outcome = failed(Code::TaskError, true);
            outcome.usage.attempt = attempt;
            Attempt::record(&outcome, 0, Duration::ZERO, Duration::ZERO)
        };
        let trail = (1..=count).fold(Vec::new(), |trail, number| follow(trail, attempt(number)));
        let numbers: Vec<_> = trail.iter().map(|attempt| attempt.attempt).collect();
        prop_assert_eq!(numbers.len(), (count as usize).min(TRAIL));
        prop_assert!(numbers.is_sorted());
        prop_assert_eq!((numbers[0], numbers[numbers.len() - 1]), (1, count));
    }
}

#[test]
fn says_what_a_backoff_looks_like() {
    assert_eq!("5s".parse::<Backoff>().unwrap(), Backoff::Fixed(seconds(5)));
    let list = "1s, 10s,1m".parse::<Backoff>().unwrap();
    let pauses: Vec<_> = (1..=4).map(|retry| list.pause(retry, 0.3)).collect();
    assert_eq!(pauses, [seconds(1), seconds(10), seconds(60), seconds(60)]);
    let growing = "exponential(1s, 5s)".parse::<Backoff>().unwrap();
    let most: Vec<_> = (1..=4).map(|retry| growing.pause(retry, 1.0)).collect();
    assert_eq!(most, [1, 2, 4, 5].map(seconds));
    for text in [
        "",
        "5",
        "exponential(1s)",
        "exponential(9s, 1s)",
        "1s, x",
        "32d",
        "1s,",
    ] {
        let error = text.parse::<Backoff>().unwrap_err().to_string();
        assert!(error.contains("exponential(1s, 60s)"), "{text}: {error}");
    }
}

#[test]
fn retries_what_may_help() {
    let pause =
        |policy: &RetryPolicy, outcome: &Outcome| policy.pause(outcome, 0, None, 0.0).is_some();
    let any = policy(1, "1s", &[]);
    assert!(pause(&any, &failed(Code::TaskError, true)));
    assert!(!pause(&any, &failed(Code::TaskError, false)));
    assert!(pause(&any, &failed(Code::HostFault, true)));
    assert!(!pause(&any, &failed(Code::Panicked, false)));
    let named = policy(1, "1s", &["panicked", "busy"]);
    assert!(pause(&named, &failed(Code::Panicked, false)));
    assert!(!pause(&named, &failed(Code::Deadline, true)));
    let mut busy = failed(Code::TaskError, true);
    busy.failure.as_mut().unwrap().kind = "busy".to_owned();
    assert!(pause(&named, &busy));
    busy.failure.as_mut().unwrap().retryable = false;
    assert!(!pause(&named, &busy), "a permanent failure was retried");
}

#[test]
fn never_retries_an_end_that_is_no_failure_of_the_task() {
    for code in [Code::Cancelled, Code::Quarantined, Code::Expired] {
        let all = policy(9, "1s", &[code.as_str()]);
        assert_eq!(all.pause(&failed(code, true), 0, None, 0.0), None, "{code}");
    }
}

#[test]
fn the_task_knows_better_when_to_come_back() {
    let mut outcome = failed(Code::TaskError, true);
    outcome.failure.as_mut().unwrap().retry_after_seconds = Some(2.5);
    let policy = policy(1, "1h", &[]);
    assert_eq!(
        policy.pause(&outcome, 0, None, 0.0),
        Some(Duration::from_millis(2500))
    );
    assert_eq!(policy.pause(&outcome, 0, Some(seconds(2)), 0.0), None);
}

#[test]
fn the_caller_comes_before_the_author_word_by_word() {
    let author = TaskOptions {
        retries: Some(3),
        backoff: Some("5s".parse().unwrap()),
        retry_on: vec!["io".to_owned()],
        ..TaskOptions::default()
    };
    let caller = Options {
        retries: Some(0),
        ..Options::default()
    };
    assert_eq!(
        RetryPolicy::effective(&author, &caller),
        policy(0, "5s", &["io"])
    );
    let plain = RetryPolicy::effective(&TaskOptions::default(), &Options::default());
    assert_eq!(plain, policy(0, "exponential(1s, 60s)", &[]));
}
