//! Invocation ids: UUIDv7 that carry their partition and a mark of the broker that issued them.
//!
//! The mark is what tells a made-up id (`NotFound`) from one whose record has gone (`Expired`)
//! without keeping anything for either.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::BrokerError;

/// Names one invocation: a UUIDv7 whose last 24 bits are an 8-bit partition and a 16-bit mark.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InvocationId(Uuid);

/// What a broker's ids are made with: fixed when the store is first used, the same for everybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Namespace {
    /// Random, hex: keys the mark in each id. Not a secret that protects anything.
    pub key: String,
    /// How many partitions the store's keys are spread over.
    pub partitions: u8,
}

impl Namespace {
    /// A namespace with a fresh random key and one partition.
    pub fn generate() -> Self {
        Self {
            key: Uuid::new_v4().simple().to_string(),
            partitions: 1,
        }
    }

    /// A fresh id in `partition`.
    pub fn issue(&self, partition: u8) -> InvocationId {
        let mut bytes = Uuid::now_v7().into_bytes();
        bytes[13] = partition;
        let [high, low] = self.mark(&bytes);
        bytes[14] = high;
        bytes[15] = low;
        InvocationId(Uuid::from_bytes(bytes))
    }

    /// The id that follows from a time and a hash: the same again for the same two.
    pub(crate) fn derive_at(&self, at_ms: u64, hash: [u8; 32]) -> InvocationId {
        let [random @ .., _, _, _, _, _, _] = hash.first_chunk::<16>().copied().unwrap_or_default();
        let uuid = uuid::Builder::from_unix_timestamp_millis(at_ms, &random).into_uuid();
        let mut bytes = uuid.into_bytes();
        bytes[13] = 0;
        let [high, low] = self.mark(&bytes);
        bytes[14] = high;
        bytes[15] = low;
        InvocationId(Uuid::from_bytes(bytes))
    }

    /// An id that follows from `id` and a number: the same each time, and in the same partition.
    pub(crate) fn derive(&self, id: InvocationId, number: usize) -> InvocationId {
        let mut bytes = id.0.into_bytes();
        let hash: [u8; 32] = Sha256::new()
            .chain_update(self.key.as_bytes())
            .chain_update(bytes)
            .chain_update(number.to_be_bytes())
            .finalize()
            .into();
        // The time, the version, the variant and the partition stay as they are.
        let replaced = bytes.iter_mut().zip(hash).enumerate();
        for (_, (byte, other)) in replaced.filter(|(at, _)| matches!(at, 7 | 9..=12)) {
            *byte = other;
        }
        let [high, low] = self.mark(&bytes);
        bytes[14] = high;
        bytes[15] = low;
        InvocationId(Uuid::from_bytes(bytes))
    }

    /// Whether `id` was made for this namespace. A made-up id passes once in 65,536.
    pub fn issued(&self, id: InvocationId) -> bool {
        let bytes = id.0.into_bytes();
        self.mark(&bytes) == [bytes[14], bytes[15]]
    }

    fn mark(&self, bytes: &[u8; 16]) -> [u8; 2] {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(self.key.as_bytes())
            .chain_update(&bytes[..14])
            .finalize()
            .into();
        let [high, low, ..] = hash;
        [high, low]
    }
}

impl InvocationId {
    /// The partition whose keys hold this invocation.
    pub fn partition(self) -> u8 {
        self.0.as_bytes()[13]
    }

    /// When the id was made, by its maker's clock: milliseconds since the Unix epoch.
    pub fn timestamp_ms(self) -> u64 {
        self.0.as_bytes()[..6]
            .iter()
            .fold(0, |ms, byte| (ms << 8) | u64::from(*byte))
    }

    /// The 16 bytes of the UUID.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// An id from the 16 bytes of a UUID.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for InvocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for InvocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for InvocationId {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text).map(Self).map_err(|_| {
            BrokerError::invalid(
                "invocation id",
                text,
                "a UUID, as printed by `celeriac call --detach`",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_its_own_ids_from_made_up_ones() {
        let namespace = Namespace::generate();
        let id = namespace.issue(7);
        assert!(namespace.issued(id));
        assert_eq!(id.partition(), 7);
        let forged = (0..100)
            .filter(|_| namespace.issued(InvocationId(Uuid::now_v7())))
            .count();
        assert!(forged < 3, "{forged} of 100 made-up ids passed");
        assert!(!Namespace::generate().issued(id) || !Namespace::generate().issued(id));
    }

    #[test]
    fn derives_the_same_id_each_time() {
        let namespace = Namespace::generate();
        let id = namespace.issue(3);
        let derived: Vec<_> = (0..16).map(|n| namespace.derive(id, n)).collect();
        for (number, one) in derived.iter().enumerate() {
            assert_eq!(*one, namespace.derive(id, number));
            assert!(namespace.issued(*one) && one.partition() == 3 && *one != id);
            assert_eq!(derived.iter().filter(|other| *other == one).count(), 1);
        }
    }

    #[test]
    fn survives_text_and_keeps_its_time() {
        let id = Namespace::generate().issue(0);
        assert_eq!(id.to_string().parse::<InvocationId>().unwrap(), id);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        assert!(now.as_millis() as u64 - id.timestamp_ms() < 60_000);
        assert!("nonsense".parse::<InvocationId>().is_err());
    }
}
