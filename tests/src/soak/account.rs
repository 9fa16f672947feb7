//! The account of every invocation that was accepted: what it may come to, and what it came to by the store.
//!
//! One that was accepted is *open* until the store says how it ended, and then read once more, a while later, so that an
//! outcome which changes, or a record that goes before its time, is seen. Then it is *closed*, and only counted.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use celeriac_broker::BrokerError;
use celeriac_client::{Code, InvocationId, Outcome};
use serde_json::Value;

/// So many problems are kept in words; all are counted.
const KEPT: usize = 40;

/// What an invocation may come to.
#[derive(Clone, Debug)]
pub(crate) struct Promise {
    /// What kind of invocation it is, for people.
    pub(crate) kind: &'static str,
    /// The codes that it may end with.
    pub(crate) codes: &'static [Code],
    /// What its output must be when it ends with `ok`.
    pub(crate) output: Option<Value>,
}

impl Promise {
    /// One that may end with any of `codes`.
    pub(crate) const fn codes(kind: &'static str, codes: &'static [Code]) -> Self {
        Self {
            kind,
            codes,
            output: None,
        }
    }

    /// One that succeeds with this output.
    pub(crate) const fn output(kind: &'static str, output: Value) -> Self {
        Self {
            kind,
            codes: &[Code::Ok],
            output: Some(output),
        }
    }
}

#[derive(Debug)]
struct Entry {
    promise: Promise,
    /// When it was accepted.
    accepted: Instant,
    /// A moment at which it had surely not ended; none when nobody looked.
    open_at: Option<Instant>,
    /// What the store said when it was read first, and when that was.
    seen: Option<(Instant, Outcome)>,
}

#[derive(Debug, Default)]
struct Books {
    known: HashSet<InvocationId>,
    open: HashMap<InvocationId, Entry>,
    /// What came by push, until it is held against the store.
    pushed: HashMap<InvocationId, Arc<Outcome>>,
    figures: Figures,
}

/// What the account comes to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// Invocations that were accepted, each id once.
    pub(crate) accepted: u64,
    /// Those whose end the store has told.
    pub(crate) ended: u64,
    /// The same by kind and code.
    pub(crate) outcomes: BTreeMap<&'static str, BTreeMap<CodeName, u64>>,
    /// Submits that were refused, by why; that is an answer.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// Submits that got no answer while the client was patient; nobody was told that they were accepted.
    pub(crate) unanswered: u64,
    /// Children whose records had gone before anybody knew of them.
    pub(crate) unread: u64,
    /// Outcomes that were pushed, and were the same as the stored ones.
    pub(crate) pushed: u64,
    /// Invocations that died with three hosts.
    pub(crate) quarantined: u64,
    /// Those that ended otherwise than promised because one that they needed was quarantined.
    pub(crate) collateral: u64,
    /// Everything that is wrong; the first few in words.
    pub(crate) problems: Vec<String>,
    /// How much is wrong.
    pub(crate) problem_count: u64,
}

/// A code as text: what is sorted and shown.
pub(crate) type CodeName = &'static str;

impl Figures {
    fn problem(&mut self, text: String) {
        self.problem_count += 1;
        if self.problems.len() < KEPT {
            eprintln!("  WRONG: {text}");
            self.problems.push(text);
        }
    }
}

/// The account, for everybody to write to.
#[derive(Debug)]
pub(crate) struct Account {
    ttl: Duration,
    books: Mutex<Books>,
}

impl Account {
    /// An account of a store that keeps results for `ttl`.
    pub(crate) fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            books: Mutex::default(),
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an invocation that was accepted after `since`.
    pub(crate) fn accept(&self, id: InvocationId, promise: Promise, since: Instant) {
        self.books().accept(id, promise, Some(since));
    }

    /// Notes why a submit was refused.
    pub(crate) fn refused(&self, why: &'static str) {
        *self.books().figures.refused.entry(why).or_default() += 1;
    }

    /// Notes that a submit got no answer.
    pub(crate) fn unanswered(&self) {
        self.books().figures.unanswered += 1;
    }

    /// Notes an outcome that was pushed.
    pub(crate) fn pushed(&self, id: InvocationId, outcome: Arc<Outcome>) {
        self.books().pushed.insert(id, outcome);
    }

    /// Notes something that must not be.
    pub(crate) fn problem(&self, text: String) {
        self.books().figures.problem(text);
    }

    /// What stands in it.
    pub(crate) fn figures(&self) -> Figures {
        self.books().figures.clone()
    }

    /// Those that are to be read now: open ones, and those whose outcome has been known for a while.
    pub(crate) fn unread(&self, is_last: bool) -> Vec<InvocationId> {
        let again = if is_last {
            Duration::ZERO
        } else {
            self.ttl / 4
        };
        let books = self.books();
        let due = books.open.iter().filter(|(_, entry)| {
            let seen = entry.seen.as_ref();
            seen.is_none_or(|(at, _)| at.elapsed() >= again)
        });
        due.map(|(id, _)| *id).collect()
    }

    /// How many the store has not told the end of, and the one that has waited longest.
    pub(crate) fn open(&self) -> (usize, Option<(InvocationId, &'static str, Duration)>) {
        let books = self.books();
        let open = books.open.iter().filter(|(_, entry)| entry.seen.is_none());
        let oldest = open.clone().min_by_key(|(_, entry)| entry.accepted);
        let oldest = oldest.map(|(id, entry)| (*id, entry.promise.kind, entry.accepted.elapsed()));
        (open.count(), oldest)
    }

    /// How many are not closed.
    pub(crate) fn left(&self) -> usize {
        self.books().open.len()
    }

    /// Notes what the store said, when it was asked at `asked`, of one invocation.
    pub(crate) fn read(
        &self,
        id: InvocationId,
        answer: Result<Option<Outcome>, BrokerError>,
        asked: Instant,
    ) {
        self.books().read(id, answer, asked, self.ttl);
    }
}

impl Books {
    fn accept(&mut self, id: InvocationId, promise: Promise, open_at: Option<Instant>) {
        if !self.known.insert(id) {
            return;
        }
        self.figures.accepted += 1;
        let entry = Entry {
            promise,
            accepted: Instant::now(),
            open_at,
            seen: None,
        };
        self.open.insert(id, entry);
    }

    fn read(
        &mut self,
        id: InvocationId,
        answer: Result<Option<Outcome>, BrokerError>,
        asked: Instant,
        ttl: Duration,
    ) {
        let Some(mut entry) = self.open.remove(&id) else {
            return;
        };
        let kind = entry.promise.kind;
        match (answer, entry.seen.take()) {
            (Ok(None), None) => {
                entry.open_at = Some(asked);
                self.open.insert(id, entry);
            }
            (Ok(None), Some(_)) => {
                let problem = format!("{kind} {id} had ended and has not any more");
                self.figures.problem(problem);
            }
            (Ok(Some(outcome)), None) => {
                entry.seen = Some((Instant::now(), outcome));
                self.open.insert(id, entry);
            }
            (Ok(Some(outcome)), Some((_, first))) => self.close(id, &entry, &first, &outcome),
            (Err(error), seen) => self.gone(id, &entry, seen.map(|(_, first)| first), ttl, &error),
        }
    }

    /// Both times the store had an outcome.
    fn close(&mut self, id: InvocationId, entry: &Entry, first: &Outcome, second: &Outcome) {
        let kind = entry.promise.kind;
        if first != second {
            let problem = format!("{kind} {id} ended with {first:?} and then with {second:?}");
            self.figures.problem(problem);
        }
        self.count(id, entry, first);
    }

    /// The record is not there. What was open at a moment ends after it, and is kept for its time to live from then on.
    fn gone(
        &mut self,
        id: InvocationId,
        entry: &Entry,
        first: Option<Outcome>,
        ttl: Duration,
        error: &BrokerError,
    ) {
        let kind = entry.promise.kind;
        match (entry.open_at, first) {
            (Some(open_at), _) if open_at.elapsed() < ttl => {
                let age = entry.accepted.elapsed();
                let problem =
                    format!("{kind} {id} is lost {age:.1?} after it was accepted: {error}");
                self.figures.problem(problem);
            }
            (_, Some(first)) => self.count(id, entry, &first),
            (None, None) => self.figures.unread += 1,
            (Some(_), None) => {
                let problem =
                    format!("{kind} {id} was read too late to tell what it came to: {error}");
                self.figures.problem(problem);
            }
        }
    }

    fn count(&mut self, id: InvocationId, entry: &Entry, outcome: &Outcome) {
        let Promise {
            kind,
            codes,
            output,
        } = &entry.promise;
        let figures = &mut self.figures;
        figures.ended += 1;
        let by_code = figures.outcomes.entry(kind).or_default();
        *by_code.entry(outcome.code.as_str()).or_default() += 1;
        if let Some(pushed) = self.pushed.remove(&id) {
            figures.pushed += 1;
            if *pushed != *outcome {
                figures.problem(format!(
                    "{kind} {id}: {pushed:?} was pushed, {outcome:?} is stored"
                ));
            }
        }
        match outcome.code {
            Code::Quarantined => figures.quarantined += 1,
            Code::DependencyFailed | Code::Skipped if !codes.contains(&outcome.code) => {
                figures.collateral += 1;
            }
            code if !codes.contains(&code) => {
                let failure = outcome.failure.as_ref().map(|failure| &failure.message);
                figures.problem(format!("{kind} {id} ended with {code}: {failure:?}"));
            }
            Code::Ok => {
                let is = outcome.output.as_ref().and_then(|is| is.parse().ok());
                if let Some(expected) = output
                    && is.as_ref() != Some(expected)
                {
                    figures.problem(format!("{kind} {id} returned {is:?}, not {expected}"));
                }
                if *kind == "scatter" {
                    self.adopt(is.as_ref());
                }
            }
            _ => {}
        }
    }

    /// Enters the invocations that a task has handed in.
    fn adopt(&mut self, ids: Option<&Value>) {
        let ids = ids.and_then(Value::as_array);
        for id in ids.into_iter().flatten() {
            match id.as_str().and_then(|id| id.parse().ok()) {
                Some(id) => self.accept(id, Promise::codes("scattered", &[Code::Ok]), None),
                None => self
                    .figures
                    .problem(format!("scatter returned {id}, which is no id")),
            }
        }
    }
}
