//! Serialized forms that differ from the derived ones.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::StoreId;

/// The text form, because many formats have no numbers of 128 bits.
impl Serialize for StoreId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StoreId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The form of a number where 0 stands for an unknown one.
pub(crate) mod zero_as_none {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(number: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        (*number != 0).then_some(*number).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or_default())
    }
}
