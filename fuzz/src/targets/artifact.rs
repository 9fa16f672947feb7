//! Artifacts: whatever stands in the cache, nothing but what this host wrote is loaded, as loading is executing.

use std::sync::LazyLock;

use celeriac::module::{LoadError, SourceError};
use celeriac_broker::Digest;

use super::stage::Stage;

/// Magic, compilation key and MAC.
const HEADER_BYTES: usize = 72;

/// A cache with one sound artifact.
static CACHE: LazyLock<(Stage, Digest, Vec<u8>)> = LazyLock::new(|| {
    let stage = Stage::new();
    let world = include_str!("../../../host/tests/fixtures/world.wat");
    let (_, code) = world.split_once("(component").expect("a component");
    let text = format!(
        "(component{}",
        code.replace("$FIELDS", "").replace("$RUN", "")
    );
    let wasm = wat::parse_str(text).expect("a component");
    let digest = Digest::of(&wasm);
    let installed = stage.loader.install(&digest, &wasm);
    stage.runtime.block_on(installed).expect("a module");
    let file = std::fs::read(stage.artifact(&digest)).expect("an artifact");
    (stage, digest, file)
});

/// Puts a file made of the sound one and `data` into the cache, and asks for the module.
pub fn run(data: &[u8]) {
    let (stage, digest, sound) = &*CACHE;
    let file = forge(sound, data);
    let path = stage.artifact(digest);
    std::fs::write(&path, &file).expect("written");
    let loader = stage.fresh_loader();
    match stage.runtime.block_on(loader.load(digest)) {
        Ok(_) => assert!(
            file == *sound,
            "an artifact of {} bytes was believed",
            file.len()
        ),
        Err(LoadError::Source {
            cause: SourceError::NotFound,
            ..
        }) => {
            assert!(file != *sound, "the sound artifact was not believed");
            assert!(!path.exists(), "what is not believed is thrown away");
        }
        Err(error) => panic!("{error}"),
    }
}

/// The first byte says how: all of it, a patch, a part, other code under a sound header.
fn forge(sound: &[u8], data: &[u8]) -> Vec<u8> {
    let (kind, data) = data.split_first().unwrap_or((&0, &[]));
    let (place, rest) = match data {
        [a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
        _ => (0, data),
    };
    match kind % 4 {
        0 => data.to_vec(),
        1 => {
            let mut file = sound.to_vec();
            let start = place % file.len();
            for (byte, change) in file[start..].iter_mut().zip(rest) {
                *byte ^= change;
            }
            file
        }
        2 => sound[..place.min(sound.len())].to_vec(),
        _ => [&sound[..HEADER_BYTES], data].concat(),
    }
}
