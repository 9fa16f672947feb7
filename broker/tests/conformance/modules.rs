//! Modules and their names.

use celeriac_broker::{BrokerError, Digest, ModuleName, Settled};

use super::kit::{
    Kit, SHORT_LEASE, admission, module_ref, publication, publish, success, try_publish,
};

pub(crate) async fn pins_the_digest_when_it_accepts(kit: Kit) {
    let before = kit.submit().await;
    let newer = publish(&kit.client, "text", b"newer text").await;
    let after = kit.submit().await;
    assert_ne!(newer, kit.digest);
    for (id, digest) in [(before, kit.digest), (after, newer)] {
        let taken = kit.take().await;
        assert_eq!((taken.lease.id, taken.digest), (id, Some(digest)));
        assert_eq!(kit.client.status(id).await.unwrap().module, Some(digest));
    }
    let exact = kit
        .accept(kit.submission(&format!("{}/run", kit.digest)))
        .await;
    assert_eq!(
        kit.client.status(exact).await.unwrap().module,
        Some(kit.digest)
    );
}

pub(crate) async fn runs_the_same_digest_after_a_crash(kit: Kit) {
    kit.submit().await;
    assert_eq!(kit.take_for(SHORT_LEASE).await.digest, Some(kit.digest));
    publish(&kit.client, "text", b"newer text").await;
    let second = kit.take().await;
    assert_eq!((second.attempt, second.digest), (2, Some(kit.digest)));
    kit.host.release(&[second.lease]).await.unwrap();
    assert_eq!(kit.take().await.digest, Some(kit.digest));
}

pub(crate) async fn keeps_a_module_while_it_is_in_use(kit: Kit) {
    let waits = kit.submit().await;
    kit.submit().await;
    let module = module_ref("text");
    assert_eq!(kit.client.module(&module).await.unwrap().invocations, 2);
    let refused = kit.client.remove(&module).await.unwrap_err();
    assert!(
        matches!(refused, BrokerError::InUse { invocations: 2, .. }),
        "{refused}"
    );
    kit.client.cancel(waits).await.unwrap();
    let runs = kit.take().await;
    let refused = kit.client.remove(&module).await.unwrap_err();
    assert!(
        matches!(refused, BrokerError::InUse { invocations: 1, .. }),
        "{refused}"
    );
    assert!(kit.host.blob(&kit.digest).await.unwrap().is_some());
    kit.succeed(&runs.lease).await;
    kit.client.remove(&module).await.unwrap();
    assert!(kit.host.blob(&kit.digest).await.unwrap().is_none());
    let refused = kit
        .client
        .submit(vec![kit.submission("text/run")])
        .await
        .unwrap();
    assert!(matches!(refused[0], Err(BrokerError::NoModule(_))));
}

fn find(names: &[ModuleName], name: &str) -> Option<Digest> {
    names
        .iter()
        .find(|entry| entry.name == module_ref(name))
        .map(|entry| entry.digest)
}

pub(crate) async fn a_name_moves_and_a_version_does_not(kit: Kit) {
    let first = publish(&kit.client, "images@1.2.0", b"one").await;
    assert_eq!(
        kit.client
            .module(&module_ref("images"))
            .await
            .unwrap()
            .digest,
        first
    );
    let second = publish(&kit.client, "images@1.3.0", b"two").await;
    let taken = try_publish(&kit.client, "images@1.2.0", b"three")
        .await
        .unwrap_err();
    assert!(
        matches!(taken, BrokerError::VersionTaken { existing, .. } if existing == first),
        "{taken}"
    );
    let names = kit.host.names().await.unwrap();
    assert_eq!(find(&names, "images@1.2.0"), Some(first));
    assert_eq!(find(&names, "images@1.3.0"), Some(second));
    assert_eq!(find(&names, "images"), Some(second));
    assert!(names.iter().all(|entry| entry.moved_at_ms > 0));
    // The same bytes again under their version move the name back.
    publish(&kit.client, "images@1.2.0", b"one").await;
    let record = kit.client.module(&module_ref("images")).await.unwrap();
    assert_eq!(
        (record.digest, record.manifest),
        (first, publication(first, "images").manifest)
    );
    assert_eq!(kit.host.blob(&second).await.unwrap().unwrap(), "two");
    assert!(matches!(
        kit.client.module(&module_ref("images@9")).await,
        Err(BrokerError::NoModule(_))
    ));
}

pub(crate) async fn publishing_needs_the_bytes(kit: Kit) {
    let digest = Digest::of(b"never stored");
    let lease = admission(&kit.client, digest, "ghost").await;
    let refused = kit
        .client
        .publish(&lease, publication(digest, "ghost"))
        .await
        .unwrap_err();
    assert!(matches!(refused, BrokerError::NoModule(_)), "{refused}");
    assert_eq!(kit.host.blob(&digest).await.unwrap(), None);
    assert!(find(&kit.client.names().await.unwrap(), "ghost").is_none());
    // The admission itself is still held.
    assert_eq!(
        kit.settle(&lease, success("refused")).await,
        Settled::Written
    );
}

pub(crate) async fn refuses_a_module_over_the_cap(kit: Kit) {
    let limit = kit.client.caps().module_bytes;
    let bytes = vec![0; usize::try_from(limit).unwrap() + 1];
    let digest = Digest::of(&bytes);
    let refused = kit.client.put_blob(bytes.into()).await.unwrap_err();
    assert!(
        matches!(
            refused,
            BrokerError::TooLarge {
                what: "module",
                setting: "caps.module",
                ..
            }
        ),
        "{refused}"
    );
    assert_eq!(kit.client.blob(&digest).await.unwrap(), None);
}

pub(crate) async fn refuses_the_built_in_name(kit: Kit) {
    for name in ["celeriac", "celeriac@1.0.0"] {
        let refused = try_publish(&kit.client, name, b"mine").await.unwrap_err();
        assert!(matches!(refused, BrokerError::Invalid { .. }), "{refused}");
    }
}

pub(crate) async fn removes_names_versions_and_digests(kit: Kit) {
    let one = publish(&kit.client, "images@1", b"one").await;
    let two = publish(&kit.client, "images@2", b"two").await;
    kit.client.remove(&module_ref("images@1")).await.unwrap();
    assert_eq!(kit.client.blob(&one).await.unwrap(), None);
    // `images` still points to it.
    kit.client.remove(&module_ref("images@2")).await.unwrap();
    assert!(kit.client.blob(&two).await.unwrap().is_some());
    publish(&kit.client, "images@3", b"three").await;
    publish(&kit.client, "imagesque", b"other").await;
    kit.client.remove(&module_ref("images")).await.unwrap();
    let names = kit.client.names().await.unwrap();
    assert_eq!(
        names
            .iter()
            .map(|entry| entry.name.to_string())
            .collect::<Vec<_>>(),
        ["imagesque", "text"]
    );
    kit.client
        .remove(&module_ref(&Digest::of(b"other").to_string()))
        .await
        .unwrap();
    assert_eq!(kit.client.names().await.unwrap().len(), 1);
    let refused = kit.client.remove(&module_ref("images")).await.unwrap_err();
    assert!(matches!(refused, BrokerError::NoModule(_)), "{refused}");
}
