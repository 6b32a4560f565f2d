use std::time::Duration;

use lock_core::{Error, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, CallError, Client};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Lease {
    #[serde(rename = "TTL", deserialize_with = "super::json::number")]
    ttl: i64,
}

impl Client {
    /// Grants a lease with this id. Returns its time to live, which the server may have increased.
    pub(crate) fn grant(&self, id: i64, ttl: Duration) -> Result<Duration> {
        let body = json!({"ID": id.to_string(), "TTL": seconds(ttl).to_string()});
        match self.call::<Lease>("/v3/lease/grant", &body, self.timeout) {
            Ok(Answer { value, .. }) => Ok(Duration::from_secs(value.ttl.unsigned_abs())),
            // The id is random, so that the lease is the one of an earlier attempt.
            Err(CallError::Server(error, _)) if error.is_lease_exists() => Ok(ttl),
            Err(error) => Err(error.into()),
        }
    }

    /// Starts the time to live of a lease anew.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`](lock_core::ErrorKind::Lost) when the lease has ended.
    pub(crate) fn keep_alive(&self, id: i64, timeout: Duration) -> Result<()> {
        #[derive(Deserialize)]
        struct Line {
            result: Option<Lease>,
            error: Option<Value>,
        }
        let Answer { value, .. } = self.call::<Line>("/v3/lease/keepalive", &json!({"ID": id.to_string()}), timeout)?;
        match value {
            Line { error: Some(error), .. } => Err(Error::unreachable(self.server(), error.to_string())),
            Line { result: Some(Lease { ttl: 1.. }), .. } => Ok(()),
            _ => Err(Error::lost()),
        }
    }

    /// Ends a lease, and with it its keys.
    pub(crate) fn revoke(&self, id: i64, timeout: Duration) -> Result<()> {
        match self.call::<Value>("/v3/lease/revoke", &json!({"ID": id.to_string()}), timeout) {
            Ok(_) => Ok(()),
            Err(CallError::Server(error, _)) if error.is_lease_not_found() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Rounds up to whole seconds.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
