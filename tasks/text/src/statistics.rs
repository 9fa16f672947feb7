//! Word statistics.

use std::collections::HashMap;

use celeriac_guest::task;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Words that an adult reads in a minute, silently, in English non-fiction (Brysbaert, 2019).
const WORDS_PER_MINUTE: f64 = 238.0;

/// A text to count.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Text {
    /// The text itself.
    text: String,
    /// How many of the most frequent words to name.
    #[serde(default = "ten")]
    top: usize,
    /// The shortest word that counts as one of those, in characters: 4 leaves most articles out.
    #[serde(default = "one")]
    min_length: usize,
}

fn ten() -> usize {
    10
}

fn one() -> usize {
    1
}

/// What was counted.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub struct Statistics {
    /// Unicode characters, white space included.
    pub characters: usize,
    /// Lines.
    pub lines: usize,
    /// Runs of letters and digits; `don't` and `well-known` are one word each.
    pub words: usize,
    /// Different words, whatever their case.
    pub distinct_words: usize,
    /// Ends of sentences: `.`, `!`, `?` or `…`, several in a row counting once.
    pub sentences: usize,
    /// Average length of a word in characters.
    pub mean_word_length: f64,
    /// At 238 words a minute.
    pub reading_minutes: f64,
    /// The most frequent words, most frequent first, then by alphabet.
    pub top_words: Vec<WordCount>,
}

/// A word and how often it occurs.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WordCount {
    /// In lower case.
    pub word: String,
    /// Its number of occurrences.
    pub count: usize,
}

/// Counts characters, lines, words and sentences, and names the most frequent words.
#[task(name = "word-stats", timeout = "30s", memory = "256MiB")]
pub fn word_stats(input: Text) -> Statistics {
    statistics(&input.text, input.top, input.min_length)
}

/// The same as a plain function.
pub fn statistics(text: &str, top: usize, min_length: usize) -> Statistics {
    let mut counts: HashMap<String, usize> = HashMap::new();
    let (mut words, mut letters) = (0, 0);
    for word in words_of(text) {
        words += 1;
        letters += word.chars().count();
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
    Statistics {
        characters: text.chars().count(),
        lines: text.lines().count(),
        words,
        distinct_words: counts.len(),
        sentences: sentences(text),
        mean_word_length: if words == 0 {
            0.0
        } else {
            letters as f64 / words as f64
        },
        reading_minutes: words as f64 / WORDS_PER_MINUTE,
        top_words: most_frequent(counts, top, min_length),
    }
}

fn words_of(text: &str) -> impl Iterator<Item = &str> {
    let is_inner = |c: char| c.is_alphanumeric() || matches!(c, '\'' | '’' | '-');
    text.split(move |c| !is_inner(c))
        .flat_map(|run| run.split("--"))
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()))
        .filter(|word| !word.is_empty())
}

fn sentences(text: &str) -> usize {
    let mut count = 0;
    let mut after_word = false;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        if c.is_alphanumeric() {
            after_word = true;
        } else if matches!(c, '.' | '!' | '?' | '…') && after_word {
            // `3.14` and `e.g.this` go on right after the dot: no end there.
            if characters.peek().is_none_or(|next| !next.is_alphanumeric()) {
                count += 1;
                after_word = false;
            }
        }
    }
    count
}

fn most_frequent(counts: HashMap<String, usize>, top: usize, min_length: usize) -> Vec<WordCount> {
    let mut ranked: Vec<_> = counts
        .into_iter()
        .filter(|(word, _)| word.chars().count() >= min_length)
        .map(|(word, count)| WordCount { word, count })
        .collect();
    ranked.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.word.cmp(&b.word)));
    ranked.truncate(top);
    ranked
}

#[cfg(test)]
mod tests {
    use celeriac_guest::testing;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn counts_a_small_text() {
        let statistics = statistics("It's 3.14, it's pi!\nWell-known -- isn't it?...", 2, 1);
        assert_eq!(
            (statistics.words, statistics.sentences, statistics.lines),
            (8, 2, 2)
        );
        let top = statistics.top_words.first().unwrap();
        assert_eq!((top.word.as_str(), top.count), ("it's", 2));
    }

    #[test]
    fn counts_nothing_in_an_empty_text() {
        let statistics = statistics("", 10, 1);
        assert_eq!((statistics.words, statistics.mean_word_length), (0, 0.0));
    }

    #[test]
    fn counts_a_real_book() {
        let book = include_str!("../../inputs/alice.txt");
        let input = json!({ "text": book, "top": 3, "min_length": 5 });
        let output: Value = testing::run("word-stats", input).unwrap().read().unwrap();
        assert!(
            (26_000..27_000).contains(&output["words"].as_u64().unwrap()),
            "{output}"
        );
        assert_eq!(output["top_words"][0]["word"], "alice");
    }
}
