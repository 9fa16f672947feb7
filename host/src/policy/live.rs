//! The policy of a running host: answers at once, and can be replaced while tasks run.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use celeriac_broker::Digest;

use super::denials::{Ruling, TaskDenials};
use super::{Identity, Need, Policy};
use crate::engine::{KeyValues, LimitOptions, Rights};

/// Tasks whose rights are kept. Computing them again takes microseconds.
const KEPT: usize = 4096;

/// Makes the key-value store of a module, named by what names the module: `images`, or a digest.
pub type KeyValuesOf = Arc<dyn Fn(&str) -> Option<Arc<dyn KeyValues>> + Send + Sync>;

/// What a task gets under one policy.
#[derive(Clone, Debug)]
pub struct Granted {
    /// What it may touch.
    pub rights: Arc<Rights>,
    /// Limits of its grants, which only lower.
    pub limits: LimitOptions,
}

/// The policy that holds now.
pub struct LivePolicy {
    current: RwLock<Arc<Term>>,
    /// None: no task gets a key-value store, whatever is granted.
    key_values: Option<KeyValuesOf>,
}

/// The time of one policy. What it answered goes with it.
struct Term {
    ruling: Arc<Ruling>,
    kept: Mutex<Kept>,
}

/// Few names and tasks for each digest: a scan of them is quicker than a key of three texts.
#[derive(Default)]
struct Kept {
    by_digest: HashMap<Digest, Vec<(Identity, String, Granted)>>,
    count: usize,
}

impl LivePolicy {
    /// Begins with this policy.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            current: RwLock::new(Term::new(policy)),
            key_values: None,
        }
    }

    /// With key-value stores for modules that may have one.
    #[must_use]
    pub fn with_key_values(mut self, key_values: Option<KeyValuesOf>) -> Self {
        self.key_values = key_values;
        self
    }

    /// Replaces the policy for everything that starts from now on; what runs keeps its rights.
    pub fn replace(&self, policy: Policy) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Term::new(policy);
    }

    /// Looks at the policy that holds now.
    pub fn with<T>(&self, look: impl FnOnce(&Policy) -> T) -> T {
        look(&self.term().ruling.policy)
    }

    /// What a task gets. The second time it is a look-up.
    #[must_use]
    pub fn granted(&self, module: &Identity, task: &str, needs: &[Need]) -> Granted {
        let term = self.term();
        let lock = || term.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(granted) = lock().find(module, task) {
            return granted;
        }
        let granted = self.resolve(&term.ruling, module, task, needs);
        lock().keep(module, task, &granted);
        granted
    }

    fn resolve(
        &self,
        ruling: &Arc<Ruling>,
        module: &Identity,
        task: &str,
        needs: &[Need],
    ) -> Granted {
        let resolved = ruling.policy.resolve(module, needs);
        let mut rights = resolved.rights;
        if resolved.has_key_values {
            // State belongs to a name that the broker vouches for: all versions share it. Bytes without one have none.
            let of = self.key_values.as_ref().zip(module.name.as_deref());
            rights.key_values = of.and_then(|(of, name)| of(name));
        }
        // Tasks without rights need this most: it says what to write.
        rights.denials = Some(Arc::new(TaskDenials {
            ruling: ruling.clone(),
            module: module.clone(),
            task: task.to_owned(),
            needs: needs.to_vec(),
        }));
        Granted {
            rights: Arc::new(rights),
            limits: resolved.limits,
        }
    }

    fn term(&self) -> Arc<Term> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Term {
    fn new(policy: Policy) -> Arc<Self> {
        Arc::new(Self {
            ruling: Arc::new(Ruling::new(policy)),
            kept: Mutex::default(),
        })
    }
}

impl Kept {
    fn find(&self, module: &Identity, task: &str) -> Option<Granted> {
        let kept = self.by_digest.get(&module.digest)?;
        let (_, _, granted) = kept
            .iter()
            .find(|(known, name, _)| name == task && known == module)?;
        Some(granted.clone())
    }

    fn keep(&mut self, module: &Identity, task: &str, granted: &Granted) {
        if self.count >= KEPT {
            *self = Self::default();
        }
        self.count += 1;
        let entry = (module.clone(), task.to_owned(), granted.clone());
        self.by_digest.entry(module.digest).or_default().push(entry);
    }
}

impl fmt::Debug for LivePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LivePolicy")
            .field("grants", &self.with(|policy| policy.grants().len()))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Denied;

    fn live(text: &str) -> LivePolicy {
        LivePolicy::new(super::super::parse(text).unwrap())
    }

    fn images() -> Identity {
        Identity {
            digest: Digest::of(b"x"),
            name: Some("images".to_owned()),
            versions: Vec::new(),
        }
    }

    fn denied(kind: &'static str, what: &str, why: Option<&str>) -> Denied {
        Denied {
            kind,
            what: what.to_owned(),
            why: why.map(str::to_owned),
        }
    }

    #[test]
    fn answers_from_memory_until_it_is_replaced() {
        let policy = live("[grants.images]\nscratch = true");
        let needs = [Need::Scratch(String::new())];
        let first = policy.granted(&images(), "resize", &needs);
        assert!(first.rights.has_scratch);
        assert!(Arc::ptr_eq(
            &first.rights,
            &policy.granted(&images(), "resize", &needs).rights
        ));
        policy.replace(Policy::default());
        assert!(
            !policy
                .granted(&images(), "resize", &needs)
                .rights
                .has_scratch
        );
        assert!(first.rights.has_scratch, "what runs keeps its rights");
    }

    #[test]
    fn keeps_apart_what_has_the_same_bytes_and_another_name() {
        let policy = live("[grants.images]\nscratch = true");
        let needs = [Need::Scratch(String::new())];
        assert!(
            policy
                .granted(&images(), "resize", &needs)
                .rights
                .has_scratch
        );
        let nameless = Identity::nameless(images().digest);
        assert!(
            !policy
                .granted(&nameless, "resize", &needs)
                .rights
                .has_scratch
        );
        assert!(!policy.granted(&images(), "other", &[]).rights.has_scratch);
    }

    #[test]
    fn keeps_a_bounded_number_of_answers() {
        let policy = live("");
        for number in 0..KEPT + 10 {
            let _ = policy.granted(
                &Identity::nameless(Digest::of(&number.to_le_bytes())),
                "t",
                &[],
            );
        }
        assert!(policy.term().kept.lock().unwrap().by_digest.len() <= KEPT);
    }

    #[test]
    fn says_what_to_write() {
        let policy = live("[grants.images]\nhttp = [{ hosts = [\"a.com\"] }]");
        let sentence = |needs: &[Need], denied: &Denied| {
            let task = format!("t{}", needs.len());
            policy
                .granted(&images(), &task, needs)
                .rights
                .denials
                .as_ref()
                .unwrap()
                .deny(denied)
        };
        let undeclared = sentence(&[], &denied("secret", "smtp-password", None));
        assert!(
            undeclared.contains("#[task(needs(secret = \"smtp-password\"))]"),
            "{undeclared}"
        );
        assert!(
            undeclared.contains(
                "secrets = { smtp-password = { file = \"/run/secrets/smtp-password\" } }"
            ),
            "{undeclared}"
        );
        let needs = [Need::parse("http", "*.org").unwrap()];
        let refused = sentence(&needs, &denied("http", "GET https://x.org:443", None));
        assert!(
            refused.contains(
                "to `http` of [grants.\"images\"] in celeriac.toml:\n{ hosts = [\"x.org\"] }"
            ),
            "{refused}"
        );
        let private = sentence(
            &needs,
            &denied(
                "http",
                "GET http://x.org:8080",
                Some("the address 10.0.0.7 is private"),
            ),
        );
        assert!(private.contains("{ hosts = [\"x.org\"], schemes = [\"http\"], ports = [8080], networks = [\"10.0.0.7/32\"] }"), "{private}");
    }

    /// What it says to write is accepted, and then the thing is granted.
    #[test]
    fn what_it_says_to_write_works() {
        for (kind, name) in [
            ("http", "https://a.com:8443"),
            ("http", "http://[::1]:80"),
            ("http", "*.a.com"),
            ("tcp", "a.com:25"),
            ("tcp", "[::1]:25"),
            ("tcp", "*:25"),
            ("directory", "a.b"),
            ("secret", "x"),
            ("secret", "x.y"),
            ("config", "X"),
            ("scratch", "x"),
            ("kv", ""),
        ] {
            let need = Need::parse(kind, name).unwrap();
            for existing in ["", "[grants.images]\nlimits = { fuel = 5 }\n"] {
                let policy = super::super::parse(existing).unwrap();
                let advice = policy
                    .advice(&images(), std::slice::from_ref(&need))
                    .pop()
                    .unwrap();
                let text = format!("{existing}{}", advice.lines);
                let policy =
                    super::super::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
                let answers = policy
                    .resolve(&images(), std::slice::from_ref(&need))
                    .answers;
                assert_eq!(answers[0].granted_by.len(), 1, "{text}");
            }
        }
    }

    #[test]
    fn remembers_a_bounded_number_of_refusals() {
        let policy = live("");
        let rights = policy.granted(&images(), "t", &[]).rights;
        for number in 0..3000 {
            rights
                .denials
                .as_ref()
                .unwrap()
                .deny(&denied("secret", &format!("s{number}"), None));
        }
        assert!(policy.term().ruling.remembered() <= 1025);
    }
}
