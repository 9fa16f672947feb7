//! Modules: bytes under their digest, manifests, and the names that point to them.

use ::redis::{Value, cmd};
use bytes::Bytes;

use super::{
    RedisBroker, key,
    script::{PUBLISH, REMOVE},
    value::{self, damaged},
};
use crate::{
    BUILT_IN_MODULE, BrokerError, Digest, Lease, ModuleName, ModuleRecord, ModuleRef, Publication,
};

/// Bytes that nobody admits within this time go.
const UNADMITTED_SECONDS: u64 = 3600;

/// Stores a module's bytes.
pub(super) async fn put_blob(broker: &RedisBroker, bytes: Bytes) -> Result<Digest, BrokerError> {
    broker.options.caps.check_module(bytes.len())?;
    let digest = Digest::of(&bytes);
    let blob = key("w:", digest.hex());
    // NX and GT, so that a published module never starts to expire.
    let mut set = cmd("SET");
    set.arg(&blob)
        .arg(bytes.as_ref())
        .arg("NX")
        .arg("EX")
        .arg(UNADMITTED_SECONDS);
    if broker.link.run(&set).await? == Value::Nil {
        broker
            .link
            .run(cmd("EXPIRE").arg(&blob).arg(UNADMITTED_SECONDS).arg("GT"))
            .await?;
    }
    Ok(digest)
}

/// A module's bytes.
pub(super) async fn blob(
    broker: &RedisBroker,
    digest: &Digest,
) -> Result<Option<Bytes>, BrokerError> {
    let bytes = value::bytes(
        broker
            .link
            .run(cmd("GET").arg(key("w:", digest.hex())))
            .await?,
    );
    match bytes {
        Some(bytes) if Digest::of(&bytes) != *digest => Err(damaged(
            format!("module {digest}"),
            "its bytes have another digest: push it again",
        )),
        bytes => Ok(bytes.map(Bytes::from)),
    }
}

/// Makes a module callable and moves its name.
pub(super) async fn publish(
    broker: &RedisBroker,
    lease: &Lease,
    publication: Publication,
) -> Result<(), BrokerError> {
    let (name, version) = match &publication.name {
        ModuleRef::Name(name) if name != BUILT_IN_MODULE => (name, String::new()),
        versioned @ ModuleRef::Version(name, _) if name != BUILT_IN_MODULE => {
            (name, versioned.to_string())
        }
        other => {
            let expected = "a name or NAME@VERSION, and not `celeriac`, which is the host itself";
            return Err(BrokerError::invalid(
                "module name",
                &other.to_string(),
                expected,
            ));
        }
    };
    let mut call = PUBLISH.call(
        6 + 2 * publication.tasks.len(),
        publication.manifest.len() + 256,
    );
    call.arg(lease.id.to_string())
        .arg(lease.token.as_str())
        .arg(publication.digest.hex())
        .arg(name)
        .arg(&version)
        .arg(&publication.manifest);
    for (task, defaults) in &publication.tasks {
        call.arg(task).arg(defaults.to_text());
    }
    match value::text(broker.link.call(&call).await?)
        .unwrap_or_default()
        .as_str()
    {
        "ok" | "OK" => Ok(()),
        "stale" => Err(BrokerError::StaleLease(lease.id)),
        "gone" => Err(BrokerError::NoModule(ModuleRef::Digest(
            None,
            publication.digest,
        ))),
        existing => Err(BrokerError::VersionTaken {
            name: publication.name,
            existing: existing.parse()?,
        }),
    }
}

/// Every name and version, in order.
pub(super) async fn names(broker: &RedisBroker) -> Result<Vec<ModuleName>, BrokerError> {
    let entries = value::list(
        broker
            .link
            .run(cmd("HGETALL").arg(key("names", "")))
            .await?,
    )?;
    let mut names = Vec::with_capacity(entries.len() / 2);
    for [name, entry] in value::records::<2>(entries) {
        let name = value::text(name).unwrap_or_default();
        let (digest, moved_at_ms) = split_entry(&name, &value::text(entry).unwrap_or_default())?;
        names.push((name.parse()?, name, digest, moved_at_ms));
    }
    names.sort_by(|a, b| a.1.cmp(&b.1));
    let named = |(name, _, digest, moved_at_ms)| ModuleName {
        name,
        digest,
        moved_at_ms,
    };
    Ok(names.into_iter().map(named).collect())
}

/// `<digest hex> <ms>`
fn split_entry(name: &str, entry: &str) -> Result<(Digest, u64), BrokerError> {
    let parts = entry
        .split_once(' ')
        .and_then(|(hex, ms)| Some((hex.parse().ok()?, ms.parse().ok()?)));
    parts.ok_or_else(|| damaged(format!("name {name}"), "it is not a digest and a time"))
}

/// A module by name, version or digest.
pub(super) async fn module(
    broker: &RedisBroker,
    module: &ModuleRef,
) -> Result<ModuleRecord, BrokerError> {
    let unknown = || BrokerError::NoModule(module.clone());
    let digest = match module {
        ModuleRef::Digest(_, digest) => *digest,
        by_name => {
            let name = by_name.to_string();
            let entry = broker
                .link
                .run(cmd("HGET").arg(key("names", "")).arg(&name))
                .await?;
            split_entry(&name, &value::text(entry).ok_or_else(unknown)?)?.0
        }
    };
    let manifest = broker
        .link
        .run(cmd("HGET").arg(key("m:", digest.hex())).arg("manifest"))
        .await?;
    let uses = broker
        .link
        .run(cmd("HGET").arg(key("uses", "")).arg(digest.hex()))
        .await?;
    Ok(ModuleRecord {
        digest,
        manifest: value::text(manifest).ok_or_else(unknown)?,
        invocations: value::count(&uses),
    })
}

/// Removes names, and the modules that only they pointed to.
pub(super) async fn remove(broker: &RedisBroker, module: &ModuleRef) -> Result<(), BrokerError> {
    let (kind, subject) = match module {
        ModuleRef::Name(name) => ("name", name.clone()),
        ModuleRef::Version(..) => ("version", module.to_string()),
        ModuleRef::Digest(_, digest) => ("digest", digest.hex()),
    };
    let mut call = REMOVE.call(2, 128);
    call.arg(kind).arg(subject);
    match value::number(&broker.link.call(&call).await?) {
        Some(-1) => Ok(()),
        Some(uses) if uses > 0 => Err(BrokerError::InUse {
            module: module.clone(),
            invocations: uses.unsigned_abs(),
        }),
        _ => Err(BrokerError::NoModule(module.clone())),
    }
}
