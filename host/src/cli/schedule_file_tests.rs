//! Files of schedules: what they mean, and what is refused.

use celeriac_broker::{Options, Priority, When};
use clap::CommandFactory as _;

use super::*;
use crate::cli::Cli;

#[test]
fn reads_every_field() {
    let text = r#"
        [nightly]
        task = "reports/send"
        cron = "30 2 * * *"
        zone = "Europe/Berlin"
        input = { kind = "daily", pages = [1, 2] }
        catch_up = "all 3"
        overlap = "queue-one"
        [nightly.options]
        retries = 4
        queue = "reports"

        [beat]
        task = "basics/noop"
        every = "15m"
    "#;
    let schedules = parse(text).unwrap();
    let [beat, nightly] = schedules.as_slice() else {
        panic!("two schedules: {schedules:?}");
    };
    assert_eq!(beat.timing, Timing::EveryMs(900_000));
    assert_eq!(
        (&beat.input.data[..], beat.catch_up),
        (&b"null"[..], CatchUp::One)
    );
    assert_eq!(nightly.overlap, Overlap::QueueOne);
    assert_eq!(nightly.catch_up, CatchUp::All(3));
    assert_eq!(nightly.options.retries, Some(4));
    assert_eq!(
        &nightly.input.data[..],
        br#"{"kind":"daily","pages":[1,2]}"#
    );
}

#[test]
fn says_what_is_wrong_and_where() {
    for (text, reason) in [
        ("[a]\ntask = \"b/c\"", "either `cron`"),
        ("[a]\ntask = \"b/c\"\nevery = \"soon\"", "schedule `a`"),
        (
            "[a]\ntask = \"b/c\"\nevery = \"1h\"\nzone = \"UTC\"",
            "no time zone",
        ),
        ("[a]\ntask = \"b/c\"\ncron = \"* *\"", "cron pattern"),
        (
            "[a]\ntask = \"b/c\"\nevery = \"1h\"\nwhen = 1",
            "unknown field",
        ),
        (
            "[a]\ntask = \"b/c\"\nevery = \"1h\"\noverlap = \"never\"",
            "overlap",
        ),
        ("[\"a b\"]\ntask = \"b/c\"\nevery = \"1h\"", "schedule name"),
        (
            &with("timeout = \"soon\""),
            "`timeout` is `soon`, expected a duration",
        ),
        (
            &with("timeout = 30"),
            "`timeout` is `30`, expected a duration",
        ),
        (&with("timeout_ms = 30000"), "unknown field `timeout_ms`"),
        (
            &with("expires = { in_ms = 5 }"),
            "expected a number with its unit",
        ),
        (
            &with("queue = \"celeriac\""),
            "is for what clients ask of hosts",
        ),
        (
            &with("limits = { soft_timeoutt = \"1s\" }"),
            "did you mean `soft_timeout`",
        ),
        (
            &with("limits = { soft_timeout = \"1KiB\" }"),
            "`soft_timeout` is `1KiB`, expected a duration",
        ),
        (
            &with("parent = { id = \"x\", depth = 1 }"),
            "option `parent`: hosts say this themselves",
        ),
        (
            &with("retry_of = \"x\""),
            "option `retry_of`: hosts say this themselves",
        ),
        (
            &with("schedule = \"x\""),
            "option `schedule`: hosts say this themselves",
        ),
        (
            &with("unique = { key = \"x\" }"),
            "option `unique`: a schedule takes no keys",
        ),
        (
            &with("on_done = \"https://example.com/\""),
            "option `on_done`: what a schedule submits",
        ),
        (
            &with("at = \"2026-11-21T09:00:00Z\""),
            "option `at`: a schedule fires more than once",
        ),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

/// A schedule with this line of options.
fn with(line: &str) -> String {
    format!("[a]\ntask = \"b/c\"\nevery = \"1h\"\n[a.options]\n{line}")
}

/// The example in the documentation.
fn example() -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schedules.md");
    let page = std::fs::read_to_string(page).unwrap();
    let block = page.split("```toml\n").nth(1).unwrap();
    block.split("```").next().unwrap().to_owned()
}

#[test]
fn the_example_means_what_it_says() {
    let schedules = parse(&example()).unwrap();
    let [beat, nightly] = schedules.as_slice() else {
        panic!("two schedules: {schedules:?}");
    };
    assert_eq!(beat.options, Options::default());
    let hour = 3_600_000;
    let options = Options {
        queue: Some("reports".to_owned()),
        priority: Some(Priority::Low),
        fairness_key: Some("tenant-17".to_owned()),
        concurrency_key: Some("ledger".to_owned()),
        retries: Some(4),
        backoff: Some("exponential(1s, 60s)".parse().unwrap()),
        retry_on: vec!["io".to_owned(), "deadline".to_owned()],
        timeout_ms: Some(30_000),
        fuel: Some(10_000_000_000),
        memory_bytes: Some(256 << 20),
        limits: BTreeMap::from([
            ("http_timeout".to_owned(), 5_000),
            ("log_lines".to_owned(), 100),
            ("scratch_bytes".to_owned(), 64 << 20),
            ("soft_timeout".to_owned(), 25_000),
        ]),
        start: Some(When::InMs(10_000)),
        expires: Some(When::InMs(2 * hour)),
        deadline: Some(When::InMs(24 * hour)),
        result_ttl_ms: Some(7 * 24 * hour),
        record: true,
        ..Options::default()
    };
    assert_eq!(nightly.options, options);
}

#[test]
fn a_file_and_the_command_line_take_the_same_words_and_the_example_has_all() {
    let command = Cli::command();
    let schedules = command.find_subcommand("schedules").unwrap();
    let add = schedules.find_subcommand("add").unwrap();
    let example: toml::Table = example().parse().unwrap();
    let entries = || example.values().filter_map(toml::Value::as_table);
    let options = entries().filter_map(|entry| entry.get("options")?.as_table());
    let mut words: Vec<&str> = entries()
        .chain(options)
        .flat_map(toml::Table::keys)
        .map(String::as_str)
        .filter(|word| *word != "options")
        .collect();
    words.sort_unstable();
    words.dedup();
    let mut flags: Vec<String> = add
        .get_arguments()
        // The name is the table's. What is no JSON has no place in TOML.
        .filter(|arg| arg.get_id() != "name" && arg.get_id() != "content_type")
        .filter(|arg| arg.get_id() != "help")
        .map(|arg| match arg.get_long() {
            Some("limit") => "limits".to_owned(),
            Some(long) => long.replace('-', "_"),
            None => arg.get_id().to_string(),
        })
        .collect();
    flags.sort_unstable();
    assert_eq!(words, flags);
}
