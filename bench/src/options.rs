//! The command line.

use std::path::PathBuf;

use crate::suite::{self, BENCHMARKS};

/// How much work each benchmark does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Enough for figures to mean something.
    Full,
    /// As little as shows that each benchmark runs; the figures mean nothing.
    Quick,
}

impl Scale {
    /// `full`, or `quick` when only a smoke test is wanted.
    pub(crate) fn pick<T>(self, full: T, quick: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Explain.
    Help,
    /// Name the benchmarks.
    List,
    /// Write figures into the documentation.
    Report(PathBuf),
    /// Run benchmarks; all of them when none is named.
    Run { names: Vec<String>, scale: Scale },
}

/// The command line, understood.
#[derive(Debug)]
pub(crate) struct Options {
    /// What to do.
    pub(crate) action: Action,
}

impl Options {
    /// Reads arguments without the program's name.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut arguments = arguments.into_iter();
        let (mut names, mut scale) = (Vec::new(), Scale::Full);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--help" | "-h" => {
                    return Ok(Self {
                        action: Action::Help,
                    });
                }
                "--list" => {
                    return Ok(Self {
                        action: Action::List,
                    });
                }
                "--quick" => scale = Scale::Quick,
                "--report" => {
                    let file = arguments
                        .next()
                        .ok_or("--report needs a FILE of JSON lines")?;
                    return Ok(Self {
                        action: Action::Report(file.into()),
                    });
                }
                name if suite::find(name).is_some() => names.push(argument),
                other => return Err(format!("`{other}` is neither an option nor a benchmark")),
            }
        }
        Ok(Self {
            action: Action::Run { names, scale },
        })
    }
}

/// What `--help` prints.
pub(crate) fn help() -> String {
    let names: Vec<_> = BENCHMARKS
        .iter()
        .map(|b| format!("  {:<12} {}", b.name, b.about))
        .collect();
    format!(
        "Usage: bench [--quick] [NAME…]      run these benchmarks, or all\n       \
         bench --list                 name them\n       \
         bench --report FILE.jsonl    write a run's figures into docs/performance.md\n\n\
         Figures go to stdout, one JSON object a line. --quick only shows that each benchmark runs.\n\
         The exit code is 0 also when a goal is missed, 1 when a benchmark could not run.\n\n\
         Benchmarks:\n{}",
        names.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Action, String> {
        Options::parse(arguments.iter().map(|a| (*a).to_owned())).map(|options| options.action)
    }

    #[test]
    fn runs_everything_unless_told_otherwise() {
        assert_eq!(
            parse(&[]),
            Ok(Action::Run {
                names: vec![],
                scale: Scale::Full
            })
        );
    }

    #[test]
    fn takes_names_and_the_scale_in_any_order() {
        let names = vec!["engine".to_owned(), "guest-cpu".to_owned()];
        let expected = Ok(Action::Run {
            names,
            scale: Scale::Quick,
        });
        assert_eq!(parse(&["engine", "--quick", "guest-cpu"]), expected);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert_eq!(
            parse(&["engin"]),
            Err("`engin` is neither an option nor a benchmark".to_owned())
        );
        assert!(parse(&["--report"]).is_err());
    }
}
