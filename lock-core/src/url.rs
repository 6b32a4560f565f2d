use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use crate::advice::NAME_MAX;
use crate::{Error, Result};

/// The URL of a store: `SCHEME:LOCATION?KEY=VALUE&KEY=VALUE`.
///
/// The scheme selects the backend. The backend defines the meaning of the location and of the options. The built-in backends of numbered
/// locks have the options of `lock_table::TableOptions`; `mode`, `group` and `owner` among them share a store between users. `%XX`
/// encodes a byte, for example a `?` in the location.
///
/// # Examples
/// ```
/// use lock_core::StoreUrl;
/// let url: StoreUrl = "shm:/run/app/locks?capacity=4096".parse()?;
/// assert_eq!(url.scheme(), "shm");
/// assert_eq!(url.location(), "/run/app/locks");
/// # Ok::<(), lock_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreUrl {
    text: String,
    scheme: String,
    location: String,
    options: Vec<(String, String)>,
}

impl StoreUrl {
    /// Returns the scheme: lower-case letters, digits and hyphens.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Returns the decoded text between the scheme and the options.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Returns the whole URL, without decoding it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the options, for a backend to take one by one; see [`Options`].
    pub fn options(&self) -> Options<'_> {
        Options { url: self, remaining: self.options.iter().collect(), known: Vec::new() }
    }

    /// Returns the path of a store that is a file or a directory.
    ///
    /// An absolute location is the path. Any other location is a name in `directory`, which the backend chooses.
    ///
    /// # Errors
    /// [`ErrorKind::BadUrl`](crate::ErrorKind::BadUrl) when the location is empty, contains a slash, starts with a dot or is
    /// longer than 255 bytes, and is not absolute; the error of `directory`.
    pub fn path_in(&self, directory: impl FnOnce() -> Result<PathBuf>) -> Result<PathBuf> {
        let (location, scheme) = (self.location(), self.scheme());
        if Path::new(location).is_absolute() {
            return Ok(location.into());
        }
        if location.len() > NAME_MAX {
            let reason = format!("the name is {} bytes long; at most {NAME_MAX} are allowed", location.len());
            return Err(self.error(reason));
        }
        if location.is_empty() || location.contains('/') || location.starts_with('.') {
            let reason = match location {
                "" => "the name is empty",
                _ => "a name contains no slash and starts with no dot",
            };
            let reason = format!("{reason}; write {scheme}:NAME or {scheme}:/absolute/path");
            return Err(self.error(reason));
        }
        Ok(directory()?.join(location))
    }

    /// Returns the path of a store that is a file, as [`StoreUrl::path_in`] does.
    ///
    /// # Errors
    /// As [`StoreUrl::path_in`]; [`ErrorKind::BadUrl`](crate::ErrorKind::BadUrl) when the path ends with a slash.
    pub fn file_in(&self, directory: impl FnOnce() -> Result<PathBuf>) -> Result<PathBuf> {
        let path = self.path_in(directory)?;
        if let Some(file) = self.location().strip_suffix('/') {
            let (scheme, file) = (self.scheme(), file.trim_end_matches('/'));
            let reason = if file.is_empty() {
                format!("{} is a directory, and the store is a file; write {scheme}:/absolute/path", self.location())
            } else {
                format!("{} ends with a slash, and the store is a file; write {scheme}:{file}", self.location())
            };
            return Err(self.error(reason));
        }
        Ok(path)
    }

    /// Creates an [`ErrorKind::BadUrl`](crate::ErrorKind::BadUrl) for this URL.
    pub fn error(&self, reason: impl Into<String>) -> Error {
        Error::bad_url(self.text.clone(), reason)
    }
}

impl FromStr for StoreUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |reason: &str| Error::bad_url(text, reason);
        let (scheme, rest) =
            text.split_once(':').ok_or_else(|| bad("the URL has no scheme; write SCHEME:LOCATION, for example shm:name"))?;
        let is_scheme = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if scheme.is_empty() || !scheme.chars().all(is_scheme) {
            return Err(bad("a scheme has only lower-case letters, digits and hyphens; write for example shm:name"));
        }
        let (location, query) = rest.split_once('?').map_or((rest, None), |(location, query)| (location, Some(query)));
        let mut options = Vec::new();
        for pair in query.into_iter().flat_map(|query| query.split('&')) {
            let (key, value) = pair.split_once('=').ok_or_else(|| bad("an option has no key or no value; write KEY=VALUE"))?;
            let (key, value) = (decode(key).map_err(bad)?, decode(value).map_err(bad)?);
            if key.is_empty() {
                return Err(bad("an option has no key or no value; write KEY=VALUE"));
            }
            if options.iter().any(|(other, _)| *other == key) {
                return Err(bad(&format!("the option {key:?} occurs twice; remove one of them")));
            }
            options.push((key, value));
        }
        let location = decode(location).map_err(bad)?;
        Ok(Self { text: text.to_owned(), scheme: scheme.to_owned(), location, options })
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The options of a [`StoreUrl`].
///
/// A backend takes the options that it supports; [`Options::finish`] refuses the remaining ones.
#[derive(Debug)]
pub struct Options<'a> {
    url: &'a StoreUrl,
    remaining: Vec<&'a (String, String)>,
    known: Vec<&'static str>,
}

impl Options<'_> {
    /// Removes the option `key` and parses its value.
    ///
    /// Returns `None` if the URL does not contain the option.
    ///
    /// # Errors
    /// [`ErrorKind::BadUrl`](crate::ErrorKind::BadUrl) with the error of the parser.
    pub fn take<T>(&mut self, key: &'static str) -> Result<Option<T>>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        self.known.push(key);
        let Some(at) = self.remaining.iter().position(|(name, _)| name == key) else { return Ok(None) };
        let (_, value) = self.remaining.remove(at);
        value.parse().map(Some).map_err(|e| self.url.error(format!("the option {key}={value}: {e}")))
    }

    /// Checks that no option remains.
    ///
    /// # Errors
    /// [`ErrorKind::BadUrl`](crate::ErrorKind::BadUrl) that names a remaining option and lists the options that were asked for.
    pub fn finish(self) -> Result<()> {
        let Some((key, _)) = self.remaining.first() else { return Ok(()) };
        let known = if self.known.is_empty() { "none".to_owned() } else { self.known.join(", ") };
        let reason = format!("the scheme {} has no option {key:?}; its options are: {known}", self.url.scheme());
        Err(self.url.error(reason))
    }
}

fn decode(text: &str) -> Result<String, &'static str> {
    let is_encoded = |rest: &str| rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    let bytes: Vec<u8> = percent_decode_str(text).collect();
    if text.contains('\0') {
        Err("it contains a NUL byte; remove that byte")
    } else if !text.split('%').skip(1).all(is_encoded) || bytes.contains(&0) {
        Err("two hexadecimal digits other than 00 must follow a %; write %25 for a percent sign")
    } else {
        String::from_utf8(bytes).map_err(|_| "the decoded text is not UTF-8; encode UTF-8 with %XX")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorDetails;
    use rstest::rstest;

    #[rstest]
    #[case("shm:name", "shm", "name")]
    #[case("shm:/a/b?capacity=1", "shm", "/a/b")]
    #[case("posix-sem:x%3Fy", "posix-sem", "x?y")]
    #[case("file:", "file", "")]
    fn parse_splits_scheme_and_location(#[case] text: &str, #[case] scheme: &str, #[case] location: &str) {
        let url: StoreUrl = text.parse().unwrap();
        assert_eq!((url.scheme(), url.location(), url.as_str()), (scheme, location, text));
    }

    #[rstest]
    #[case("name")]
    #[case(":name")]
    #[case("SHM:name")]
    #[case("shm:x?capacity")]
    #[case("shm:x?=1")]
    #[case("shm:x?a=1&a=2")]
    #[case("shm:x%0")]
    #[case("shm:x%00")]
    #[case("shm:x%+1")]
    #[case("shm:x%ff")]
    #[case("shm:x\0")]
    #[case("shm:x?")]
    fn parse_refuses_bad_urls(#[case] text: &str) {
        let error = text.parse::<StoreUrl>().unwrap_err();
        assert!(matches!(error.details(), ErrorDetails::BadUrl { url, .. } if url == text), "{error}");
    }

    #[test]
    fn path_in_accepts_names_and_absolute_paths() {
        let path = |text: &str| text.parse::<StoreUrl>().unwrap().path_in(|| Ok("/dev/shm".into()));
        assert_eq!(path("shm:locks").unwrap(), Path::new("/dev/shm/locks"));
        assert_eq!(path("shm:/run/locks").unwrap(), Path::new("/run/locks"));
        for bad in ["shm:", "shm:a/b", "shm:../x", "shm:.hidden"] {
            assert!(path(bad).unwrap_err().to_string().contains("write shm:NAME"), "{bad}");
        }
    }

    #[test]
    fn path_in_reports_the_length_of_a_long_name_and_the_limit() {
        let url: StoreUrl = format!("shm:{}", "x".repeat(300)).parse().unwrap();
        let error = url.path_in(|| Ok("/dev/shm".into())).unwrap_err().to_string();
        assert!(error.contains("300 bytes") && error.contains("255"), "{error}");
    }

    #[rstest]
    #[case("shm:/run/x/", "write shm:/run/x")]
    #[case("sem:/run/x//", "write sem:/run/x")]
    #[case("shm:/", "write shm:/absolute/path")]
    fn file_in_refuses_a_trailing_slash(#[case] url: &str, #[case] remedy: &str) {
        let url: StoreUrl = url.parse().unwrap();
        let error = url.file_in(|| Ok("/dev/shm".into())).unwrap_err().to_string();
        assert!(error.ends_with(remedy), "{error}");
    }

    #[test]
    fn finish_names_the_unknown_option_and_lists_the_known_ones() {
        let url: StoreUrl = "shm:x?capacty=4".parse().unwrap();
        let mut options = url.options();
        assert_eq!(options.take::<u32>("capacity").unwrap(), None);
        let error = options.finish().unwrap_err().to_string();
        assert!(error.contains("capacty") && error.contains("its options are: capacity"), "{error}");
    }

    #[test]
    fn take_names_the_option_with_a_bad_value() {
        let url: StoreUrl = "shm:x?capacity=many".parse().unwrap();
        let error = url.options().take::<u32>("capacity").unwrap_err().to_string();
        assert!(error.contains("capacity=many"), "{error}");
    }
}
