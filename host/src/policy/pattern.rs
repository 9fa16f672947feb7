//! Which modules a grant is for: a name, a version, a digest, or a wildcard.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use celeriac_broker::{Digest, MAX_NAME_BYTES, ModuleName, ModuleRef, check_name};

/// Who a module is, as far as that can be trusted: the broker pinned the digest, and says which name points to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The bytes that run.
    pub digest: Digest,
    /// The name that the caller used, where the broker has confirmed that it leads to these bytes.
    pub name: Option<String>,
    /// Versions of that name that lead to these bytes.
    pub versions: Vec<String>,
}

impl Identity {
    /// A module that is known by its bytes only.
    #[must_use]
    pub fn nameless(digest: Digest) -> Self {
        Self {
            digest,
            name: None,
            versions: Vec::new(),
        }
    }

    /// Who a module is that was called as `called`, with these names at the broker.
    ///
    /// A name and a version were resolved by the broker when the call was accepted, and are believed. With
    /// `images@sha256:…` the caller chose the bytes: the name is a claim, and counts if `images`, or a version of it,
    /// leads to these bytes now. `sha256:…` claims no name and has none, whoever points to it.
    #[must_use]
    pub fn called(called: &ModuleRef, digest: Digest, names: &[ModuleName]) -> Self {
        let (name, version) = match called {
            ModuleRef::Digest(None, _) => return Self::nameless(digest),
            ModuleRef::Digest(Some(name), _) => (name, None),
            ModuleRef::Name(name) => (name, None),
            ModuleRef::Version(name, version) => (name, Some(version)),
        };
        let mut leads = !matches!(called, ModuleRef::Digest(..));
        let mut versions: Vec<_> = version.cloned().into_iter().collect();
        for known in names.iter().filter(|known| known.digest == digest) {
            match &known.name {
                ModuleRef::Name(own) if own == name => leads = true,
                ModuleRef::Version(own, version) if own == name => {
                    leads = true;
                    if !versions.contains(version) {
                        versions.push(version.clone());
                    }
                }
                _ => {}
            }
        }
        match leads {
            true => Self {
                digest,
                name: Some(name.clone()),
                versions,
            },
            false => Self::nameless(digest),
        }
    }

    /// The pattern that means this module best: its name, else its digest.
    #[must_use]
    pub fn pattern(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.digest.to_string())
    }
}

/// A pattern of modules. The more specific one goes over the less specific where both say something about one name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModulePattern {
    /// None: bytes under whatever name, or none.
    name: Option<Glob>,
    version: Option<Glob>,
    digest: Option<Digest>,
}

/// A text that is no pattern of modules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no modules")]
pub struct NotAPattern(pub String);

impl NotAPattern {
    /// What would be right.
    pub(super) const REMEDY: &str = "write a name (`images`), a version (`images@1.2.0`, `images@1.*`), a digest (`sha256:…`, \
         `images@sha256:…`), or a wildcard (`img-*`, `*`)";
}

impl ModulePattern {
    /// Whether it means this module.
    #[must_use]
    pub fn matches(&self, module: &Identity) -> bool {
        let has_name = match (&self.name, &module.name) {
            // A module without a name that can be trusted is still one of all modules.
            (None, _) => true,
            (Some(glob), None) => glob.is_any(),
            (Some(glob), Some(name)) => glob.matches(name),
        };
        has_name
            && self.digest.is_none_or(|digest| digest == module.digest)
            && self.version.as_ref().is_none_or(|glob| {
                module.name.is_some() && module.versions.iter().any(|version| glob.matches(version))
            })
    }

    /// Whether it could mean a module of this name, given the right version or digest.
    #[must_use]
    pub fn may_mean(&self, name: &str) -> bool {
        self.name.as_ref().is_some_and(|glob| glob.matches(name))
    }

    /// Whether it is for some versions only.
    #[must_use]
    pub fn has_version(&self) -> bool {
        self.version.is_some()
    }

    /// Digest, version, wildcard of versions, name, wildcard of names, everything; then the longer one.
    fn specificity(&self) -> (u8, usize) {
        let literals = |glob: &Option<Glob>| glob.as_ref().map_or(0, Glob::literals);
        let length = literals(&self.name) + literals(&self.version);
        let is_exact = |glob: &Option<Glob>| glob.as_ref().is_some_and(Glob::is_exact);
        let rank = match (self.digest, &self.version) {
            (Some(_), _) => 5,
            (None, version @ Some(_)) if is_exact(version) => 4,
            (None, Some(_)) => 3,
            (None, None) if is_exact(&self.name) => 2,
            (None, None) if length > 0 => 1,
            (None, None) => 0,
        };
        (rank, length)
    }
}

impl Ord for ModulePattern {
    /// The more specific pattern is the greater; equally specific ones are told apart by their text.
    fn cmp(&self, other: &Self) -> Ordering {
        self.specificity()
            .cmp(&other.specificity())
            .then_with(|| other.to_string().cmp(&self.to_string()))
    }
}

impl PartialOrd for ModulePattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl FromStr for ModulePattern {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        let wrong = || NotAPattern(text.to_owned());
        let digest = |text: &str| text.parse::<Digest>().map_err(|_| wrong());
        if text.starts_with("sha256:") {
            return Ok(Self {
                name: None,
                version: None,
                digest: Some(digest(text)?),
            });
        }
        let (name, rest) = match text.split_once('@') {
            Some((name, rest)) => (name, Some(rest)),
            None => (text, None),
        };
        let name = Glob::parse(name).ok_or_else(wrong)?;
        // A version or digest belongs to one name.
        if rest.is_some() && !name.is_exact() {
            return Err(wrong());
        }
        let (version, digest) = match rest {
            None => (None, None),
            Some(rest) if rest.starts_with("sha256:") => (None, Some(digest(rest)?)),
            Some(rest) => (Some(Glob::parse(rest).ok_or_else(wrong)?), None),
        };
        Ok(Self {
            name: Some(name),
            version,
            digest,
        })
    }
}

impl fmt::Display for ModulePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_ref().map(|glob| glob.0.as_str());
        match (name, &self.version, self.digest) {
            (Some(name), _, Some(digest)) => write!(f, "{name}@{digest}"),
            (None, _, Some(digest)) => digest.fmt(f),
            (name, Some(version), None) => write!(f, "{}@{}", name.unwrap_or("*"), version.0),
            (name, None, None) => f.write_str(name.unwrap_or("*")),
        }
    }
}

/// A name in which `*` stands for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Glob(String);

impl Glob {
    fn parse(text: &str) -> Option<Self> {
        let is_literal =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        let fits = match text.contains('*') {
            true => {
                text.len() <= MAX_NAME_BYTES && text.bytes().all(|b| b == b'*' || is_literal(b))
            }
            false => check_name("module name", text).is_ok(),
        };
        fits.then(|| Self(text.to_owned()))
    }

    fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    fn is_any(&self) -> bool {
        self.literals() == 0
    }

    fn literals(&self) -> usize {
        self.0.bytes().filter(|b| *b != b'*').count()
    }

    fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else {
            return false;
        };
        let mut parts: Vec<_> = parts.collect();
        let Some(last) = parts.pop() else {
            return rest.is_empty();
        };
        // Each part at its first place: a later one would leave less for the others.
        for part in parts {
            let Some(at) = rest.find(part) else {
                return false;
            };
            rest = rest.get(at + part.len()..).unwrap_or_default();
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> ModulePattern {
        text.parse().unwrap()
    }

    fn module(name: Option<&str>, versions: &[&str]) -> Identity {
        Identity {
            digest: Digest::of(b"x"),
            name: name.map(str::to_owned),
            versions: versions
                .iter()
                .map(|version| (*version).to_owned())
                .collect(),
        }
    }

    #[test]
    fn the_more_specific_pattern_is_the_greater() {
        let digest = Digest::of(b"x");
        let ordered = [
            "*".to_owned(),
            "i*".to_owned(),
            "img-*".to_owned(),
            "i".to_owned(),
            "images".to_owned(),
            "images@1.*".to_owned(),
            "images@1.2.0".to_owned(),
            digest.to_string(),
            format!("images@{digest}"),
        ];
        for (index, less) in ordered.iter().enumerate() {
            for more in &ordered[index + 1..] {
                assert!(pattern(less) < pattern(more), "{less} < {more}");
            }
            assert_eq!(pattern(less).to_string(), *less);
        }
    }

    #[test]
    fn means_what_it_says_and_nothing_more() {
        let images = module(Some("images"), &["1.2.0"]);
        let digest = images.digest;
        for text in [
            "*",
            "images",
            "im*",
            "*s",
            "i*a*s",
            "images@1.2.0",
            "images@1.*",
            "images@*",
            &digest.to_string(),
            &format!("images@{digest}"),
        ] {
            assert!(pattern(text).matches(&images), "{text}");
        }
        let other = Digest::of(b"y");
        for text in [
            "image",
            "imagesx",
            "x*",
            "*x*",
            "images*x",
            "images@1.2",
            "images@2.*",
            "other@1.2.0",
            &other.to_string(),
            &format!("other@{digest}"),
            &format!("images@{other}"),
        ] {
            assert!(!pattern(text).matches(&images), "{text}");
        }
    }

    #[test]
    fn bytes_without_a_confirmed_name_get_what_is_granted_to_all_or_to_them() {
        let nameless = module(None, &[]);
        let digest = nameless.digest;
        assert!(pattern("*").matches(&nameless) && pattern(&digest.to_string()).matches(&nameless));
        for text in ["images", "i*", "images@*", &format!("images@{digest}")] {
            assert!(!pattern(text).matches(&nameless), "{text}");
        }
    }

    #[test]
    fn a_name_is_had_from_the_broker_and_not_by_claiming_it() {
        let (good, evil) = (Digest::of(b"good"), Digest::of(b"evil"));
        let at = |name: &str, digest| ModuleName {
            name: name.parse().unwrap(),
            digest,
            moved_at_ms: 0,
        };
        let names = [
            at("images", good),
            at("images@1.2.0", good),
            at("images@1.1.0", evil),
            at("other", evil),
        ];
        let called = |text: &str, digest| Identity::called(&text.parse().unwrap(), digest, &names);
        assert_eq!(called(&good.to_string(), good), Identity::nameless(good));
        let claimed = called(&format!("images@{good}"), good);
        assert_eq!(
            (claimed.name.as_deref(), claimed.versions.as_slice()),
            (Some("images"), &["1.2.0".to_owned()][..])
        );
        assert_eq!(
            called(&format!("other@{good}"), good),
            Identity::nameless(good)
        );
        assert_eq!(
            called(&format!("nobody@{evil}"), evil),
            Identity::nameless(evil)
        );
        let old = called(&format!("images@{evil}"), evil);
        assert_eq!(
            (old.name.as_deref(), old.versions.as_slice()),
            (Some("images"), &["1.1.0".to_owned()][..])
        );
        // Accepted before the name moved on: the broker has resolved it, and the digest is pinned.
        assert_eq!(
            called("images", Digest::of(b"past")).name.as_deref(),
            Some("images")
        );
        assert_eq!(called("images@9.9.9", evil).versions, ["9.9.9", "1.1.0"]);
    }

    #[test]
    fn refuses_what_names_no_modules() {
        for text in [
            "",
            "Images",
            "a b",
            "a@",
            "@1",
            "a@b@c",
            "img-*@1.0",
            "*@sha256:00",
            "a@sha256:1",
            "-a",
            "a/b",
        ] {
            assert!(text.parse::<ModulePattern>().is_err(), "{text}");
        }
    }

    /// Every pattern over a small alphabet against every name, compared with the plain definition of a wildcard.
    #[test]
    fn wildcards_match_as_defined() {
        fn defined(pattern: &[u8], text: &[u8]) -> bool {
            match (pattern.split_first(), text.split_first()) {
                (None, None) => true,
                (Some((b'*', rest)), _) => {
                    defined(rest, text)
                        || text
                            .split_first()
                            .is_some_and(|(_, text)| defined(pattern, text))
                }
                (Some((a, pattern)), Some((b, text))) => a == b && defined(pattern, text),
                _ => false,
            }
        }
        fn words(alphabet: &[char], length: usize) -> Vec<String> {
            let mut all = vec![String::new()];
            let mut last = all.clone();
            for _ in 0..length {
                last = last
                    .iter()
                    .flat_map(|word| alphabet.iter().map(move |c| format!("{word}{c}")))
                    .collect();
                all.extend(last.iter().cloned());
            }
            all
        }
        for glob in words(&['a', 'b', '*'], 5)
            .iter()
            .filter_map(|text| Glob::parse(text))
        {
            for text in words(&['a', 'b'], 5) {
                assert_eq!(
                    glob.matches(&text),
                    defined(glob.0.as_bytes(), text.as_bytes()),
                    "{glob:?} {text}"
                );
            }
        }
    }
}
