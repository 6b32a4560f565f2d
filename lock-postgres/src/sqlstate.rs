//! The meaning of the server's errors.

use std::fmt;
use std::io;

use lock_core::{Error, Result};

use crate::server::Server;

/// An error that the server reported.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct ServerError {
    /// The SQLSTATE, five characters.
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) detail: String,
    pub(crate) hint: String,
    /// The server ends the session.
    pub(crate) is_fatal: bool,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail.trim_end_matches('.'))?;
        }
        write!(f, " [SQLSTATE {}]", self.code)
    }
}

/// The code with which the functions of the schema report a pool that is gone.
pub(crate) const POOL_IS_GONE: &str = "LK404";

impl ServerError {
    /// Returns true if the schema does not exist, or is that of another version.
    pub(crate) fn is_without_schema(&self) -> bool {
        // invalid_schema_name, undefined_table, undefined_function, undefined_column.
        matches!(self.code.as_str(), "3F000" | "42P01" | "42883" | "42703")
    }

    /// Returns true if a transaction failed because of another one, and may be tried again.
    pub(crate) fn is_temporary(&self) -> bool {
        // serialization_failure, deadlock_detected.
        matches!(self.code.as_str(), "40001" | "40P01")
    }

    /// Converts the error.
    pub(crate) fn into_error(self, server: &Server) -> Error {
        let limit = |text: &str| Error::limit(text, io::Error::other(format!("{server}: {self}")));
        match self.code.as_str() {
            POOL_IS_GONE => Error::destroyed(),
            // invalid_catalog_name.
            "3D000" => Error::absent().advise(format!("{server} has no database {}; create it with createdb", server.database)),
            _ if self.is_without_schema() => Error::absent().advise(format!(
                "the database {} of {server} has no schema lock_store; create the store, or run the function lock_postgres::migrate",
                server.database
            )),
            // insufficient_privilege.
            "42501" => Error::denied(
                server.to_string(),
                format!("{self}; the user {} needs the rights that the documentation of lock-postgres lists", server.user),
            ),
            // read_only_sql_transaction.
            "25006" => Error::unsupported(format!("{server} is a read-only standby, which has no locks; connect to the primary")),
            "53300" => limit("the server has no free connection; raise max_connections there, or use fewer processes"),
            "53200" => limit(
                "the server is out of memory for locks or statements; raise max_locks_per_transaction there, or hold fewer locks",
            ),
            "53100" => limit("the disk of the server is full; free some space there"),
            "53400" => limit("a limit that the server is configured with was reached"),
            // query_canceled, by statement_timeout or by an administrator; lock_not_available, by lock_timeout.
            "57014" | "55P03" => Error::unreachable(server.to_string(), format!("it did not finish a statement in time: {self}")),
            code => match &code[..code.len().min(2)] {
                // invalid_authorization_specification.
                "28" => Error::denied(server.to_string(), format!("{self}; check the user, the password and pg_hba.conf")),
                // Connection exceptions; operator_intervention, such as a restart.
                "08" | "57" => Error::unreachable(server.to_string(), self.to_string()),
                "53" => limit("the server is out of a resource"),
                // feature_not_supported.
                "0A" => Error::unsupported(format!("{server}: {self}")),
                _ => Error::system("PostgreSQL", io::Error::other(format!("{server}: {self}"))),
            },
        }
    }
}

/// Why a statement has no result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server reported an error, and the connection goes on.
    Refused(ServerError),
    /// The connection has ended, or an answer did not come in time. What was asked may have happened or not.
    Broken(Error),
}

impl Failure {
    /// Converts the failure.
    pub(crate) fn into_error(self, server: &Server) -> Error {
        match self {
            Self::Refused(error) => error.into_error(server),
            Self::Broken(error) => error,
        }
    }
}

/// A result of a statement.
pub(crate) type Outcome<T> = Result<T, Failure>;

#[cfg(test)]
mod tests {
    use lock_core::ErrorKind;
    use rstest::rstest;

    use super::*;
    use crate::server::Host;

    #[rstest]
    #[case("28P01", ErrorKind::Denied)]
    #[case("28000", ErrorKind::Denied)]
    #[case("42501", ErrorKind::Denied)]
    #[case("53300", ErrorKind::Limit)]
    #[case("53200", ErrorKind::Limit)]
    #[case("53100", ErrorKind::Limit)]
    #[case("57P01", ErrorKind::Unreachable)]
    #[case("57P03", ErrorKind::Unreachable)]
    #[case("57014", ErrorKind::Unreachable)]
    #[case("08006", ErrorKind::Unreachable)]
    #[case("25006", ErrorKind::Unsupported)]
    #[case("0A000", ErrorKind::Unsupported)]
    #[case("3D000", ErrorKind::Absent)]
    #[case("3F000", ErrorKind::Absent)]
    #[case("LK404", ErrorKind::Destroyed)]
    #[case("40P01", ErrorKind::System)]
    #[case("XX000", ErrorKind::System)]
    #[case("", ErrorKind::System)]
    fn a_code_has_a_kind(#[case] code: &str, #[case] kind: ErrorKind) {
        let server = Server { host: Host::Name("web1".into()), port: 1, user: "me".into(), database: "locks".into() };
        let error = ServerError { code: code.to_owned(), message: "it failed".to_owned(), ..ServerError::default() };
        assert_eq!(error.into_error(&server).kind(), kind);
    }
}
