use super::*;

/// The message with its place, and the remedy.
fn refused(text: &str) -> String {
    match parse(text) {
        Ok(policy) => panic!("accepted: {policy:?}"),
        Err(error) => format!("{error} → {}", error.remedy),
    }
}

#[test]
fn reads_a_whole_grant() {
    let policy = parse(
        r#"
        lease = "5s"
        [grants."images"]
        directories = { photos = { path = "/srv/photos", access = "write" } }
        scratch = true
        http = [{ hosts = ["api.example.com", "*.cdn.example.com"], schemes = ["http", "https"], ports = [443, 8443], methods = ["GET"], networks = ["10.1.0.0/16"] }, { hosts = ["*"] }]
        tcp = ["smtp.example.com:587", { host = "db.internal", port = 5432, networks = ["10.0.0.0/8"] }]
        secrets = { smtp-password = { file = "/run/secrets/smtp" }, other = { env = "OTHER" }, third = { credential = "smtp" } }
        config = { GREETING = "hello" }
        kv = true
        deterministic = { seed = 7, now = "2026-01-01T00:00:00Z" }
        limits = { memory = "128MiB", fuel = "1G", timeout = "5s", log_lines = 10 }
        "#,
    )
    .unwrap();
    let [grant] = policy.grants() else {
        panic!("{policy:?}")
    };
    assert_eq!(
        (grant.pattern.to_string().as_str(), grant.line),
        ("images", 3)
    );
    assert_eq!(
        grant.directories["photos"],
        DirectoryGrant {
            path: "/srv/photos".into(),
            is_writable: true
        }
    );
    assert!(grant.has_scratch && grant.has_key_values);
    assert_eq!(
        (
            grant.http[0].ports.as_slice(),
            grant.http[1].schemes.as_slice()
        ),
        (&[443, 8443][..], &["https".to_owned()][..])
    );
    assert_eq!((grant.tcp[0].port, grant.tcp[1].networks.len()), (587, 1));
    assert_eq!(
        grant.secrets["third"],
        SecretSource::Credential("smtp".to_owned())
    );
    assert_eq!(grant.config["GREETING"], "hello");
    let fixed = grant.determinism.clone().flatten().unwrap();
    assert_eq!(
        (fixed.seed, fixed.now),
        (7.into(), UNIX_EPOCH + Duration::from_secs(1_767_225_600))
    );
    assert_eq!(
        (grant.limits.memory_bytes, grant.limits.fuel),
        (Some(128 << 20), Some(1_000_000_000))
    );
    assert_eq!(
        (grant.limits.timeout, grant.limits.log_lines),
        (Some(Duration::from_secs(5)), Some(10))
    );
}

#[test]
fn reads_nothing_where_there_is_nothing() {
    for text in ["", "lease = \"5s\"", "[grants]", "[grants.images]"] {
        assert!(
            parse(text)
                .unwrap()
                .resolve(
                    &super::super::Identity::nameless(celeriac_broker::Digest::of(b"")),
                    &[]
                )
                .answers
                .is_empty()
        );
    }
}

#[test]
fn times_are_read_as_the_calendar_has_them() {
    let at = |text: &str| {
        let policy = parse(&format!("[grants.a]\ndeterministic = {{ now = {text} }}")).unwrap();
        policy.grants()[0]
            .determinism
            .clone()
            .flatten()
            .unwrap()
            .now
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs()
    };
    assert_eq!(at("\"1970-01-01T00:00:00Z\""), 0);
    assert_eq!(at("2000-02-29T12:00:00Z"), 951_825_600);
    assert_eq!(at("\"2024-12-31T23:59:59+01:00\""), 1_735_685_999);
    assert_eq!(at("\"2000-01-01T00:00:00Z\""), FIXED_TIME.as_secs());
}

/// Each thing that can be wrong: the text after the header, and what the complaint must contain.
#[test]
fn names_what_is_wrong_where_and_what_to_write() {
    for (body, parts) in [
        (
            "directory = {}",
            &[
                "line 2",
                "[grants.\"images\"]",
                "no key `directory`",
                "did you mean `directories`",
            ][..],
        ),
        ("zzz = 1", &["no key `zzz`", "there are `directories`"]),
        (
            "scratch = 1",
            &["scratch: this is an integer", "`true` or `false`"],
        ),
        (
            "\nhttp = [{ host = [\"a.com\"] }]",
            &["line 3", "http[0]", "did you mean `hosts`"],
        ),
        (
            "http = [{ schemes = [\"https\"] }]",
            &["http[0]", "no `hosts`"],
        ),
        ("http = []", &["http: this is empty"]),
        (
            "http = { hosts = [\"a.com\"] }",
            &["http: this is a table", "a list"],
        ),
        ("http = [{ hosts = [] }]", &["http[0].hosts: this is empty"]),
        (
            "http = [{ hosts = [\"https://a.com\"] }]",
            &["http[0].hosts[0]: `https://a.com`", "without scheme"],
        ),
        (
            "http = [{ hosts = [\"a.com\", \"A.com\"] }]",
            &["http[0].hosts[1]", "there twice"],
        ),
        (
            "http = [{ hosts = [\"a.com\"], schemes = [\"ftp\"] }]",
            &["schemes[0]", "`http` or `https`"],
        ),
        (
            "http = [{ hosts = [\"a.com\"], ports = [0] }]",
            &["ports[0]: this is not a port", "1 to 65535"],
        ),
        (
            "http = [{ hosts = [\"a.com\"], ports = [65536] }]",
            &["ports[0]"],
        ),
        (
            "http = [{ hosts = [\"a.com\"], ports = [-1] }]",
            &["ports[0]", "out of range"],
        ),
        (
            "http = [{ hosts = [\"a.com\"], methods = [\"get\"] }]",
            &["methods[0]", "capitals"],
        ),
        (
            "http = [{ hosts = [\"a.com\"], networks = [\"10.0.0.0/33\"] }]",
            &["networks[0]", "CIDR"],
        ),
        (
            "http = [{ hosts = [\"a.com\"], networks = [\"10.0.0.1\"] }]",
            &["networks[0]", "CIDR"],
        ),
        ("tcp = [\"a.com\"]", &["tcp[0]", "`HOST:PORT`"]),
        ("tcp = [\"a.com:0\"]", &["tcp[0]"]),
        ("tcp = [\"*\"]", &["tcp[0]"]),
        ("tcp = [{ host = \"a.com\" }]", &["tcp[0]", "no `port`"]),
        (
            "directories = { tmp = { path = \"/tmp\" } }",
            &["directories.tmp", "`tmp` is the scratch directory"],
        ),
        (
            "directories = { a = { path = \"srv\" } }",
            &["directories.a.path", "absolute"],
        ),
        (
            "directories = { a = { path = \"/srv/../etc\" } }",
            &["directories.a.path"],
        ),
        (
            "directories = { a = { path = \"/srv\", access = \"rw\" } }",
            &["directories.a.access", "write `read`"],
        ),
        ("directories = { a = {} }", &["directories.a", "no `path`"]),
        (
            "directories = { a = { path = \"/srv\" }, a = { path = \"/x\" } }",
            &["not TOML", "line 2"],
        ),
        (
            "secrets = { a = \"hunter22\" }",
            &["secrets.a", "not written into the settings file"],
        ),
        (
            "secrets = { a = { file = \"/x\", env = \"X\" } }",
            &["secrets.a", "one source"],
        ),
        (
            "secrets = { a = { file = \"x\" } }",
            &["secrets.a.file", "absolute"],
        ),
        (
            "secrets = { a = { credential = \"../x\" } }",
            &["secrets.a.credential"],
        ),
        (
            "config = { A = 3 }",
            &["config.A: this is an integer", "\"3\""],
        ),
        (
            "config = { \"A-B\" = \"x\" }",
            &["config.A-B", "environment variable"],
        ),
        ("limits = { feul = 1 }", &["limits", "did you mean `fuel`"]),
        ("limits = { timeout = 5 }", &["limits.timeout", "duration"]),
        ("limits = { timeout = \"0s\" }", &["limits.timeout"]),
        (
            "limits = { memory = \"many\" }",
            &["limits.memory", "64MiB"],
        ),
        (
            "deterministic = { now = \"yesterday\" }",
            &["deterministic.now", "2026-01-01T00:00:00Z"],
        ),
        (
            "deterministic = { now = \"1969-12-31T23:59:59Z\" }",
            &["deterministic.now"],
        ),
    ] {
        let complaint = refused(&format!("[grants.\"images\"]\n{body}"));
        for part in parts {
            assert!(complaint.contains(part), "no `{part}` in: {complaint}");
        }
        assert!(
            !complaint.contains("hunter22"),
            "a secret is not repeated: {complaint}"
        );
    }
    assert!(refused("[grants.\"Images\"]").contains("wildcard"));
    assert!(refused("grants = 1").contains("[grants.\"images\"]"));
    let digest = "ab".repeat(32);
    let twice = format!(
        "[grants.\"sha256:{digest}\"]\n[grants.\"sha256:{}\"]",
        digest.to_uppercase()
    );
    assert!(refused(&twice).contains("make them one"));
}
