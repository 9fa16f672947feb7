//! A recording as text, and back. What is read may have been damaged or forged: nothing is believed before it is checked, and
//! nothing is allocated beyond what stands there.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::transcript::{Facts, Line};
use super::{Damaged, Entry, Recording, Transcript};
use crate::engine::{Limits, Seed};

/// What recordings of this kind are called in their first line.
const VERSION: u32 = 1;

/// The first line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<Written>,
    now: Duration,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_fixed: bool,
    /// Those that are not what a task gets unasked.
    limits: BTreeMap<String, u64>,
    /// Of a transcript, whose answers follow, a line each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    facts: Option<Facts>,
}

/// A seed: a number, or 32 bytes in hexadecimal.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Bytes(String),
}

impl Recording {
    /// As bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let head = Head {
            version: VERSION,
            seed: self.seed.as_ref().map(|seed| match seed {
                Seed::Number(number) => Written::Number(*number),
                Seed::Bytes(bytes) => Written::Bytes(hex(bytes)),
            }),
            now: self.now.duration_since(UNIX_EPOCH).unwrap_or_default(),
            is_fixed: self.is_fixed,
            limits: changed(&self.limits),
            facts: self.transcript.as_ref().map(|kept| kept.facts.clone()),
        };
        // None of it is anything that JSON cannot say.
        let mut bytes = serde_json::to_vec(&head).unwrap_or_default();
        bytes.push(b'\n');
        let entries = self.transcript.iter().flat_map(|kept| &kept.entries);
        for entry in entries {
            bytes.extend(serde_json::to_vec(&Line::from(entry)).unwrap_or_default());
            bytes.push(b'\n');
        }
        let sum = hex(&Sha256::digest(&bytes));
        bytes.extend_from_slice(sum.as_bytes());
        bytes
    }

    /// From bytes.
    ///
    /// # Errors
    /// When they are not a whole recording, or one that this version does not know.
    pub fn read(bytes: &[u8]) -> Result<Self, Damaged> {
        let end = bytes.iter().rposition(|byte| *byte == b'\n');
        let (lines, sum) = bytes
            .split_at_checked(end.map_or(0, |end| end + 1))
            .ok_or_else(|| damaged("it is empty"))?;
        if sum != hex(&Sha256::digest(lines)).as_bytes() {
            return Err(damaged(
                "its check sum is another: it was cut or changed in the store",
            ));
        }
        let mut lines = lines.split(|byte| *byte == b'\n');
        let head: Head = parse(lines.next().unwrap_or_default())?;
        if head.version != VERSION {
            let version = head.version;
            return Err(damaged(&format!(
                "it is of version {version}, and this program knows {VERSION}"
            )));
        }
        let seed = head.seed.map(|seed| match seed {
            Written::Number(number) => Ok(Seed::Number(number)),
            Written::Bytes(text) => seed_of(&text).ok_or_else(|| damaged("its seed is none")),
        });
        let now = UNIX_EPOCH.checked_add(head.now);
        let transcript = head.facts.map(|facts| transcript(facts, lines));
        Ok(Self {
            seed: seed.transpose()?,
            now: now.ok_or_else(|| damaged("its time is none"))?,
            is_fixed: head.is_fixed,
            limits: limits(&head.limits)?,
            transcript: transcript.transpose()?,
        })
    }
}

/// What stand-ins of secrets may take together: the one thing that is larger in memory than as text.
const SECRET_BYTES: usize = 8 << 20;

fn transcript<'a>(
    facts: Facts,
    lines: impl Iterator<Item = &'a [u8]>,
) -> Result<Transcript, Damaged> {
    let secrets = facts.secrets.values();
    if secrets.fold(0, |sum: usize, len| sum.saturating_add(*len)) > SECRET_BYTES {
        return Err(damaged("its secrets are larger than any host's"));
    }
    let entries = lines
        .filter(|line| !line.is_empty())
        .map(|line| -> Result<Entry, Damaged> { parse::<Line>(line)?.try_into() });
    Ok(Transcript {
        facts,
        entries: entries.collect::<Result<_, _>>()?,
    })
}

fn damaged(why: &str) -> Damaged {
    Damaged(why.to_owned())
}

fn parse<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, Damaged> {
    serde_json::from_slice(line).map_err(|error| damaged(&error.to_string()))
}

/// Only what differs, so that a recording is small.
fn changed(limits: &Limits) -> BTreeMap<String, u64> {
    let all = Limits::all().into_iter().filter_map(|info| {
        let value = limits.get(info.name)?;
        (value != info.default).then(|| (info.name.to_owned(), value))
    });
    all.collect()
}

fn limits(changed: &BTreeMap<String, u64>) -> Result<Limits, Damaged> {
    let mut limits = Limits::default();
    for (name, value) in changed {
        let set = limits.set(name, *value);
        set.map_err(|error| damaged(&error.to_string()))?;
    }
    Ok(limits)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

fn seed_of(text: &str) -> Option<Seed> {
    let mut seed = [0; 32];
    if text.len() != 2 * seed.len() || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in seed.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(Seed::Bytes(seed))
}

#[cfg(test)]
mod tests {
    use super::super::Answer;
    use super::*;

    fn recording() -> Recording {
        Recording {
            seed: Some(Seed::Bytes([7; 32])),
            now: UNIX_EPOCH + Duration::new(1_700_000_000, 42),
            is_fixed: false,
            limits: Limits {
                fuel: 12_345,
                timeout: Duration::from_millis(1_234),
                ..Limits::default()
            },
            transcript: Some(Transcript {
                facts: Facts {
                    environment: vec![("A".to_owned(), "1".to_owned())],
                    secrets: BTreeMap::from([("token".to_owned(), 20)]),
                    code: "task_error".to_owned(),
                    fuel: 77,
                    ..Facts::default()
                },
                entries: vec![
                    Entry {
                        call: "wall-clock.now".to_owned(),
                        asked: String::new(),
                        answer: Answer::of(&(1_u64, 2_u32)),
                        charge: 0,
                    },
                    Entry {
                        call: "key-value.get".to_owned(),
                        asked: "a".to_owned(),
                        answer: Answer::with(&Ok::<(), ()>(()), Some(b"\0\xff\n"), None),
                        charge: 3,
                    },
                ],
            }),
        }
    }

    #[test]
    fn comes_back_as_it_was() {
        let numbered = Recording {
            seed: Some(Seed::Number(3)),
            is_fixed: true,
            transcript: None,
            ..recording()
        };
        for recording in [recording(), numbered] {
            assert_eq!(Recording::read(&recording.to_bytes()), Ok(recording));
        }
    }

    #[test]
    fn one_that_was_cut_or_changed_is_refused() {
        let bytes = recording().to_bytes();
        for end in 0..bytes.len() {
            assert!(Recording::read(&bytes[..end]).is_err(), "{end}");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(Recording::read(&flipped).is_err(), "{at} {bit}");
            }
        }
    }

    /// Whoever forges one can make its sum too.
    #[test]
    fn nonsense_with_a_right_sum_is_refused() {
        for text in [
            "",
            "\n",
            "null\n",
            "{}\n",
            r#"{"version":2,"now":{"secs":0,"nanos":0},"limits":{}}"#,
            r#"{"version":1,"now":{"secs":18446744073709551615,"nanos":0},"limits":{}}"#,
            r#"{"version":1,"seed":"00","now":{"secs":0,"nanos":0},"limits":{}}"#,
            r#"{"version":1,"now":{"secs":0,"nanos":0},"limits":{"nonsense":1}}"#,
            r#"{"version":1,"now":{"secs":0,"nanos":0},"limits":{},"facts":{"code":"trap","fuel":1,"secrets":{"a":99999999999}}}"#,
            "{\"version\":1,\"now\":{\"secs\":0,\"nanos\":0},\"limits\":{},\"facts\":{}}\n{\"call\":\"x\",\"bytes\":\"?\"}",
            "{\"version\":1,\"now\":{\"secs\":0,\"nanos\":0},\"limits\":{},\"facts\":{}}\n{\"call\":",
        ] {
            let mut bytes = format!("{text}\n").into_bytes();
            let sum = hex(&Sha256::digest(&bytes));
            bytes.extend_from_slice(sum.as_bytes());
            assert!(Recording::read(&bytes).is_err(), "{text}");
        }
    }
}
