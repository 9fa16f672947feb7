//! Compiled modules on the host's own disk.
//!
//! Loading an artifact is executing it. So a file is believed only when its MAC, under a key that only this
//! host has, covers every byte, and the key of its compilation (exact wasmtime version, our knobs, this
//! processor's features) is that of the running engine. Anything else is thrown away and compiled again.

use std::fs::{DirBuilder, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;

use crate::engine::{Engine, MODULE_VERSION};
use celeriac_broker::Digest;

/// What an artifact was compiled for.
pub(crate) type Key = [u8; 32];

/// The first bytes of every file: a name and the version of the layout.
const MAGIC: &[u8; 8] = b"celart\0\x01";
/// Magic, key, MAC.
const HEADER_BYTES: usize = 8 + 32 + 32;
const MAC_KEY_FILE: &str = "mac.key";
/// One block of SHA-256.
const MAC_KEY_BYTES: usize = 64;

/// The directory of compiled modules.
#[derive(Debug)]
pub struct ArtifactCache {
    directory: PathBuf,
    mac_key: [u8; MAC_KEY_BYTES],
}

/// The directory cannot be used: the operator's concern.
#[derive(Debug, thiserror::Error)]
#[error("the artifact cache {directory} cannot be used: {reason}")]
pub struct ArtifactError {
    directory: String,
    reason: String,
}

/// What became of a look into the cache.
enum Stored {
    Sound(Vec<u8>),
    Absent,
    Damaged(&'static str),
}

impl ArtifactCache {
    /// Opens the directory, making it and its key on first use.
    ///
    /// # Errors
    /// When it cannot be made, belongs to somebody else, or is open to others.
    pub fn open(directory: &Path) -> Result<Self, ArtifactError> {
        let error = |reason: String| ArtifactError {
            directory: directory.display().to_string(),
            reason,
        };
        let io = |step: &str, cause: std::io::Error| error(format!("{step}: {cause}"));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|cause| io("making it", cause))?;
        let metadata = directory
            .metadata()
            .map_err(|cause| io("looking at it", cause))?;
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(error(
                "it belongs to another user, who could plant code in it; name another directory"
                    .into(),
            ));
        }
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(error(
                "others may enter it and could plant code; run `chmod 700` on it".into(),
            ));
        }
        let mac_key = mac_key(directory).map_err(|cause| io("reading its key", cause))?;
        Ok(Self {
            directory: directory.to_owned(),
            mac_key,
        })
    }

    /// Keeps an artifact: written beside, then moved into place.
    pub(crate) fn store(&self, digest: &Digest, key: &Key, code: &[u8]) -> std::io::Result<()> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let temporary =
            self.directory
                .join(format!(".{}.{}.{serial}", digest.hex(), std::process::id()));
        let written = write_new(
            &temporary,
            &[MAGIC, key, &self.mac(digest, key, code), code],
        )
        .and_then(|()| std::fs::rename(&temporary, self.path(digest)));
        if written.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        written
    }

    /// The component kept for `digest`, if it is there and sound; what is not sound is removed. The text
    /// says why wasmtime refuses a sound one: it does not fit into this engine.
    pub(crate) fn load(
        &self,
        engine: &Engine,
        digest: &Digest,
    ) -> Option<Result<(Component, u64), String>> {
        let key = artifact_key(&engine.inner.wasmtime);
        let reason = match self.read(digest, &key) {
            Ok(Stored::Absent) => return None,
            Ok(Stored::Sound(file)) => {
                let bytes = file.len() as u64;
                let component = deserialize(engine, &file).map(|component| (component, bytes));
                return Some(component.map_err(|error| format!("{error:#}")));
            }
            Ok(Stored::Damaged(reason)) => reason.to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(%digest, reason, "an artifact is thrown away, and the module compiled again");
        let _ = std::fs::remove_file(self.path(digest));
        None
    }

    fn read(&self, digest: &Digest, key: &Key) -> std::io::Result<Stored> {
        let mut file = Vec::new();
        match File::open(self.path(digest)) {
            Ok(mut open) => open.read_to_end(&mut file)?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Stored::Absent),
            Err(error) => return Err(error),
        };
        let damage = self.damage(digest, key, &file);
        Ok(damage.map_or(Stored::Sound(file), Stored::Damaged))
    }

    /// What is wrong with a file.
    fn damage(&self, digest: &Digest, key: &Key, file: &[u8]) -> Option<&'static str> {
        let Some((magic, rest)) = file.split_first_chunk::<8>() else {
            return Some("it is cut off");
        };
        let Some((found_key, rest)) = rest.split_first_chunk::<32>() else {
            return Some("it is cut off");
        };
        let Some((mac, code)) = rest.split_first_chunk::<32>() else {
            return Some("it is cut off");
        };
        if magic != MAGIC {
            return Some("it has another layout");
        }
        if found_key != key {
            return Some(
                "it was compiled by another version, with other settings, or for another processor",
            );
        }
        let is_sound = self.hmac(digest, key, code).verify_slice(mac).is_ok();
        (!is_sound).then_some("its bytes are not those that this host wrote")
    }

    fn mac(&self, digest: &Digest, key: &Key, code: &[u8]) -> [u8; 32] {
        self.hmac(digest, key, code).finalize().into_bytes().into()
    }

    /// The module's digest is part of it, so that one module's file cannot stand in for another's.
    fn hmac(&self, digest: &Digest, key: &Key, code: &[u8]) -> Hmac<Sha256> {
        let mut hmac = Hmac::<Sha256>::new(&self.mac_key.into());
        for part in [MAGIC.as_slice(), digest.as_bytes(), key, code] {
            hmac.update(part);
        }
        hmac
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(digest.hex())
    }
}

/// Makes a component of an artifact that [`ArtifactCache::read`] found sound.
#[expect(unsafe_code, reason = "the one place where compiled code is loaded")]
fn deserialize(engine: &Engine, file: &[u8]) -> wasmtime::Result<Component> {
    let code = file.get(HEADER_BYTES..).unwrap_or_default();
    // SAFETY: `Component::deserialize` wants bytes that wasmtime's own compiler made, unaltered. They were made
    // by our compiling child from the same `engine::config` and written by `ArtifactCache::store`; the MAC
    // over all of them was checked on this very buffer (not on the file, which could change afterwards)
    // under a key that is readable by this user only. Exact version and settings are in the MACed key
    // besides wasmtime's own check of them. Whoever can forge the MAC can already act as this user.
    unsafe { Component::deserialize(&engine.inner.wasmtime, code) }
}

/// What artifacts of this engine are compiled for: exact version, settings, processor features.
pub(crate) fn artifact_key(engine: &wasmtime::Engine) -> Key {
    let mut hasher = Sha256Hasher(Sha256::new());
    MODULE_VERSION.hash(&mut hasher);
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize().into()
}

/// Feeds `Hash` into SHA-256: the standard hasher is not the same in every process.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

/// The host's own key, made on first use. Two processes that start at once agree: the first link wins.
fn mac_key(directory: &Path) -> std::io::Result<[u8; MAC_KEY_BYTES]> {
    let path = directory.join(MAC_KEY_FILE);
    for _ in 0..2 {
        match std::fs::read(&path) {
            Ok(bytes) => match bytes.try_into() {
                Ok(key) => return Ok(key),
                Err(_) => std::fs::remove_file(&path)?,
            },
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut key = [0; MAC_KEY_BYTES];
        rustix::rand::getrandom(&mut key[..], rustix::rand::GetRandomFlags::empty())?;
        let temporary = directory.join(format!(".{MAC_KEY_FILE}.{}", std::process::id()));
        let _ = std::fs::remove_file(&temporary);
        write_new(&temporary, &[&key])?;
        let linked = std::fs::hard_link(&temporary, &path);
        std::fs::remove_file(&temporary)?;
        match linked {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    let bytes = std::fs::read(&path)?;
    bytes
        .try_into()
        .map_err(|_| std::io::Error::other("the key has the wrong length; remove it"))
}

/// Writes a file that only this user can read.
fn write_new(path: &Path, parts: &[&[u8]]) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    parts.iter().try_for_each(|part| file.write_all(part))
}
