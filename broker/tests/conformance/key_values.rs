//! The key-value stores of modules.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use celeriac_broker::{BrokerError, KeyValueStats, MAX_VALUE_BYTES, TOKEN_STORE};

use super::kit::{Handle, Kit, eventually, module_ref};

/// Time enough to be seen, and little to wait for.
const BRIEF: Duration = Duration::from_millis(150);

async fn get(broker: &Handle, module: &str, key: &str) -> Option<Vec<u8>> {
    broker.kv_get(module, key).await.unwrap().map(Vec::from)
}

async fn set(broker: &Handle, module: &str, key: &str, value: &str) {
    let value = Bytes::copy_from_slice(value.as_bytes());
    broker.kv_set(module, key, value, None).await.unwrap();
}

async fn list(broker: &Handle, module: &str, prefix: &str) -> Vec<String> {
    broker.kv_list(module, prefix, None, 1000).await.unwrap()
}

async fn stats(broker: &Handle, module: &str) -> KeyValueStats {
    broker.kv_stats(module).await.unwrap()
}

/// Sets `<prefix>0000` and so on, from several tasks at once.
async fn fill(
    broker: &Handle,
    module: &'static str,
    prefix: &'static str,
    count: usize,
    ttl: Option<Duration>,
) {
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let broker = broker.clone();
            tokio::spawn(async move {
                for index in (task..count).step_by(8) {
                    let key = format!("{prefix}{index:04}");
                    let value = Bytes::from_static(b"v");
                    broker.kv_set(module, &key, value, ttl).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

fn is_full(error: &BrokerError, setting: &str) -> bool {
    matches!(error, BrokerError::KeyValueLimit { .. }) && error.to_string().contains(setting)
}

pub(crate) async fn values_come_back_whole(kit: Kit) {
    let large: Vec<u8> = (0..=255).cycle().take(MAX_VALUE_BYTES).collect();
    for value in [b"".as_slice(), b"\0\xff\r\n\x80", b"7", &large] {
        let bytes = Bytes::copy_from_slice(value);
        kit.client
            .kv_set("text", "key \u{1f980}", bytes, None)
            .await
            .unwrap();
        assert!(get(&kit.host, "text", "key \u{1f980}").await.unwrap() == value);
    }
    assert_eq!(get(&kit.host, "text", "key").await, None);
    assert!(kit.host.kv_delete("text", "key \u{1f980}").await.unwrap());
    assert!(!kit.host.kv_delete("text", "key \u{1f980}").await.unwrap());
    assert_eq!(stats(&kit.client, "text").await, KeyValueStats::default());
}

pub(crate) async fn a_key_whose_time_is_over_is_not_there(kit: Kit) {
    let value = Bytes::from_static(b"v");
    set(&kit.client, "text", "stays", "v").await;
    kit.client
        .kv_set("text", "goes", value.clone(), Some(BRIEF))
        .await
        .unwrap();
    assert_eq!(list(&kit.host, "text", "").await, ["goes", "stays"]);
    assert_eq!(stats(&kit.host, "text").await.keys, 2);
    eventually(async || get(&kit.host, "text", "goes").await.is_none()).await;
    assert_eq!(list(&kit.host, "text", "").await, ["stays"]);
    assert_eq!(
        stats(&kit.host, "text").await,
        KeyValueStats { keys: 1, bytes: 6 }
    );
    assert!(!kit.host.kv_delete("text", "goes").await.unwrap());
    // What comes in its place begins anew.
    let was_free = kit
        .host
        .kv_compare_and_set("text", "goes", None, Some(value), None);
    assert!(was_free.await.unwrap());
}

pub(crate) async fn setting_again_sets_the_time_again(kit: Kit) {
    let value = Bytes::from_static(b"v");
    for key in ["kept", "swapped", "brief"] {
        kit.client
            .kv_set("text", key, value.clone(), Some(BRIEF))
            .await
            .unwrap();
    }
    set(&kit.client, "text", "kept", "w").await;
    let swap =
        kit.client
            .kv_compare_and_set("text", "swapped", Some(value.clone()), Some(value), None);
    assert!(swap.await.unwrap());
    eventually(async || get(&kit.host, "text", "brief").await.is_none()).await;
    assert_eq!(list(&kit.host, "text", "").await, ["kept", "swapped"]);
}

pub(crate) async fn tokens_have_a_store_that_no_module_can_name(kit: Kit) {
    set(&kit.client, TOKEN_STORE, "0123456789abcdef", "hash").await;
    assert_eq!(list(&kit.host, TOKEN_STORE, "").await, ["0123456789abcdef"]);
    assert!(celeriac_broker::check_module(TOKEN_STORE).is_err());
    for name in ["@other", "@tokens/x", "@TOKENS"] {
        let refused = kit.host.kv_get(name, "0123456789abcdef").await.unwrap_err();
        assert!(
            matches!(refused, BrokerError::Invalid { .. }),
            "{name}: {refused}"
        );
    }
}

pub(crate) async fn modules_never_see_each_other(kit: Kit) {
    let modules = ["a", "a.b", "a-b", "ab", "b"];
    for module in modules {
        set(&kit.client, module, "key", module).await;
        set(&kit.client, module, &format!("only:{module}"), "1").await;
    }
    // Keys that try to be in another module's place.
    for key in ["b:key", ":b", "b", "../b/key", "}:kv:b"] {
        set(&kit.client, "a", key, "intruder").await;
    }
    for module in modules {
        assert_eq!(
            get(&kit.host, module, "key").await.unwrap(),
            module.as_bytes()
        );
        assert_eq!(
            list(&kit.host, module, "only").await,
            [format!("only:{module}")]
        );
    }
    assert_eq!(list(&kit.host, "b", "").await, ["key", "only:b"]);
    for name in ["a:b", "a@1.0.0", "*", "", "A", "a/b", "celeriac"] {
        let refused = kit.host.kv_get(name, "key").await.unwrap_err();
        assert!(
            matches!(refused, BrokerError::Invalid { .. }),
            "{name}: {refused}"
        );
        let refused = kit.host.kv_list(name, "", None, 10).await.unwrap_err();
        assert!(
            matches!(refused, BrokerError::Invalid { .. }),
            "{name}: {refused}"
        );
    }
    assert_eq!(kit.host.kv_clear("a").await.unwrap(), 7);
    assert!(list(&kit.host, "a", "").await.is_empty());
    assert_eq!(stats(&kit.host, "a.b").await.keys, 2);
}

pub(crate) async fn refuses_what_is_no_key_and_what_is_too_large(kit: Kit) {
    let long = "k".repeat(513);
    for key in ["", "a\nb", "\0", long.as_str()] {
        let value = Bytes::from_static(b"v");
        let refused = kit
            .client
            .kv_set("text", key, value, None)
            .await
            .unwrap_err();
        assert!(matches!(refused, BrokerError::Invalid { .. }), "{refused}");
        assert!(kit.client.kv_increment("text", key, 1, None).await.is_err());
        assert!(kit.client.kv_get("text", key).await.is_err());
    }
    let large = Bytes::from(vec![0; MAX_VALUE_BYTES + 1]);
    let refused = kit
        .client
        .kv_set("text", "key", large.clone(), None)
        .await
        .unwrap_err();
    assert!(is_full(&refused, "1048576"), "{refused}");
    let refused = kit
        .client
        .kv_compare_and_set("text", "key", None, Some(large), None)
        .await;
    assert!(is_full(&refused.unwrap_err(), "1048576"));
    set(&kit.client, "text", &"k".repeat(512), "v").await;
    assert_eq!(
        stats(&kit.client, "text").await,
        KeyValueStats {
            keys: 1,
            bytes: 513
        }
    );
}

pub(crate) async fn increments_from_many_sum_up_exactly(kit: Kit) {
    let tasks: Vec<_> = (1..=8_i64)
        .map(|by| {
            let broker = if by % 2 == 0 {
                kit.client.clone()
            } else {
                kit.host.clone()
            };
            tokio::spawn(async move {
                let mut seen = Vec::new();
                for _ in 0..50 {
                    seen.push(
                        broker
                            .kv_increment("text", "count", by, None)
                            .await
                            .unwrap(),
                    );
                }
                seen
            })
        })
        .collect();
    let mut sums = BTreeSet::new();
    for task in tasks {
        sums.extend(task.await.unwrap());
    }
    assert_eq!(sums.len(), 400, "every sum is given out once");
    assert_eq!(sums.last(), Some(&(36 * 50)));
    assert_eq!(get(&kit.client, "text", "count").await.unwrap(), b"1800");
    assert_eq!(
        stats(&kit.client, "text").await,
        KeyValueStats { keys: 1, bytes: 9 }
    );
}

pub(crate) async fn increments_are_exact_and_refuse_what_is_no_number(kit: Kit) {
    let broker = &kit.client;
    let far = (1_i64 << 53) + 1;
    assert_eq!(
        broker.kv_increment("text", "n", far, None).await.unwrap(),
        far
    );
    assert_eq!(
        broker.kv_increment("text", "n", 1, None).await.unwrap(),
        far + 1
    );
    assert_eq!(
        broker
            .kv_increment("text", "n", i64::MIN, None)
            .await
            .unwrap(),
        far + 1 + i64::MIN
    );
    assert_eq!(
        broker
            .kv_increment("text", "m", i64::MAX, None)
            .await
            .unwrap(),
        i64::MAX
    );
    for by in [1, i64::MAX] {
        let refused = broker
            .kv_increment("text", "m", by, None)
            .await
            .unwrap_err();
        assert!(refused.to_string().contains("64 bits"), "{refused}");
    }
    for text in [
        "",
        "x",
        "1.0",
        " 1",
        "+1",
        "01",
        "1e3",
        "9223372036854775808",
    ] {
        set(broker, "text", "text", text).await;
        let refused = broker
            .kv_increment("text", "text", 1, None)
            .await
            .unwrap_err();
        assert!(
            matches!(refused, BrokerError::NotANumber { .. }),
            "{text}: {refused}"
        );
        assert_eq!(get(broker, "text", "text").await.unwrap(), text.as_bytes());
    }
    set(broker, "text", "text", "-41").await;
    assert_eq!(
        broker.kv_increment("text", "text", 42, None).await.unwrap(),
        1
    );
}

pub(crate) async fn an_increment_gives_a_time_only_to_what_it_makes(kit: Kit) {
    let broker = &kit.client;
    set(broker, "text", "stays", "1").await;
    for _ in 0..2 {
        broker
            .kv_increment("text", "stays", 1, Some(BRIEF))
            .await
            .unwrap();
        broker
            .kv_increment("text", "goes", 1, Some(BRIEF))
            .await
            .unwrap();
    }
    // Its own time holds, whatever a later increment says.
    broker.kv_increment("text", "goes", 1, None).await.unwrap();
    eventually(async || get(broker, "text", "goes").await.is_none()).await;
    assert_eq!(get(broker, "text", "stays").await.unwrap(), b"3");
    assert_eq!(
        broker.kv_increment("text", "goes", 5, None).await.unwrap(),
        5
    );
}

pub(crate) async fn one_of_many_wins_a_compare_and_set(kit: Kit) {
    let tasks: Vec<_> = (0..20)
        .map(|task| {
            let broker = if task % 2 == 0 {
                kit.client.clone()
            } else {
                kit.host.clone()
            };
            tokio::spawn(async move {
                let mine = Bytes::from(format!("owner {task}"));
                let won = broker.kv_compare_and_set("text", "lock", None, Some(mine.clone()), None);
                let won = won.await.unwrap();
                // A counter kept by swapping: none of the steps may be lost.
                loop {
                    let old = broker.kv_get("text", "sum").await.unwrap();
                    let count: u32 = old
                        .as_ref()
                        .map_or(0, |old| std::str::from_utf8(old).unwrap().parse().unwrap());
                    let new = Bytes::from((count + 1).to_string());
                    let swapped = broker.kv_compare_and_set("text", "sum", old, Some(new), None);
                    if swapped.await.unwrap() {
                        return won.then_some(mine);
                    }
                }
            })
        })
        .collect();
    let mut winners = Vec::new();
    for task in tasks {
        winners.extend(task.await.unwrap());
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(get(&kit.host, "text", "lock").await.unwrap(), winners[0]);
    assert_eq!(get(&kit.host, "text", "sum").await.unwrap(), b"20");
}

pub(crate) async fn compare_and_set_knows_every_case(kit: Kit) {
    let swap = async |expected: Option<&'static str>, value: Option<&'static str>| {
        let [expected, value] = [expected, value].map(|text| text.map(Bytes::from));
        let swap = kit
            .client
            .kv_compare_and_set("text", "key", expected, value, None);
        swap.await.unwrap()
    };
    assert!(!swap(Some("a"), Some("b")).await, "it is not there");
    assert!(swap(None, None).await, "what is not there stays away");
    assert!(swap(None, Some("")).await);
    assert!(!swap(None, Some("a")).await, "empty is not absent");
    assert!(swap(Some(""), Some("a")).await);
    assert!(!swap(Some("A"), Some("b")).await);
    assert!(swap(Some("a"), Some("bb")).await);
    assert_eq!(
        stats(&kit.host, "text").await,
        KeyValueStats { keys: 1, bytes: 5 }
    );
    assert!(!swap(Some("a"), None).await);
    assert!(swap(Some("bb"), None).await);
    assert_eq!(stats(&kit.host, "text").await, KeyValueStats::default());
}

pub(crate) async fn lists_page_by_page_in_the_order_of_bytes(kit: Kit) {
    fill(&kit.client, "text", "user:", 250, None).await;
    for key in [
        "user", "user;", "User:1", "usér:1", "user:é", "zebra", "user:~",
    ] {
        set(&kit.client, "text", key, "v").await;
    }
    let (mut pages, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = kit
            .host
            .kv_list("text", "user:", after.as_deref(), 100)
            .await
            .unwrap();
        assert!(page.len() <= 100);
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        pages.push(page);
    }
    assert_eq!(
        pages.iter().map(Vec::len).collect::<Vec<_>>(),
        [100, 100, 52]
    );
    let keys = pages.concat();
    assert!(keys.is_sorted() && keys[249] == "user:0249" && keys[250..] == ["user:~", "user:é"]);
    let all = list(&kit.host, "text", "").await;
    assert_eq!(all.len(), 257);
    assert!(all.is_sorted_by_key(|key| key.as_bytes().to_vec()));
    // A cursor before the prefix begins with the prefix; one after it ends the list.
    assert_eq!(
        kit.host
            .kv_list("text", "zebra", Some("a"), 10)
            .await
            .unwrap(),
        ["zebra"]
    );
    assert!(
        kit.host
            .kv_list("text", "user:", Some("v"), 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        kit.host
            .kv_list("text", "user:", None, 0)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        kit.host
            .kv_list("text", "user:024", None, u32::MAX)
            .await
            .unwrap()
            .len(),
        10
    );
}

pub(crate) async fn a_module_has_so_many_keys_at_most(kit: Kit) {
    fill(&kit.client, "text", "k", 1_500, None).await;
    let more = || {
        kit.host
            .kv_set("text", "more", Bytes::from_static(b"v"), None)
    };
    for refused in [
        more().await.unwrap_err(),
        kit.host
            .kv_increment("text", "more", 1, None)
            .await
            .unwrap_err(),
        kit.host
            .kv_compare_and_set("text", "more", None, Some(Bytes::new()), None)
            .await
            .unwrap_err(),
    ] {
        assert!(
            is_full(&refused, "caps.kv_keys") && refused.to_string().contains("1500"),
            "{refused}"
        );
    }
    assert_eq!(get(&kit.host, "text", "more").await, None);
    // What is there can still be changed, others have room of their own, and room can be made.
    set(&kit.host, "text", "k0000", "another").await;
    set(&kit.host, "other", "more", "v").await;
    assert!(kit.host.kv_delete("text", "k0001").await.unwrap());
    more().await.unwrap();
    assert_eq!(stats(&kit.client, "text").await.keys, 1_500);
    assert_eq!(kit.client.kv_clear("text").await.unwrap(), 1_500);
    assert_eq!(stats(&kit.client, "text").await, KeyValueStats::default());
}

pub(crate) async fn a_module_has_so_many_bytes_at_most(kit: Kit) {
    let mebibyte = Bytes::from(vec![b'1'; MAX_VALUE_BYTES]);
    for key in ["a", "b", "c"] {
        kit.client
            .kv_set("text", key, mebibyte.clone(), None)
            .await
            .unwrap();
    }
    // Four keys of one byte: the last value has four bytes too many.
    let refused = kit
        .client
        .kv_set("text", "d", mebibyte.clone(), None)
        .await
        .unwrap_err();
    assert!(is_full(&refused, "caps.kv_bytes"), "{refused}");
    kit.client
        .kv_set("text", "d", mebibyte.slice(4..), None)
        .await
        .unwrap();
    assert_eq!(
        stats(&kit.client, "text").await,
        KeyValueStats {
            keys: 4,
            bytes: 4 << 20
        }
    );
    assert!(is_full(
        &kit.client
            .kv_increment("text", "e", 1, None)
            .await
            .unwrap_err(),
        "caps.kv_bytes"
    ));
    // A number that gets one digit longer needs room as well, and stays as it was without.
    kit.client
        .kv_set("text", "d", mebibyte.slice(6..), None)
        .await
        .unwrap();
    set(&kit.client, "text", "e", "9").await;
    assert!(is_full(
        &kit.client
            .kv_increment("text", "e", 1, None)
            .await
            .unwrap_err(),
        "caps.kv_bytes"
    ));
    assert_eq!(get(&kit.client, "text", "e").await.unwrap(), b"9");
    assert_eq!(
        kit.client
            .kv_increment("text", "e", -1, None)
            .await
            .unwrap(),
        8
    );
    set(&kit.client, "text", "a", "small").await;
    assert_eq!(
        kit.client.kv_increment("text", "e", 2, None).await.unwrap(),
        10
    );
    let bytes = (4 << 20) - MAX_VALUE_BYTES as u64 + 5 + 1;
    assert_eq!(
        stats(&kit.client, "text").await,
        KeyValueStats { keys: 5, bytes }
    );
}

pub(crate) async fn what_has_expired_makes_room(kit: Kit) {
    // More than one step of tidying takes away.
    fill(&kit.client, "text", "k", 1_499, Some(BRIEF)).await;
    kit.client
        .kv_set("text", "last", Bytes::from_static(b"v"), Some(BRIEF))
        .await
        .unwrap();
    eventually(async || get(&kit.host, "text", "last").await.is_none()).await;
    set(&kit.host, "text", "z", "v").await;
    assert_eq!(list(&kit.host, "text", "").await, ["z"]);
    assert_eq!(
        stats(&kit.host, "text").await,
        KeyValueStats { keys: 1, bytes: 2 }
    );
    assert_eq!(kit.host.kv_clear("text").await.unwrap(), 1);
}

pub(crate) async fn outlives_handles_and_modules(kit: Kit) {
    set(&kit.client, "text", "key", "value").await;
    kit.client
        .kv_increment("text", "count", 3, Some(super::kit::LONG))
        .await
        .unwrap();
    kit.client.remove(&module_ref("text")).await.unwrap();
    let Kit {
        store,
        client,
        host,
        ..
    } = kit;
    drop((client, host));
    let again = store.open().await;
    assert_eq!(get(&again, "text", "key").await.unwrap(), b"value");
    assert_eq!(
        again.kv_increment("text", "count", 1, None).await.unwrap(),
        4
    );
    assert_eq!(list(&again, "text", "").await, ["count", "key"]);
}
