use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::engine::{CancellationToken, Secret};

fn call(tape: &Tape, call: &'static str, asked: &str, answer: Answer) {
    assert_eq!(tape.told(call, asked.to_owned()), Ok(None));
    tape.note(answer, 2);
}

fn replay(transcript: Transcript) -> (Arc<Tape>, CancellationToken) {
    let cancel = CancellationToken::new();
    (Tape::replaying(transcript, cancel.clone()), cancel)
}

#[test]
fn answers_come_back_in_order_and_what_differs_is_told() {
    let tape = Tape::recording(1 << 20);
    call(&tape, "wall-clock.now", "", Answer::of(&(7_u64, 1_u32)));
    call(
        &tape,
        "key-value.get",
        "a",
        Answer::with(&Ok::<(), ()>(()), Some(b"x"), None),
    );
    let transcript = tape.take("task_error", 9);
    assert_eq!(transcript.calls(), 2);
    let (again, cancel) = replay(transcript.clone());
    let entry = again
        .told("wall-clock.now", String::new())
        .unwrap()
        .unwrap();
    assert_eq!((entry.answer.read(), entry.charge), (Ok((7_u64, 1_u32)), 2));
    assert!(entry.answer.read::<String>().is_err());
    let differs = again.told("key-value.get", "b".to_owned()).unwrap_err();
    assert_eq!(
        differs.to_string(),
        "at call 2 the recording has `key-value.get a`, the module asked for `key-value.get b`"
    );
    assert!(cancel.is_cancelled());
    // The first reason stays, whatever the guest does until it is ended.
    assert_eq!(
        again.told("key-value.get", "a".to_owned()),
        Err(differs.clone())
    );
    assert_eq!(again.stopped(), Some(differs));
    let (again, _) = replay(transcript);
    for (name, asked) in [("wall-clock.now", ""), ("key-value.get", "a")] {
        assert!(again.told(name, asked.to_owned()).unwrap().is_some());
    }
    let over = again.told("x", String::new()).unwrap_err();
    assert!(matches!(over, Stopped::Over { calls: 2, .. }), "{over}");
}

#[test]
fn a_recording_is_cut_at_its_bound_and_its_replay_says_so() {
    let tape = Tape::recording(1_000);
    for _ in 0..100 {
        call(
            &tape,
            "input-stream.read",
            "64",
            Answer::with(&(), Some(&[1; 64]), Some(3)),
        );
    }
    let transcript = tape.take("trap", 1);
    let calls = transcript.calls();
    assert!((1..10).contains(&calls), "{calls}");
    let (again, _) = replay(transcript);
    for _ in 0..calls {
        assert!(again.told("input-stream.read", "64".to_owned()).is_ok());
    }
    let cut = again
        .told("input-stream.read", "64".to_owned())
        .unwrap_err();
    assert_eq!(
        cut,
        Stopped::Cut {
            calls,
            bytes: 1_000
        }
    );
}

#[test]
fn what_cannot_be_kept_ends_recording_and_replay() {
    let tape = Tape::recording(1_000);
    call(&tape, "a", "", Answer::default());
    assert_eq!(tape.gap("files"), Ok(()));
    call(&tape, "b", "", Answer::default());
    let (again, _) = replay(tape.take("trap", 1));
    assert!(again.told("a", String::new()).is_ok());
    let what = "files".to_owned();
    assert_eq!(again.gap("files"), Err(Stopped::Gap { calls: 1, what }));
}

#[test]
fn a_call_without_an_answer_is_where_the_attempt_was_ended() {
    let tape = Tape::recording(1_000);
    assert_eq!(tape.told("pollable.block", String::new()), Ok(None));
    let (again, cancel) = replay(tape.take("deadline", 1));
    let code = "deadline".to_owned();
    assert_eq!(
        again.told("pollable.block", String::new()),
        Err(Stopped::Ended { code })
    );
    assert!(cancel.is_cancelled());
}

#[test]
fn secrets_are_masked_in_all_that_is_kept_also_across_reads() {
    let secret = Secret::new("sesame-open-4711".to_owned());
    let rights = Rights {
        secrets: [("word".to_owned(), secret)].into(),
        environment: vec![("A".to_owned(), "x sesame-open-4711".to_owned())],
        ..Rights::default()
    };
    let tape = Tape::recording(1 << 20);
    let _recorded = rights.recorded(Arc::clone(&tape));
    call(
        &tape,
        "input-stream.read",
        "9",
        Answer::with(&(), Some(b"... sesame-"), Some(3)),
    );
    call(
        &tape,
        "input-stream.read",
        "9",
        Answer::with(&(), Some(b"other"), Some(4)),
    );
    call(
        &tape,
        "input-stream.read",
        "9",
        Answer::with(&(), Some(b"open-4711!"), Some(3)),
    );
    let long = format!("{}sesame-open-4711", "k".repeat(250));
    call(
        &tape,
        "key-value.get",
        &long,
        Answer::of(&["sesame-open-4711"]),
    );
    let transcript = tape.take("trap", 1);
    let recording = Recording {
        seed: None,
        now: SystemTime::UNIX_EPOCH,
        is_fixed: false,
        limits: Limits::default(),
        transcript: Some(transcript),
    };
    let text = String::from_utf8(recording.to_bytes()).unwrap();
    assert!(!text.contains("sesame") && !text.contains("4711"), "{text}");
    let read = Recording::read(text.as_bytes())
        .unwrap()
        .transcript
        .unwrap();
    let bytes: Vec<_> = read
        .entries
        .iter()
        .filter_map(|entry| entry.answer.bytes.clone())
        .collect();
    assert_eq!(
        bytes,
        [
            b"... *******".to_vec(),
            b"other".to_vec(),
            b"*********!".to_vec()
        ]
    );
    // A replay has something else of its length, unless the value is known, which it masks just so.
    let (tape, _) = replay(read.clone());
    let replayed = Rights::replayed(&read, &BTreeMap::new(), tape);
    assert_eq!(replayed.secrets["word"].reveal().len(), 16);
    assert_ne!(replayed.secrets["word"].reveal(), "sesame-open-4711");
}
