//! The bare writes of etcd's lock recipe, by a usual HTTP client.

use std::net::SocketAddr;

use serde_json::{Value, json};

/// A connection with a lease.
pub(crate) struct Bare {
    agent: ureq::Agent,
    server: SocketAddr,
    lease: String,
}

impl Bare {
    pub(crate) fn connect(server: SocketAddr) -> Self {
        let mut bare = Self { agent: ureq::Agent::new_with_defaults(), server, lease: String::new() };
        let granted = bare.ask("lease/grant", &json!({ "TTL": 3600 }));
        bare.lease = granted["ID"].as_str().expect("a lease").to_owned();
        bare
    }

    /// Creates a key if it is absent, and deletes it: the key `l`, encoded.
    pub(crate) fn pair(&self) {
        let create = json!({
            "compare": [{ "key": "bA==", "target": "CREATE", "create_revision": "0" }],
            "success": [{ "request_put": { "key": "bA==", "value": "bA==", "lease": self.lease } }],
        });
        let created = self.ask("kv/txn", &create);
        assert_eq!(created["succeeded"], true, "{created}");
        self.ask("kv/deleterange", &json!({ "key": "bA==" }));
    }

    fn ask(&self, method: &str, request: &Value) -> Value {
        let url = format!("http://{}/v3/{method}", self.server);
        let answer = self.agent.post(&url).send(request.to_string()).and_then(|mut answer| answer.body_mut().read_to_string());
        serde_json::from_str(&answer.expect("an answer")).expect("JSON")
    }
}
