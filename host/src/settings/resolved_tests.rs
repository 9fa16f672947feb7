//! Settings from files, environments and flags that exist only in the test.

use super::*;

fn load(
    env: &[(&str, &str)],
    dir: &Path,
    named: Option<&Path>,
    flags: &[Override],
) -> Result<Settings, SettingsError> {
    let env: HashMap<String, String> = env
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let around = Surroundings {
        env: &|name| env.get(name).cloned(),
        directory: dir,
    };
    Settings::resolve(named, flags, &around)
}

fn source(settings: &Settings, key: &str) -> Source {
    let entry = settings
        .entries()
        .iter()
        .find(|entry| entry.row.key == key)
        .unwrap();
    entry.source.clone()
}

#[test]
fn resolves_every_key_without_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let settings = load(&[("HOME", "/home/u")], dir.path(), None, &[]).unwrap();
    assert_eq!(settings.entries().len(), TABLE.len());
    assert_eq!(
        settings.data_dir,
        Path::new("/home/u/.local/share/celeriac")
    );
    assert_eq!(settings.broker, "embedded:/home/u/.local/share/celeriac");
    assert_eq!(settings.limits, HostLimits::default());
    assert_eq!(settings.caps, Caps::default());
    assert_eq!(settings.upload, UploadCaps::default());
    assert_eq!(settings.compile.memory_bytes, 2 << 30);
    assert!(settings.concurrency >= 32);
}

#[test]
fn a_dns_server_is_an_address_with_or_without_a_port() {
    let dir = tempfile::tempdir().unwrap();
    let with = |dns: &str| {
        let dns = Override::new("--set", "dns", dns);
        load(&[("HOME", "/h")], dir.path(), None, &[dns])
    };
    let server = |text: &str| Some(text.parse().unwrap());
    assert_eq!(with("system").unwrap().dns, None);
    assert_eq!(with("10.0.0.2").unwrap().dns, server("10.0.0.2:53"));
    assert_eq!(with("[::1]:5353").unwrap().dns, server("[::1]:5353"));
    let error = with("dns.example.com").unwrap_err().to_string();
    assert!(error.contains("the address of a server"), "{error}");
}

#[test]
fn each_layer_goes_over_the_one_before_and_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("celeriac.toml");
    std::fs::write(
        &file,
        "lease = '11s'\ngrace = '12s'\ndata_dir = 'store'\n[limits]\nfuel = 7\n",
    )
    .unwrap();
    let env = [
        ("HOME", "/h"),
        ("CELERIAC_LEASE", "13s"),
        ("CELERIAC_GRACE", "14s"),
    ];
    let flags = [Override::new("--lease", "lease", "15s")];
    let settings = load(&env, dir.path(), None, &flags).unwrap();
    assert_eq!(settings.lease, Duration::from_secs(15));
    assert_eq!(source(&settings, "lease"), Source::Flag("--lease".into()));
    assert_eq!(settings.grace, Duration::from_secs(14));
    assert_eq!(
        source(&settings, "grace"),
        Source::Environment("CELERIAC_GRACE".into())
    );
    assert_eq!(settings.limits.ceiling.fuel, 7);
    assert_eq!(source(&settings, "limits.fuel"), Source::File(file));
    assert_eq!(source(&settings, "caps.input"), Source::Default);
    assert_eq!(settings.data_dir, dir.path().join("store"));
    assert!(settings.is_set("grace") && !settings.is_set("caps.input"));
}

#[test]
fn every_limit_is_read_from_its_settings() {
    let dir = tempfile::tempdir().unwrap();
    for info in Limits::all() {
        let variable = |key: String| format!("CELERIAC_{}", key.replace('.', "_").to_uppercase());
        let text = |number: u64| match info.unit {
            "ms" => format!("{number}ms"),
            _ => number.to_string(),
        };
        let (low, high) = (info.ceiling / 2, info.ceiling - 1);
        let ceiling = variable(info.ceiling_setting());
        let mut env = vec![("HOME".to_owned(), "/h".to_owned()), (ceiling, text(high))];
        env.extend(info.default_setting().map(|key| (variable(key), text(low))));
        let env: Vec<(&str, &str)> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let limits = load(&env, dir.path(), None, &[]).unwrap().limits;
        assert_eq!(limits.ceiling.get(info.name), Some(high), "{}", info.name);
        let expected = if info.default_setting().is_some() {
            low
        } else {
            high
        };
        assert_eq!(
            limits.default.get(info.name),
            Some(expected),
            "{}",
            info.name
        );
    }
}

#[test]
fn a_default_above_its_ceiling_is_refused_and_one_that_nobody_set_follows() {
    let dir = tempfile::tempdir().unwrap();
    let lowered = ("CELERIAC_LIMITS_LOG_LINES", "10");
    let settings = load(&[("HOME", "/h"), lowered], dir.path(), None, &[]).unwrap();
    assert_eq!(settings.limits.default.log_lines, 10);
    assert_eq!(source(&settings, "defaults.log_lines"), Source::Default);
    let env = [
        ("HOME", "/h"),
        lowered,
        ("CELERIAC_DEFAULTS_LOG_LINES", "11"),
    ];
    let error = load(&env, dir.path(), None, &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "CELERIAC_DEFAULTS_LOG_LINES: `defaults.log_lines` is 11, above `limits.log_lines`, which is 10 \
         (CELERIAC_LIMITS_LOG_LINES)"
    );
    assert_eq!(
        error.remedy(),
        "lower `defaults.log_lines`, or raise `limits.log_lines`"
    );
}

#[test]
fn refuses_an_unknown_key_with_the_one_that_was_meant() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("my.toml");
    std::fs::write(&file, "[limits]\nfule = '1G'\n").unwrap();
    let error = load(&[("HOME", "/h")], dir.path(), Some(&file), &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{}: there is no setting `limits.fule`", file.display())
    );
    assert_eq!(error.remedy(), "did you mean `limits.fuel`?");
}

#[test]
fn refuses_a_wrong_value_with_what_was_expected() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("my.toml");
    for (text, expected) in [
        (
            "lease = 10",
            "`lease` is 10 (integer), expected a duration such as",
        ),
        ("lease = '1ms'", "from 1s to 1h"),
        ("queues = 'a'", "expected a list of queue names"),
        ("concurrency = 0", "expected a whole number from 1"),
        ("durability = 'some'", "expected `normal` or `full`"),
        ("broker = 'http:'", "`redis://HOST"),
    ] {
        std::fs::write(&file, text).unwrap();
        let error = load(&[("HOME", "/h")], dir.path(), Some(&file), &[])
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let error = load(
        &[("HOME", "/h"), ("CELERIAC_CAPS_INPUT", "big")],
        dir.path(),
        None,
        &[],
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("CELERIAC_CAPS_INPUT: `caps.input` is `big`"),
        "{error}"
    );
}

#[test]
fn a_file_that_is_named_must_exist() {
    let dir = tempfile::tempdir().unwrap();
    let error = load(
        &[("HOME", "/h")],
        dir.path(),
        Some(&dir.path().join("no.toml")),
        &[],
    )
    .unwrap_err();
    assert!(matches!(error, SettingsError::Unreadable { .. }), "{error}");
}

#[test]
fn a_missing_home_matters_only_where_it_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let error = load(&[], dir.path(), None, &[]).unwrap_err();
    assert!(
        matches!(error, SettingsError::NoHome { key: "data_dir" }),
        "{error}"
    );
    let env = [("CELERIAC_DATA_DIR", "/d"), ("CELERIAC_CACHE_DIR", "/c")];
    assert!(load(&env, dir.path(), None, &[]).is_ok());
}

#[test]
fn a_password_is_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let env = [
        ("HOME", "/h"),
        ("CELERIAC_BROKER", "redis://me:secret@db:6379/1"),
    ];
    let settings = load(&env, dir.path(), None, &[]).unwrap();
    assert_eq!(settings.broker, "redis://me:secret@db:6379/1");
    assert!(!format!("{:?}", settings.entries()).contains("secret"));
    assert_eq!(
        without_password("redis://me:secret@db:6379/1"),
        "redis://me:***@db:6379/1"
    );
}

#[test]
fn the_example_is_a_file_that_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("example.toml");
    std::fs::write(&file, crate::settings::example()).unwrap();
    let settings = load(&[("HOME", "/h")], dir.path(), Some(&file), &[]).unwrap();
    assert!(
        settings
            .entries()
            .iter()
            .all(|entry| entry.source == Source::Default)
    );
    let all: String = crate::settings::example()
        .lines()
        .map(uncommented)
        .collect();
    std::fs::write(&file, all).unwrap();
    let settings = load(&[("HOME", "/h")], dir.path(), Some(&file), &[]).unwrap();
    assert!(
        settings
            .entries()
            .iter()
            .all(|entry| entry.source != Source::Default)
    );
}

/// A line of the example with its setting in force.
fn uncommented(line: &str) -> String {
    match line.strip_prefix("# ") {
        Some(rest) if rest.contains(" = ") && !rest.ends_with('.') => format!("{rest}\n"),
        _ => format!("{line}\n"),
    }
}
