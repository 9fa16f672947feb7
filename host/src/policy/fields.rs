//! Reading TOML values with their places, so that every complaint names the line, the table and the key.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::PolicyError;

/// A value with its place in the text.
pub(super) type Node<'t> = Spanned<DeValue<'t>>;

/// Items of one list: more would make every request slow.
const MAX_ITEMS: usize = 256;

/// Where the lines of a text begin: found once, as a policy may have thousands of tables.
#[derive(Debug)]
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    /// The line of a place, from 1.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        self.0.partition_point(|newline| *newline < span.start) + 1
    }
}

/// Where a value stands: its line, and the way from its table to it.
#[derive(Clone, Debug)]
pub(super) struct At<'t> {
    lines: &'t Lines,
    table: String,
    key: String,
}

impl<'t> At<'t> {
    pub(super) fn table(lines: &'t Lines, table: String) -> Self {
        Self {
            lines,
            table,
            key: String::new(),
        }
    }

    pub(super) fn below(&self, key: &str) -> Self {
        let joint = if self.key.is_empty() || key.starts_with('[') {
            ""
        } else {
            "."
        };
        Self {
            key: format!("{}{joint}{key}", self.key),
            ..self.clone()
        }
    }

    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        self.lines.line(span)
    }

    pub(super) fn fail(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> PolicyError {
        let place = format!("{} {}", self.table, self.key);
        PolicyError::new(Some(self.line(&span)), place.trim_end(), message, remedy)
    }

    fn wrong(&self, node: &Node<'_>, expected: &str) -> PolicyError {
        let kind = node.get_ref().type_str();
        let article = if kind.starts_with(['a', 'i']) {
            "an"
        } else {
            "a"
        };
        self.fail(
            node.span(),
            format!("this is {article} {kind}"),
            format!("write {expected}"),
        )
    }

    pub(super) fn text<'v>(
        &self,
        node: &'v Node<'_>,
        expected: &str,
    ) -> Result<&'v str, PolicyError> {
        node.get_ref()
            .as_str()
            .ok_or_else(|| self.wrong(node, expected))
    }

    pub(super) fn flag(&self, node: &Node<'_>) -> Result<bool, PolicyError> {
        node.get_ref()
            .as_bool()
            .ok_or_else(|| self.wrong(node, "`true` or `false`"))
    }

    pub(super) fn number(&self, node: &Node<'_>, expected: &str) -> Result<u64, PolicyError> {
        let number = node.get_ref().as_integer().and_then(|number| {
            let digits = number.as_str();
            u64::from_str_radix(digits.strip_prefix('+').unwrap_or(digits), number.radix()).ok()
        });
        number.ok_or_else(|| match node.get_ref().as_integer() {
            Some(number) => self.fail(
                node.span(),
                format!("{number} is out of range"),
                format!("write {expected}"),
            ),
            None => self.wrong(node, expected),
        })
    }

    /// A table whose keys are names of the operator's choosing.
    pub(super) fn entries<'v, 'd>(
        &self,
        node: &'v Node<'d>,
        expected: &str,
    ) -> Result<&'v DeTable<'d>, PolicyError> {
        let table = node
            .get_ref()
            .as_table()
            .ok_or_else(|| self.wrong(node, expected))?;
        self.size(node, table.len())?;
        Ok(table)
    }

    /// A table with these keys and no others.
    pub(super) fn fields<'v, 'd>(
        &self,
        node: &'v Node<'d>,
        known: &[&str],
    ) -> Result<&'v DeTable<'d>, PolicyError> {
        let expected = format!("a table with {}", quoted(known));
        let table = node
            .get_ref()
            .as_table()
            .ok_or_else(|| self.wrong(node, &expected))?;
        for key in table.keys() {
            self.known(key.get_ref(), key.span(), known)?;
        }
        Ok(table)
    }

    /// Refuses a key that is not known, with the nearest one that is.
    pub(super) fn known(
        &self,
        key: &str,
        span: Range<usize>,
        known: &[&str],
    ) -> Result<(), PolicyError> {
        if known.contains(&key) {
            return Ok(());
        }
        let remedy = match nearest(key, known) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!("there are {}", quoted(known)),
        };
        Err(self.fail(
            span,
            format!("there is no key `{}`", key.escape_debug()),
            remedy,
        ))
    }

    /// A list that is not empty, each item with its place.
    pub(super) fn list<'v, 'd>(
        &self,
        node: &'v Node<'d>,
        expected: &str,
    ) -> Result<Vec<(Self, &'v Node<'d>)>, PolicyError> {
        let items: &DeArray<'d> = node
            .get_ref()
            .as_array()
            .ok_or_else(|| self.wrong(node, expected))?;
        self.size(node, items.len())?;
        Ok(items
            .iter()
            .enumerate()
            .map(|(index, item)| (self.below(&format!("[{index}]")), item))
            .collect())
    }

    /// Refuses what is empty, which could be read as everything or nothing, and what is endless.
    fn size(&self, node: &Node<'_>, items: usize) -> Result<(), PolicyError> {
        match items {
            0 => Err(self.fail(
                node.span(),
                "this is empty",
                "leave the key out, or name what is granted",
            )),
            1..=MAX_ITEMS => Ok(()),
            _ => Err(self.fail(
                node.span(),
                format!("this has {items} items, {MAX_ITEMS} are allowed"),
                "grant less, or a wildcard",
            )),
        }
    }

    /// A list of texts without repetitions, each read by `read`.
    pub(super) fn each<T: PartialEq>(
        &self,
        node: &Node<'_>,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, PolicyError> {
        let mut found = Vec::new();
        for (at, item) in self.list(node, &format!("a list of {expected}"))? {
            let text = at.text(item, expected)?;
            let value = read(text).ok_or_else(|| {
                at.fail(
                    item.span(),
                    format!("`{}` is not right", text.escape_debug()),
                    format!("write {expected}"),
                )
            })?;
            if found.contains(&value) {
                return Err(at.fail(
                    item.span(),
                    format!("`{}` is there twice", text.escape_debug()),
                    "keep one",
                ));
            }
            found.push(value);
        }
        Ok(found)
    }
}

/// The value of a key.
pub(super) fn field<'v, 'd>(table: &'v DeTable<'d>, key: &str) -> Option<&'v Node<'d>> {
    table.get(key)
}

fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let alike = |other: &&&'k str| strsim::jaro_winkler(key, other);
    let best = known.iter().max_by(|a, b| alike(a).total_cmp(&alike(b)))?;
    (alike(&best) > 0.75).then_some(*best)
}

fn quoted(words: &[&str]) -> String {
    let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}
