//! When schedules fire, on clocks that are made up.

use jiff::{Zoned, civil::DateTime, tz::TimeZone};
use proptest::prelude::*;

use super::{plan::plan, *};

const BERLIN: &str = "Europe/Berlin";

fn ms(text: &str) -> u64 {
    match text.parse::<When>().unwrap() {
        When::AtMs(ms) => ms,
        When::InMs(_) => panic!("{text} is no time"),
    }
}

fn cron(pattern: &str, zone: &str) -> Timing {
    Timing::cron(pattern, zone).unwrap()
}

/// The first `count` times after `from`, in UTC.
fn times(pattern: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
    let timing = cron(pattern, zone);
    let first = timing.first(ms(from)).unwrap().unwrap();
    let times = timing.upcoming(first, count).unwrap();
    times
        .into_iter()
        .map(|at| When::AtMs(at).to_string())
        .collect()
}

#[test]
fn five_fields_are_minutes_and_six_are_seconds() {
    assert_eq!(
        times("30 9 * * MON-FRI", "", "2026-11-20T10:00:00Z", 2),
        ["2026-11-23T09:30:00Z", "2026-11-24T09:30:00Z"]
    );
    assert_eq!(
        times("*/20 * * * * *", "", "2026-11-20T10:00:20Z", 2),
        ["2026-11-20T10:00:40Z", "2026-11-20T10:01:00Z"]
    );
    assert_eq!(
        times("@daily", BERLIN, "2026-11-20T10:00:00Z", 1),
        ["2026-11-20T23:00:00Z"]
    );
    // The last Friday of the month; a leap day.
    assert_eq!(
        times("0 0 * * FRIL", "", "2026-11-20T10:00:00Z", 1),
        ["2026-11-27T00:00:00Z"]
    );
    assert_eq!(
        times("0 0 29 2 *", "", "2026-11-20T10:00:00Z", 1),
        ["2028-02-29T00:00:00Z"]
    );
}

#[test]
fn a_time_that_clocks_skip_comes_right_after_the_gap() {
    // In Berlin 02:00 is followed by 03:00 on 29 March 2026, at 01:00 UTC.
    let from = "2026-03-28T12:00:00Z";
    assert_eq!(
        times("30 2 * * *", BERLIN, from, 3),
        [
            "2026-03-29T01:00:00Z",
            "2026-03-30T00:30:00Z",
            "2026-03-31T00:30:00Z"
        ]
    );
    // What is not in the gap is not moved, and no day is left out.
    assert_eq!(
        times("30 1 * * *", BERLIN, from, 2),
        ["2026-03-29T00:30:00Z", "2026-03-29T23:30:00Z"]
    );
    assert_eq!(
        times("0 3 * * *", BERLIN, from, 2),
        ["2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"]
    );
    // What comes every half hour does so by the clock on the wall.
    assert_eq!(
        times("*/30 * * * *", BERLIN, "2026-03-29T00:00:00Z", 3),
        [
            "2026-03-29T00:30:00Z",
            "2026-03-29T01:00:00Z",
            "2026-03-29T01:30:00Z"
        ]
    );
}

#[test]
fn a_time_that_clocks_repeat_comes_once_and_an_interval_goes_on() {
    // In Berlin 02:00 to 03:00 comes twice on 25 October 2026: from 00:00 and from 01:00 UTC.
    let from = "2026-10-24T12:00:00Z";
    assert_eq!(
        times("30 2 * * *", BERLIN, from, 2),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    );
    assert_eq!(
        times("*/30 * * * *", BERLIN, "2026-10-25T00:10:00Z", 4),
        [
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:00:00Z",
            "2026-10-25T01:30:00Z",
            "2026-10-25T02:00:00Z"
        ]
    );
    // A zone where midnight is skipped.
    assert_eq!(
        times("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", 2),
        ["2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"]
    );
}

#[test]
fn intervals_keep_their_beat_however_late_they_are() {
    let timing = Timing::every(std::time::Duration::from_secs(60)).unwrap();
    assert_eq!(timing.first(1_000).unwrap(), Some(61_000));
    let late = plan(&timing, CatchUp::One, 61_000, 61_900).unwrap();
    assert_eq!((late.fires, late.next), (vec![61_000], Some(121_000)));
    let missed = plan(&timing, CatchUp::One, 61_000, 300_999).unwrap();
    assert_eq!((missed.fires, missed.next), (vec![241_000], Some(301_000)));
}

#[test]
fn each_policy_catches_up_what_it_says() {
    let timing = cron("0 * * * *", "");
    let (next, now) = (ms("2026-11-20T10:00:00Z"), ms("2026-11-20T14:30:00Z"));
    let fires = |policy: CatchUp, now| {
        let plan = plan(&timing, policy, next, now).unwrap();
        let after = plan.next.unwrap();
        assert!(after > now && after - now <= 3_600_000);
        plan.fires
            .into_iter()
            .map(|at| (at - next) / 3_600_000)
            .collect::<Vec<_>>()
    };
    assert!(fires(CatchUp::Skip, now).is_empty());
    assert_eq!(fires(CatchUp::One, now), [4]);
    assert_eq!(fires(CatchUp::All(3), now), [2, 3, 4]);
    assert_eq!(fires(CatchUp::All(100), now), [0, 1, 2, 3, 4]);
    // A little late is not missed.
    let soon = next + 4 * 3_600_000 + 9_000;
    assert_eq!(fires(CatchUp::Skip, soon), [4]);
    assert_eq!(fires(CatchUp::Skip, next + 10), [0]);
    // Not due yet.
    let early = plan(&timing, CatchUp::All(9), next, next - 1).unwrap();
    assert!(early.fires.is_empty());
    assert_eq!(early.next, Some(next));
}

#[test]
fn what_was_missed_waits_for_an_earlier_run_and_what_is_in_time_does_not() {
    let timing = Timing::every(std::time::Duration::from_secs(60)).unwrap();
    let patient = |policy, now| plan(&timing, policy, 60_000, now).unwrap().patient;
    assert_eq!(patient(CatchUp::All(3), 60_005), 0, "in time");
    assert_eq!(patient(CatchUp::All(3), 71_000), 1, "missed");
    assert_eq!(patient(CatchUp::All(3), 120_005), 2, "another has come");
    assert_eq!(patient(CatchUp::All(3), 600_000), 3);
    assert_eq!(patient(CatchUp::All(1), 120_005), 1);
    assert_eq!(patient(CatchUp::One, 600_000), 0);
    assert_eq!(patient(CatchUp::Skip, 600_000), 0);
}

#[test]
fn years_without_a_host_are_planned_in_a_moment() {
    let begun = std::time::Instant::now();
    for timing in [
        cron("* * * * * *", BERLIN),
        Timing::every(std::time::Duration::from_millis(100)).unwrap(),
    ] {
        let plan = plan(
            &timing,
            CatchUp::All(100),
            ms("2006-11-20T10:00:00Z"),
            ms("2026-11-20T10:00:00Z"),
        );
        assert_eq!(plan.unwrap().fires.len(), 100);
    }
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn refuses_what_never_fires_and_what_cannot_be_read() {
    for pattern in [
        "",
        "* * * *",
        "61 * * * *",
        "0 0 31 2 *",
        "0 0 0 1 1 * 2030",
        "often",
    ] {
        let error = Timing::cron(pattern, "UTC").unwrap_err().to_string();
        assert!(error.contains("cron pattern"), "{pattern}: {error}");
    }
    let error = Timing::cron("0 0 * * *", "Europe/Atlantis").unwrap_err();
    assert!(error.to_string().contains("time zone"), "{error}");
    assert!(Timing::every(std::time::Duration::from_millis(99)).is_err());
    for policy in ["all", "all 0", "all 101", "none", ""] {
        assert!(policy.parse::<CatchUp>().is_err(), "{policy}");
    }
}

#[test]
fn policies_runs_and_ids_are_written_as_they_are_read() {
    for policy in ["skip", "one", "all 7"] {
        assert_eq!(policy.parse::<CatchUp>().unwrap().to_string(), policy);
    }
    for policy in ["allow", "skip", "queue-one"] {
        assert_eq!(policy.parse::<Overlap>().unwrap().to_string(), policy);
        assert_eq!(
            serde_json::to_string(&policy.parse::<Overlap>().unwrap()).unwrap(),
            format!("\"{policy}\"")
        );
    }
    let namespace = Namespace::generate();
    let schedule = Schedule {
        name: "nightly".to_owned(),
        task: "text/run".parse().unwrap(),
        input: Payload::json_text("{}"),
        options: Options::default(),
        timing: cron("@daily", BERLIN),
        catch_up: CatchUp::All(3),
        overlap: Overlap::QueueOne,
    };
    let id = schedule.id_at(&namespace, 1_795_248_000_000);
    assert!(namespace.issued(id));
    assert_eq!(id.timestamp_ms(), 1_795_248_000_000);
    assert_eq!(id, schedule.id_at(&namespace, 1_795_248_000_000));
    assert_ne!(id, schedule.id_at(&namespace, 1_795_248_000_001));
    let run = Run {
        at_ms: 5,
        result: RunResult::Fired,
        id: Some(id),
    };
    assert_eq!(Run::parse(&run.to_string()), Some(run));
    let none = Run {
        at_ms: 5,
        result: RunResult::Overlapped,
        id: None,
    };
    assert_eq!(Run::parse(&none.to_string()), Some(none));
    let read = Schedule::read(
        "nightly",
        schedule.spec().unwrap().as_bytes(),
        b"{}".to_vec(),
    );
    assert_eq!(read.unwrap(), schedule);
}

fn zoned(day: i64, minute: i64, zone: &str) -> Zoned {
    let start: DateTime = "2026-01-01T00:00".parse().unwrap();
    let time = start
        + jiff::SignedDuration::from_hours(24 * day)
        + jiff::SignedDuration::from_mins(minute);
    time.to_zoned(TimeZone::get(zone).unwrap()).unwrap()
}

proptest! {
    /// What is caught up, which is found backwards, is what would have been fired, which is found forwards: in
    /// zones and years with both kinds of change.
    #[test]
    fn backwards_and_forwards_agree(
        day in 0_i64..365, minute in 0_i64..1440, hours in 0_u64..72,
        pattern in prop::sample::select(vec![
            "30 2 * * *", "*/20 * * * *", "0 0 * * *", "15 1-3 * * *", "0 */2 * * *", "59 23 * * SUN", "0 0 12 1 * *",
        ]),
        zone in prop::sample::select(vec![BERLIN, "America/New_York", "Africa/Cairo", "Australia/Lord_Howe", "UTC"]),
    ) {
        let timing = cron(pattern, zone);
        let from = u64::try_from(zoned(day, minute, zone).timestamp().as_millisecond()).unwrap();
        let next = timing.first(from).unwrap().unwrap();
        let now = next + hours * 3_600_000 + 1;
        let plan = plan(&timing, CatchUp::All(100), next, now).unwrap();
        let all = timing.upcoming(next, 400).unwrap();
        prop_assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
        let due: Vec<_> = all.iter().copied().filter(|at| *at <= now).collect();
        let latest = due[due.len().saturating_sub(100)..].to_vec();
        prop_assert_eq!(plan.fires, latest);
        prop_assert_eq!(plan.next, all.iter().copied().find(|at| *at > now));
    }
}
