use std::time::Duration;

use lock_core::Result;
use serde::Deserialize;
use serde_json::{Value, json};

use super::json::{Header, encode};
use super::{Answer, Client, Found, Range};

/// A transaction: operations that are executed together if all comparisons hold, and others if not.
#[derive(Clone, Debug, Default)]
#[must_use]
pub(crate) struct Txn {
    compare: Vec<Value>,
    success: Vec<Value>,
    failure: Vec<Value>,
}

/// The comparisons of transactions.
pub(crate) mod compare {
    use super::*;

    /// The key was created at this revision; 0 if it does not exist.
    pub(crate) fn created(key: &str, revision: i64) -> Value {
        json!({"key": encode(key), "target": "CREATE", "create_revision": revision.to_string()})
    }

    /// The key was changed at this revision; 0 if it does not exist.
    pub(crate) fn modified(key: &str, revision: i64) -> Value {
        json!({"key": encode(key), "target": "MOD", "mod_revision": revision.to_string()})
    }

    /// The key does not exist.
    pub(crate) fn absent(key: &str) -> Value {
        created(key, 0)
    }

    /// The key has this value.
    pub(crate) fn value(key: &str, value: &[u8]) -> Value {
        json!({"key": encode(key), "target": "VALUE", "value": encode(value)})
    }

    /// No key starts with the prefix.
    pub(crate) fn none(prefix: &str) -> Value {
        in_range(prefix, created(prefix, 0))
    }

    /// All keys with the prefix were created at this revision or later.
    pub(crate) fn none_before(prefix: &str, revision: i64) -> Value {
        let mut comparison = in_range(prefix, created(prefix, revision - 1));
        comparison["result"] = "GREATER".into();
        comparison
    }

    /// There is a key from `from` on that is less than `end`.
    pub(crate) fn some_between(from: &str, end: &str) -> Value {
        json!({"key": encode(from), "range_end": encode(end), "target": "CREATE", "result": "GREATER", "create_revision": "0"})
    }

    fn in_range(prefix: &str, mut comparison: Value) -> Value {
        comparison["range_end"] = encode(super::super::prefix_end(prefix)).into();
        comparison
    }
}

/// The operation that sets the value of a key. A lease of 0 is none.
pub(crate) fn put(key: &str, value: &[u8], lease: i64) -> Value {
    let mut put = json!({"key": encode(key), "value": encode(value)});
    if lease != 0 {
        put["lease"] = lease.to_string().into();
    }
    json!({ "request_put": put })
}

fn delete(key: &str) -> Value {
    json!({"request_delete_range": {"key": encode(key)}})
}

impl Txn {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a comparison.
    pub(crate) fn when(mut self, comparison: Value) -> Self {
        self.compare.push(comparison);
        self
    }

    /// Adds an operation for the case that all comparisons hold.
    pub(crate) fn then(mut self, operation: Value) -> Self {
        self.success.push(operation);
        self
    }

    pub(crate) fn then_put(self, key: &str, value: &[u8]) -> Self {
        self.then(put(key, value, 0))
    }

    pub(crate) fn then_delete(self, key: &str) -> Self {
        self.then(delete(key))
    }

    pub(crate) fn then_delete_between(self, from: &str, end: &str) -> Self {
        self.then(json!({"request_delete_range": {"key": encode(from), "range_end": encode(end)}}))
    }

    pub(crate) fn then_read(self, range: Range) -> Self {
        self.then(range.into_operation())
    }

    /// Adds an operation for the case that a comparison does not hold.
    pub(crate) fn otherwise(mut self, operation: Value) -> Self {
        self.failure.push(operation);
        self
    }

    pub(crate) fn otherwise_delete(self, key: &str) -> Self {
        self.otherwise(delete(key))
    }

    pub(crate) fn otherwise_read(self, range: Range) -> Self {
        self.otherwise(range.into_operation())
    }
}

/// The result of a transaction.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// True if all comparisons held.
    pub(crate) succeeded: bool,
    /// The revision of the store afterwards.
    pub(crate) revision: i64,
    /// True if the transaction may have been executed before.
    pub(crate) repeated: bool,
    /// The results of the operations that read, in their order.
    reads: std::vec::IntoIter<Found>,
}

impl Outcome {
    /// Returns the result of the next operation that reads.
    pub(crate) fn read(&mut self) -> Found {
        self.reads.next().unwrap_or_default()
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Body {
    header: Header,
    succeeded: bool,
    responses: Vec<Response>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Response {
    response_range: Option<Found>,
}

impl Client {
    /// Executes a transaction.
    pub(crate) fn txn(&self, txn: Txn) -> Result<Outcome> {
        self.txn_within(txn, self.timeout)
    }

    /// Executes a transaction within this time.
    pub(crate) fn txn_within(&self, txn: Txn, timeout: Duration) -> Result<Outcome> {
        let body = json!({"compare": txn.compare, "success": txn.success, "failure": txn.failure});
        let Answer { value: Body { header, succeeded, responses }, repeated } = self.call("/v3/kv/txn", &body, timeout)?;
        let reads: Vec<_> = responses.into_iter().filter_map(|response| response.response_range).collect();
        Ok(Outcome { succeeded, revision: header.revision, repeated, reads: reads.into_iter() })
    }
}
