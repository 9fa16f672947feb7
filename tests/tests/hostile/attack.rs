//! One attack: what is run, under which limits, and what must come of it.

use std::time::Duration;

use celeriac_client::Code;

use crate::module::Source;

/// What must come of an attack: exactly this.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected {
    /// It is admitted, and its run ends with this code.
    Ends(Code),
    /// As `Ends`, and the failure names this limit.
    Hits(Code, &'static str),
    /// It is admitted, runs to its end, and reports that it found nothing: `[]`.
    FindsNothing,
    /// It is not admitted; the report has these words.
    Refused(&'static str),
}

/// One row of the table.
#[derive(Clone, Debug)]
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) source: Source,
    pub(crate) expected: Expected,
    /// Limits that the caller sets, by the host's names.
    pub(crate) limits: Vec<(&'static str, u64)>,
    /// How many of it run at once.
    pub(crate) copies: usize,
    /// Cancelled after this long.
    pub(crate) cancel_after: Option<Duration>,
    /// Within which it has to end, upload included, beside the arena's slack.
    pub(crate) within: Duration,
    /// By how much the host's resident memory may grow at most meanwhile.
    pub(crate) growth_mib: u64,
    pub(crate) also_on_redis: bool,
    /// What the operator grants it: the lines of a table in the settings; `$PORT` and `$DIR` are the arena's.
    pub(crate) grant: Option<&'static str>,
    /// What nobody may read of it, however it tells it.
    pub(crate) hides: Option<&'static str>,
}

impl Attack {
    fn new(name: &'static str, source: Source, expected: Expected) -> Self {
        Self {
            name,
            source,
            expected,
            limits: Vec::new(),
            copies: 1,
            cancel_after: None,
            within: Duration::from_secs(2),
            growth_mib: 64,
            also_on_redis: false,
            grant: None,
            hides: None,
        }
    }

    /// An attack in Rust: `tasks/hostile/examples/NAME.rs`.
    pub(crate) fn rust(name: &'static str, expected: Expected) -> Self {
        Self::new(name, Source::Rust(name), expected)
    }

    /// An attack in the text format: `tasks/hostile/wat/NAME.wat`.
    pub(crate) fn wat(name: &'static str, expected: Expected) -> Self {
        Self::new(name, Source::Wat(name), expected)
    }

    /// An attack whose module is too large, or too odd, to be written down.
    pub(crate) fn made(
        name: &'static str,
        tries: &'static str,
        make: fn() -> Vec<u8>,
        expected: Expected,
    ) -> Self {
        Self::new(name, Source::Made { tries, make }, expected)
    }

    /// The module of another attack, attacked with in another way.
    pub(crate) fn again(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    pub(crate) fn limit(mut self, name: &'static str, value: u64) -> Self {
        self.limits.push((name, value));
        self
    }

    /// With a deadline: the attack may take no longer.
    pub(crate) fn timeout(self, timeout: Duration) -> Self {
        self.limit("timeout", u64::try_from(timeout.as_millis()).unwrap())
            .within(timeout + Duration::from_secs(1))
    }

    pub(crate) fn copies(mut self, copies: usize) -> Self {
        self.copies = copies;
        self
    }

    pub(crate) fn cancelled_after(mut self, delay: Duration) -> Self {
        self.cancel_after = Some(delay);
        self
    }

    pub(crate) fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    pub(crate) fn growth_mib(mut self, mib: u64) -> Self {
        self.growth_mib = mib;
        self
    }

    pub(crate) fn also_on_redis(mut self) -> Self {
        self.also_on_redis = true;
        self
    }

    /// With rights: the operator trusts it.
    pub(crate) fn granted(mut self, grant: &'static str) -> Self {
        self.grant = Some(grant);
        self
    }

    pub(crate) fn hides(mut self, secret: &'static str) -> Self {
        self.hides = Some(secret);
        self
    }
}
