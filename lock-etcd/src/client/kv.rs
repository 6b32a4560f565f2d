use serde::Deserialize;

use super::json;

/// A key with its value.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct KeyValue {
    #[serde(deserialize_with = "json::bytes")]
    pub(crate) key: Vec<u8>,
    #[serde(deserialize_with = "json::bytes")]
    pub(crate) value: Vec<u8>,
    /// The revision at which the key was created.
    #[serde(rename = "create_revision", deserialize_with = "json::number")]
    pub(crate) created: i64,
    /// The revision of the latest change.
    #[serde(rename = "mod_revision", deserialize_with = "json::number")]
    pub(crate) modified: i64,
    /// The lease that ends the key, or 0.
    #[serde(deserialize_with = "json::number")]
    pub(crate) lease: i64,
}

/// Returns the end of the range of all keys that start with the prefix, which must not end with `0xff`.
pub(crate) fn prefix_end(prefix: &str) -> String {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    String::from_utf8(end).expect("prefixes of this crate end with a slash")
}
