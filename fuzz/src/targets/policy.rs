//! A policy: read from any text, it gives no task what the task did not declare, nor what no grant gives.

use celeriac::policy::{Identity, ModulePattern, Need, Policy, parse};
use celeriac_broker::Digest;

/// Hosts that a rule is tried on.
const HOSTS: &[&str] = &["example.com", "a.example.com", "10.0.0.1", "evil.org"];

/// A settings file; after a line `---` what a task needs, a kind and a name a line.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (file, needs) = text.split_once("\n---\n").unwrap_or((text, ""));
    pattern(needs);
    let policy = match parse(file) {
        Ok(policy) => policy,
        Err(error) => {
            assert!(!error.to_string().is_empty(), "an error without a word");
            return;
        }
    };
    let needs: Vec<Need> = needs
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(kind, name)| Need::parse(kind, name).ok())
        .collect();
    let named = Identity {
        name: Some("images".to_owned()),
        versions: vec!["1.2.0".to_owned()],
        digest: Digest::of(b"module"),
    };
    for module in [named, Identity::nameless(Digest::of(b"module"))] {
        nothing_unasked(&policy, &module);
        nothing_ungranted(&module, &needs);
        nothing_beyond(&policy, &module, &needs);
    }
}

/// Patterns show as what they were read from.
fn pattern(text: &str) {
    if let Ok(pattern) = text.parse::<ModulePattern>() {
        let shown = pattern.to_string();
        assert_eq!(shown.parse().as_ref(), Ok(&pattern), "{text:?}");
    }
}

fn nothing_unasked(policy: &Policy, module: &Identity) {
    let resolved = policy.resolve(module, &[]);
    let rights = &resolved.rights;
    assert!(
        rights.http.is_empty()
            && rights.tcp.is_empty()
            && rights.directories.is_empty()
            && rights.secrets.is_empty()
            && rights.environment.is_empty()
            && !rights.has_scratch
            && !resolved.has_key_values,
        "{rights:?}"
    );
}

fn nothing_ungranted(module: &Identity, needs: &[Need]) {
    let resolved = Policy::default().resolve(module, needs);
    let rights = &resolved.rights;
    assert!(
        rights.http.is_empty() && rights.tcp.is_empty() && rights.directories.is_empty(),
        "{rights:?}"
    );
    let granted = resolved
        .answers
        .iter()
        .any(|answer| !answer.granted_by.is_empty());
    assert!(!granted && !resolved.has_key_values, "{needs:?}");
}

/// Whatever a rule allows, a need allows.
fn nothing_beyond(policy: &Policy, module: &Identity, needs: &[Need]) {
    let resolved = policy.resolve(module, needs);
    assert_eq!(
        resolved.answers.len(),
        needs.len(),
        "a need without an answer"
    );
    for host in HOSTS {
        for rule in &resolved.rights.http {
            let declared = needs.iter().any(|need| match need {
                Need::Http(need) => need.host.matches(host),
                _ => false,
            });
            let allowed = rule.hosts.iter().any(|pattern| pattern.matches(host));
            assert!(declared || !allowed, "{host}: {rule:?}");
        }
        for rule in &resolved.rights.tcp {
            let declared = needs.iter().any(|need| match need {
                Need::Tcp(need) => {
                    need.host.matches(host) && need.port.is_none_or(|port| port == rule.port)
                }
                _ => false,
            });
            assert!(declared || !rule.host.matches(host), "{host}: {rule:?}");
        }
    }
    for directory in &resolved.rights.directories {
        let declared = needs
            .iter()
            .any(|need| matches!(need, Need::Directory(name) if *name == directory.name));
        assert!(declared, "{directory:?}");
    }
}
