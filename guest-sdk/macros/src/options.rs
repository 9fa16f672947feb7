//! The options in `#[task(…)]`.

use proc_macro2::TokenStream;
use syn::{
    Error, Lit, LitInt, LitStr, Result, Token, meta::ParseNestedMeta, parenthesized, parse::Parser,
};

use crate::units::{
    DEADLINE, EXPIRES, FUEL, LIMIT, MEMORY, Quantity, RESULT_TTL, SOFT_TIMEOUT, TIMEOUT,
};

const KNOWN: &str = "name, queue, priority, expires, deadline, result_ttl, retries, backoff, retry_on(…), timeout, soft_timeout, fuel, \
    memory, limits(…), needs(…)";

/// What goes first within a queue, as the WIT contract knows it.
const PRIORITIES: [&str; 3] = ["high", "normal", "low"];

/// What the WIT contract knows as a need.
const NEEDS: [&str; 8] = [
    "http",
    "tcp",
    "directory",
    "scratch",
    "secret",
    "config",
    "kv",
    "tasks",
];

/// The longest name that stays readable in a table, a metric and a key.
const MAX_NAME_LENGTH: usize = 64;

/// What the attribute says.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<String>,
    pub(crate) queue: Option<String>,
    pub(crate) priority: Option<String>,
    pub(crate) expires: Option<f64>,
    pub(crate) deadline: Option<f64>,
    pub(crate) result_ttl: Option<f64>,
    pub(crate) retries: Option<u32>,
    pub(crate) backoff: Option<String>,
    pub(crate) retry_on: Vec<String>,
    pub(crate) timeout: Option<f64>,
    pub(crate) fuel: Option<f64>,
    pub(crate) memory: Option<f64>,
    pub(crate) limits: Vec<(String, f64)>,
    pub(crate) needs: Vec<(String, String)>,
}

impl Options {
    pub(crate) fn parse(tokens: TokenStream) -> Result<Self> {
        let mut options = Self::default();
        syn::meta::parser(|meta| options.read(&meta)).parse2(tokens)?;
        Ok(options)
    }

    fn read(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let key = meta
            .path
            .get_ident()
            .map(ToString::to_string)
            .unwrap_or_default();
        match key.as_str() {
            "name" => once(meta, &mut self.name, name(meta)?),
            "queue" => once(meta, &mut self.queue, name(meta)?),
            "priority" => once(meta, &mut self.priority, priority(meta)?),
            "expires" => once(meta, &mut self.expires, quantity(meta, &EXPIRES)?),
            "deadline" => once(meta, &mut self.deadline, quantity(meta, &DEADLINE)?),
            "result_ttl" => once(meta, &mut self.result_ttl, quantity(meta, &RESULT_TTL)?),
            "retries" => once(meta, &mut self.retries, retries(meta)?),
            "backoff" => once(meta, &mut self.backoff, backoff(meta)?),
            "retry_on" => self.read_retry_on(meta),
            "timeout" => once(meta, &mut self.timeout, quantity(meta, &TIMEOUT)?),
            "soft_timeout" => {
                // Hosts count it in milliseconds.
                let value = quantity(meta, &SOFT_TIMEOUT)? * 1000.0;
                self.set_limit(meta, key, value)
            }
            "fuel" => once(meta, &mut self.fuel, quantity(meta, &FUEL)?),
            "memory" => once(meta, &mut self.memory, quantity(meta, &MEMORY)?),
            "limits" => meta.parse_nested_meta(|limit| self.read_limit(&limit)),
            "needs" => meta.parse_nested_meta(|need| self.read_need(&need)),
            _ => Err(meta.error(format!("unknown option: #[task] knows {KNOWN}"))),
        }
    }

    /// The host knows which limits there are: it refuses an upload that names another.
    fn read_limit(&mut self, limit: &ParseNestedMeta<'_>) -> Result<()> {
        let name = limit
            .path
            .get_ident()
            .map(ToString::to_string)
            .unwrap_or_default();
        let value = quantity(limit, &LIMIT)?;
        self.set_limit(limit, name, value)
    }

    fn set_limit(&mut self, meta: &ParseNestedMeta<'_>, name: String, value: f64) -> Result<()> {
        if self.limits.iter().any(|(known, _)| *known == name) {
            return Err(meta.error("this limit is given twice: keep one"));
        }
        self.limits.push((name, value));
        Ok(())
    }

    fn read_retry_on(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let words;
        parenthesized!(words in meta.input);
        let words = words.parse_terminated(|word| word.parse::<LitStr>(), Token![,])?;
        self.retry_on.extend(words.iter().map(LitStr::value));
        Ok(())
    }

    fn read_need(&mut self, need: &ParseNestedMeta<'_>) -> Result<()> {
        let kind = need
            .path
            .get_ident()
            .map(ToString::to_string)
            .unwrap_or_default();
        if !NEEDS.contains(&kind.as_str()) {
            return Err(need.error(format!(
                "unknown need: a task can need {}",
                NEEDS.join(", ")
            )));
        }
        let name: LitStr = need.value()?.parse()?;
        self.needs.push((kind, name.value()));
        Ok(())
    }
}

fn once<T>(meta: &ParseNestedMeta<'_>, slot: &mut Option<T>, value: T) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(meta.error("this option is given twice: keep one")),
    }
}

fn priority(meta: &ParseNestedMeta<'_>) -> Result<String> {
    let literal: LitStr = meta.value()?.parse()?;
    match PRIORITIES.contains(&literal.value().as_str()) {
        true => Ok(literal.value()),
        false => Err(Error::new(
            literal.span(),
            "a priority is \"high\", \"normal\" or \"low\"",
        )),
    }
}

fn name(meta: &ParseNestedMeta<'_>) -> Result<String> {
    let literal: LitStr = meta.value()?.parse()?;
    let name = literal.value();
    match check_name(&name) {
        Ok(()) => Ok(name),
        Err(problem) => Err(Error::new(literal.span(), problem)),
    }
}

/// Names stand in addresses such as `images@1.2.0/resize`, so they are kept plain.
pub(crate) fn check_name(name: &str) -> std::result::Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts_well && name.chars().all(is_plain) && name.len() <= MAX_NAME_LENGTH {
        return Ok(());
    }
    Err(format!(
        "`{name}` cannot be a name: use up to {MAX_NAME_LENGTH} of a-z, A-Z, 0-9, `-`, `_` and `.`, \
         beginning with a letter or a digit"
    ))
}

fn retries(meta: &ParseNestedMeta<'_>) -> Result<u32> {
    let literal: Lit = meta.value()?.parse()?;
    let number = if let Lit::Int(number) = &literal {
        LitInt::base10_parse(number).ok()
    } else {
        None
    };
    number.ok_or_else(|| {
        Error::new(
            literal.span(),
            "retries is a whole number, as in `retries = 3`",
        )
    })
}

fn backoff(meta: &ParseNestedMeta<'_>) -> Result<String> {
    let literal: LitStr = meta.value()?.parse()?;
    let text = literal.value();
    if is_backoff(&text) {
        return Ok(text);
    }
    Err(Error::new(
        literal.span(),
        "this back-off is not understood: write `\"5s\"`, `\"1s, 10s, 1m\"` or `\"exponential(1s, 60s)\"`",
    ))
}

/// What hosts take when a module is uploaded.
fn is_backoff(text: &str) -> bool {
    let inner = text
        .trim()
        .strip_prefix("exponential(")
        .and_then(|rest| rest.strip_suffix(')'));
    let has_unit = |pause: &str| {
        pause
            .trim_end()
            .ends_with(|c: char| c.is_ascii_alphabetic())
    };
    let is_pause = |pause: &str| has_unit(pause) && TIMEOUT.read(pause).is_some();
    let mut pauses = inner.unwrap_or(text).split(',');
    pauses.clone().all(is_pause) && (inner.is_none() || pauses.by_ref().count() == 2)
}

fn quantity(meta: &ParseNestedMeta<'_>, quantity: &Quantity) -> Result<f64> {
    quantity.parse(&meta.value()?.parse()?)
}
