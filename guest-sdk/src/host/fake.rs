//! A host that records what a task tells it, for native tests.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use super::fake_store::FakeStore;
#[cfg(feature = "http")]
use crate::http::{HttpError, Request, Response};
use crate::{
    AccessError, Failure, Level, Payload,
    context::Invocation,
    tasks::{CallError, CallOptions, FailedCall},
    testing::{LogRecord, Progress},
};

thread_local! {
    /// The newest fake of this thread, which takes the records of the log macros: they have no
    /// context to go by.
    static NEWEST: RefCell<Weak<Mutex<State>>> = const { RefCell::new(Weak::new()) };
}

/// What a fake host was told, and what it answers.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) invocation: Invocation,
    /// `is_cancelled` answers `false` this many times first; `None` means for ever.
    pub(crate) checks_until_cancelled: Option<u32>,
    pub(crate) progress: Vec<Progress>,
    pub(crate) logs: Vec<LogRecord>,
    pub(crate) emitted: Vec<Payload>,
    pub(crate) secrets: BTreeMap<String, String>,
    pub(crate) config: BTreeMap<String, String>,
    /// None: the operator has not granted it.
    pub(crate) store: Option<FakeStore>,
    /// Who runs other tasks.
    pub(crate) tasks: Option<TaskAnswer>,
    /// Who answers HTTP requests.
    #[cfg(feature = "http")]
    pub(crate) http: Option<HttpAnswer>,
}

/// What runs other tasks in a test.
#[derive(Clone)]
pub(crate) struct TaskAnswer(pub(crate) Arc<RunTask>);

/// Runs a task by its name.
pub(crate) type RunTask = dyn Fn(&str, Payload) -> Result<Payload, Failure> + Send + Sync;

impl std::fmt::Debug for TaskAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TaskAnswer")
    }
}

/// What answers HTTP requests in a test.
#[cfg(feature = "http")]
pub(crate) struct HttpAnswer(
    pub(crate) Arc<dyn Fn(&Request) -> Result<Response, HttpError> + Send + Sync>,
);

#[cfg(feature = "http")]
impl std::fmt::Debug for HttpAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HttpAnswer")
    }
}

/// Has the newest fake of this thread answer a request.
#[cfg(feature = "http")]
pub(crate) fn send(request: &Request) -> Result<Response, HttpError> {
    let fake = NEWEST.with_borrow(Weak::upgrade);
    let answer = fake.and_then(|state| Some(Arc::clone(&Host(state).state().http.as_ref()?.0)));
    match answer {
        Some(answer) => answer(request),
        None => Err(HttpError::Connect(
            "natively there is no network: answer requests with `FakeContext::with_http`"
                .to_owned(),
        )),
    }
}

/// A shared fake: the context holds one end, the test the other.
#[derive(Clone, Debug)]
pub(crate) struct Host(Arc<Mutex<State>>);

impl Host {
    pub(crate) fn new(task: &str) -> Self {
        let invocation = Invocation {
            id: "00000000-0000-7000-8000-000000000000".to_owned(),
            task: task.to_owned(),
            attempt: 1,
            deadline: SystemTime::now() + Duration::from_secs(60),
        };
        let state = Arc::new(Mutex::new(State {
            invocation,
            checks_until_cancelled: None,
            progress: Vec::new(),
            logs: Vec::new(),
            emitted: Vec::new(),
            secrets: BTreeMap::new(),
            config: BTreeMap::new(),
            store: Some(FakeStore::default()),
            tasks: None,
            #[cfg(feature = "http")]
            http: None,
        }));
        NEWEST.with_borrow_mut(|newest| *newest = Arc::downgrade(&state));
        Self(state)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it held the lock still wants to see what was recorded.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn invocation(&self) -> Invocation {
        self.state().invocation.clone()
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        match &mut self.state().checks_until_cancelled {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    pub(crate) fn progress(&self, done: f64, total: f64, note: &str) {
        self.state().progress.push(Progress {
            done,
            total,
            note: note.to_owned(),
        });
    }

    pub(crate) fn emit(&self, chunk: Payload) {
        self.state().emitted.push(chunk);
    }

    pub(crate) fn secret(&self, name: &str) -> Result<String, AccessError> {
        let secret = self.state().secrets.get(name).cloned();
        secret.ok_or_else(|| denied(&format!("secret `{name}`"), "with_secret"))
    }

    pub(crate) fn config(&self, name: &str) -> Option<String> {
        self.state().config.get(name).cloned()
    }

    fn kv<T>(
        &self,
        call: impl FnOnce(&mut FakeStore) -> Result<T, AccessError>,
    ) -> Result<T, AccessError> {
        match &mut self.state().store {
            Some(store) => call(store),
            None => Err(denied("kv", "new")),
        }
    }

    pub(crate) fn kv_get(&self, key: &str) -> Result<Option<Vec<u8>>, AccessError> {
        self.kv(|store| store.get(key))
    }

    pub(crate) fn kv_set(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
    ) -> Result<(), AccessError> {
        self.kv(|store| store.set(key, value, ttl))
    }

    pub(crate) fn kv_delete(&self, key: &str) -> Result<bool, AccessError> {
        self.kv(|store| store.delete(key))
    }

    pub(crate) fn kv_increment(
        &self,
        key: &str,
        by: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, AccessError> {
        self.kv(|store| store.increment(key, by, ttl))
    }

    pub(crate) fn kv_compare_and_set(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: Option<&[u8]>,
        ttl: Option<Duration>,
    ) -> Result<bool, AccessError> {
        self.kv(|store| store.compare_and_set(key, (expected, value), ttl))
    }

    pub(crate) fn kv_list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, AccessError> {
        self.kv(|store| Ok(store.list(prefix, after, limit)))
    }
}

impl Host {
    /// The answer of whoever runs other tasks, which may itself use this fake.
    fn run_task(
        &self,
        task: &str,
        input: Payload,
    ) -> Result<Result<Payload, Failure>, AccessError> {
        let tasks = self.state().tasks.clone();
        match tasks {
            Some(TaskAnswer(run)) => Ok(run(task, input)),
            None => Err(denied(&format!("tasks `{task}`"), "with_tasks")),
        }
    }

    pub(crate) fn submit(
        &self,
        task: &str,
        input: Payload,
        _options: &CallOptions,
    ) -> Result<String, AccessError> {
        // What becomes of it is nothing that its caller hears.
        let _ = self.run_task(task, input)?;
        Ok("00000000-0000-7000-8000-000000000001".to_owned())
    }

    pub(crate) fn call(
        &self,
        task: &str,
        input: Payload,
        _options: &CallOptions,
    ) -> Result<Payload, CallError> {
        self.run_task(task, input)?.map_err(|failure| {
            CallError::Failed(FailedCall {
                id: "00000000-0000-7000-8000-000000000001".to_owned(),
                code: "task_error".to_owned(),
                is_retryable: failure.is_retryable,
                kind: failure.kind,
                message: failure.message,
            })
        })
    }
}

fn denied(what: &str, method: &str) -> AccessError {
    AccessError::Denied(format!(
        "{what} is not granted to this task; in a test, `FakeContext::{method}` grants it"
    ))
}

/// Records the line with the newest fake of this thread; without one it goes to stderr.
pub(crate) fn log(level: Level, message: &str, fields: &str) {
    let fake = NEWEST.with_borrow(Weak::upgrade);
    let Some(state) = fake else {
        eprintln!("{level:?} {message} {fields}");
        return;
    };
    let fields = serde_json::from_str(fields).unwrap_or_default();
    Host(state).state().logs.push(LogRecord {
        level,
        message: message.to_owned(),
        fields,
    });
}

/// There is no sandbox to walk natively; the location alone is the trace.
pub(crate) fn backtrace() -> String {
    String::new()
}
