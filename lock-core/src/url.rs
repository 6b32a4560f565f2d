use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::advice::LONGEST_NAME;
use crate::{Error, ErrorKind, Result};

/// Where a store is: `SCHEME:PLACE?KEY=VALUE&KEY=VALUE`.
///
/// The scheme picks the backend, which gives the place and the options their meaning. The built-in backends of numbered locks have the
/// options of `lock_table::TableOptions`, among them `mode`, `group` and `owner`, by which users share a store. `%XX` stands for a byte, so that a
/// place may have a `?` in it. The text is kept as it was given, for messages.
///
/// # Examples
/// ```
/// use lock_core::StoreUrl;
/// let url: StoreUrl = "shm:/run/app/locks?capacity=4096".parse()?;
/// assert_eq!(url.scheme(), "shm");
/// assert_eq!(url.place(), "/run/app/locks");
/// # Ok::<(), lock_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreUrl {
    text: String,
    scheme: String,
    place: String,
    options: Vec<(String, String)>,
}

impl StoreUrl {
    /// The scheme: lower-case letters, digits and hyphens.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// What stands between the scheme and the options.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The URL as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The options, to be taken one by one; see [`Options`].
    pub fn options(&self) -> Options<'_> {
        Options { url: self, left: self.options.iter().collect(), known: Vec::new() }
    }

    /// The path that the place means, where stores are files: `SCHEME:/path` is that path, and `SCHEME:NAME` is in a directory which
    /// the backend chooses.
    ///
    /// # Errors
    /// [`ErrorKind::BadUrl`] when the place is neither; that of `directory`.
    pub fn path_in(&self, directory: impl FnOnce() -> Result<PathBuf>) -> Result<PathBuf> {
        let (place, scheme) = (self.place(), self.scheme());
        if Path::new(place).is_absolute() {
            return Ok(place.into());
        }
        if place.len() > LONGEST_NAME {
            let reason = format!("the name is {} bytes long; use one of at most {LONGEST_NAME}", place.len());
            return Err(self.error(reason));
        }
        if place.is_empty() || place.contains('/') || place.starts_with('.') {
            let reason = format!("write {scheme}:NAME, without a slash and with no dot at its start, or {scheme}:/absolute/path");
            return Err(self.error(reason));
        }
        Ok(directory()?.join(place))
    }

    /// The same where a store is one file: the path does not end with a slash.
    ///
    /// # Errors
    /// Those of [`StoreUrl::path_in`]; [`ErrorKind::BadUrl`] for a path that can only be a directory's.
    pub fn file_in(&self, directory: impl FnOnce() -> Result<PathBuf>) -> Result<PathBuf> {
        let path = self.path_in(directory)?;
        if let Some(file) = self.place().strip_suffix('/') {
            let (scheme, file) = (self.scheme(), file.trim_end_matches('/'));
            let reason = if file.is_empty() {
                format!("{} is a directory, and the store is a file; write {scheme}:/absolute/path", self.place())
            } else {
                format!("{} ends with a slash, and the store is a file; write {scheme}:{file}", self.place())
            };
            return Err(self.error(reason));
        }
        Ok(path)
    }

    /// An error that says what is wrong with this URL.
    pub fn error(&self, reason: impl Into<String>) -> Error {
        ErrorKind::BadUrl { url: self.text.clone(), reason: reason.into() }.into()
    }
}

impl FromStr for StoreUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |reason: &str| Error::from(ErrorKind::BadUrl { url: text.to_owned(), reason: reason.to_owned() });
        let (scheme, rest) =
            text.split_once(':').ok_or_else(|| bad("it has no scheme; write SCHEME:PLACE, for example shm:name"))?;
        let is_scheme = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if scheme.is_empty() || !scheme.chars().all(is_scheme) {
            return Err(bad("a scheme is lower-case letters, digits and hyphens"));
        }
        let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
        let mut options = Vec::new();
        for pair in query.into_iter().flat_map(|query| query.split('&')) {
            let (key, value) = pair.split_once('=').ok_or_else(|| bad("an option is KEY=VALUE"))?;
            let (key, value) = (decode(key).map_err(bad)?, decode(value).map_err(bad)?);
            if key.is_empty() {
                return Err(bad("an option is KEY=VALUE"));
            }
            if options.iter().any(|(other, _)| *other == key) {
                return Err(bad(&format!("the option {key:?} is given twice")));
            }
            options.push((key, value));
        }
        let place = decode(place).map_err(bad)?;
        Ok(Self { text: text.to_owned(), scheme: scheme.to_owned(), place, options })
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The options of a [`StoreUrl`]. A backend takes those that it knows, and what is left over is an error.
#[derive(Debug)]
pub struct Options<'a> {
    url: &'a StoreUrl,
    left: Vec<&'a (String, String)>,
    known: Vec<&'static str>,
}

impl Options<'_> {
    /// Takes the option `key`, if it was given.
    ///
    /// # Errors
    /// [`ErrorKind::BadUrl`] with what the parser says of the value.
    pub fn take<T>(&mut self, key: &'static str) -> Result<Option<T>>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        self.known.push(key);
        let Some(at) = self.left.iter().position(|(name, _)| name == key) else { return Ok(None) };
        let (_, value) = self.left.remove(at);
        value.parse().map(Some).map_err(|e| self.url.error(format!("the option {key}={value}: {e}")))
    }

    /// Refuses what nobody took.
    ///
    /// # Errors
    /// [`ErrorKind::BadUrl`] that names the unknown option and lists the known ones.
    pub fn finish(self) -> Result<()> {
        let Some((key, _)) = self.left.first() else { return Ok(()) };
        let known = if self.known.is_empty() { "none".to_owned() } else { self.known.join(", ") };
        let reason = format!("{}: has no option {key:?}; it knows: {known}", self.url.scheme());
        Err(self.url.error(reason))
    }
}

fn decode(text: &str) -> Result<String, &'static str> {
    if text.contains('\0') {
        return Err("it has a NUL in it");
    }
    if !text.contains('%') {
        return Ok(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|d| char::from(d).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) if (high, low) != (0, 0) => bytes.push((high * 16 + low) as u8),
            _ => return Err("a % is followed by two hexadecimal digits, and not by 00"),
        }
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 after its %XX are replaced")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("shm:name", "shm", "name")]
    #[case("shm:/a/b?capacity=1", "shm", "/a/b")]
    #[case("posix-sem:x%3Fy", "posix-sem", "x?y")]
    #[case("file:", "file", "")]
    fn a_url_is_a_scheme_and_a_place(#[case] text: &str, #[case] scheme: &str, #[case] place: &str) {
        let url: StoreUrl = text.parse().unwrap();
        assert_eq!((url.scheme(), url.place(), url.as_str()), (scheme, place, text));
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
    #[case("shm:x%ff")]
    #[case("shm:x\0")]
    #[case("shm:x?")]
    fn what_is_no_url_is_refused(#[case] text: &str) {
        let error = text.parse::<StoreUrl>().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::BadUrl { url, .. } if url == text), "{error}");
    }

    #[test]
    fn a_name_is_in_the_directory_and_a_path_is_where_it_says() {
        let path = |text: &str| text.parse::<StoreUrl>().unwrap().path_in(|| Ok("/dev/shm".into()));
        assert_eq!(path("shm:locks").unwrap(), Path::new("/dev/shm/locks"));
        assert_eq!(path("shm:/run/locks").unwrap(), Path::new("/run/locks"));
        for bad in ["shm:", "shm:a/b", "shm:../x", "shm:.hidden"] {
            assert!(path(bad).unwrap_err().to_string().contains("write shm:NAME"), "{bad}");
        }
    }

    #[test]
    fn a_name_that_is_too_long_is_refused_with_both_lengths() {
        let url: StoreUrl = format!("shm:{}", "x".repeat(300)).parse().unwrap();
        let error = url.path_in(|| Ok("/dev/shm".into())).unwrap_err().to_string();
        assert!(error.contains("300 bytes") && error.contains("255"), "{error}");
    }

    #[rstest]
    #[case("shm:/run/x/", "write shm:/run/x")]
    #[case("sem:/run/x//", "write sem:/run/x")]
    #[case("shm:/", "write shm:/absolute/path")]
    fn a_store_that_is_a_file_has_no_slash_at_its_end(#[case] url: &str, #[case] remedy: &str) {
        let url: StoreUrl = url.parse().unwrap();
        let error = url.file_in(|| Ok("/dev/shm".into())).unwrap_err().to_string();
        assert!(error.ends_with(remedy), "{error}");
    }

    #[test]
    fn an_unknown_option_is_refused_and_the_known_ones_are_listed() {
        let url: StoreUrl = "shm:x?capacty=4".parse().unwrap();
        let mut options = url.options();
        assert_eq!(options.take::<u32>("capacity").unwrap(), None);
        let error = options.finish().unwrap_err().to_string();
        assert!(error.contains("capacty") && error.contains("it knows: capacity"), "{error}");
    }

    #[test]
    fn a_bad_value_says_which_option_it_is() {
        let url: StoreUrl = "shm:x?capacity=many".parse().unwrap();
        let error = url.options().take::<u32>("capacity").unwrap_err().to_string();
        assert!(error.contains("capacity=many"), "{error}");
    }
}
