//! Statuses that count as success.

use schemars::JsonSchema;
use serde::Deserialize;

/// Statuses and ranges of them: `"204"`, `"200-299"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<String>")]
#[schemars(with = "Vec<String>")]
pub struct Expected(Vec<(u16, u16)>);

impl Expected {
    pub(crate) fn contains(&self, status: u16) -> bool {
        self.0
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&status))
    }
}

impl Default for Expected {
    fn default() -> Self {
        Self(vec![(200, 299)])
    }
}

impl TryFrom<Vec<String>> for Expected {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        let range = |text: &String| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let status = |text: &str| {
                let status = text.trim().parse().ok();
                status.filter(|status| (100..=599).contains(status))
            };
            status(first)
                .zip(status(last))
                .filter(|(first, last)| first <= last)
                .ok_or_else(|| format!("`{text}` is no status: write `204` or `200-299`"))
        };
        texts.iter().map(range).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_statuses_and_ranges() {
        let read = |texts: &[&str]| {
            Expected::try_from(
                texts
                    .iter()
                    .map(|text| (*text).to_owned())
                    .collect::<Vec<_>>(),
            )
        };
        let expected = read(&["204", "300-399"]).unwrap();
        assert!(expected.contains(204) && expected.contains(300) && expected.contains(399));
        assert!(!expected.contains(200) && !expected.contains(400));
        for wrong in ["", "20", "600", "299-200", "2xx"] {
            assert!(read(&[wrong]).unwrap_err().contains("write"), "{wrong}");
        }
    }
}
