mod builder;
mod convert;
mod encoding;
mod options;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use self::builder::StoreUrlBuilder;
use self::encoding::{decode, decode_option, encode_location, encode_option};
use self::options::DEADLOCKS;
pub use self::options::Options;
use crate::advice::NAME_MAX;
use crate::deadlock_policy::DeadlockPolicy;
use crate::{Error, Result};

/// The URL of a store: `SCHEME:LOCATION?KEY=VALUE&KEY=VALUE`.
///
/// The scheme selects the backend. The location is a path or a name:
/// - A location with a slash, `.` and `..` are paths. A relative path is resolved against the current directory when the URL is
///   parsed, and the URL then contains the absolute path.
/// - Any other location is a name. The backend chooses its directory.
///
/// The backend defines the options, except one that each backend has: with `deadlocks=refuse`, a wait for a lock of the store that closes a
/// cycle of waiting threads ends with an error, see [`WaitOptions::refuse_deadlocks`](crate::WaitOptions::refuse_deadlocks). The default
/// is `deadlocks=warn`. The built-in backends of numbered locks have the options of `lock_table::TableOptions`; `mode`,
/// `group` and `owner` among them share a store between users.
///
/// `%XX` encodes a byte, for example a `?` in the location, and a location may have any bytes except NUL. A program that has a path
/// does not encode it, but uses [`StoreUrl::builder`].
///
/// # Examples
/// ```
/// use std::path::Path;
/// use lock_core::StoreUrl;
///
/// let url: StoreUrl = "shm:/run/app/locks?capacity=4096".parse()?;
/// assert_eq!(url.scheme(), "shm");
/// assert_eq!(url.location(), Path::new("/run/app/locks"));
///
/// let directory = Path::new("/srv/what?");
/// let url = StoreUrl::builder("shm").path(directory.join("locks")).option("capacity", 4096).build()?;
/// assert_eq!(url.as_str(), "shm:/srv/what%3F/locks?capacity=4096");
/// # Ok::<(), lock_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct StoreUrl {
    text: String,
    scheme: String,
    location: PathBuf,
    options: Vec<(String, String)>,
}

impl StoreUrl {
    /// Returns a builder of a URL with this scheme.
    pub fn builder(scheme: impl Into<String>) -> StoreUrlBuilder {
        StoreUrlBuilder::new(scheme)
    }

    /// Returns the scheme: lower-case letters, digits and hyphens.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Returns the decoded location: an absolute path, or a name.
    pub fn location(&self) -> &Path {
        &self.location
    }

    /// Returns the whole URL, without decoding it. A relative path is replaced by the absolute one.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the URL for messages: a password in it is replaced by `***`.
    pub(crate) fn shown(&self) -> Cow<'_, str> {
        let hidden = || {
            let begin = self.text.find("://")? + 3;
            let authority = self.text[begin..].split(['/', '?']).next()?;
            let (user, _) = authority.rsplit_once('@')?;
            let (name, _) = user.split_once(':')?;
            Some(format!("{}:***{}", &self.text[..begin + name.len()], &self.text[begin + user.len()..]))
        };
        hidden().map_or(Cow::Borrowed(&self.text), Cow::Owned)
    }

    /// Returns the value of the option `deadlocks`, which each scheme has.
    pub(crate) fn deadlocks(&self) -> Result<DeadlockPolicy> {
        let mut options = Options::of_all_schemes(self, &self.options);
        Ok(options.take(DEADLOCKS)?.unwrap_or_default())
    }

    /// Returns the options, for a backend to take one by one; see [`Options`].
    ///
    /// The option `deadlocks`, which each scheme has, is not among them.
    pub fn options(&self) -> Options<'_> {
        Options::new(self, &self.options)
    }

    /// Adds an option. The value has the text that it has in a URL, before encoding.
    ///
    /// # Errors
    /// [`ErrorKind::BadUrl`](crate::ErrorKind::BadUrl) when the key is empty, or the URL contains the option.
    pub fn with_option(mut self, key: &str, value: impl fmt::Display) -> Result<Self> {
        let value = value.to_string();
        let separator = if self.options.is_empty() { '?' } else { '&' };
        let text = format!("{}{separator}{}={}", self.text, encode_option(key), encode_option(&value));
        let check = |text: &str| if text.contains('\0') { Err("it contains a NUL byte; remove that byte") } else { Ok(()) };
        check(key).and_then(|()| check(&value)).map_err(|reason| bad(&text, reason))?;
        add_option(&mut self.options, key.to_owned(), value).map_err(|reason| bad(&text, reason))?;
        Ok(Self { text, ..self })
    }

    /// Returns the path of a store that is a directory.
    ///
    /// An absolute location is the path. Any other location is a name in `directory`, which the backend chooses.
    ///
    /// # Errors
    /// [`ErrorKind::BadUrl`](crate::ErrorKind::BadUrl) when the name is empty, starts with a dot or is longer than 255 bytes; the error of `directory`.
    pub fn path_in(&self, directory: impl FnOnce() -> Result<PathBuf>) -> Result<PathBuf> {
        self.path_or(NAME_MAX, |name| Ok(directory()?.join(name)))
    }

    /// Returns the path of a store that is a file.
    ///
    /// An absolute location is the path. Any other location is a name: the file is `NAME.SCHEME` in `directory`, which the backend
    /// chooses. So each scheme can use the same name.
    ///
    /// # Errors
    /// As [`StoreUrl::path_in`], where the file has a name of at most 255 bytes; [`ErrorKind::BadUrl`](crate::ErrorKind::BadUrl) when the path ends with a slash.
    pub fn file_in(&self, directory: impl FnOnce() -> Result<PathBuf>) -> Result<PathBuf> {
        let suffix = format!(".{}", self.scheme);
        let path = self.path_or(NAME_MAX - suffix.len().min(NAME_MAX), |name| {
            let mut file = name.to_owned();
            file.push(&suffix);
            Ok(directory()?.join(file))
        })?;
        if let Some(file) = self.bytes().strip_suffix(b"/") {
            let (scheme, shown) = (self.scheme(), self.location.display());
            let file = &file[..file.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1)];
            let reason = if file.is_empty() {
                format!("{shown} is a directory, and the store is a file; write {scheme}:/path")
            } else {
                format!("{shown} ends with a slash, and the store is a file; write {scheme}:{}", encode_location(file))
            };
            return Err(self.error(reason));
        }
        Ok(path)
    }

    /// Creates an [`ErrorKind::BadUrl`](crate::ErrorKind::BadUrl) for this URL.
    pub fn error(&self, reason: impl Into<String>) -> Error {
        bad(&self.shown(), reason)
    }

    /// Returns the location if it is absolute, and otherwise the path for the name, which has at most `longest` bytes.
    fn path_or(&self, longest: usize, path: impl FnOnce(&OsStr) -> Result<PathBuf>) -> Result<PathBuf> {
        let (name, scheme) = (self.bytes(), self.scheme());
        if self.location.is_absolute() {
            return Ok(self.location.clone());
        }
        if name.len() > longest {
            return Err(self.error(format!("the name is {} bytes long; at most {longest} are allowed", name.len())));
        }
        match name.first() {
            None => Err(self.error(format!("the name is empty; write {scheme}:NAME or {scheme}:/path"))),
            Some(b'.') => Err(self.error(format!("a name starts with no dot; write {scheme}:NAME or {scheme}:/path"))),
            Some(_) => path(self.location.as_os_str()),
        }
    }

    fn bytes(&self) -> &[u8] {
        self.location.as_os_str().as_bytes()
    }
}

impl FromStr for StoreUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |reason: &str| bad(text, reason);
        let (scheme, rest) =
            text.split_once(':').ok_or_else(|| bad("the URL has no scheme; write SCHEME:LOCATION, for example shm:name"))?;
        check_scheme(scheme).map_err(bad)?;
        let (location, query) = rest.split_once('?').map_or((rest, None), |(location, query)| (location, Some(query)));
        let mut options = Vec::new();
        for pair in query.into_iter().flat_map(|query| query.split('&')) {
            let (key, value) = pair.split_once('=').ok_or_else(|| bad(NO_KEY))?;
            let (key, value) = (decode_option(key).map_err(bad)?, decode_option(value).map_err(bad)?);
            add_option(&mut options, key, value).map_err(|reason| bad(&reason))?;
        }
        let location = PathBuf::from(OsString::from_vec(decode(location).map_err(bad)?));
        let (location, text) = match resolve(&location).map_err(|reason| bad(&reason))? {
            None => (location, text.to_owned()),
            Some(absolute) => {
                let query = query.map(|query| format!("?{query}")).unwrap_or_default();
                let text = format!("{scheme}:{}{query}", encode_location(absolute.as_os_str().as_bytes()));
                (absolute, text)
            }
        };
        Ok(Self { text, scheme: scheme.to_owned(), location, options })
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

const NO_KEY: &str = "an option has no key or no value; write KEY=VALUE";

fn bad(text: &str, reason: impl Into<String>) -> Error {
    Error::bad_url(text, reason)
}

fn check_scheme(scheme: &str) -> Result<(), &'static str> {
    let is_valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if scheme.is_empty() || !scheme.chars().all(is_valid) {
        return Err("a scheme has only lower-case letters, digits and hyphens; write for example shm:name");
    }
    Ok(())
}

/// Adds an option, whose key must be new.
fn add_option(options: &mut Vec<(String, String)>, key: String, value: String) -> Result<(), String> {
    if key.is_empty() {
        return Err(NO_KEY.to_owned());
    }
    if options.iter().any(|(other, _)| *other == key) {
        return Err(format!("the option {key:?} occurs twice; remove one of them"));
    }
    options.push((key, value));
    Ok(())
}

/// Returns true if a location is a path, and not a name.
fn is_path(location: &Path) -> bool {
    let bytes = location.as_os_str().as_bytes();
    bytes.contains(&b'/') || matches!(bytes, b"." | b"..")
}

/// Returns the absolute path of a relative one. Returns `None` for an absolute path and for a name.
///
/// The path of the current directory contains no symbolic link, so that a `..` at the start removes its last component. A later `..` is
/// kept, because a symbolic link may precede it.
fn resolve(location: &Path) -> Result<Option<PathBuf>, String> {
    if location.is_absolute() || !is_path(location) {
        return Ok(None);
    }
    let unknown = |reason: String| format!("the current directory is unknown ({reason}); write an absolute path");
    let mut absolute = std::env::current_dir().map_err(|error| unknown(error.to_string()))?;
    if !absolute.is_absolute() {
        // getcwd(3): the directory is outside the root of this process.
        return Err(unknown(absolute.display().to_string()));
    }
    let mut rest = location.as_os_str().as_bytes();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        match &rest[..end] {
            b"" | b"." => {}
            b".." => drop(absolute.pop()),
            _ => break,
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    if !rest.is_empty() {
        absolute.push(OsStr::from_bytes(rest));
    }
    Ok(Some(absolute))
}
