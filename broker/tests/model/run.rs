//! Takes one sequence through an engine and through the model, and compares the two after each step.

use std::{collections::HashMap, time::Duration};

use celeriac_broker::{
    Admit, After, Attempt, Broker, BrokerError, CancelResult, Code, Digest, Ending, HostId,
    InvocationId, Lease, On, OnUnmet, Options, Outcome, Pausable, Payload, Reserve, Reserved,
    SYSTEM_QUEUE, Settled, Settlement, State, Status, Submission, Unique, When,
};
use futures_util::future::join_all;

use crate::{
    MINUTE,
    engine::Engine,
    reference::{Cancelled, Model, Stand, Submitted},
    step::{Step, Wish},
};

const QUEUES: [&str; 2] = ["model", "model-other"];

/// What differs, in words.
type Check<T = ()> = Result<T, String>;

/// A sequence that is under way.
struct Run<'a, E> {
    engine: &'a E,
    model: Model,
    hosts: [HostId; 3],
    /// As they were submitted: the model knows them by their numbers.
    submissions: Vec<Submission>,
    numbers: HashMap<InvocationId, usize>,
    /// As they were reserved, with the host: the model knows them by their numbers.
    reserved: Vec<(Reserved, usize)>,
    /// The lease under which each invocation was settled last: settling again under it is no harm.
    settled: HashMap<InvocationId, usize>,
}

/// Takes a sequence through both.
pub(crate) async fn run<E: Engine>(engine: &E, steps: &[Step]) -> Check {
    let mut run = Run {
        engine,
        model: Model::default(),
        hosts: [(); 3].map(|()| HostId::random("model")),
        submissions: Vec::new(),
        numbers: HashMap::new(),
        reserved: Vec::new(),
        settled: HashMap::new(),
    };
    let mut result = Ok(());
    for (number, step) in steps.iter().enumerate() {
        result = run.step(step).await;
        if result.is_ok() {
            result = run.compare().await;
        }
        if let Err(reason) = &mut result {
            *reason = format!("after step {number}, {step:?}: {reason}");
            break;
        }
    }
    if result.is_ok() {
        result = run.compare_queues().await;
    }
    // The next sequence finds nothing of this one.
    run.clear().await;
    result.and(run.nothing_is_left().await)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, engine: T, model: T) -> Check {
    match (engine, model) {
        (engine, model) if engine == model => Ok(()),
        (engine, model) => Err(format!(
            "{what}: the engine says {engine:?}, the model {model:?}"
        )),
    }
}

fn minutes(minutes: u8) -> Duration {
    MINUTE * u32::from(minutes)
}

impl<E: Engine> Run<'_, E> {
    fn broker(&self) -> &dyn Broker {
        self.engine.broker()
    }

    async fn step(&mut self, step: &Step) -> Check {
        let (invocations, leases) = (self.submissions.len(), self.reserved.len());
        match step {
            Step::Submit(wish) => self.submit(wish).await,
            Step::Reserve { host, max, lease } => {
                self.reserve(usize::from(*host), usize::from(*max), *lease)
                    .await
            }
            Step::Jump(span) => {
                self.engine.jump(minutes(*span)).await;
                self.engine.tick().await;
                self.model.jump(*span);
                Ok(())
            }
            // What there is nothing to do it to is left out.
            Step::SubmitAgain(index) if invocations > 0 => {
                let again = self.submissions[index.index(invocations)].clone();
                let id = again.id;
                let answer = self
                    .accept(again)
                    .await
                    .map_err(|error| format!("refused: {error}"))?;
                same("the id", answer, id)
            }
            Step::Cancel(index) if invocations > 0 => self.cancel(index.index(invocations)).await,
            Step::Pause(is_paused) => self.pause(*is_paused).await,
            Step::Move {
                invocation,
                is_back,
                with_running,
            } if invocations > 0 => {
                let invocation = invocation.index(invocations);
                self.move_one(invocation, *is_back, *with_running).await
            }
            Step::MoveQueued { is_back } => self.move_queued(*is_back).await,
            Step::Renew { lease, minutes } if leases > 0 => {
                self.renew(lease.index(leases), *minutes).await
            }
            Step::Settle { lease, is_success } if leases > 0 => {
                self.settle(lease.index(leases), *is_success).await
            }
            Step::Retry { lease, pause } if leases > 0 => {
                self.retry(lease.index(leases), *pause).await
            }
            Step::Release(lease) if leases > 0 => {
                let lease = lease.index(leases);
                let given = self.reserved[lease].0.lease.clone();
                self.broker().release(&[given]).await.unwrap();
                self.model.release(lease);
                self.engine.tick().await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn accept(&self, submission: Submission) -> Result<InvocationId, BrokerError> {
        let answers = self.broker().submit(vec![submission]).await;
        answers.unwrap().pop().unwrap()
    }

    async fn submit(&mut self, wish: &Wish) -> Check {
        let mut parents: Vec<(usize, On)> = match self.submissions.len() {
            0 => Vec::new(),
            there => wish
                .after
                .iter()
                .map(|(parent, on)| (parent.index(there), *on))
                .collect(),
        };
        parents.sort_by_key(|(parent, _)| *parent);
        parents.dedup_by_key(|(parent, _)| *parent);
        let when = |span: Option<u8>| span.map(|span| When::from(minutes(span)));
        let submission = Submission {
            id: self.broker().namespace().issue(0),
            task: "text/run".parse().unwrap(),
            input: Payload::json_text(
                wish.idem
                    .map_or("0".to_owned(), |(_, input)| input.to_string()),
            ),
            options: Options {
                idempotency_key: wish.idem.map(|(key, _)| self.key(key)),
                unique: wish.unique.map(|(key, scope, on_conflict)| Unique {
                    key: self.key(key),
                    scope,
                    on_conflict,
                }),
                after: parents
                    .iter()
                    .map(|(parent, on)| After {
                        id: self.submissions[*parent].id,
                        on: *on,
                    })
                    .collect(),
                on_unmet: if wish.is_skipped {
                    OnUnmet::Skip
                } else {
                    OnUnmet::Fail
                },
                queue: Some(QUEUES[0].to_owned()),
                start: when(wish.delay),
                expires: when(wish.expires),
                deadline: when(wish.deadline),
                ..Options::default()
            },
            reply_to: None,
        };
        let (id, answer) = (submission.id, self.accept(submission.clone()).await);
        let number = |id: InvocationId| self.numbers.get(&id).copied().unwrap_or(usize::MAX);
        let answer = match answer {
            Ok(new) if new == id => Submitted::New,
            Ok(existing) => Submitted::Existing(number(existing)),
            Err(BrokerError::IdempotencyConflict { existing, .. }) => {
                Submitted::OtherInput(number(existing))
            }
            Err(BrokerError::NotUnique { existing, .. }) => Submitted::NotUnique(number(existing)),
            Err(error) => return Err(format!("refused: {error}")),
        };
        same(
            "what a submit came to",
            answer,
            self.model.submit(wish, parents),
        )?;
        if answer == Submitted::New {
            self.numbers.insert(id, self.submissions.len());
            self.submissions.push(submission);
        }
        self.engine.tick().await;
        Ok(())
    }

    /// A key of this sequence.
    fn key(&self, number: u8) -> String {
        format!("{}/{number}", self.hosts[0])
    }

    async fn reserve(&mut self, host: usize, max: usize, lease: u8) -> Check {
        let request = Reserve {
            host: self.hosts[host].clone(),
            queues: [SYSTEM_QUEUE, QUEUES[0], QUEUES[1]]
                .map(str::to_owned)
                .to_vec(),
            max,
            lease: minutes(lease),
            wait: Duration::ZERO,
            quotas: Vec::new(),
        };
        let taken = self.broker().reserve(&request).await.unwrap();
        // What came back after its deadline, and was not met on the way, is ended by the ticker.
        self.engine.tick().await;
        let first = self.reserved.len();
        // Known before they are looked at: whatever is wrong, they are given back in the end.
        self.reserved
            .extend(taken.into_iter().map(|taken| (taken, host)));
        let taken: Vec<Reserved> = self.reserved[first..]
            .iter()
            .map(|(taken, _)| taken.clone())
            .collect();
        let (surely, at_most) = (self.model.reap(), self.model.available());
        let count = taken.len().clamp(max.min(surely), max.min(at_most));
        same("how many were handed out", taken.len(), count)?;
        for taken in taken {
            let id = taken.lease.id;
            let number = self
                .numbers
                .get(&id)
                .ok_or(format!("{id} is not of this sequence"))?;
            let (attempt, crashes) = self.model.take(*number, lease)?;
            same(
                "the attempt",
                (taken.attempt, taken.crashes),
                (attempt, crashes),
            )?;
            same("its trail", taken.trail.len() <= attempt as usize, true)?;
        }
        Ok(())
    }

    async fn renew(&mut self, lease: usize, span: u8) -> Check {
        let (given, host) = &self.reserved[lease];
        let (given, host) = (given.lease.clone(), self.hosts[*host].clone());
        let renewed = self
            .broker()
            .renew(&host, std::slice::from_ref(&given), minutes(span))
            .await
            .unwrap();
        let is_held = self.model.renew(lease, span);
        same(
            "whether the lease is lost",
            renewed.lost.contains(&given.id),
            !is_held,
        )?;
        let is_unwanted = self.model.invocations[self.numbers[&given.id]].is_unwanted;
        same(
            "whether it shall stop",
            renewed.cancelled.contains(&given.id),
            is_held && is_unwanted,
        )
    }

    async fn settle(&mut self, lease: usize, is_success: bool) -> Check {
        let outcome = match is_success {
            true => success(),
            false => Outcome::failed(Code::TaskError, "it failed"),
        };
        let settlement = Settlement::end(self.reserved[lease].0.lease.clone(), outcome);
        let answer = self.write(settlement).await;
        let is_held = self.model.settle(lease, is_success);
        self.written(lease, answer, is_held)
    }

    async fn retry(&mut self, lease: usize, pause: u8) -> Check {
        let taken = &self.reserved[lease].0;
        let outcome = Outcome::failed(Code::TaskError, "not now");
        let span = minutes(pause);
        let attempt = Attempt::record(
            &outcome,
            taken.reserved_at_ms,
            Duration::from_millis(3),
            span,
        );
        let settlement = Settlement {
            lease: taken.lease.clone(),
            ending: Ending::Retry {
                pause: span,
                trail: celeriac_broker::follow(taken.trail.clone(), attempt),
                outcome,
            },
            recording: None,
        };
        let answer = self.write(settlement).await;
        self.engine.tick().await;
        let is_held = self.model.retry(lease, pause);
        self.written(lease, answer, is_held)
    }

    async fn write(&self, settlement: Settlement) -> Settled {
        self.broker()
            .settle(vec![settlement])
            .await
            .unwrap()
            .pop()
            .unwrap()
    }

    /// Under a lease that is held it is written, under one that is lost it is not. One that was settled may be settled
    /// again: a host that got no answer does.
    fn written(&mut self, lease: usize, answer: Settled, is_held: bool) -> Check {
        let id = self.reserved[lease].0.lease.id;
        if is_held {
            self.settled.insert(id, lease);
        } else if self.settled.get(&id) == Some(&lease) {
            return Ok(());
        }
        same(
            "whether it was written",
            answer == Settled::Written,
            is_held,
        )
    }

    async fn pause(&mut self, is_paused: bool) -> Check {
        let has_changed = match is_paused {
            true => self.broker().pause(&task()).await.unwrap(),
            false => self.broker().resume(&task()).await.unwrap(),
        };
        let was_paused = std::mem::replace(&mut self.model.is_paused, is_paused);
        same(
            "whether that changed anything",
            has_changed,
            was_paused != is_paused,
        )
    }

    async fn move_one(&mut self, number: usize, is_back: bool, with_running: bool) -> Check {
        let (from, to) = direction(is_back);
        let ids = [self.submissions[number].id];
        let (first, other) = (QUEUES[from], QUEUES[to]);
        let moved = self
            .broker()
            .move_these(first, other, &ids, with_running)
            .await
            .unwrap();
        let is_moved = self.model.move_one(number, (from, to), with_running);
        same("how many were moved", moved, u64::from(is_moved))
    }

    async fn move_queued(&mut self, is_back: bool) -> Check {
        let ((from, to), mut moved, mut cursor) = (direction(is_back), 0, None);
        loop {
            let step = self
                .broker()
                .move_queued(QUEUES[from], QUEUES[to], cursor.as_deref())
                .await
                .unwrap();
            moved += step.moved;
            cursor = step.cursor;
            if cursor.is_none() {
                break;
            }
        }
        let expected = self.model.move_queued((from, to));
        same("how many were moved", moved, expected)
    }

    async fn cancel(&mut self, number: usize) -> Check {
        let answer = self
            .broker()
            .cancel(self.submissions[number].id)
            .await
            .unwrap();
        let answer = match answer {
            CancelResult::Cancelled => Cancelled::Now,
            CancelResult::Requested => Cancelled::Requested,
            CancelResult::AlreadyEnded => Cancelled::Ended,
        };
        same("what a cancel came to", answer, self.model.cancel(number))
    }

    /// Every invocation stands where the model says: what is terminal stays so, nothing is lost, nothing is counted twice.
    async fn compare(&self) -> Check {
        let statuses = self
            .submissions
            .iter()
            .map(|submission| self.broker().status(submission.id));
        for (number, status) in join_all(statuses).await.into_iter().enumerate() {
            let status = status.map_err(|error| format!("invocation {number}: {error}"))?;
            self.compare_one(number, &status)?;
        }
        Ok(())
    }

    fn compare_one(&self, number: usize, status: &Status) -> Check {
        let model = &self.model.invocations[number];
        let state = match model.stand {
            Stand::Blocked => State::Blocked,
            Stand::Scheduled { .. } => State::Scheduled,
            Stand::Queued => State::Queued,
            Stand::Running { .. } => State::Running,
            Stand::Succeeded => State::Succeeded,
            Stand::Failed(_) => State::Failed,
            Stand::Cancelled(_) => State::Cancelled,
            Stand::Expired => State::Expired,
        };
        let of = |what: &str| format!("{what} of invocation {number}");
        same(&of("the state"), status.state, state)?;
        same(&of("the queue"), status.queue.as_str(), QUEUES[model.queue])?;
        same(&of("the attempts"), status.attempts, model.attempts)?;
        same(&of("the crashes"), status.crashes, model.crashes)?;
        same(
            &of("what it has ended with"),
            status.outcome.as_ref().map(|head| head.code),
            model.stand.code(),
        )?;
        if let Stand::Running { lease, .. } = model.stand {
            let host = Some(&self.hosts[self.reserved[lease].1]);
            same(&of("the host"), status.host.as_ref(), host)?;
        }
        Ok(())
    }

    /// What waits and runs is counted once, in its queue.
    async fn compare_queues(&self) -> Check {
        for (number, queue) in QUEUES.iter().enumerate() {
            let count = |is: fn(&Stand) -> bool| {
                let there = self.model.invocations.iter();
                let there = there.filter(|invocation| invocation.queue == number);
                there.filter(|invocation| is(&invocation.stand)).count() as u64
            };
            let blocked = count(|stand| *stand == Stand::Blocked);
            let queued = count(|stand| *stand == Stand::Queued);
            let scheduled = count(|stand| matches!(stand, Stand::Scheduled { .. }));
            let running = count(|stand| matches!(stand, Stand::Running { .. }));
            same(
                &format!("what waits and runs in `{queue}`"),
                self.counts(queue).await,
                (blocked, queued, scheduled, running),
            )?;
        }
        Ok(())
    }

    async fn counts(&self, queue: &str) -> (u64, u64, u64, u64) {
        let queues = self.broker().queues().await.unwrap();
        let queue = queues.into_iter().find(|stats| stats.queue == queue);
        queue.map_or((0, 0, 0, 0), |stats| {
            (stats.blocked, stats.queued, stats.scheduled, stats.running)
        })
    }

    async fn clear(&mut self) {
        for submission in &self.submissions {
            let _ = self.broker().cancel(submission.id).await;
        }
        let settlements = self
            .reserved
            .iter()
            .map(|(taken, _)| Settlement::end(taken.lease.clone(), success()));
        let _ = self.broker().settle(settlements.collect()).await;
        let _ = self.broker().resume(&task()).await;
    }

    async fn nothing_is_left(&self) -> Check {
        let module = self
            .broker()
            .module(&"text".parse().unwrap())
            .await
            .unwrap();
        same(
            "unfinished invocations of the module",
            module.invocations,
            0,
        )?;
        for queue in QUEUES {
            let left = self.counts(queue).await;
            same("what is left of the queues", left, (0, 0, 0, 0))?;
        }
        Ok(())
    }
}

/// The task that all of them call.
fn task() -> Pausable {
    Pausable::Task("text".to_owned(), "run".to_owned())
}

/// The numbers of the queues to move from and to.
fn direction(is_back: bool) -> (usize, usize) {
    match is_back {
        true => (1, 0),
        false => (0, 1),
    }
}

pub(crate) fn success() -> Outcome {
    Outcome {
        code: Code::Ok,
        output: Some(Payload::json_text("1")),
        failure: None,
        usage: celeriac_broker::Usage::default(),
    }
}

/// Takes an admission of the module `text` up to where it publishes.
pub(crate) async fn admission(broker: &dyn Broker, digest: Digest) -> Lease {
    let admit = Submission {
        id: broker.namespace().issue(0),
        task: "celeriac/admit".parse().unwrap(),
        input: Payload::json(&Admit {
            digest,
            name: "text".parse().unwrap(),
        })
        .unwrap(),
        options: Options::default(),
        reply_to: None,
    };
    broker.submit(vec![admit]).await.unwrap();
    let request = Reserve {
        host: HostId::random("model"),
        queues: vec![SYSTEM_QUEUE.to_owned()],
        max: 1,
        lease: MINUTE,
        wait: Duration::ZERO,
        quotas: Vec::new(),
    };
    broker.reserve(&request).await.unwrap().pop().unwrap().lease
}
