use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::json::{self, Header, encode};
use super::{Answer, Client, KeyValue};
use lock_core::Result;

/// A request for a key or a range of keys.
#[derive(Clone, Debug)]
#[must_use]
pub(crate) struct Range(Map<String, Value>);

impl Range {
    /// Requests one key.
    pub(crate) fn key(key: impl AsRef<[u8]>) -> Self {
        Self(Map::from_iter([("key".to_owned(), encode(key).into())]))
    }

    /// Requests the keys from `from` on that are less than `end`.
    pub(crate) fn between(from: impl AsRef<[u8]>, end: impl AsRef<[u8]>) -> Self {
        Self::key(from).with("range_end", encode(end))
    }

    /// Requests the keys that start with the prefix.
    pub(crate) fn prefix(prefix: &str) -> Self {
        Self::between(prefix, super::prefix_end(prefix))
    }

    /// Sets the maximum number of keys in the answer.
    pub(crate) fn limit(self, limit: usize) -> Self {
        self.with("limit", limit.to_string())
    }

    /// Returns the keys without their values.
    pub(crate) fn keys_only(self) -> Self {
        self.with("keys_only", true)
    }

    /// Returns the number of keys only.
    pub(crate) fn count_only(self) -> Self {
        self.with("count_only", true)
    }

    /// Returns the key that was created first, first.
    pub(crate) fn oldest_first(self) -> Self {
        self.with("sort_target", "CREATE").with("sort_order", "ASCEND")
    }

    /// Returns the key that was created last, first.
    pub(crate) fn newest_first(self) -> Self {
        self.with("sort_target", "CREATE").with("sort_order", "DESCEND")
    }

    /// Returns only keys that were created before this revision.
    pub(crate) fn created_before(self, revision: i64) -> Self {
        self.with("max_create_revision", (revision - 1).to_string())
    }

    /// Returns the state at this revision.
    pub(crate) fn at(self, revision: i64) -> Self {
        self.with("revision", revision.to_string())
    }

    fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0.insert(field.to_owned(), value.into());
        self
    }

    pub(super) fn into_request(self) -> Value {
        Value::Object(self.0)
    }

    pub(super) fn into_operation(self) -> Value {
        json!({ "request_range": self.0 })
    }
}

/// The keys of an answer.
#[derive(Deserialize, Default, Debug)]
#[serde(default)]
pub(crate) struct Found {
    header: Header,
    pub(crate) kvs: Vec<KeyValue>,
    /// True if there are more keys in the range.
    pub(crate) more: bool,
    /// The number of keys in the range.
    #[serde(deserialize_with = "json::number")]
    pub(crate) count: i64,
}

impl Found {
    /// The revision of the store at the time of the request.
    pub(crate) fn revision(&self) -> i64 {
        self.header.revision
    }

    /// Returns the first key.
    pub(crate) fn first(&self) -> Option<&KeyValue> {
        self.kvs.first()
    }

    /// Removes and returns the first key.
    pub(crate) fn into_first(self) -> Option<KeyValue> {
        self.kvs.into_iter().next()
    }
}

impl Client {
    /// Reads keys.
    pub(crate) fn range(&self, range: Range) -> Result<Found> {
        let Answer { value, .. } = self.call("/v3/kv/range", &range.into_request(), self.timeout)?;
        Ok(value)
    }
}
