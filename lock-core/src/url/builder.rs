use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::encoding::encode_location;
use super::{StoreUrl, bad, check_scheme, is_path};
use crate::Result;

/// Builds a [`StoreUrl`] from a scheme, a path or a name, and options.
///
/// [`StoreUrl::builder`] creates it. No part needs encoding.
///
/// # Examples
/// ```
/// use std::path::Path;
/// use lock_core::StoreUrl;
///
/// let url = StoreUrl::builder("shm").path("/srv/100% done/locks").option("capacity", 4096).build()?;
/// assert_eq!(url.location(), Path::new("/srv/100% done/locks"));
/// assert_eq!(url.as_str(), "shm:/srv/100%25%20done/locks?capacity=4096");
/// # Ok::<(), lock_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct StoreUrlBuilder {
    scheme: String,
    location: Location,
    options: Vec<(String, String)>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Location {
    Name(OsString),
    Path(PathBuf),
}

impl StoreUrlBuilder {
    pub(super) fn new(scheme: impl Into<String>) -> Self {
        Self { scheme: scheme.into(), location: Location::Name(OsString::new()), options: Vec::new() }
    }

    /// Sets the location to a path, which may have any bytes.
    ///
    /// [`StoreUrlBuilder::build`] resolves a relative path against the current directory. A path without a slash is relative as
    /// well, and not a name.
    pub fn path(mut self, path: impl AsRef<Path>) -> Self {
        self.location = Location::Path(path.as_ref().to_owned());
        self
    }

    /// Sets the location to a name, whose directory the backend chooses.
    pub fn name(mut self, name: impl AsRef<OsStr>) -> Self {
        self.location = Location::Name(name.as_ref().to_owned());
        self
    }

    /// Sets an option. The value has the text that it has in a URL.
    pub fn option(mut self, key: impl Into<String>, value: impl fmt::Display) -> Self {
        let (key, value) = (key.into(), value.to_string());
        self.options.retain(|(other, _)| *other != key);
        self.options.push((key, value));
        self
    }

    /// Builds the URL.
    ///
    /// # Errors
    /// [`ErrorKind::BadUrl`](crate::ErrorKind::BadUrl) when the scheme, the path, the name or the key of an option is not valid, or
    /// when the path is relative and the current directory is unknown.
    pub fn build(self) -> Result<StoreUrl> {
        let (text, mistake) = self.encode();
        let mistake = check_scheme(&self.scheme).err().or(mistake);
        if let Some(reason) = mistake {
            return Err(bad(&text, reason));
        }
        self.options.iter().try_fold(text.parse::<StoreUrl>()?, |url, (key, value)| url.with_option(key, value))
    }

    /// Returns the text without the options, and the mistake in the location.
    fn encode(&self) -> (String, Option<&'static str>) {
        let scheme = &self.scheme;
        match &self.location {
            Location::Name(name) => {
                let mistake = is_path(Path::new(name)).then_some("it is a path and not a name; use `StoreUrlBuilder::path`");
                (format!("{scheme}:{}", encode_location(name.as_bytes())), mistake)
            }
            Location::Path(path) => {
                let current = if path.is_absolute() { "" } else { "./" };
                let mistake = path.as_os_str().is_empty().then_some("the path is empty; give the path of a store");
                (format!("{scheme}:{current}{}", encode_location(path.as_os_str().as_bytes())), mistake)
            }
        }
    }
}
