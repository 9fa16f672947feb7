//! The tasks on a store in memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use celeriac_guest::testing::FakeContext;

use super::*;

fn one_hit(name: &str) -> Hit {
    Hit {
        name: name.to_owned(),
        by: 1,
        window: None,
    }
}

#[test]
fn counts_reads_and_forgets() {
    let ctx = FakeContext::new();
    assert_eq!(read(&ctx, "a".into()).unwrap(), 0);
    assert_eq!(hit(&ctx, one_hit("a")).unwrap(), 1);
    let ten = Hit {
        by: 10,
        ..one_hit("a")
    };
    assert_eq!(hit(&ctx, ten).unwrap(), 11);
    assert_eq!(read(&ctx, "a".into()).unwrap(), 11);
    assert!(reset(&ctx, "a".into()).unwrap());
    assert!(!reset(&ctx, "a".into()).unwrap());
    assert_eq!(hit(&ctx, one_hit("a")).unwrap(), 1);
}

#[test]
fn a_window_begins_with_its_first_hit() {
    let ctx = FakeContext::new();
    let in_window = || Hit {
        window: Some(60.0),
        ..one_hit("a")
    };
    assert_eq!(hit(&ctx, in_window()).unwrap(), 1);
    ctx.pass_time(Duration::from_secs(59));
    assert_eq!(hit(&ctx, in_window()).unwrap(), 2);
    ctx.pass_time(Duration::from_secs(1));
    assert_eq!(hit(&ctx, in_window()).unwrap(), 1);
    let nonsense = Hit {
        window: Some(-1.0),
        ..one_hit("a")
    };
    assert!(hit(&ctx, nonsense).is_err());
}

#[test]
fn the_top_is_by_count_then_by_name() {
    let ctx = FakeContext::new();
    for (name, by) in [("b", 2), ("a", 2), ("c", 7), ("other", 9)] {
        let name = match name {
            "other" => name.to_owned(),
            _ => format!("page:{name}"),
        };
        hit(
            &ctx,
            Hit {
                name,
                by,
                window: None,
            },
        )
        .unwrap();
    }
    // More than one page of keys.
    for index in 0..300 {
        hit(&ctx, one_hit(&format!("page:x{index}"))).unwrap();
    }
    let asked = Top {
        prefix: "page:".into(),
        limit: 3,
    };
    let top = top(&ctx, asked).unwrap();
    let names: Vec<_> = top.iter().map(|c| (c.name.as_str(), c.count)).collect();
    assert_eq!(names, [("page:c", 7), ("page:a", 2), ("page:b", 2)]);
}

#[test]
fn a_lock_has_one_owner_until_its_time_is_over() {
    let ctx = FakeContext::new();
    let take = || Once {
        name: "report".into(),
        seconds: 60.0,
    };
    ctx.store().set("lock:report", "another").unwrap();
    assert!(!once(&ctx, take()).unwrap());
    ctx.store().delete("lock:report").unwrap();
    assert!(once(&ctx, take()).unwrap());
    assert!(once(&ctx, take()).unwrap(), "a retry still has it");
    ctx.pass_time(Duration::from_secs(60));
    assert_eq!(ctx.store().get_bytes("lock:report").unwrap(), None);
}

#[test]
fn says_what_is_missing_when_nothing_was_granted() {
    let failure = hit(&FakeContext::new().without_store(), one_hit("a")).unwrap_err();
    assert_eq!(failure.kind, "access-denied");
    assert!(!failure.is_retryable);
}
