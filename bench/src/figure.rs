//! One measured figure with what it is held against.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Goal {
    /// Whether `value` reaches it.
    pub(crate) fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "<= {limit}"),
            Self::AtLeast(limit) => write!(f, ">= {limit}"),
        }
    }
}

impl std::str::FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |rest: &str| {
            rest.trim()
                .parse()
                .map_err(|_| format!("`{text}` is not a goal"))
        };
        match text.split_at_checked(2) {
            Some(("<=", rest)) => Ok(Self::AtMost(number(rest)?)),
            Some((">=", rest)) => Ok(Self::AtLeast(number(rest)?)),
            _ => Err(format!(
                "`{text}` is not a goal: expected `<= NUMBER` or `>= NUMBER`"
            )),
        }
    }
}

/// One measured figure: a line of the output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// `benchmark.what`, stable.
    pub(crate) name: String,
    /// The figure.
    pub(crate) value: f64,
    /// Its unit.
    pub(crate) unit: String,
    /// What it was measured against, or how.
    pub(crate) against: String,
    /// What it should be, where there is a goal.
    #[serde(with = "goal_text")]
    pub(crate) goal: Option<Goal>,
}

impl Figure {
    /// A figure without a goal.
    pub(crate) fn new(
        name: impl Into<String>,
        value: f64,
        unit: &str,
        against: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            value,
            unit: unit.to_owned(),
            against: against.into(),
            goal: None,
        }
    }

    /// The same with a goal.
    pub(crate) fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    /// Whether it misses its goal.
    pub(crate) fn is_missed(&self) -> bool {
        self.goal.is_some_and(|goal| !goal.is_met(self.value))
    }
}

/// Goals as the text that people read: `<= 1.15`.
mod goal_text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Goal;

    pub(super) fn serialize<S: Serializer>(
        goal: &Option<Goal>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        goal.map(|goal| goal.to_string()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Goal>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(serde::de::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_as_it_was_written() {
        let figure =
            Figure::new("engine.over_bare_ratio", 1.08, "ratio", "bare").goal(Goal::AtMost(1.15));
        let line = serde_json::to_string(&figure).unwrap();
        let expected = r#"{"name":"engine.over_bare_ratio","value":1.08,"unit":"ratio","against":"bare","goal":"<= 1.15"}"#;
        assert_eq!(line, expected);
        assert_eq!(serde_json::from_str::<Figure>(&line).unwrap(), figure);
    }

    #[test]
    fn a_figure_without_a_goal_misses_none() {
        let figure = Figure::new("a.b", 9.0, "ms", "nothing");
        assert!(!figure.is_missed());
        assert!(figure.clone().goal(Goal::AtMost(8.0)).is_missed());
        assert!(!figure.goal(Goal::AtLeast(9.0)).is_missed());
    }
}
