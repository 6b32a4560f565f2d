use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lock_core::{Error, Result};

use crate::server::{Host, Server};

/// Returns the password for a server that asks for one.
///
/// It is the value of the variable `PGPASSWORD`, or that of the first matching line of a password file: `file`, else that of the variable
/// `PGPASSFILE`, else `~/.pgpass`. The format of the file is that of [libpq].
///
/// [libpq]: https://www.postgresql.org/docs/current/libpq-pgpass.html
///
/// # Errors
/// [`ErrorKind::Denied`](lock_core::ErrorKind::Denied) if there is no password; [`ErrorKind::Untrusted`](lock_core::ErrorKind::Untrusted)
/// if others can read the file; [`ErrorKind::System`](lock_core::ErrorKind::System) if it cannot be read.
pub(crate) fn find(server: &Server, file: Option<&Path>) -> Result<String> {
    if let Some(password) = std::env::var_os("PGPASSWORD") {
        return password.into_string().map_err(|_| Error::denied(server.to_string(), "PGPASSWORD is not UTF-8; set it again"));
    }
    let variable = std::env::var_os("PGPASSFILE").map(PathBuf::from);
    let home = || std::env::home_dir().map(|home| home.join(".pgpass"));
    let named = file.map(Path::to_owned).or(variable);
    let is_named = named.is_some();
    let Some(path) = named.or_else(home) else { return Err(missing(server)) };
    let text = match read(&path) {
        Ok(text) => text,
        Err(error) if !is_named && error.io_error().is_some_and(|error| error.kind() == io::ErrorKind::NotFound) => {
            return Err(missing(server));
        }
        Err(error) => return Err(error),
    };
    text.lines().find_map(|line| password_of_line(line, server)).ok_or_else(|| {
        let (user, path) = (&server.user, path.display());
        Error::denied(server.to_string(), format!("it asks for a password, and {path} has no line for the user {user}; add one"))
    })
}

fn missing(server: &Server) -> Error {
    let reason = format!(
        "it asks for a password of the user {}; set PGPASSWORD, or write it to ~/.pgpass or another password file (option passfile)",
        server.user
    );
    Error::denied(server.to_string(), reason)
}

fn read(path: &Path) -> Result<String> {
    let failed = |error| Error::system("read", error).at(path);
    let mut file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() || meta.mode() & 0o077 != 0 {
        let shown = path.display();
        return Err(Error::untrusted(format!("the password file {shown} is open to others; run `chmod 600 {shown}`")));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// Returns the password of a line `HOST:PORT:DATABASE:USER:PASSWORD` that matches the server.
fn password_of_line(line: &str, server: &Server) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = vec![Field::default()];
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        let is_last = fields.len() == 5;
        let field = fields.last_mut()?;
        match c {
            ':' if !is_last => fields.push(Field::default()),
            '\\' => {
                field.is_escaped = true;
                field.text.extend(characters.next());
            }
            c => field.text.push(c),
        }
    }
    let [host, port, database, user, password]: [Field; 5] = fields.try_into().ok()?;
    let host_matches = match &server.host {
        Host::Name(name) => host.matches(name),
        Host::Directory(directory) => {
            host.matches(&directory.to_string_lossy()) || (server.is_default_directory() && host.matches("localhost"))
        }
    };
    let matches = host_matches
        && port.matches(&server.port.to_string())
        && database.matches(&server.database)
        && user.matches(&server.user);
    matches.then_some(password.text)
}

/// A field of a line of a password file.
#[derive(Default)]
struct Field {
    text: String,
    is_escaped: bool,
}

impl Field {
    fn matches(&self, value: &str) -> bool {
        (self.text == "*" && !self.is_escaped) || self.text == value
    }
}

/// Reads the certificate file of an option.
#[cfg(feature = "tls")]
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Error::system("read", error).at(path))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use rstest::rstest;

    use super::*;

    fn server() -> Server {
        Server { host: Host::Name("web1".into()), port: 5432, user: "me".into(), database: "locks".into() }
    }

    #[rstest]
    #[case("web1:5432:locks:me:secret", Some("secret"))]
    #[case("*:*:*:*:a:b", Some("a:b"))]
    #[case(r"*:*:*:me:a\:b\\c", Some(r"a:b\c"))]
    #[case("web2:5432:locks:me:secret", None)]
    #[case("web1:5432:locks:you:secret", None)]
    #[case(r"\*:*:*:*:secret", None)]
    #[case("# web1:5432:locks:me:secret", None)]
    #[case("web1:5432:locks:me", None)]
    #[case("", None)]
    fn a_line_matches_by_its_first_four_fields(#[case] line: &str, #[case] password: Option<&str>) {
        assert_eq!(password_of_line(line, &server()).as_deref(), password);
    }

    #[test]
    fn the_default_directory_is_localhost() {
        let server = Server { host: Host::Directory("/run/postgresql".into()), ..server() };
        assert_eq!(password_of_line("localhost:*:*:*:secret", &server).as_deref(), Some("secret"));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pgpass");
        fs::write(&path, "*:*:*:*:secret\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), lock_core::ErrorKind::Untrusted);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read(&path).unwrap(), "*:*:*:*:secret\n");
    }
}
