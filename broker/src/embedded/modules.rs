//! Modules: bytes under their digest, manifests, and the names that point to them.

use bytes::Bytes;
use rusqlite::Connection;

use super::{
    EmbeddedBroker,
    ending::hex,
    fault::{Fault, damaged},
    row,
    writer::{Tx, query, query_all},
};
use crate::{
    BUILT_IN_MODULE, BrokerError, Digest, Lease, ModuleName, ModuleRecord, ModuleRef, Publication,
};

/// Bytes that nobody admits within this time go.
const UNADMITTED_MS: u64 = 3_600_000;

/// What a name points to; none when there is no such name.
pub(super) fn digest_of_name(db: &Connection, name: &str) -> Result<Option<Vec<u8>>, Fault> {
    let found = query(
        db,
        "SELECT digest FROM names WHERE name = ?1",
        [name],
        |found| Ok(row::bytes(found, 0)),
    )?;
    Ok(found.flatten())
}

fn read_digest(bytes: &[u8]) -> Result<Digest, Fault> {
    let digest = hex(bytes).parse::<Digest>();
    digest.map_err(|_| {
        damaged(
            "a module's digest",
            format!("{} bytes where 32 belong", bytes.len()),
        )
        .into()
    })
}

/// Stores a module's bytes.
pub(super) async fn put_blob(broker: &EmbeddedBroker, bytes: Bytes) -> Result<Digest, BrokerError> {
    broker.options.caps.check_module(bytes.len())?;
    let digest = Digest::of(&bytes);
    broker
        .writer
        .run(move |tx| {
            // A published module, which has no expiry, never gets one.
            tx.execute(
                "INSERT INTO blobs VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET expires_at = excluded.expires_at WHERE expires_at IS NOT NULL",
                (digest.as_bytes(), bytes.as_ref(), tx.now + UNADMITTED_MS),
            )?;
            Ok(digest)
        })
        .await
}

/// A module's bytes.
pub(super) async fn blob(
    broker: &EmbeddedBroker,
    digest: &Digest,
) -> Result<Option<Bytes>, BrokerError> {
    let (digest, now) = (*digest, broker.clock.now());
    let sql =
        "SELECT data FROM blobs WHERE digest = ?1 AND (expires_at IS NULL OR expires_at > ?2)";
    let read = move |db: &Connection| {
        query(db, sql, (digest.as_bytes(), now), |found| {
            Ok(row::bytes(found, 0))
        })
    };
    match broker.reader.run(read).await?.flatten() {
        Some(bytes) if Digest::of(&bytes) != digest => Err(damaged(
            format!("module {digest}"),
            "its bytes have another digest: push it again",
        )),
        bytes => Ok(bytes.map(Bytes::from)),
    }
}

/// Makes a module callable and moves its name.
pub(super) async fn publish(
    broker: &EmbeddedBroker,
    lease: &Lease,
    publication: Publication,
) -> Result<(), BrokerError> {
    match &publication.name {
        ModuleRef::Name(name) | ModuleRef::Version(name, _) if name != BUILT_IN_MODULE => {}
        other => {
            let expected = "a name or NAME@VERSION, and not `celeriac`, which is the host itself";
            return Err(BrokerError::invalid(
                "module name",
                &other.to_string(),
                expected,
            ));
        }
    }
    let lease = lease.clone();
    broker
        .writer
        .run(move |tx| publish_in(tx, &lease, &publication))
        .await
}

fn publish_in(tx: &Tx<'_>, lease: &Lease, publication: &Publication) -> Result<(), Fault> {
    let (host, taken) = row::split_token(&lease.token).unwrap_or_default();
    let sql = "SELECT 1 FROM leases WHERE id = ?1 AND host = ?2 AND taken = ?3";
    let held = tx.query(sql, (lease.id.as_bytes(), host, taken), |_| Ok(()))?;
    held.ok_or(BrokerError::StaleLease(lease.id))?;
    let digest = publication.digest.as_bytes();
    let version = match &publication.name {
        ModuleRef::Version(..) => Some(publication.name.to_string()),
        _ => None,
    };
    let existing = match &version {
        Some(version) => digest_of_name(tx.db, version)?,
        None => None,
    };
    if let Some(existing) = existing
        .as_ref()
        .filter(|existing| existing.as_slice() != digest)
    {
        let (name, existing) = (publication.name.clone(), read_digest(existing)?);
        return Err(BrokerError::VersionTaken { name, existing }.into());
    }
    if tx.execute(
        "UPDATE blobs SET expires_at = NULL WHERE digest = ?1",
        [digest],
    )? == 0
    {
        return Err(BrokerError::NoModule(ModuleRef::Digest(None, publication.digest)).into());
    }
    write_module(tx, publication)?;
    if let Some(version) = version.filter(|_| existing.is_none()) {
        point(tx, &version, publication)?;
    }
    let (ModuleRef::Name(name) | ModuleRef::Version(name, _)) = &publication.name else {
        return Ok(());
    };
    point(tx, name, publication)
}

fn write_module(tx: &Tx<'_>, publication: &Publication) -> Result<(), Fault> {
    let digest = publication.digest.as_bytes();
    tx.execute(
        "INSERT INTO modules VALUES (?1, ?2, 0) ON CONFLICT DO UPDATE SET manifest = excluded.manifest",
        (digest, &publication.manifest),
    )?;
    tx.execute("DELETE FROM tasks WHERE digest = ?1", [digest])?;
    for (task, defaults) in &publication.tasks {
        tx.execute(
            "INSERT OR REPLACE INTO tasks VALUES (?1, ?2, ?3)",
            (digest, task, defaults.to_text()),
        )?;
    }
    Ok(())
}

fn point(tx: &Tx<'_>, name: &str, publication: &Publication) -> Result<(), Fault> {
    let sql = "INSERT OR REPLACE INTO names VALUES (?1, ?2, ?3)";
    tx.execute(sql, (name, publication.digest.as_bytes(), tx.now))?;
    Ok(())
}

/// Every name and version, in order.
pub(super) async fn names(broker: &EmbeddedBroker) -> Result<Vec<ModuleName>, BrokerError> {
    let read = |db: &Connection| {
        let rows = query_all(
            db,
            "SELECT name, digest, moved_at FROM names ORDER BY name",
            (),
            |found| {
                let name = row::text(found, 0).unwrap_or_default();
                Ok((
                    name,
                    row::bytes(found, 1).unwrap_or_default(),
                    row::count(found, 2),
                ))
            },
        )?;
        let named = rows.into_iter().map(|(name, digest, moved_at_ms)| {
            Ok(ModuleName {
                name: name.parse()?,
                digest: read_digest(&digest)?,
                moved_at_ms,
            })
        });
        named.collect()
    };
    broker.reader.run(read).await
}

/// A module by name, version or digest.
pub(super) async fn module(
    broker: &EmbeddedBroker,
    module: &ModuleRef,
) -> Result<ModuleRecord, BrokerError> {
    let module = module.clone();
    let read = move |db: &Connection| {
        let digest = match &module {
            ModuleRef::Digest(_, digest) => Some(digest.as_bytes().to_vec()),
            by_name => digest_of_name(db, &by_name.to_string())?,
        };
        let unknown = || BrokerError::NoModule(module.clone());
        let digest = digest.ok_or_else(unknown)?;
        let sql = "SELECT manifest, uses FROM modules WHERE digest = ?1";
        let record = query(db, sql, [&digest], |found| {
            Ok((
                row::text(found, 0).unwrap_or_default(),
                row::count(found, 1),
            ))
        })?;
        let (manifest, invocations) = record.ok_or_else(unknown)?;
        Ok(ModuleRecord {
            digest: read_digest(&digest)?,
            manifest,
            invocations,
        })
    };
    broker.reader.run(read).await
}

/// Removes names, and the modules that only they pointed to.
pub(super) async fn remove(broker: &EmbeddedBroker, module: &ModuleRef) -> Result<(), BrokerError> {
    let module = module.clone();
    broker.writer.run(move |tx| remove_in(tx, &module)).await
}

fn remove_in(tx: &Tx<'_>, module: &ModuleRef) -> Result<(), Fault> {
    let names = query_all(tx.db, "SELECT name, digest FROM names", (), |found| {
        Ok((
            row::text(found, 0).unwrap_or_default(),
            row::bytes(found, 1).unwrap_or_default(),
        ))
    })?;
    let is_doomed = |(name, digest): &(String, Vec<u8>)| match module {
        ModuleRef::Name(subject) => name.split('@').next() == Some(subject.as_str()),
        ModuleRef::Version(subject, version) => name.split_once('@') == Some((subject, version)),
        ModuleRef::Digest(_, subject) => digest == subject.as_bytes(),
    };
    let (doomed, kept): (Vec<_>, Vec<_>) = names.into_iter().partition(is_doomed);
    let mut digests: Vec<&[u8]> = doomed.iter().map(|(_, digest)| digest.as_slice()).collect();
    if let ModuleRef::Digest(_, digest) = module {
        let is_module = tx.query(
            "SELECT 1 FROM modules WHERE digest = ?1",
            [digest.as_bytes()],
            |_| Ok(()),
        )?;
        digests.extend(is_module.map(|()| digest.as_bytes().as_slice()));
    }
    digests.sort_unstable();
    digests.dedup();
    if digests.is_empty() {
        return Err(BrokerError::NoModule(module.clone()).into());
    }
    digests.retain(|digest| !kept.iter().any(|(_, other)| other == digest));
    for digest in &digests {
        let uses = tx.query(
            "SELECT uses FROM modules WHERE digest = ?1",
            [digest],
            |found| Ok(row::count(found, 0)),
        )?;
        if let Some(invocations) = uses.filter(|uses| *uses > 0) {
            let module = module.clone();
            return Err(BrokerError::InUse {
                module,
                invocations,
            }
            .into());
        }
    }
    for (name, _) in &doomed {
        tx.execute("DELETE FROM names WHERE name = ?1", [name])?;
    }
    for digest in &digests {
        for sql in [
            "DELETE FROM modules WHERE digest = ?1",
            "DELETE FROM tasks WHERE digest = ?1",
            "DELETE FROM blobs WHERE digest = ?1",
        ] {
            tx.execute(sql, [digest])?;
        }
    }
    Ok(())
}
