use std::fmt;

/// The address of a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Endpoint {
    host: String,
    port: u16,
}

/// The port of etcd's client interface.
const DEFAULT_PORT: u16 = 2379;

impl Endpoint {
    /// Parses `HOST`, `HOST:PORT`, `[IPv6]` or `[IPv6]:PORT`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not the address of a server; write HOST:PORT, for example 10.0.0.1:2379 or [::1]:2379");
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(bad)?;
                (host, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(bad)?) })
            }
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(DEFAULT_PORT), |port| port.parse().map_err(|_| bad()))?;
        let is_valid = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '/' | '@' | '[' | ']');
        if host.is_empty() || port == 0 || !host.chars().all(is_valid) {
            return Err(bad());
        }
        Ok(Self { host: host.to_owned(), port })
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("a", Some("a:2379"))]
    #[case("10.0.0.1:1", Some("10.0.0.1:1"))]
    #[case("[::1]", Some("[::1]:2379"))]
    #[case("[::1]:9", Some("[::1]:9"))]
    #[case("", None)]
    #[case("a:", None)]
    #[case("a:0", None)]
    #[case("::1", None)]
    #[case("[::1]9", None)]
    #[case("u@a", None)]
    fn an_address_is_a_host_with_a_port(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(Endpoint::parse(text).ok().map(|endpoint| endpoint.to_string()).as_deref(), expected);
    }
}
