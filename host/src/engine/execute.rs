//! One execution: a fresh store, a fresh instance, one call, and what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio_util::sync::CancellationToken;
use wasmtime::{Store, StoreContextMut, Trap, UpdateDeadline};

use super::bindings::{self, Failure, TaskInfo};
use super::meter::FUEL_PER_BYTE;
use super::outcome::millis;
use super::payload::is_json;
use super::recording;
use super::state::{Call, State};
use super::trap;
use super::watch::{Ended, Watch};
use super::{
    Code, Discard, Engine, EventSink, Execution, Fault, LimitHit, Limits, Module, Payload,
    Recording, Rights, Seed, Usage, Verdict,
};

/// What a guest is told about itself.
#[derive(Clone, Debug, Default)]
pub struct Invocation {
    /// The invocation's id.
    pub id: String,
    /// The task to run.
    pub task: String,
    /// 1 for the first attempt.
    pub attempt: u32,
}

/// One execution to be done.
#[derive(Clone)]
pub struct Request {
    /// Who is asking, and for which task.
    pub invocation: Invocation,
    /// The input.
    pub input: Payload,
    /// The bounds, already brought down to the least of task, caller and host.
    pub limits: Limits,
    /// What it may touch outside its sandbox.
    pub rights: Arc<Rights>,
    /// Cancels the execution when raised.
    pub cancel: CancellationToken,
    /// Where progress, logs and partial results go.
    pub sink: Arc<dyn EventSink>,
}

/// Which export is called.
enum Export {
    Run(bindings::Payload),
    Describe,
}

/// What an export returned.
enum Answer {
    Ran(Result<bindings::Payload, Failure>),
    Described(Vec<TaskInfo>),
}

/// What came of a call.
struct Called {
    answer: Result<Answer, Fault>,
    usage: Usage,
    began: Began,
}

/// How an execution began.
struct Began {
    /// What its randomness was made from, if there was any.
    seed: Option<Seed>,
    /// When, by the wall clock or by the fixed one that it has.
    at: SystemTime,
}

impl Began {
    /// Of one that came to nothing before its guest was there.
    fn now(rights: &Rights) -> Self {
        Self {
            seed: None,
            at: started_at(rights),
        }
    }
}

/// What the clock shows that an execution begins at.
fn started_at(rights: &Rights) -> SystemTime {
    let fixed = rights.determinism.as_ref();
    fixed.map_or_else(SystemTime::now, |fixed| fixed.now)
}

/// What surrounds a call.
struct Surroundings {
    invocation: Invocation,
    limits: Arc<Limits>,
    /// Fuel that the input has cost already.
    paid: u64,
    rights: Arc<Rights>,
    cancel: CancellationToken,
    sink: Arc<dyn EventSink>,
}

impl Engine {
    /// Runs one task in an instance of its own. Whatever the guest does, this returns; dropping the future
    /// ends the guest.
    ///
    /// Must run within a tokio runtime with time enabled; see [`Executor`](super::Executor).
    pub async fn execute(&self, module: &Module, request: Request) -> Execution {
        let Request {
            invocation,
            input,
            limits,
            rights,
            cancel,
            sink,
        } = request;
        let limits = Arc::new(limits);
        let input_bytes = input.len();
        if input_bytes > limits.input_bytes {
            let refused = refuse_input(&limits, input_bytes);
            return with_recording(refused, Began::now(&rights), &rights, &limits);
        }
        let paid = input_bytes.saturating_mul(FUEL_PER_BYTE);
        if paid > limits.fuel {
            let verdict = Verdict::Success(Payload::Json(String::new()));
            let usage = Usage {
                fuel: paid,
                input_bytes,
                ..Usage::default()
            };
            let execution = charge(verdict, usage, &limits);
            return with_recording(execution, Began::now(&rights), &rights, &limits);
        }
        let around = Surroundings {
            invocation,
            limits: Arc::clone(&limits),
            paid,
            rights: Arc::clone(&rights),
            cancel,
            sink,
        };
        let Called {
            answer,
            mut usage,
            began,
        } = self.call(module, Export::Run(input.into()), around).await;
        usage.input_bytes = input_bytes;
        let verdict = match answer {
            Ok(Answer::Ran(result)) => verdict(result, &limits, &mut usage),
            Ok(Answer::Described(_)) => {
                failed(Fault::new(Code::HostFault, "the wrong export was called"))
            }
            Err(fault) => failed(fault),
        };
        let verdict = without_secrets(verdict, &rights, &limits);
        with_recording(charge(verdict, usage, &limits), began, &rights, &limits)
    }

    /// Asks a module for its tasks, under `limits`.
    ///
    /// # Errors
    /// The fault that `describe` ended in.
    pub async fn describe(
        &self,
        module: &Module,
        limits: &Limits,
    ) -> Result<Vec<TaskInfo>, Box<Fault>> {
        let invocation = Invocation {
            task: "describe".to_owned(),
            attempt: 1,
            ..Invocation::default()
        };
        let around = Surroundings {
            invocation,
            limits: Arc::new(limits.clone()),
            paid: 0,
            rights: Rights::none(),
            cancel: CancellationToken::new(),
            sink: Arc::new(Discard),
        };
        match self.call(module, Export::Describe, around).await.answer {
            Ok(Answer::Described(tasks)) => Ok(tasks),
            Ok(Answer::Ran(_)) => Err(Box::new(Fault::new(
                Code::HostFault,
                "the wrong export was called",
            ))),
            Err(fault) => Err(Box::new(fault)),
        }
    }

    /// Calls an export in a new store, watched; the store is read once more for its usage, and dropped.
    async fn call(&self, module: &Module, export: Export, around: Surroundings) -> Called {
        let Surroundings {
            invocation,
            limits,
            paid,
            rights,
            cancel,
            sink,
        } = around;
        let (started, started_at) = (Instant::now(), started_at(&rights));
        let deadline = started + limits.timeout;
        let _running = self.inner.ticker.enter();
        let task = invocation.task.clone();
        let call = Call {
            invocation,
            started,
            started_at,
            timeout: limits.timeout,
            cancel: cancel.clone(),
            soft_timeout: limits.soft_timeout,
            panicked: None,
        };
        let network = Arc::clone(&self.inner.network);
        let state = State::new(Arc::clone(&limits), rights, sink, network, call);
        let mut store = match self.store(&limits, paid, state) {
            Ok(store) => store,
            Err(error) => {
                return Called {
                    answer: Err(Fault::new(Code::HostFault, format!("{error:#}"))),
                    usage: Usage::default(),
                    began: Began {
                        seed: None,
                        at: started_at,
                    },
                };
            }
        };
        let watch = Watch {
            deadline,
            cancel: &cancel,
            grace: self.inner.config.cancel_grace,
        };
        let run = async {
            let State { files, rights, .. } = store.data_mut();
            files.mount(rights, &self.inner.scratch).await?;
            enter(&mut store, module, &task, export).await
        };
        let ended = watch.run(run).await;
        let run_time = started.elapsed();
        let answer = match ended {
            Ended::Returned(answer) => {
                answer.map_err(|error| trap::fault(&error, store.data(), &limits))
            }
            Ended::Cancelled => Err(Fault::new(Code::Cancelled, "the invocation was cancelled")),
            Ended::Deadline => Err(out_of_time(&limits, run_time)),
            Ended::HostPanicked(text) => Err(host_fault(&text)),
        };
        store.data_mut().end_tape();
        let usage = usage(&store, &limits, run_time);
        let seed = store.data().chance.used().cloned();
        let scratch = store.data_mut().files.take_scratch();
        drop(store);
        // Not in the background: what waits to be removed must not pile up behind a host that looks free.
        if let Some(scratch) = scratch {
            scratch.remove().await;
        }
        Called {
            answer,
            usage,
            began: Began {
                seed,
                at: started_at,
            },
        }
    }

    /// A store with every limit set before anything of the guest exists: its start code runs under them.
    fn store(&self, limits: &Limits, paid: u64, state: State) -> wasmtime::Result<Store<State>> {
        let mut store = Store::new(&self.inner.wasmtime, state);
        let slot_elements = self.inner.config.table_elements;
        store.data_mut().limiter.set_slot_elements(slot_elements);
        store.limiter(|state| &mut state.limiter);
        store.set_fuel(limits.fuel.saturating_sub(paid))?;
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(at_tick);
        let bytes = limits.output_bytes.saturating_add(limits.host_call_bytes);
        store.set_hostcall_fuel(usize::try_from(bytes).unwrap_or(usize::MAX));
        store.set_max_component_handles(handles_in_calls(limits));
        Ok(store)
    }
}

/// What wasmtime counts as handles: those that the guest makes by itself (`resource.new`), and each that it lends
/// to the host in a call. A task that waits for all that it holds lends as many as it may have.
pub(crate) fn handles_in_calls(limits: &Limits) -> usize {
    usize::try_from(limits.handles.saturating_mul(2)).unwrap_or(usize::MAX)
}

/// At each tick a guest gives way. One that owes more fuel than there is ends here: the compiled code holds
/// its own count, so that what it has burnt since its last call of the host is not in this sum.
fn at_tick(mut store: StoreContextMut<'_, State>) -> wasmtime::Result<UpdateDeadline> {
    store.data().meter.check()?;
    let left = store.get_fuel()?;
    if store.data_mut().meter.owed() > left {
        return Err(Trap::OutOfFuel.into());
    }
    Ok(UpdateDeadline::Yield(1))
}

/// The bytes of input and output cost fuel too: an execution that could not pay for them is out of fuel,
/// whenever that came to light.
fn charge(verdict: Verdict, mut usage: Usage, limits: &Limits) -> Execution {
    usage.fuel = usage
        .fuel
        .saturating_add(usage.output_bytes.saturating_mul(FUEL_PER_BYTE));
    if usage.fuel <= limits.fuel {
        return Execution {
            verdict,
            usage,
            recording: None,
        };
    }
    let is_over = matches!(verdict, Verdict::Success(_));
    let hit = LimitHit::new("fuel", limits.fuel, usage.fuel);
    usage.fuel = limits.fuel;
    let verdict = if is_over {
        failed(Fault::limit(
            Code::OutOfFuel,
            "the task used up its fuel",
            hit,
        ))
    } else {
        verdict
    };
    Execution {
        verdict,
        usage,
        recording: None,
    }
}

/// Instantiates, and calls.
async fn enter(
    store: &mut Store<State>,
    module: &Module,
    task: &str,
    export: Export,
) -> wasmtime::Result<Answer> {
    let instance = module.pre.instantiate_async(&mut *store).await?;
    match export {
        Export::Run(input) => Ok(Answer::Ran(instance.call_run(store, task, &input).await?)),
        Export::Describe => Ok(Answer::Described(instance.call_describe(store).await?)),
    }
}

fn usage(store: &Store<State>, limits: &Limits, run_time: Duration) -> Usage {
    let state = store.data();
    let said = state.recorder.finish();
    let files = state.files.used();
    let network = state.network_usage();
    Usage {
        fuel: limits
            .fuel
            .saturating_sub(store.get_fuel().unwrap_or(0))
            .saturating_add(state.meter.owed()),
        run_time,
        peak_memory_bytes: state.limiter.peak_bytes(),
        table_elements: state.limiter.elements(),
        log_bytes: said.log_bytes,
        log_lines: said.log_lines,
        progress_events: said.progress_events,
        progress_bytes: said.progress_bytes,
        emit_events: said.emit_events,
        emit_bytes: said.emit_bytes,
        host_calls: state.meter.calls(),
        random_bytes: state.meter.random_bytes(),
        kv_calls: state.key_value_use.calls,
        task_calls: state.task_calls,
        open_files: files.open_files,
        file_bytes: files.file_bytes,
        scratch_bytes: files.scratch_bytes,
        scratch_files: files.scratch_files,
        input_bytes: 0,
        output_bytes: 0,
        http_requests: network.http_requests,
        http_concurrent: network.http_concurrent,
        tcp_connections: network.tcp_connections,
        tcp_bytes: network.tcp_bytes,
    }
}

/// What the guest returned, held against the output limit.
fn verdict(
    result: Result<bindings::Payload, Failure>,
    limits: &Limits,
    usage: &mut Usage,
) -> Verdict {
    let output = match result {
        Ok(output) => Payload::from(output),
        Err(failure) => return failed(task_error(failure, limits)),
    };
    usage.output_bytes = output.len();
    if output.len() > limits.output_bytes {
        return failed(output_too_large(limits, output.len()));
    }
    match output.defect() {
        Some(defect) => {
            let mut fault = Fault::new(Code::TaskError, format!("the task returned {defect}"));
            "invalid-output".clone_into(&mut fault.kind);
            failed(fault)
        }
        None => Verdict::Success(output),
    }
}

/// Takes the secrets out. Their labels may be longer than they were.
fn without_secrets(verdict: Verdict, rights: &Rights, limits: &Limits) -> Verdict {
    let Some(redactor) = rights.secrets.redactor() else {
        return verdict;
    };
    match redactor.verdict(verdict) {
        Verdict::Success(output) if output.len() > limits.output_bytes => {
            failed(output_too_large(limits, output.len()))
        }
        verdict => verdict,
    }
}

/// A failure that the task returned.
fn task_error(failure: Failure, limits: &Limits) -> Fault {
    let Failure {
        kind,
        message,
        retryable,
        retry_after,
        details,
        trace,
    } = failure;
    let optional = details.as_ref().map_or(0, String::len) + trace.as_ref().map_or(0, String::len);
    let bytes = (kind.len() + message.len() + optional) as u64;
    if bytes > limits.output_bytes {
        return output_too_large(limits, bytes);
    }
    Fault {
        kind,
        retryable,
        // Nonsense (negative, infinite) leaves the delay to the policy.
        retry_after: retry_after.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        details: details.map(|text| {
            if is_json(&text) {
                text
            } else {
                serde_json::Value::String(text).to_string()
            }
        }),
        trace,
        ..Fault::new(Code::TaskError, message)
    }
}

fn failed(fault: Fault) -> Verdict {
    Verdict::Failed(Box::new(fault))
}

/// With what a failure can be run again with: an execution that succeeded has nothing to tell.
fn with_recording(
    execution: Execution,
    began: Began,
    rights: &Rights,
    limits: &Limits,
) -> Execution {
    let code = execution.verdict.code();
    if code == Code::Ok {
        return execution;
    }
    Execution {
        recording: Some(Box::new(Recording {
            seed: began.seed,
            now: began.at,
            is_fixed: rights.determinism.is_some(),
            limits: limits.clone(),
            transcript: recording::transcript(rights, code, execution.usage.fuel),
        })),
        ..execution
    }
}

fn refuse_input(limits: &Limits, bytes: u64) -> Execution {
    let hit = LimitHit::new("input_bytes", limits.input_bytes, bytes);
    let fault = Fault::limit(Code::InputTooLarge, "the input is too large", hit);
    Execution {
        verdict: failed(fault),
        usage: Usage {
            input_bytes: bytes,
            ..Usage::default()
        },
        recording: None,
    }
}

fn output_too_large(limits: &Limits, bytes: u64) -> Fault {
    let hit = LimitHit::new("output_bytes", limits.output_bytes, bytes);
    Fault::limit(Code::OutputTooLarge, "the output is too large", hit)
}

fn out_of_time(limits: &Limits, run_time: Duration) -> Fault {
    // Rounded up: half a millisecond too much is too much.
    let seen = u64::try_from(run_time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    let hit = LimitHit::new("timeout", millis(limits.timeout), seen);
    Fault::limit(Code::Deadline, "the task's time was up", hit)
}

/// A panic under a guest is the host's: logged once, here.
fn host_fault(text: &str) -> Fault {
    tracing::error!(
        panic = text,
        "host code panicked under a guest; the invocation failed, the host goes on"
    );
    Fault::new(Code::HostFault, "the host failed while it ran the task")
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let input_bytes = self.input.len();
        f.debug_struct("Request")
            .field("invocation", &self.invocation)
            .field("input_bytes", &input_bytes)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
