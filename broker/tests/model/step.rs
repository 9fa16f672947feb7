//! What may happen, and how sequences of it are made up.

use celeriac_broker::{On, OnConflict, Scope};
use proptest::{prelude::*, sample::Index};

/// One thing that happens. Indices choose among what there is: invocations in the order in which they were submitted,
/// leases in the order in which they were given, those that are lost included. Times are minutes: no sequence takes one.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A client submits.
    Submit(Wish),
    /// A client submits once more what it has submitted.
    SubmitAgain(Index),
    /// A host asks for work.
    Reserve { host: u8, max: u8, lease: u8 },
    /// A host prolongs a lease.
    Renew { lease: Index, minutes: u8 },
    /// A host settles.
    Settle { lease: Index, is_success: bool },
    /// A host has another attempt follow.
    Retry { lease: Index, pause: u8 },
    /// A host gives back.
    Release(Index),
    /// Somebody cancels.
    Cancel(Index),
    /// An operator pauses the task, or resumes it.
    Pause(bool),
    /// An operator moves one from the one queue to the other, or the other way round; what runs too, or not.
    Move {
        invocation: Index,
        is_back: bool,
        with_running: bool,
    },
    /// An operator moves everything that waits for a host.
    MoveQueued { is_back: bool },
    /// Time passes; hosts that have not renewed are dead, and what is due falls due.
    Jump(u8),
}

/// What is submitted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    pub(crate) delay: Option<u8>,
    pub(crate) expires: Option<u8>,
    pub(crate) deadline: Option<u8>,
    /// An idempotency key, and an input.
    pub(crate) idem: Option<(u8, u8)>,
    pub(crate) unique: Option<(u8, Scope, OnConflict)>,
    /// What it waits for, and whether it is skipped when that ends otherwise.
    pub(crate) after: Vec<(Index, On)>,
    pub(crate) is_skipped: bool,
}

fn seldom(minutes: std::ops::Range<u8>) -> impl Strategy<Value = Option<u8>> {
    prop_oneof![4 => Just(None), 1 => minutes.prop_map(Some)]
}

fn wish() -> impl Strategy<Value = Wish> {
    let times = (seldom(1..4), seldom(4..8), seldom(4..16));
    let on = prop::sample::select(vec![On::Success, On::Failure, On::Done]);
    let after = prop_oneof![
        3 => Just(Vec::new()),
        1 => prop::collection::vec((any::<Index>(), on), 1..3),
    ];
    let idem = prop_oneof![5 => Just(None), 1 => (0..2_u8, 0..2_u8).prop_map(Some)];
    let conflicts = vec![
        OnConflict::Reject,
        OnConflict::ReturnExisting,
        OnConflict::Replace,
    ];
    let held = (
        0..2_u8,
        prop::sample::select(vec![Scope::Queued, Scope::Done]),
        prop::sample::select(conflicts),
    );
    let unique = prop_oneof![2 => Just(None), 1 => held.prop_map(Some)];
    (times, idem, unique, after, any::<bool>()).prop_map(
        |(times, idem, unique, after, is_skipped)| {
            let (delay, expires, deadline) = times;
            Wish {
                delay,
                expires,
                deadline,
                idem,
                unique,
                after,
                is_skipped,
            }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    prop_oneof![
        6 => wish().prop_map(Step::Submit),
        1 => index().prop_map(Step::SubmitAgain),
        6 => (0..3_u8, 1..4_u8, 1..6_u8).prop_map(|(host, max, lease)| Step::Reserve { host, max, lease }),
        2 => (index(), 1..6_u8).prop_map(|(lease, minutes)| Step::Renew { lease, minutes }),
        4 => (index(), any::<bool>()).prop_map(|(lease, is_success)| Step::Settle { lease, is_success }),
        2 => (index(), 0..4_u8).prop_map(|(lease, pause)| Step::Retry { lease, pause }),
        2 => index().prop_map(Step::Release),
        2 => index().prop_map(Step::Cancel),
        1 => any::<bool>().prop_map(Step::Pause),
        2 => (index(), any::<bool>(), any::<bool>()).prop_map(|(invocation, is_back, with_running)| Step::Move {
            invocation,
            is_back,
            with_running,
        }),
        1 => any::<bool>().prop_map(|is_back| Step::MoveQueued { is_back }),
        4 => (1..6_u8).prop_map(Step::Jump),
    ]
}

/// Up to two dozen steps.
pub(crate) fn sequences() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 4..24)
}
