use super::*;
use crate::policy::parse;
use celeriac_broker::Digest;

fn module(name: &str, versions: &[&str]) -> Identity {
    Identity {
        digest: Digest::of(b"x"),
        name: Some(name.to_owned()),
        versions: versions
            .iter()
            .map(|version| (*version).to_owned())
            .collect(),
    }
}

fn need(kind: &str, name: &str) -> Need {
    Need::parse(kind, name).unwrap()
}

fn all_needs() -> Vec<Need> {
    [
        ("http", "*"),
        ("tcp", "*"),
        ("directory", "photos"),
        ("scratch", ""),
        ("secret", "s"),
        ("config", "C"),
        ("kv", ""),
    ]
    .map(|(kind, name)| need(kind, name))
    .to_vec()
}

const EVERYTHING: &str = r#"
http = [{ hosts = ["*"] }]
tcp = ["*:25"]
directories = { photos = { path = "/srv/photos" } }
scratch = true
secrets = { s = { env = "S" } }
config = { C = "c" }
kv = true
"#;

#[test]
fn nothing_without_a_need_and_nothing_without_a_grant() {
    let policy = parse(&format!("[grants.\"*\"]{EVERYTHING}")).unwrap();
    let undeclared = policy.resolve(&module("images", &[]), &[]);
    assert!(is_nothing(&undeclared));
    let ungranted = Policy::default().resolve(&module("images", &[]), &all_needs());
    assert!(
        is_nothing(&ungranted)
            && ungranted
                .answers
                .iter()
                .all(|answer| answer.granted_by.is_empty())
    );
    let both = policy.resolve(&module("images", &[]), &all_needs());
    assert!(
        both.answers
            .iter()
            .all(|answer| answer.granted_by.len() == 1)
    );
    assert_eq!(
        (
            both.rights.http.len(),
            both.rights.tcp.len(),
            both.rights.directories.len()
        ),
        (1, 1, 1)
    );
    assert!(both.rights.has_scratch && both.has_key_values);
    assert_eq!(both.rights.environment, [("C".to_owned(), "c".to_owned())]);
}

fn is_nothing(resolved: &Resolved) -> bool {
    let Resolved {
        rights,
        has_key_values,
        ..
    } = resolved;
    rights.http.is_empty()
        && rights.tcp.is_empty()
        && rights.directories.is_empty()
        && rights.secrets.is_empty()
        && rights.environment.is_empty()
        && !rights.has_scratch
        && !has_key_values
}

/// Every subset of needs against every subset of grants: each right needs both.
#[test]
fn each_right_needs_both_sides() {
    let lines: Vec<_> = EVERYTHING.trim().lines().collect();
    let needs = all_needs();
    let kinds = [
        "http",
        "tcp",
        "directory",
        "scratch",
        "secret",
        "config",
        "kv",
    ];
    for granted in 0_u32..1 << lines.len() {
        let chosen: Vec<_> = (0..lines.len())
            .filter(|bit| granted >> bit & 1 == 1)
            .map(|bit| lines[bit])
            .collect();
        let policy = parse(&format!("[grants.images]\n{}", chosen.join("\n"))).unwrap();
        for declared in 0_u32..1 << needs.len() {
            let declared: Vec<_> = (0..needs.len())
                .filter(|bit| declared >> bit & 1 == 1)
                .map(|bit| needs[bit].clone())
                .collect();
            let resolved = policy.resolve(&module("images", &[]), &declared);
            for (index, kind) in kinds.iter().enumerate() {
                let is_declared = declared.iter().any(|need| need.kind() == *kind);
                let is_granted = granted >> index & 1 == 1;
                let answer = resolved
                    .answers
                    .iter()
                    .any(|answer| answer.need.kind() == *kind && !answer.granted_by.is_empty());
                assert_eq!(answer, is_declared && is_granted, "{kind}");
            }
            let rights = &resolved.rights;
            let found = [
                !rights.http.is_empty(),
                !rights.tcp.is_empty(),
                !rights.directories.is_empty(),
                rights.has_scratch,
                resolved
                    .answers
                    .iter()
                    .any(|answer| answer.need.kind() == "secret" && !answer.granted_by.is_empty()),
                !rights.environment.is_empty(),
                resolved.has_key_values,
            ];
            for (index, found) in found.iter().enumerate() {
                let is_declared = declared.iter().any(|need| need.kind() == kinds[index]);
                assert_eq!(*found, is_declared && granted >> index & 1 == 1);
            }
        }
    }
}

#[test]
fn rights_add_up_limits_take_the_least_and_names_go_to_the_most_specific() {
    let digest = Digest::of(b"x");
    let policy = parse(&format!(
        r#"
        [grants."*"]
        http = [{{ hosts = ["all.com"] }}]
        config = {{ C = "all" }}
        directories = {{ photos = {{ path = "/all", access = "write" }} }}
        limits = {{ fuel = "5G", log_lines = 10 }}
        deterministic = true
        [grants."im*"]
        config = {{ C = "wild" }}
        [grants.images]
        http = [{{ hosts = ["images.com"] }}]
        config = {{ C = "name" }}
        directories = {{ photos = {{ path = "/name" }} }}
        limits = {{ fuel = "7G", memory = "1MiB" }}
        deterministic = {{ seed = 7 }}
        [grants."images@1.2.0"]
        config = {{ C = "version" }}
        deterministic = false
        [grants."{digest}"]
        config = {{ C = "digest" }}
        [grants.other]
        http = [{{ hosts = ["other.com"] }}]
        config = {{ C = "other" }}
        limits = {{ fuel = 1 }}
        "#
    ))
    .unwrap();
    let resolve = |module: &Identity| policy.resolve(module, &all_needs());
    let images = resolve(&module("images", &[]));
    let hosts: Vec<_> = images
        .rights
        .http
        .iter()
        .map(|rule| rule.hosts[0].to_string())
        .collect();
    assert_eq!(hosts, ["images.com", "all.com"]);
    assert_eq!(images.limits.fuel, Some(5_000_000_000));
    assert_eq!(
        (images.limits.log_lines, images.limits.memory_bytes),
        (Some(10), Some(1 << 20))
    );
    let directory = &images.rights.directories;
    assert!(
        directory.len() == 1 && directory[0].path.ends_with("name") && !directory[0].is_writable
    );
    let seed = |resolved: &Resolved| {
        resolved
            .rights
            .determinism
            .as_ref()
            .map(|fixed| fixed.seed.clone())
    };
    assert_eq!(seed(&images), Some(7.into()));
    assert_eq!(
        seed(&resolve(&module("images", &["1.2.0"]))),
        None,
        "the version says: not deterministic"
    );
    let value = |module: &Identity| resolve(module).rights.environment[0].1.clone();
    assert_eq!(value(&module("images", &["1.2.0"])), "digest");
    let other_bytes = |name: &str, versions: &[&str]| Identity {
        digest: Digest::of(b"y"),
        ..module(name, versions)
    };
    assert_eq!(value(&other_bytes("images", &["1.2.0"])), "version");
    assert_eq!(value(&other_bytes("images", &["1.3.0"])), "name");
    assert_eq!(value(&other_bytes("imprint", &[])), "wild");
    assert_eq!(value(&other_bytes("x", &[])), "all");
    assert_eq!(value(&Identity::nameless(Digest::of(b"y"))), "all");
}

#[test]
fn a_rule_is_cut_down_to_what_was_asked_for() {
    let policy = parse("[grants.images]\nhttp = [{ hosts = [\"*.a.com\", \"b.com\"], methods = [\"GET\"] }]\ntcp = [\"*:25\"]").unwrap();
    let needs = [
        need("http", "x.a.com"),
        need("tcp", "mx.com:25"),
        need("tcp", "mx.com:26"),
    ];
    let resolved = policy.resolve(&module("images", &[]), &needs);
    assert_eq!(
        resolved.rights.http[0]
            .hosts
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["x.a.com"]
    );
    assert_eq!(resolved.rights.http[0].methods, ["GET"]);
    assert_eq!(resolved.rights.tcp[0].host.to_string(), "mx.com");
    assert_eq!(
        resolved
            .answers
            .iter()
            .map(|answer| answer.granted_by.len())
            .collect::<Vec<_>>(),
        [1, 1, 0]
    );
}
