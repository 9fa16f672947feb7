//! What a soak came to, for people and for programs.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use anyhow::Result;
use serde_json::{Value, json};

use crate::{account::Figures, chaos::Fault, memory::Flatness, options::Options};

/// Of a thousand invocations so many may be quarantined: three faults in a row met them.
const QUARANTINED: u64 = 5;

/// What a soak came to.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    pub(crate) options: &'a Options,
    /// From the start of the load until everything had ended.
    pub(crate) soaked: Duration,
    pub(crate) figures: Figures,
    pub(crate) faults: BTreeMap<Fault, u64>,
    pub(crate) flatness: Flatness,
    /// Keys in Redis before the load, and after everything had expired.
    pub(crate) keys: (u64, u64),
}

impl Report<'_> {
    /// Everything that is wrong.
    fn problems(&self) -> Vec<String> {
        let figures = &self.figures;
        let mut problems = figures.problems.clone();
        let accounted = figures.ended + figures.unread;
        if accounted != figures.accepted {
            let accepted = figures.accepted;
            problems.push(format!(
                "{accepted} were accepted, and {accounted} are accounted for"
            ));
        }
        if figures.accepted == 0 || figures.pushed == 0 {
            problems.push("nothing was accepted, or no outcome was pushed".to_owned());
        }
        if figures.quarantined * 1000 > figures.accepted * QUARANTINED {
            problems.push(format!("{} were quarantined", figures.quarantined));
        }
        if figures.collateral > figures.quarantined * 25 {
            problems.push(format!(
                "{} failed for want of others, although only {} were quarantined",
                figures.collateral, figures.quarantined
            ));
        }
        problems
    }

    /// Whether nothing is wrong.
    pub(crate) fn is_good(&self) -> bool {
        self.problems().is_empty()
    }

    /// Prints it, and writes it where that was asked for.
    pub(crate) fn print(&self) -> Result<()> {
        print!("{}", self.text());
        if let Some(path) = &self.options.report {
            std::fs::write(path, format!("{:#}\n", self.json()))?;
        }
        Ok(())
    }

    fn text(&self) -> String {
        let Self {
            figures, flatness, ..
        } = self;
        let mut text = String::from("| invocations | number | came to |\n|---|---|---|\n");
        for (kind, codes) in &figures.outcomes {
            let came: Vec<_> = codes
                .iter()
                .map(|(code, n)| format!("{code} {n}"))
                .collect();
            let sum: u64 = codes.values().sum();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| {kind} | {sum} | {} |", came.join(", "));
        }
        let came: Vec<_> = self
            .codes()
            .map(|(code, n)| format!("{code} {n}"))
            .collect();
        let _ = writeln!(
            text,
            "| **all** | **{}** | {} |\n",
            figures.ended,
            came.join(", ")
        );
        for (fault, times) in &self.faults {
            let _ = writeln!(text, "{fault}: {times}");
        }
        let _ = writeln!(
            text,
            "accepted {}, ended {}, refused {:?}, unanswered {}, pushed as stored {}, gone unread {}\n\
             memory of the host that lived all the time: {:.1} MiB in the second quarter, {:.1} in the last, {:.1} at most; \
             open files {:.0} and {:.0}\n\
             keys: {} before the load, {} after everything had expired\n\
             seed {}, {:.0} s",
            figures.accepted,
            figures.ended,
            figures.refused,
            figures.unanswered,
            figures.pushed,
            figures.unread,
            flatness.early_mib,
            flatness.late_mib,
            flatness.most_mib,
            flatness.early_files,
            flatness.late_files,
            self.keys.0,
            self.keys.1,
            self.options.seed,
            self.soaked.as_secs_f64(),
        );
        for problem in self.problems() {
            let _ = writeln!(text, "WRONG: {problem}");
        }
        let more = figures.problem_count - figures.problems.len() as u64;
        let verdict = match (self.is_good(), more) {
            (true, _) => "all is accounted for".to_owned(),
            (false, 0) => "something is wrong".to_owned(),
            (false, more) => format!("something is wrong, {more} times more than is told here"),
        };
        let _ = writeln!(text, "{verdict}");
        text
    }

    /// How often each code came.
    fn codes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let mut all: BTreeMap<&str, u64> = BTreeMap::new();
        for (code, n) in self.figures.outcomes.values().flatten() {
            *all.entry(code).or_default() += n;
        }
        all.into_iter()
    }

    fn json(&self) -> Value {
        let Self {
            options,
            figures,
            flatness,
            ..
        } = self;
        let faults: BTreeMap<_, _> = self
            .faults
            .iter()
            .map(|(fault, times)| (fault.to_string(), times))
            .collect();
        json!({
            "seed": options.seed,
            "seconds": self.soaked.as_secs(),
            "rate": options.rate,
            "faults": faults,
            "accepted": figures.accepted,
            "ended": figures.ended,
            "outcomes": figures.outcomes,
            "codes": self.codes().collect::<BTreeMap<_, _>>(),
            "refused": figures.refused,
            "unanswered": figures.unanswered,
            "unread": figures.unread,
            "pushed": figures.pushed,
            "memory_mib": { "second_quarter": flatness.early_mib, "last_quarter": flatness.late_mib, "most": flatness.most_mib },
            "open_files": { "second_quarter": flatness.early_files, "last_quarter": flatness.late_files },
            "keys": { "before": self.keys.0, "after": self.keys.1 },
            "problems": self.problems(),
        })
    }
}
